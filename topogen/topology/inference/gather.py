r"""From persistence diagrams to Betti numbers that are said only when the evidence is unanimous.

The largest ratio death/birth that noise alone gives in a Rips diagram of farthest-point landmarks
hardly depends on the space or the sample (weak universality: Bobrowski and Skraba, 2023,
https://arxiv.org/abs/2207.03926). Its distribution is simulated (`benchmarks/topology_null.py`)
and kept in :mod:`topogen.topology.persistence.null_distributions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...point_cloud.cloud import Cloud
from ...point_cloud.landmarks import count_for_radius, farthest_points, holdout_gap
from ..persistence.landmark_rips import Budget, rips_run
from ..persistence.null_distributions import cut_off
from ..persistence.witness import MOST_DEGREE, RELAXATION, landmark_count, witness_betti
from .cross_checks import alpha_route, second_opinion, settle_by_characteristic
from .decision import LEAST_LANDMARKS, settle
from .evidence import Evidence
from .flatness import MOST_BENDING, away_from_singular, bending

STARTS = 3
# per intrinsic dimension (4 stands for more): landmarks have covering radius c times the hold-out
# gap, c = (fine, coarse); at most MOST_LANDMARKS of them, or MOST_LANDMARKS_TO_2 where no degree
# above 2 is asked for
RESOLUTIONS = {1: (1.6, 2.2), 2: (0.65, 0.75), 3: (0.8, 0.96), 4: (0.8, 0.96)}
MOST_LANDMARKS = {1: 600, 2: 1600, 3: 1000, 4: 1000}
MOST_LANDMARKS_TO_2 = {1: 600, 2: 1600, 3: 1600, 4: 1600}


def gather(
    cloud: Cloud,
    dim: int,
    max_dim: int,
    fields: Sequence[int],
    *,
    alpha: float,
    seed: int,
    budget: Budget | None = None,
    notify: Callable[[str], None] = lambda stage: None,
) -> Evidence:
    """Betti numbers of a prepared cloud, by the complexes that suit its size and dimension.

    Truncated Rips of landmarks at 2 resolutions from 3 random starts; a witness complex from each
    start as a second opinion; for few points on a surface or a 3-manifold in R^3 or R^4 the alpha
    complex of all of them where Rips leaves a degree open.

    Args:
        cloud: from :func:`topogen.point_cloud.cloud.prepare`.
        dim: intrinsic dimension of the cloud; it picks resolutions and null table.
        max_dim: the largest degree, at most 3.
        fields: primes p.
        alpha: bound on the probability to report a class that is not there, over all degrees.
        seed: of starts and of the hold-out halves.
        budget: of time and memory; fewer starts, landmarks or degrees where it bites, with a
            remark.
        notify: told what is computed next.
    """
    budget = budget or Budget()
    d, rng = min(max(dim, 1), 4), np.random.default_rng(seed)
    level = alpha / (max_dim + 1)
    evidence = Evidence(
        {p: [None] * (max_dim + 1) for p in fields},
        {p: [None] * (max_dim + 1) for p in fields},
        [],
        0.0,
        [[cut_off(level, d, k, r) for r in (0, 1)] for k in range(max_dim + 1)],
    )
    opinions = _run_complexes(evidence, cloud, d, max_dim, fields, rng, budget, notify)
    if evidence.runs:
        evidence.scale = float(np.median([r.scale for r in evidence.runs if r.resolution == 0]))
    if evidence.runs and max_dim > 0:
        first = evidence.runs[0]
        bend = bending(cloud.points, first.landmarks, first.scale, dim, seed)
        if bend > MOST_BENDING[d]:
            settle(evidence, d)
            if not evidence.reasons:
                notify("where it is no manifold")
                away = away_from_singular(cloud.points, first.landmarks, first.scale, dim, seed)
                if away is not None and away.sum() >= LEAST_LANDMARKS:
                    bend = bending(cloud.points, first.landmarks[away], first.scale, dim, seed)
                    evidence.remarks.append(
                        "not a manifold: where sheets meet (see manifold_test) the bending was "
                        "not judged"
                    )
        evidence.bending = bend
    settle(evidence, d)
    second_opinion(evidence, opinions)
    flat = evidence.bending <= MOST_BENDING[d]
    if flat:
        settle_by_characteristic(evidence, d)
    if flat and any(k in evidence.reasons for k in range(1, max_dim + 1)):
        notify("alpha complexes")
        alpha_route(evidence, cloud.points, d, level, rng, budget)
    if not flat:
        times = (evidence.bending / MOST_BENDING[d]) ** d
        for k in range(1, max_dim + 1):
            evidence.withdraw(
                k,
                f"the cloud bends by {evidence.bending:.2f} within the scale (at most "
                f"{MOST_BENDING[d]:g}), so thinner handles could hide; give more points",
                times,
            )
    return evidence


def most_landmarks(n: int, dim: int, max_dim: int) -> int:
    """The largest number of Rips landmarks for n points of dimension `dim` (1 to 4)."""
    return min((MOST_LANDMARKS_TO_2 if max_dim <= 2 else MOST_LANDMARKS)[dim], max(4, n // 2))


def landmark_counts(radius: np.ndarray, gap: float, dim: int, most: int) -> tuple[int, int]:
    """Numbers of landmarks at the fine and the coarse resolution, from covering radii."""
    fine, coarse = RESOLUTIONS[dim]
    m = min(count_for_radius(radius, fine * gap), most)
    return m, count_for_radius(radius, radius[m - 1] * coarse / fine)


def _run_complexes(
    evidence: Evidence,
    cloud: Cloud,
    d: int,
    max_dim: int,
    fields: Sequence[int],
    rng: np.random.Generator,
    budget: Budget,
    notify: Callable[[str], None],
) -> list[dict[int, tuple[int | None, ...]]]:
    """Rips runs from each start into `evidence`; the Betti numbers of the witness complexes."""
    x = cloud.points
    gap = holdout_gap(x, rng)
    most = most_landmarks(len(x), d, max_dim)
    # each point of a thick cloud would be witness to almost every edge
    m_witness = landmark_count(len(x), d) if d <= 3 else 0
    if budget.max_memory is not None:
        m = math.isqrt(budget.max_memory // 64)  # a few tables of m x m numbers
        if m < max(most, m_witness):
            most, m_witness = min(most, m), min(m_witness, m)
            evidence.remarks.append(f"memory limit: at most {m} landmarks")
    opinions: list[dict[int, tuple[int | None, ...]]] = []
    slowest = 0.0
    for start in range(STARTS):
        before = budget.left()
        if before < slowest or before <= 0:
            evidence.remarks.append(
                f"time limit of {budget.max_seconds:g} s: {start} of {STARTS} starts"
            )
            break
        notify(f"start {start + 1} of {STARTS}")
        index, radius = farthest_points(x, max(most, m_witness), int(rng.integers(len(x))))
        share = 1 / (3 * len(fields) * (STARTS - start))
        for resolution, m in enumerate(landmark_counts(radius, gap, d, most)):
            run = rips_run(
                x,
                x[index[:m]],
                float(radius[m - 1]),
                resolution,
                d,
                max_dim,
                fields,
                budget.run(share),
            )
            evidence.runs.append(run)
            if run.remark and run.remark not in evidence.remarks:
                evidence.remarks.append(run.remark)
        if m_witness >= LEAST_LANDMARKS:
            witness = witness_betti(
                x,
                x[index[:m_witness]],
                float(radius[m_witness - 1]),
                fields,
                max_dim,
                relaxation=RELAXATION[d],
                most_degree=MOST_DEGREE[d],
            )
            if witness.betti is not None:
                opinions.append(witness.betti)
        slowest = max(slowest, before - budget.left())
    evidence.strategy = f"Rips complexes of landmarks, {len(evidence.runs)} runs"
    stray = float(np.median([r.stray for r in evidence.runs])) if evidence.runs else 0.0
    if stray > 0:
        evidence.remarks.append(f"{stray:.2%} of the points stand apart, too few for a component")
    return opinions
