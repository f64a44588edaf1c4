"""The verdict on a hypothesis."""

from __future__ import annotations

from collections.abc import Callable

from .evidence import Evidence
from .hypothesis import Hypothesis
from .report import Verdict


def judge(
    evidence: Evidence,
    hypothesis: Hypothesis,
    reference: Callable[[], Evidence | None],
    below: Callable[[int], str] = lambda degree: "",
) -> tuple[Verdict, str]:
    """The verdict and its reason.

    Args:
        evidence: of the cloud.
        hypothesis: with its homology.
        reference: the evidence of a sample of the space; None where it cannot be drawn.
        below: why classes of a degree could live below the scale, without such a sample.
    """
    fields = [p for p in evidence.betti if hypothesis.homology and p in hypothesis.homology.fields]
    differing = [
        (p, k, found, hypothesis.number(k, p))
        for p in fields
        for k, found in enumerate(evidence.betti[p])
        if found is not None and found != hypothesis.number(k, p)
    ]
    if not differing:
        if all(b is not None for p in fields for b in evidence.betti[p]):
            names, top = " and ".join(f"Z/{p}" for p in fields), len(evidence.cuts) - 1
            return "agrees", f"degrees 0 to {top} over {names} are those of {hypothesis.name}"
        return "undetermined", evidence.first_reason
    control = reference() if all(found < want for _, _, found, want in differing) else None
    # a class below the scale, but for torsion, is missing over every field
    seen = {
        k
        for p in fields
        for k, found in enumerate(evidence.betti[p])
        if found is not None and found == hypothesis.number(k, p)
    }
    unseen = ""
    for p, k, found, want in differing:
        difference = (
            f"over Z/{p} degree {k} has Betti number {found}, {hypothesis.name} has {want}"
        )
        if found < want:
            why = ""
            if control is not None and control.betti[p][k] != want:
                why = "a sample of that many of its points does not show it either"
            elif k not in seen:
                why = evidence.below.get(k, "") or ("" if control else below(k))
            if why:
                unseen = unseen or f"{difference}, but {why}; give more points"
                continue
        return "disagrees", difference
    return "undetermined", unseen
