r"""From a cloud to Betti numbers that are reported only when the evidence is unanimous.

The largest ratio death/birth of noise in a Rips diagram of farthest-point landmarks hardly depends
on the space or the sample (Bobrowski and Skraba, 2023, https://arxiv.org/abs/2207.03926).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...point_cloud.cloud import Cloud
from ...point_cloud.landmarks import count_for_radius, farthest_points, holdout_gap
from ..persistence.landmark_rips import Budget, rips_run
from ..persistence.null_distributions import rips_noise
from ..persistence.witness import WITNESS_RULES, witness_betti
from ..progress import Notify
from .betti_decision import LEAST_LANDMARKS, decide
from .cross_checks import check_by_witnesses, decide_by_alpha, decide_by_characteristic
from .evidence import Cause, Evidence, check_consistency
from .flatness import MOST_DEVIATION, away_from_singular, find_creases, flatness_deviation
from .report import Betti

STARTS = 3  # the least number with a median
# per intrinsic dimension (4 stands for more): landmarks have covering radius c times the hold-out
# gap, c = (fine, coarse), those of the null distributions (benchmarks/topology_null.py)
RESOLUTIONS = {1: (1.6, 2.2), 2: (0.65, 0.75), 3: (0.8, 0.96), 4: (0.8, 0.96)}
# likewise, the largest number of landmarks for degrees up to 2, and for more: about a second a run
MOST_LANDMARKS = {1: (600, 600), 2: (1600, 1600), 3: (1600, 1000), 4: (1600, 1000)}


def gather(
    cloud: Cloud,
    dim: int,
    max_dim: int,
    fields: Sequence[int],
    *,
    alpha: float,
    seed: int,
    budget: Budget | None = None,
    notify: Notify = lambda stage: None,
) -> Evidence:
    """Betti numbers of a prepared cloud, by the complexes that suit its size and dimension.

    Truncated Rips of landmarks at 2 resolutions from 3 random starts; a witness complex from each
    as a cross-check; for few points in R^3 or R^4 the alpha complex where a degree is left open.

    Args:
        cloud: from :func:`topogen.point_cloud.cloud.prepare`.
        dim: intrinsic dimension of the cloud; it picks resolutions and null table.
        max_dim: the largest degree, at most 3.
        fields: primes p.
        alpha: bound on the probability to report a class that is not there, over all degrees.
        seed: of starts and of the hold-out halves.
        budget: of time and memory; it costs starts, landmarks or degrees, which remarks say.
        notify: called with what is computed next.
    """
    budget = budget or Budget()
    d, rng = min(max(dim, 1), 4), np.random.default_rng(seed)
    level = alpha / (max_dim + 1)
    betti: dict[int, list[int | None]] = {p: [None] * (max_dim + 1) for p in fields}
    p_values: dict[int, list[float | None]] = {p: [None] * (max_dim + 1) for p in fields}
    cuts = [[rips_noise(d, k, r).cut_off(level) for r in (0, 1)] for k in range(max_dim + 1)]
    evidence = Evidence(betti, p_values, [], 0.0, cuts)
    witnesses = _run_complexes(evidence, cloud, d, rng, budget, notify)
    if evidence.runs:
        evidence.scale = float(np.median([r.scale for r in evidence.runs if r.resolution == 0]))
    cause: Cause | None = None
    if evidence.runs and max_dim > 0:
        first = evidence.runs[0]
        marks, where = first.landmarks, (first.scale, dim, seed)
        deviation = flatness_deviation(cloud.points, marks, *where)
        if deviation > MOST_DEVIATION[d]:
            decide(evidence, d)
            if not evidence.reasons:
                notify("creases, and where it is no manifold")
                away, cause, words = _unflat(cloud, marks, first.scale, d, seed)
                if away.sum() >= LEAST_LANDMARKS:
                    deviation = flatness_deviation(cloud.points, marks[away], *where)
                    evidence.remarks.append(words)
        evidence.deviation = deviation
    decide(evidence, d)
    check_by_witnesses(evidence, witnesses)
    if evidence.deviation <= MOST_DEVIATION[d]:
        decide_by_characteristic(evidence, d)
        if any(k in evidence.reasons for k in range(1, max_dim + 1)):
            notify("alpha complexes")
            decide_by_alpha(evidence, cloud.points, d, level, rng, budget)
    else:
        for k in range(1, max_dim + 1):
            reason = (
                f"the cloud deviates from its tangent planes by {evidence.deviation:.2f} within "
                f"the scale (at most {MOST_DEVIATION[d]:g}), so thinner handles could hide"
            )
            evidence.revoke(k, reason, cause)
    check_consistency(evidence, dim)
    return evidence


def _unflat(
    cloud: Cloud, marks: np.ndarray, scale: float, dim: int, seed: int
) -> tuple[np.ndarray, Cause | None, str]:
    """Landmarks away from creases or from where sheets meet, why the others bend, in words."""
    untested = "local flatness was not tested"
    creases = find_creases(cloud.points, marks, scale, dim, seed)
    if creases.blunt:
        return creases.away, "creases", f"piecewise flat: {untested} at creases"
    away = away_from_singular(cloud, marks, scale, dim, seed)
    if away is not None:
        words = f"not a manifold: {untested} where sheets meet (see manifold_test)"
        return away, "not a manifold", words
    return np.zeros(len(marks), dtype=bool), "creases" if creases.everywhere else None, ""


def most_landmarks(n: int, dim: int, max_dim: int) -> int:
    """The largest number of Rips landmarks for n points of dimension `dim` (1 to 4)."""
    return min(MOST_LANDMARKS[dim][int(max_dim > 2)], max(4, n // 2))


def landmark_counts(radius: np.ndarray, gap: float, dim: int, most: int) -> tuple[int, int]:
    """Numbers of landmarks at the fine and the coarse resolution, from covering radii."""
    fine, coarse = RESOLUTIONS[dim]
    m = min(count_for_radius(radius, fine * gap), most)
    return m, count_for_radius(radius, radius[m - 1] * coarse / fine)


def _run_complexes(
    evidence: Evidence,
    cloud: Cloud,
    d: int,
    rng: np.random.Generator,
    budget: Budget,
    notify: Notify,
) -> list[Betti]:
    """Rips runs from each start into `evidence`; the Betti numbers of the witness complexes."""
    x, fields, max_dim = cloud.points, list(evidence.betti), len(evidence.cuts) - 1
    gap = holdout_gap(x, rng)
    most = most_landmarks(len(x), d, max_dim)
    # each point of a thick cloud would be witness to almost every edge
    rule = WITNESS_RULES[min(d, 3)]
    m_witness = rule.landmark_count(len(x)) if d <= 3 else 0
    if budget.max_memory is not None:
        m = math.isqrt(budget.max_memory // 64)  # a few tables of m x m numbers
        if m < max(most, m_witness):
            most, m_witness = min(most, m), min(m_witness, m)
            evidence.remarks.append(f"memory limit: at most {m} landmarks")
    witnesses: list[Betti] = []
    slowest = 0.0
    for start in range(STARTS):
        before = budget.left()
        if before < slowest or before <= 0:
            spent = f"time limit of {budget.max_seconds:g} s"
            evidence.remarks.append(f"{spent}: {start} of {STARTS} starts")
            break
        notify(f"start {start + 1} of {STARTS}")
        index, radius = farthest_points(x, max(most, m_witness), int(rng.integers(len(x))))
        share = 1 / (3 * len(fields) * (STARTS - start))
        for resolution, m in enumerate(landmark_counts(radius, gap, d, most)):
            marks, scale, limit = x[index[:m]], float(radius[m - 1]), budget.run(share)
            run = rips_run(x, marks, scale, resolution, d, max_dim, fields, limit)
            evidence.runs.append(run)
            if run.remark and run.remark not in evidence.remarks:
                evidence.remarks.append(run.remark)
        if m_witness >= LEAST_LANDMARKS:
            marks, scale = x[index[:m_witness]], float(radius[m_witness - 1])
            witness = witness_betti(
                x, marks, scale, fields, max_dim,
                relaxation=rule.relaxation, most_degree=rule.most_degree,
            )  # fmt: skip
            if witness.betti is not None:
                witnesses.append(witness.betti)
        slowest = max(slowest, before - budget.left())
    evidence.strategy = f"Rips complexes of landmarks, {len(evidence.runs)} runs"
    stray = float(np.median([r.stray for r in evidence.runs])) if evidence.runs else 0.0
    if stray > 0:
        evidence.remarks.append(f"{stray:.2%} of the points stand apart, too few for a component")
    return witnesses
