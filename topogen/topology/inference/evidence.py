"""What is known of each degree, and what no space can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...point_cloud.cloud import Cloud
from ..persistence.landmark_rips import Run


@dataclass(frozen=True)
class Count:
    """A Betti number, and the p-value of its weakest class (of the strongest noise, if none)."""

    betti: int
    p_value: float


# what a number, or a verdict, is undetermined by
Cause = Literal[
    "few points", "noise", "uneven density", "outliers", "creases", "not a manifold", "limits"
]


@dataclass(frozen=True)
class Inconclusive:
    """Why a Betti number is undetermined.

    Attributes:
        reason: in words.
        p_value: of the bar between noise and a class, where that is the reason.
        cause: where it is known.
    """

    reason: str
    p_value: float | None = None
    cause: Cause | None = None


@dataclass
class Evidence:
    """What the runs say, degree by degree; None where they do not decide, with the reason.

    Attributes:
        betti: {p: [Betti number or None per degree]}.
        p_values: same shape.
        runs: the Rips runs, fine and coarse by turns.
        scale: median covering radius of the fine landmarks.
        cuts: per degree, the ratios (fine, coarse) from which a bar is a class.
        reasons: per undetermined degree, why.
        causes: per undetermined degree, what it comes from, where that is known.
        remarks: what a reader should know.
        deviation: of the cloud from its tangent planes within two scales.
        witness: Betti numbers that all starts of the witness complex give, None where they differ.
        readings: per degree and field p what the Rips runs say.
        strategy: what was computed, in words.
        suspects: how many points look like outliers, though leaving them out determines no more.
        below: per degree, why classes could live below the scale, so that none is known to be
            missing.
        parts: the cloud and the evidence of each part, of a cloud that falls apart.
    """

    betti: dict[int, list[int | None]]
    p_values: dict[int, list[float | None]]
    runs: list[Run]
    scale: float
    cuts: list[list[float]]
    reasons: dict[int, str] = field(default_factory=dict)
    causes: dict[int, Cause] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    deviation: float = 0.0
    witness: dict[int, list[int | None]] = field(default_factory=dict)
    readings: dict[int, dict[int, Count | Inconclusive]] = field(default_factory=dict)
    strategy: str = ""
    suspects: int = 0
    below: dict[int, str] = field(default_factory=dict)
    parts: tuple[tuple[Cloud, Evidence], ...] = ()

    @property
    def first_reason(self) -> str:
        """Why the lowest undetermined degree is so."""
        return self.reasons[min(self.reasons)]

    @property
    def first_cause(self) -> Cause | None:
        """What it comes from, where that is known."""
        return self.causes.get(min(self.reasons)) if self.reasons else None

    def connected(self, cloud: Cloud) -> list[tuple[Cloud, Evidence]]:
        """What is not split further: parts, their parts, or the cloud that this is of."""
        return [leaf for part, e in self.parts for leaf in e.connected(part)] or [(cloud, self)]

    def seen(self, p: int, degree: int) -> int:
        """Fewest classes of a degree that a run shows beyond the cut-off, decided or not."""
        cut, runs = self.cuts[degree], (r for r in self.runs if len(r.diagrams[p]) > degree)
        counts = (int((r.strengths(p, degree) > cut[r.resolution]).sum()) for r in runs)
        return min(counts, default=0) + (degree == 0)

    def revoke(self, degree: int, reason: str, cause: Cause | None = None) -> None:
        """Make a degree undetermined over every field; the first reason stays."""
        for p in self.betti:
            self.betti[p][degree] = self.p_values[p][degree] = None
        if degree not in self.reasons:
            self.reasons[degree] = reason
            if cause is not None:
                self.causes[degree] = cause

    def decide(self, degree: int, counts: dict[int, Count]) -> None:
        """Write the Betti numbers of a degree."""
        for p, count in counts.items():
            self.betti[p][degree], self.p_values[p][degree] = count.betti, count.p_value
        self.reasons.pop(degree, None)
        self.causes.pop(degree, None)


def check_consistency(evidence: Evidence, dim: int) -> None:
    r"""Revoke what no space can have: two Euler characteristics.

    By universal coefficients :math:`\beta_k(p) = r_k + t_k(p) + t_{k-1}(p)`, so the Euler
    characteristic does not depend on p.

    Args:
        evidence: changed in place.
        dim: the dimension up to which homology can be nonzero.
    """
    degrees, betti = range(dim + 1), evidence.betti
    if len(evidence.cuts) <= dim or any(b[k] is None for k in degrees for b in betti.values()):
        return
    chi = {sum((-1) ** k * (b[k] or 0) for k in degrees) for b in betti.values()}
    reason = "the Euler characteristic differs between the fields: not resolved"
    for k in degrees if len(chi) > 1 else ():
        if len({b[k] for b in betti.values()}) > 1:
            evidence.revoke(k, reason)


def is_dual(betti: Sequence[int | None], dim: int) -> bool:
    r"""Whether Betti numbers over one field can be those of a closed `dim`-manifold.

    Poincare duality: :math:`\beta_k = \beta_{d-k}`, over Z/2 always, over Z/p where it is
    orientable. Numbers that are None, or of degrees that were not computed, contradict nothing.
    """
    pairs = zip(betti, reversed(betti), strict=True) if len(betti) == dim + 1 else ()
    return all(None in pair or pair[0] == pair[1] for pair in pairs)
