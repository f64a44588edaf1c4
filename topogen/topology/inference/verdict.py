"""The verdict on a hypothesis, the same in whatever form it is given."""

from __future__ import annotations

from collections.abc import Callable

from .evidence import Evidence, is_dual
from .hypothesis import Hypothesis
from .report import Verdict
from .visible_boundary import VisibleBoundary


def judge(
    evidence: Evidence,
    hypothesis: Hypothesis,
    dim: int,
    reference: Callable[[], Evidence | None],
    boundary: Callable[[], VisibleBoundary],
    below: Callable[[int], str] = lambda degree: "",
) -> tuple[Verdict, str]:
    """The verdict and its reason.

    Classes that are missing count only where every degree is determined, and where a sample of
    the space does show them or, without one, none could live below the scale. Where the numbers
    expected are those of a closed manifold and those found are not, either the cloud has a
    boundary or the numbers are not resolved: missing classes count only if a sharp boundary is
    seen, others unless the cloud thins out towards one.

    Args:
        evidence: of the cloud.
        hypothesis: with its homology.
        dim: dimension of the cloud.
        reference: the evidence of a sample of the space; None where it cannot be drawn.
        boundary: looks for the boundary of the cloud.
        below: why classes of a degree could live below the scale, without such a sample.
    """
    fields = [p for p in evidence.betti if p in hypothesis.fields]
    wanted = {p: [hypothesis.number(k, p) for k in range(len(evidence.betti[p]))] for p in fields}
    differing = [
        (p, k, found, want)
        for p in fields
        for k, (found, want) in enumerate(zip(evidence.betti[p], wanted[p], strict=True))
        if found is not None and want is not None and found != want
    ]
    more = [difference for difference in differing if difference[2] > difference[3]]
    if not more and any(b is None for p in fields for b in evidence.betti[p]):
        return "undetermined", evidence.first_reason
    if not differing:
        if any(want is None for p in fields for want in wanted[p]):
            return "undetermined", f"the homology of {hypothesis.name} is undetermined"
        names, top = " and ".join(f"Z/{p}" for p in fields), len(evidence.cuts) - 1
        return "agrees", f"degrees 0 to {top} over {names} are those of {hypothesis.name}"
    control = None if more else reference()
    # a class below the scale, but for torsion, is missing over every field
    shown = {
        k for p in fields for k, found in enumerate(evidence.betti[p]) if found == wanted[p][k]
    }
    unseen = ""
    for p, k, found, want in more or differing:
        number = f"over Z/{p} degree {k} has Betti number {found}"
        difference = f"{number}, {hypothesis.name} has {want}"
        why = ""
        if control is not None and control.betti[p][k] != want:
            why = "a sample of that many of its points does not show it either"
        elif not more and k not in shown:
            why = evidence.below.get(k, "") or ("" if control else below(k))
        why = why or _unclosed(evidence, hypothesis, dim, boundary, bool(more))
        if not why:
            return "disagrees", difference
        unseen = unseen or f"{difference}, but {why}"
    return "undetermined", unseen


def _unclosed(
    evidence: Evidence,
    hypothesis: Hypothesis,
    dim: int,
    boundary: Callable[[], VisibleBoundary],
    more: bool,
) -> str:
    """Why numbers that no closed manifold has are not believed, where those of one are expected.

    Over Z/2, over which each closed manifold obeys Poincare duality.
    """
    if 2 not in evidence.betti or 2 not in hypothesis.fields:
        return ""
    expected = [hypothesis.number(k, 2) for k in range(len(evidence.betti[2]))]
    if not is_dual(expected, dim) or is_dual(evidence.betti[2], dim):
        return ""
    seen = boundary()
    if seen.sharp or (more and not seen.thin):
        return ""
    where = "the points thin out towards an edge" if seen.thin else "no clear edge is seen"
    return f"no closed manifold has the numbers found, and {where}: not resolved"
