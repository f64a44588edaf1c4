"""The Betti numbers that the Rips runs decide: both resolutions and all starts must show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..persistence.landmark_rips import Run
from ..persistence.null_distributions import rips_noise
from ..persistence.rips import by_rank
from .evidence import Count, Evidence, Inconclusive
from .flatness import MOST_DEVIATION

LEAST_LANDMARKS = 12  # a regular m-gon passes the cut-off of curves from m = 6 on


def decide(evidence: Evidence, dim: int) -> None:
    """Decide every degree afresh.

    Args:
        evidence: changed in place.
        dim: intrinsic dimension of the cloud, 1 to 4.
    """
    for table in (evidence.reasons, evidence.causes, evidence.readings):
        table.clear()
    for degree in range(len(evidence.cuts)):
        found = _decide_degree(evidence, dim, degree)
        if isinstance(found, Inconclusive):
            evidence.revoke(degree, found.reason, found.cause)
        else:
            evidence.decide(degree, found)


def _decide_degree(evidence: Evidence, dim: int, degree: int) -> dict[int, Count] | Inconclusive:
    """The Betti number of one degree over every field, where every field has one."""
    runs = evidence.runs
    strict = evidence.deviation > 0.8 * MOST_DEVIATION[dim]
    if len(runs) < 2:
        return Inconclusive("the time limit left no run", cause="limits")
    fewest = min(len(r.landmarks) for r in runs)
    if fewest < LEAST_LANDMARKS:
        return Inconclusive(
            f"the widest gap of the cloud leaves only {fewest} landmarks, {LEAST_LANDMARKS} are "
            "needed",
        )
    if any(len(diagram) <= degree for r in runs for diagram in r.diagrams.values()):
        worst = min(r.threshold / r.scale for r in runs)
        return Inconclusive(
            f"the landmarks are too coarse for degree {degree} (edges up to {worst:.1f} scales)",
        )
    cut = evidence.cuts[degree]
    readings = {p: _read_field(runs, p, degree, dim, cut, strict) for p in evidence.betti}
    evidence.readings[degree] = readings
    counts: dict[int, Count] = {}
    for p, reading in readings.items():
        if isinstance(reading, Inconclusive):
            return reading
        counts[p] = reading
    # a top class is born at the same scale over every field that has it
    if strict and degree >= max(dim, 1) and not any(c.betti for c in counts.values()):
        return Inconclusive(
            f"the cloud deviates from its tangent planes by {evidence.deviation:.2f} within the "
            f"scale, so a class of degree {degree} could be born too late to be seen",
        )
    return counts


def _read_field(
    runs: Sequence[Run], p: int, degree: int, dim: int, cut: Sequence[float], strict: bool
) -> Count | Inconclusive:
    """What the runs say over one field.

    A class has a median ratio (over starts) beyond the cut-off and is above the noise's 95 %
    quantile in every start; noise has a median below its 99 % quantile (95 % where `strict`, far
    from flat) and never far exceeds the cut-off.
    """
    counts, values = [], []
    for resolution in (0, 1):
        here = [r for r in runs if r.resolution == resolution]
        null = rips_noise(dim, degree, resolution)
        if any(r.cut_short(p, degree, dim, cut[resolution]) for r in here):
            reason = (
                f"over Z/{p} a bar of degree {degree} outlives the longest edge (of "
                f"{min(r.threshold / r.scale for r in here):.1f} scales) too early to be "
                "distinguished from noise"
            )
            strength = max(float(r.strengths(p, degree)[0]) for r in here)
            return Inconclusive(reason, null.p_value(strength))
        table = by_rank([r.strengths(p, degree) for r in here])
        middle = np.median(table, axis=0)  # over starts, j-th strongest bar by j-th strongest
        n = int((middle > cut[resolution]).sum())
        weakest = float(table[:, n - 1].min()) if n else math.inf
        strongest, maybe = float(table[:, n].max()), null.cut_off(0.05)
        noise = maybe if strict else null.cut_off(0.01)
        if middle[n] > noise or weakest < maybe:
            ratio = min(weakest, float(middle[n]))
            return Inconclusive(
                f"over Z/{p} a bar of degree {degree} lies between noise and a class "
                f"(ratio {ratio:.2f}, class from {cut[resolution]:.2f})",
                null.p_value(ratio),
            )
        if strongest > 1.15 * cut[resolution]:
            seen = f"a class of degree {degree} (ratio {strongest:.2f}) that the others do not"
            return Inconclusive(f"over Z/{p} one start sees {seen}")
        counts.append(n)
        values.append(null.p_value(float(middle[max(n - 1, 0)])))
    if counts[0] != counts[1]:
        both = f"{counts[0]} and {counts[1]} classes of degree {degree}"
        return Inconclusive(f"over Z/{p} the two resolutions see {both}")
    return Count(counts[0] + (degree == 0), max(values))
