"""The verdict on a hypothesis."""

from __future__ import annotations

from collections.abc import Callable

from .evidence import Evidence
from .hypothesis import Hypothesis
from .report import Verdict


def judge(
    evidence: Evidence, hypothesis: Hypothesis, reference: Callable[[], Evidence | None]
) -> tuple[Verdict, str]:
    """The verdict and its reason; `reference()` is the evidence of a sample of the space."""
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
    for p, k, found, want in differing:
        if found > want or control is None or control.betti[p][k] == want:
            return "disagrees", (
                f"over Z/{p} degree {k} has Betti number {found}, {hypothesis.name} has {want}"
            )
    p, k, found, want = differing[0]
    return "undetermined", (
        f"over Z/{p} degree {k} has Betti number {found} where {hypothesis.name} has {want}, but "
        "a sample of that many of its points does not show it either; give more points"
    )
