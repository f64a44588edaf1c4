"""When the Rips runs settle a Betti number: both resolutions and all starts clearly give it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..persistence.landmark_rips import LEAST_KAPPA, Run
from ..persistence.null_distributions import cut_off, p_value
from ..persistence.rips import by_rank
from .evidence import Count, Doubt, Evidence
from .flatness import MOST_BENDING

LEAST_LANDMARKS = 12


def settle(evidence: Evidence, dim: int) -> None:
    """Settle every degree afresh.

    Args:
        evidence: changed in place.
        dim: intrinsic dimension of the cloud, 1 to 4.
    """
    evidence.reasons.clear()
    evidence.needed.clear()
    evidence.readings.clear()
    for degree in range(len(evidence.cuts)):
        _settle(evidence, dim, degree)


def _settle(evidence: Evidence, dim: int, degree: int) -> None:
    """Write the Betti number of one degree where every field has one."""
    runs = evidence.runs
    strict = evidence.bending > 0.8 * MOST_BENDING[dim]
    if len(runs) < 2:
        return evidence.withdraw(degree, "the time limit left no run")
    fewest = min(len(r.landmarks) for r in runs)
    if fewest < LEAST_LANDMARKS:
        return evidence.withdraw(
            degree,
            f"the widest gap of the cloud leaves only {fewest} landmarks, {LEAST_LANDMARKS} are "
            "needed; give more points, or trim outliers",
            2 * LEAST_LANDMARKS / fewest,
        )
    if any(len(diagram) <= degree for r in runs for diagram in r.diagrams.values()):
        worst = min(r.threshold / r.scale for r in runs)
        return evidence.withdraw(
            degree,
            f"the landmarks are too coarse for degree {degree} (edges up to {worst:.1f} scales); "
            "give more points",
            max(1.5, (LEAST_KAPPA[dim] / worst) ** dim),
        )
    readings = {
        p: _read(runs, p, degree, dim, evidence.cuts[degree], strict) for p in evidence.betti
    }
    evidence.readings[degree] = readings
    counts: dict[int, Count] = {}
    for p, reading in readings.items():
        if isinstance(reading, Doubt):
            return evidence.withdraw(degree, reading.reason, reading.needed)
        counts[p] = reading
    # a top class is born at the same scale over every field that has it
    if strict and degree >= max(dim, 1) and not any(c.betti for c in counts.values()):
        return evidence.withdraw(
            degree,
            f"the cloud bends by {evidence.bending:.2f} within the scale, so a class of "
            f"degree {degree} could be born too late to be seen; give more points",
            (evidence.bending / (0.8 * MOST_BENDING[dim])) ** dim,
        )
    return evidence.settle(degree, counts)


def _read(
    runs: Sequence[Run], p: int, degree: int, dim: int, cut: Sequence[float], strict: bool
) -> Count | Doubt:
    """What the runs say over one field.

    A class has a median ratio (over starts) beyond the cut-off and stays above the noise's 95 %
    quantile in every start; noise has a median below its 99 % quantile (95 % where the cloud bends
    much, `strict`) and never far exceeds the cut-off.
    """
    counts: list[int] = []
    values: list[float] = []
    for resolution in (0, 1):
        here = [r for r in runs if r.resolution == resolution]
        if any(r.cut_short(p, degree, dim, cut[resolution]) for r in here):
            strength = max(float(r.strengths(p, degree)[0]) for r in here)
            return Doubt(
                f"over Z/{p} a bar of degree {degree} outlives the longest edge (of "
                f"{min(r.threshold / r.scale for r in here):.1f} scales) too early to be told "
                "from noise; give more points",
                2.0,
                p_value(strength, dim, degree, resolution),
            )
        table = by_rank([r.strengths(p, degree) for r in here])
        middle = np.median(table, axis=0)  # over starts, j-th strongest bar by j-th strongest
        n = int((middle > cut[resolution]).sum())
        weakest = float(table[:, n - 1].min()) if n else math.inf
        strongest = float(table[:, n].max())
        maybe = cut_off(0.05, dim, degree, resolution)
        doubt = maybe if strict else cut_off(0.01, dim, degree, resolution)
        if middle[n] > doubt or weakest < maybe:
            ratio = min(weakest, float(middle[n]))
            return Doubt(
                f"over Z/{p} a bar of degree {degree} lies between noise and a class "
                f"(ratio {ratio:.2f}, class from {cut[resolution]:.2f})",
                # ratios grow as 1/scale
                max(1.5, (1.2 * cut[resolution] / ratio) ** dim),
                p_value(ratio, dim, degree, resolution),
            )
        if strongest > 1.15 * cut[resolution]:
            return Doubt(
                f"over Z/{p} one start sees a class of degree {degree} (ratio {strongest:.2f})"
                " that the others do not",
                2.0,
            )
        counts.append(n)
        chosen = middle[n - 1] if n else middle[0]
        values.append(p_value(float(chosen), dim, degree, resolution))
    if counts[0] != counts[1]:
        return Doubt(
            f"over Z/{p} the two resolutions see {counts[0]} and {counts[1]} classes "
            f"of degree {degree}",
            2.0,
        )
    return Count(counts[0] + (degree == 0), max(values))
