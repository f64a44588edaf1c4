r"""From persistence diagrams to Betti numbers that are said only when the evidence is unanimous.

The largest ratio death/birth that noise alone gives in a Rips diagram of farthest-point landmarks
hardly depends on the space or the sample (weak universality: Bobrowski and Skraba, 2023,
https://arxiv.org/abs/2207.03926). Its law is simulated (`benchmarks/topology_null.py`) and kept
as the median and the 99 % quantile, through which a Gumbel law for the log ratio is drawn,

.. math:: P(\max \ln r > t) = 1 - \exp(-e^{-(t - \mu)/b}).

The simulated tails are lighter than that, so the p-values err on the side of noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .landmarks import Cloud, count_for_radius, farthest_points, holdout_gap, nearest, spectrum
from .persistence import Diagrams, collapsed_graph, distances, ratios, rips_diagrams

STARTS = 3
# per intrinsic dimension (4 stands for more): landmarks have covering radius c times the hold-out
# gap, c = (fine, coarse); at most MOST of them; edges up to KAPPA covering radii
RESOLUTIONS = {1: (1.6, 2.2), 2: (0.65, 0.75), 3: (0.8, 0.96), 4: (0.8, 0.96)}
MOST = {1: 600, 2: 1600, 3: 1000, 4: 1000}
KAPPA = {1: 10.0, 2: 5.0, 3: 3.3, 4: 3.3}
# a diagram cut below this many covering radii cannot show a class of degree >= 1: too coarse
LEAST_KAPPA = {1: 4.0, 2: 3.3, 3: 2.95, 4: 2.95}
# bending of the cloud within two covering radii from which handles may hide below the scale
MOST_BENDING = {1: 0.4, 2: 0.4, 3: 0.58, 4: 0.5}
LEAST_LANDMARKS = 12
MOST_DEGREE = 60.0  # edges per landmark after collapse from which degree 3 takes minutes

# median and 99 % quantile of the largest noise ratio by intrinsic dimension and degree, for the
# fine and the coarse resolution (degree 0: death / covering radius); benchmarks/topology_null.py
NULL: dict[tuple[int, int], tuple[tuple[float, float], tuple[float, float]]] = {
    (1, 0): ((2.23, 2.62), (2.16, 2.51)),
    (1, 1): ((1.31, 1.50), (1.25, 1.53)),
    (2, 0): ((1.85, 2.14), (1.81, 2.05)),
    (2, 1): ((2.10, 2.38), (1.99, 2.30)),
    (2, 2): ((1.18, 1.29), (1.18, 1.26)),
    (3, 0): ((1.57, 1.80), (1.52, 1.70)),
    (3, 1): ((1.58, 1.69), (1.57, 1.68)),
    (3, 2): ((1.35, 1.43), (1.35, 1.41)),
    (3, 3): ((1.10, 1.16), (1.10, 1.16)),
    (4, 0): ((1.40, 1.50), (1.35, 1.45)),
    (4, 1): ((1.45, 1.52), (1.42, 1.50)),
    (4, 2): ((1.28, 1.33), (1.25, 1.29)),
    (4, 3): ((1.18, 1.22), (1.18, 1.21)),
}
_LN2, _LN99 = -math.log(math.log(2.0)), -math.log(-math.log(0.99))


def _gumbel(dim: int, degree: int, resolution: int) -> tuple[float, float]:
    """Location and scale of the log of the largest noise ratio."""
    median, high = (math.log(q) for q in NULL[min(max(dim, degree, 1), 4), degree][resolution])
    b = (high - median) / (_LN99 - _LN2)
    return median - b * _LN2, b


def p_value(ratio: float, dim: int, degree: int, resolution: int = 0) -> float:
    """Probability that noise alone gives a ratio at least this large; never below 1e-6."""
    mu, b = _gumbel(dim, degree, resolution)
    p = -math.expm1(-math.exp(-(math.log(max(ratio, 1.0)) - mu) / b))
    return min(1.0, max(1e-6, p))


def cut_off(level: float, dim: int, degree: int, resolution: int = 0) -> float:
    """The ratio that noise exceeds with probability `level`."""
    mu, b = _gumbel(dim, degree, resolution)
    return math.exp(mu - b * math.log(-math.log1p(-level)))


@dataclass(frozen=True)
class Run:
    """One set of landmarks and its diagrams (in the units of the prepared cloud)."""

    resolution: int
    landmarks: np.ndarray
    scale: float
    threshold: float
    diagrams: Diagrams

    def strengths(self, p: int, degree: int) -> np.ndarray:
        """death/birth per bar, largest first; in degree 0 death/scale, without one component."""
        if degree == 0:
            deaths = np.sort(self.diagrams[p][0][:, 1])[::-1]
            return deaths[1:] / self.scale
        return ratios(self.diagrams[p][degree]) if degree < len(self.diagrams[p]) else np.empty(0)


@dataclass
class Evidence:
    """What the runs say, degree by degree; None where they do not settle it, with the reason."""

    betti: dict[int, list[int | None]]
    p_values: dict[int, list[float | None]]
    runs: list[Run]
    scale: float
    cuts: list[list[float]]
    reasons: dict[int, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    bending: float = 0.0

    def withdraw(self, degree: int, reason: str) -> None:
        """Mark a degree undetermined over every field."""
        for p in self.betti:
            self.betti[p][degree] = None
            self.p_values[p][degree] = None
        self.reasons.setdefault(degree, reason)


def gather(
    cloud: Cloud,
    dim: int,
    max_dim: int,
    fields: Sequence[int],
    *,
    alpha: float,
    seed: int,
    max_seconds: float | None = None,
) -> Evidence:
    """Landmarks, diagrams and Betti numbers of a prepared cloud: 3 random starts x 2 resolutions.

    Args:
        cloud: from :func:`topogen.topology.landmarks.prepare`.
        dim: intrinsic dimension of the cloud; it picks resolutions and null table.
        max_dim: the largest degree, at most 3.
        fields: primes p.
        alpha: bound on the probability to report a class that is not there, over all degrees.
        seed: of starts and of the hold-out halves.
        max_seconds: time limit; fewer starts are taken where it bites, with a remark.
    """
    begin = time.monotonic()
    x, d = cloud.points, min(max(dim, 1), 4)
    rng = np.random.default_rng(seed)
    gap = holdout_gap(x, rng)
    most = min(MOST[d], max(4, len(x) // 2))
    level = alpha / (max_dim + 1)
    cuts = [[cut_off(level, d, k, r) for r in (0, 1)] for k in range(max_dim + 1)]
    evidence = Evidence(
        {p: [None] * (max_dim + 1) for p in fields},
        {p: [None] * (max_dim + 1) for p in fields},
        [],
        0.0,
        cuts,
    )
    slowest = 0.0
    for _ in range(STARTS):
        passed = time.monotonic() - begin
        if max_seconds is not None and passed + slowest > max_seconds:
            evidence.remarks.append(
                f"time limit of {max_seconds:g} s: {len(evidence.runs) // 2} of {STARTS} starts"
            )
            break
        index, radius = farthest_points(x, most, int(rng.integers(len(x))))
        fine, coarse = RESOLUTIONS[d]
        m_fine = min(count_for_radius(radius, fine * gap), most)
        m_coarse = count_for_radius(radius, radius[m_fine - 1] * coarse / fine)
        for resolution, m in enumerate((m_fine, m_coarse)):
            evidence.runs.append(
                _run(x[index[:m]], float(radius[m - 1]), resolution, d, max_dim, fields)
            )
        slowest = max(slowest, time.monotonic() - begin - passed)
    if evidence.runs:
        evidence.scale = float(np.median([r.scale for r in evidence.runs if r.resolution == 0]))
    if evidence.runs and max_dim > 0:
        first = evidence.runs[0]
        evidence.bending = bending(x, first.landmarks, first.scale, d, seed)
    for k in range(max_dim + 1):
        _settle(evidence, d, k)
    if evidence.bending > MOST_BENDING[d]:
        for k in range(1, max_dim + 1):
            evidence.withdraw(
                k,
                f"the cloud bends by {evidence.bending:.2f} within the scale (at most "
                f"{MOST_BENDING[d]:g}), so thinner handles could hide; give more points",
            )
    return evidence


def bending(x: np.ndarray, landmarks: np.ndarray, scale: float, dim: int, seed: int) -> float:
    r"""How far the cloud leaves its tangent planes within 2 `scale`, on its most curved patch.

    In each ball :math:`B = \sqrt{(\sum_{i>d} \lambda_i - \sigma^2) / \lambda_d}` with the
    eigenvalues :math:`\lambda_1 \ge \lambda_2 \ge \dots` of the covariance; :math:`\sigma^2`, the
    noise, is the median of the same normal part in balls of radius `scale`. The result is the
    largest root mean square of B over 8 neighbouring landmarks. Near 0 for a flat piece; a tube
    whose loop is as short as the scale, which no diagram shows, has B > 0.4. Homology at a scale
    is that of the manifold when the scale is small against its reach (Niyogi, Smale, Weinberger,
    2008).
    """
    rng = np.random.default_rng(seed)
    size = min(len(x), len(landmarks) * {1: 12, 2: 8, 3: 3, 4: 2}[dim])
    sample = x[rng.choice(len(x), size, replace=False)] if size < len(x) else x
    centres = landmarks[rng.permutation(len(landmarks))[:600]]
    distance, index = nearest(sample, centres, min(80, size))
    normal: dict[float, list[float]] = {1.0: [], 2.0: []}
    tangent: list[float] = []
    kept: list[int] = []
    for i, (row, near) in enumerate(zip(distance, index, strict=True)):
        for factor, parts in normal.items():
            y = sample[near[row <= factor * scale]]
            if len(y) < dim + 3:
                continue
            y = y - y.mean(axis=0)
            spread = spectrum(y)
            parts.append(float(spread[dim:].sum()) / (len(y) - 1 - dim))
            if factor == 2.0:
                tangent.append(float(spread[dim - 1]) / (len(y) - 1))
                kept.append(i)
    if not kept:
        return math.inf
    noise = float(np.median(normal[1.0])) if normal[1.0] else 0.0
    squares = np.maximum(np.array(normal[2.0]) - noise, 0) / np.maximum(tangent, 1e-300)
    patches = nearest(centres[kept], centres[kept], min(8, len(kept)))[1]
    return math.sqrt(float(squares[patches].mean(axis=1).max()))


def _run(
    landmarks: np.ndarray,
    scale: float,
    resolution: int,
    dim: int,
    max_dim: int,
    fields: Sequence[int],
) -> Run:
    """Diagrams of one set of landmarks, with guards against coarse and against endless work."""
    D = distances(landmarks)
    quartile = float(np.quantile(D[np.triu_indices(len(D), 1)], 0.25)) if len(D) > 1 else 0.0
    threshold = min(KAPPA[dim] * scale, quartile)
    top = max_dim
    if threshold < LEAST_KAPPA[dim] * scale:
        top, threshold = 0, max(threshold, 3.5 * scale)
    graph = collapsed_graph(D, threshold, top)
    while top >= 3 and 2 * graph.nnz > MOST_DEGREE * len(D):
        if threshold > LEAST_KAPPA[dim] * scale * 1.001:
            threshold = max(LEAST_KAPPA[dim] * scale, threshold * 0.95)
            graph = collapsed_graph(D, threshold, top)
        else:
            top -= 1
    return Run(
        resolution, landmarks, scale, threshold, rips_diagrams(graph, threshold, fields, top)
    )


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
        )
    if any(len(diagram) <= degree for r in runs for diagram in r.diagrams.values()):
        worst = min(r.threshold / r.scale for r in runs)
        return evidence.withdraw(
            degree,
            f"the landmarks are too coarse for degree {degree} (edges up to {worst:.1f} scales); "
            "give more points",
        )
    for p in evidence.betti:
        counts: list[int] = []
        values: list[float] = []
        for resolution in (0, 1):
            strengths = [r.strengths(p, degree) for r in runs if r.resolution == resolution]
            width = max(map(len, strengths)) + 1
            table = np.array(
                [np.pad(s, (0, width - len(s)), constant_values=1.0) for s in strengths]
            )
            middle = np.median(table, axis=0)  # over starts, j-th strongest bar by j-th strongest
            n = int((middle > cut[resolution]).sum())
            weakest = float(table[:, n - 1].min()) if n else math.inf
            strongest = float(table[:, n].max())
            maybe = cut_off(0.05, dim, degree, resolution)
            doubt = maybe if strict else cut_off(0.01, dim, degree, resolution)
            if middle[n] > doubt or weakest < maybe:
                return evidence.withdraw(
                    degree,
                    f"over Z/{p} a bar of degree {degree} lies between noise and a class "
                    f"(ratio {min(weakest, middle[n]):.2f}, class from {cut[resolution]:.2f})",
                )
            if strongest > 1.15 * cut[resolution]:
                return evidence.withdraw(
                    degree,
                    f"over Z/{p} one start sees a class of degree {degree} (ratio {strongest:.2f})"
                    " that the others do not",
                )
            if strict and n == 0 and degree >= dim:
                return evidence.withdraw(
                    degree,
                    f"the cloud bends by {evidence.bending:.2f} within the scale, so a class of "
                    f"degree {degree} could be born too late to be seen; give more points",
                )
            counts.append(n)
            chosen = middle[n - 1] if n else middle[0]
            values.append(p_value(float(chosen), dim, degree, resolution))
        if counts[0] != counts[1]:
            return evidence.withdraw(
                degree,
                f"over Z/{p} the two resolutions see {counts[0]} and {counts[1]} classes "
                f"of degree {degree}",
            )
        evidence.betti[p][degree] = counts[0] + (degree == 0)
        evidence.p_values[p][degree] = max(values)
    return None


def check_consistency(evidence: Evidence, dim: int, closed: bool) -> None:
    r"""Withdraw what no space, or no closed manifold, can have.

    By universal coefficients :math:`\beta_k(p) = r_k + t_k(p) + t_{k-1}(p)`, so the alternating
    sum of beta_k(p) over all degrees, the Euler characteristic, does not depend on p. On a closed
    manifold :math:`\beta_k(2) = \beta_{d-k}(2)` (Poincare duality), and beta_0 <= beta_d over no
    other field.

    Args:
        evidence: changed in place.
        dim: the dimension up to which homology can be nonzero.
        closed: whether the points are claimed to come from a closed manifold of dimension `dim`.
    """
    degrees = range(min(len(evidence.cuts), dim + 1))
    if len(degrees) == dim + 1 and len(evidence.betti) > 1:
        known = [all(b[k] is not None for b in evidence.betti.values()) for k in degrees]
        if all(known):
            chi = {
                p: sum((-1) ** k * (b[k] or 0) for k in degrees) for p, b in evidence.betti.items()
            }
            if len(set(chi.values())) > 1:
                for k in degrees:
                    if len({b[k] for b in evidence.betti.values()}) > 1:
                        evidence.withdraw(
                            k, "the Euler characteristic differs between the fields: not resolved"
                        )
    if closed and 2 in evidence.betti and len(degrees) == dim + 1:
        two = evidence.betti[2]
        broken = [
            k
            for k in degrees
            if two[k] is not None and two[dim - k] is not None and two[k] != two[dim - k]
        ]
        for k in broken:
            if k > 0:  # components are seen at any scale; a lost top class is not
                evidence.withdraw(
                    k, "Poincare duality fails, which no closed manifold allows: not resolved"
                )
