"""The verdict on a claim."""

from __future__ import annotations

from collections.abc import Callable

from .evidence import Evidence
from .hypothesis import Claim
from .report import Verdict


def judge(
    evidence: Evidence, claim: Claim, reference: Callable[[], Evidence | None]
) -> tuple[Verdict, str]:
    """The verdict and its reason; `reference()` gives the evidence of a sample of the claim."""
    fields = [p for p in evidence.betti if claim.homology and p in claim.homology.fields]
    differing = [
        (p, k, found, claim.number(k, p))
        for p in fields
        for k, found in enumerate(evidence.betti[p])
        if found is not None and found != claim.number(k, p)
    ]
    if not differing:
        if all(b is not None for p in fields for b in evidence.betti[p]):
            names = " and ".join(f"Z/{p}" for p in fields)
            top = len(evidence.cuts) - 1
            return "agrees", f"degrees 0 to {top} over {names} are those of {claim.name}"
        return "undetermined", evidence.first_reason
    control: Evidence | None = None
    if all(found < want for _, _, found, want in differing):
        control = reference()
    for p, k, found, want in differing:
        if found > want or control is None or control.betti[p][k] == want:
            return "disagrees", (
                f"over Z/{p} degree {k} has Betti number {found}, {claim.name} has {want}"
            )
    p, k, found, want = differing[0]
    return "undetermined", (
        f"over Z/{p} degree {k} has Betti number {found} where {claim.name} has {want}, but a "
        "sample of that many of its points does not show it either; give more points"
    )
