r"""From persistence diagrams to Betti numbers that are said only when the evidence is unanimous.

The largest ratio death/birth that noise alone gives in a Rips diagram of farthest-point landmarks
hardly depends on the space or the sample (weak universality: Bobrowski and Skraba, 2023,
https://arxiv.org/abs/2207.03926). Its law is simulated (`benchmarks/topology_null.py`) and kept
in :mod:`topogen.topology.nulls`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .bending import MOST_BENDING, away_from_singular, bending
from .evidence import Evidence
from .landmarks import Cloud, count_for_radius, farthest_points, holdout_gap
from .nulls import cut_off, p_value
from .opinions import alpha_route, second_opinion
from .persistence import by_rank
from .runs import LEAST_KAPPA, Budget, rips_run
from .witness import MOST_DEGREE, RELAXATION, landmark_count, witness_betti

STARTS = 3
# per intrinsic dimension (4 stands for more): landmarks have covering radius c times the hold-out
# gap, c = (fine, coarse); at most MOST_LANDMARKS of them, or MOST_LANDMARKS_TO_2 where no degree
# above 2 is asked for
RESOLUTIONS = {1: (1.6, 2.2), 2: (0.65, 0.75), 3: (0.8, 0.96), 4: (0.8, 0.96)}
MOST_LANDMARKS = {1: 600, 2: 1600, 3: 1000, 4: 1000}
MOST_LANDMARKS_TO_2 = {1: 600, 2: 1600, 3: 1600, 4: 1600}
LEAST_LANDMARKS = 12


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
        cloud: from :func:`topogen.topology.landmarks.prepare`.
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
            _settle_all(evidence, d)
            if not evidence.reasons:
                notify("where it is no manifold")
                away = away_from_singular(cloud.points, first.landmarks, first.scale, dim, seed)
                if away is not None and away.sum() >= LEAST_LANDMARKS:
                    bend = bending(cloud.points, first.landmarks[away], first.scale, dim, seed)
                    evidence.remarks.append(
                        "not a manifold: where sheets meet (see manifold_check) the bending was "
                        "not judged"
                    )
        evidence.bending = bend
    _settle_all(evidence, d)
    second_opinion(evidence, opinions)
    flat = evidence.bending <= MOST_BENDING[d]
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
) -> list[dict[int, tuple[int, ...]]]:
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
    opinions: list[dict[int, tuple[int, ...]]] = []
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


def _settle_all(evidence: Evidence, dim: int) -> None:
    """Settle every degree afresh."""
    evidence.reasons.clear()
    evidence.needed.clear()
    for degree in range(len(evidence.cuts)):
        _settle(evidence, dim, degree)


def _settle(evidence: Evidence, dim: int, degree: int) -> None:
    """Write the Betti number of one degree where both resolutions and all starts clearly give it.

    A class has a median ratio (over starts) beyond the cut-off and stays above the noise's 95 %
    quantile in every start; noise has a median below its 99 % quantile (95 % where the cloud bends
    much) and never far exceeds the cut-off.
    """
    runs, cut = evidence.runs, evidence.cuts[degree]
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
    found: dict[int, int] = {}
    p_values: dict[int, float] = {}
    for p in evidence.betti:
        counts: list[int] = []
        values: list[float] = []
        for resolution in (0, 1):
            here = [r for r in runs if r.resolution == resolution]
            if any(r.cut_short(p, degree, dim, cut[resolution]) for r in here):
                return evidence.withdraw(
                    degree,
                    f"over Z/{p} a bar of degree {degree} outlives the longest edge (of "
                    f"{min(r.threshold / r.scale for r in here):.1f} scales) too early to be told "
                    "from noise; give more points",
                    2.0,
                )
            table = by_rank([r.strengths(p, degree) for r in here])
            middle = np.median(table, axis=0)  # over starts, j-th strongest bar by j-th strongest
            n = int((middle > cut[resolution]).sum())
            weakest = float(table[:, n - 1].min()) if n else math.inf
            strongest = float(table[:, n].max())
            maybe = cut_off(0.05, dim, degree, resolution)
            doubt = maybe if strict else cut_off(0.01, dim, degree, resolution)
            if middle[n] > doubt or weakest < maybe:
                ratio = min(weakest, middle[n])
                return evidence.withdraw(
                    degree,
                    f"over Z/{p} a bar of degree {degree} lies between noise and a class "
                    f"(ratio {ratio:.2f}, class from {cut[resolution]:.2f})",
                    # ratios grow as 1/scale
                    max(1.5, (1.2 * cut[resolution] / ratio) ** dim),
                )
            if strongest > 1.15 * cut[resolution]:
                return evidence.withdraw(
                    degree,
                    f"over Z/{p} one start sees a class of degree {degree} (ratio {strongest:.2f})"
                    " that the others do not",
                    2.0,
                )
            counts.append(n)
            chosen = middle[n - 1] if n else middle[0]
            values.append(p_value(float(chosen), dim, degree, resolution))
        if counts[0] != counts[1]:
            return evidence.withdraw(
                degree,
                f"over Z/{p} the two resolutions see {counts[0]} and {counts[1]} classes "
                f"of degree {degree}",
                2.0,
            )
        found[p], p_values[p] = counts[0] + (degree == 0), max(values)
    # a top class is born at the same scale over every field that has it
    if strict and degree >= max(dim, 1) and not any(found.values()):
        return evidence.withdraw(
            degree,
            f"the cloud bends by {evidence.bending:.2f} within the scale, so a class of "
            f"degree {degree} could be born too late to be seen; give more points",
            (evidence.bending / (0.8 * MOST_BENDING[dim])) ** dim,
        )
    return evidence.settle(degree, found, p_values)
