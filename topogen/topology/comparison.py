"""Two clouds side by side: their homology, how far apart their diagrams are, published scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..homology import DEFAULT_FIELDS
from ..point_cloud.cloud import Cloud, prepare, principal_coordinates
from ..point_cloud.knn import distances
from ..point_cloud.landmarks import count_for_radius, farthest_points
from .inference.check import check_topology
from .inference.report import TopologyReport, Verdict, row
from .persistence.rips import Diagrams, truncated_rips
from .scores import SCORES, Score
from .scores.noise_floors import one_frame


@dataclass(frozen=True)
class Comparison:
    """Two clouds compared.

    Attributes:
        verdict: "agrees" when both are determined and equal, "disagrees" when both are determined
            in a degree that differs, else "undetermined".
        first: what is known of the first cloud.
        second: what is known of the second cloud.
        bottleneck: {p: (d_0, d_1, ...)}, up to degree 2, in the units of the points.
        wasserstein: same shape, 2-Wasserstein distances.
        p_values: same shape, of `wasserstein` if both clouds have one distribution, or None.
        p_value: of the same hypothesis, from all fields and degrees together.
        scale: covering radius of the landmarks of both clouds, in the units of the points.
        permutations: the number B of random splits behind the p-values.
        scores: the scores asked for, by name.

    Example:
        >>> t = np.random.default_rng(0).random((2, 600)) * 2 * np.pi
        >>> one, other = (np.stack([np.cos(u), np.sin(u)], axis=1) for u in t)
        >>> c = compare(one, other, fields=(2,))
        >>> c.verdict, c.p_value > 0.01
        ('agrees', True)
        >>> arc = one[one[:, 0] < 0.8]
        >>> c = compare(one, arc, fields=(2,), max_dim=1)
        >>> c.verdict, c.p_value
        ('disagrees', 0.01)
    """

    verdict: Verdict
    first: TopologyReport
    second: TopologyReport
    bottleneck: dict[int, tuple[float, ...]]
    wasserstein: dict[int, tuple[float, ...]]
    p_values: dict[int, tuple[float, ...]] | None
    p_value: float | None
    scale: float
    permutations: int
    scores: dict[str, Score]

    def __str__(self) -> str:
        lines = [f"comparison  {self.verdict}"]
        for p in self.bottleneck:
            line = (
                f"  Z/{p}  Betti {row(self.first.betti[p])} and {row(self.second.betti[p])}  "
                f"bottleneck {row(self.bottleneck[p], '.2g')}  "
                f"Wasserstein {row(self.wasserstein[p], '.2g')}"
            )
            if self.p_values is not None:
                line += f"  p {row(self.p_values[p], '.2g')}"
            lines.append(line)
        if self.p_value is not None:
            splits = f"of {self.permutations} random splits"
            lines.append(f"  one distribution: p {self.p_value:.2g} {splits}")
        return "\n".join(lines + [f"  {score}" for score in self.scores.values()])


def compare(
    a: Any,
    b: Any,
    *,
    fields: Sequence[int] = DEFAULT_FIELDS,
    max_dim: int | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    permutations: int = 99,
    scores: Sequence[str] = (),
) -> Comparison:
    r"""Compare the homology, the diagrams, and on demand the published scores of two clouds.

    The verdict is on homology alone. The distances are between the Vietoris-Rips diagrams of
    farthest-point landmarks: subsamples of equal size n (at most 1000) from both clouds, landmarks
    of equal covering radius :math:`\epsilon`, the larger of the two of 80 landmarks, and edges up
    to :math:`5\epsilon` (10 for curves) or the median distance of landmarks, if that is less.

    When both subsamples are drawn from one distribution, their 2n rows are exchangeable. With T
    the distance for the given split of the pooled rows and :math:`T^*_j` for B random splits,

    .. math:: p = \frac{1 + |\{j : T^*_j \ge T\}|}{1 + B}

    satisfies :math:`P(p \le \alpha) \le \alpha` at any n. `p_value` does the same with the
    largest, over fields and degrees, of T standardised over all splits. Diagrams also see spacing
    and the size of holes, so clouds of equal homology can have small p-values. In degree 0 about
    :math:`\epsilon / 2` only says that one cloud needs a landmark more. Clouds in spaces of
    different dimension have no pool, and no p-values. Follows Robinson and Turner, 2017
    (https://arxiv.org/abs/1310.7467), with rows for diagrams.

    Args:
        a: array-like, shape (n, D); for the scores, the data.
        b: array-like, shape (n', D'); for the scores, the samples.
        fields: primes p; homology is over Z/p.
        max_dim: largest degree, at most 3; by default the larger dimension of the two.
        alpha: bound on the probability to report a class that is not there, in each cloud.
        seed: of everything random.
        permutations: number B of random splits, of two diagrams each; 0: no p-values.
        scores: names of :data:`~topogen.topology.scores.SCORES`.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points; clouds of one
            space so far apart, or so unequal in size, that rounding hides the smaller; for scores
            also fewer than 40 points of a or 20 of b, or D unequal where one space is needed.
        ValueError: an argument out of range.
    """
    unknown = [name for name in scores if name not in SCORES]
    if unknown:
        raise ValueError(f"expected scores among {sorted(SCORES)}, got {unknown}")
    if permutations < 0:
        raise ValueError(f"expected permutations >= 0, got {permutations}")

    rng = np.random.default_rng(seed)
    clouds = prepare(a, seed=seed, name="a"), prepare(b, seed=seed, name="b")
    x, y, unit = _equal_subsamples(*clouds, rng, seed)

    def look(cloud: Cloud, top: int | None) -> TopologyReport:
        return check_topology(cloud, fields=fields, max_dim=top, alpha=alpha, seed=seed)

    reports = [look(cloud, max_dim) for cloud in clouds]
    top = max(report.max_dim for report in reports)
    first, second = (
        report if report.max_dim == top else look(cloud, top)
        for cloud, report in zip(clouds, reports, strict=True)
    )
    degrees = min(top, 2)
    bars, others, scale = diagrams_at_one_scale(x, y, first.fields, degrees)
    p_values, p_value = None, None
    if permutations and x.shape[1] == y.shape[1]:
        T = split_distances(x, y, first.fields, degrees, permutations, rng)
        each, p_value = permutation_p_values(T)
        p_values = _by_field(each, first.fields)
    return Comparison(
        verdict=_verdict(first, second),
        first=first,
        second=second,
        bottleneck=_by_field(unit * bottleneck(bars, others), first.fields),
        wasserstein=_by_field(unit * wasserstein(bars, others), first.fields),
        p_values=p_values,
        p_value=p_value,
        scale=unit * scale,
        permutations=0 if p_values is None else permutations,
        scores={name: SCORES[name](*clouds, seed=seed) for name in scores},
    )


def split_distances(
    x: np.ndarray,
    y: np.ndarray,
    fields: Sequence[int],
    max_dim: int,
    permutations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Wasserstein distances of the diagrams of x and y, and of random splits of their union.

    Args:
        x: points, shape (n, D), in random order.
        y: points, shape (n, D), in random order.
        fields: primes p.
        max_dim: largest degree.
        permutations: number of random splits.
        rng: draws them.

    Returns:
        shape (1 + permutations, fields, degrees), first that of x and y.
    """
    rows, n = np.concatenate([x, y]), len(x)
    splits = [np.arange(2 * n), *(rng.permutation(2 * n) for _ in range(permutations))]
    halves = ((rows[s[:n]], rows[s[n:]]) for s in splits)
    found = (diagrams_at_one_scale(u, v, fields, max_dim) for u, v in halves)
    return np.array([wasserstein(first, second) for first, second, _ in found])


def permutation_p_values(T: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Exact p-values of the first row of T among all its rows.

    Args:
        T: statistics, shape (1 + B, ...): row 0 of the given split, the others of random ones.

    Returns:
        the p-value of each statistic, shape (...), and that of the largest standardised one.
    """
    spread = T.std(axis=0)
    z = (T - T.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    largest = z.reshape(len(T), -1).max(axis=1)
    return (T >= T[0]).mean(axis=0), float((largest >= largest[0]).mean())


def diagrams_at_one_scale(
    x: np.ndarray, y: np.ndarray, fields: Sequence[int], max_dim: int, landmarks: int = 80
) -> tuple[Diagrams, Diagrams, float]:
    """Diagrams of landmarks of x and of y that have one covering radius, and that radius.

    Args:
        x: points, shape (n, D); the first row is the first landmark.
        y: points, shape (n, D').
        fields: primes p.
        max_dim: largest degree, at most 2.
        landmarks: of each cloud, at most.
    """
    m = min(landmarks, max(len(x) // 4, min(10, len(x) // 2)))
    chosen = [(z, *farthest_points(z, m, 0)) for z in (x, y)]
    scale = max(float(radius[-1]) for _, _, radius in chosen)
    D = [distances(z[index[: count_for_radius(radius, scale)]]) for z, index, radius in chosen]
    longest = 10 if max_dim == 1 else 5  # curves have few bars
    threshold = min(longest * scale, max(float(np.median(d)) for d in D))
    first, second = (truncated_rips(d, threshold, fields, max_dim) for d in D)
    for diagrams in (first, second):  # the cut leaves bars of length 0
        for p, bars in diagrams.items():
            diagrams[p] = [b[b[:, 1] > b[:, 0]] for b in bars]
    return first, second, scale


def bottleneck(first: Diagrams, second: Diagrams) -> np.ndarray:
    """Bottleneck distances, shape (fields, degrees)."""
    from gudhi.hera import bottleneck_distance

    return _each(first, second, lambda u, v: bottleneck_distance(u, v, delta=0.0))


def wasserstein(first: Diagrams, second: Diagrams) -> np.ndarray:
    r"""2-Wasserstein distances with :math:`|\cdot|_\infty` between bars, shape (fields, degrees).

    Squared, the least sum of squares when bars are matched with bars or with their own middles.
    """
    return _each(first, second, _matching)


def _matching(u: np.ndarray, v: np.ndarray) -> float:
    # exact; the auction in gudhi.hera does not end on bars of length 0, and takes 7 times longer
    from scipy.optimize import linear_sum_assignment

    n, m = len(u), len(v)
    cost = np.zeros((n + m, n + m))
    cost[:n, :m] = np.abs(u[:, None] - v).max(axis=-1) ** 2
    cost[:n, m:] = (u[:, 1:] - u[:, :1]) ** 2 / 4
    cost[n:, :m] = (v[:, 1] - v[:, 0]) ** 2 / 4
    return float(cost[linear_sum_assignment(cost)].sum() ** 0.5)


def _each(
    first: Diagrams, second: Diagrams, distance: Callable[[np.ndarray, np.ndarray], float]
) -> np.ndarray:
    done: dict[tuple[bytes, bytes], float] = {}  # most diagrams are the same over every field
    pairs = [(u, v) for p in first for u, v in zip(first[p], second[p], strict=True)]
    keys = [(u.tobytes(), v.tobytes()) for u, v in pairs]
    for key, (u, v) in zip(keys, pairs, strict=True):
        if key not in done:
            done[key] = float(distance(u, v))
    return np.array([done[key] for key in keys]).reshape(len(first), -1)


def _equal_subsamples(
    first: Cloud, second: Cloud, rng: np.random.Generator, seed: int, most: int = 1000
) -> tuple[np.ndarray, np.ndarray, float]:
    """Random subsamples of equal size, in one frame where the clouds share a space, and a unit."""
    if first.rows.shape[1] == second.rows.shape[1]:
        x, y, unit = one_frame(first, second, seed)
        if x.shape[1] > 20:  # fewer columns, same distances but for isotropic noise
            both = principal_coordinates(np.concatenate([x, y]))[0]
            x, y = both[: len(x)], both[len(x) :]
    else:
        unit = max(first.unit, second.unit)
        x, y = (cloud.points * (cloud.unit / unit) for cloud in (first, second))
    n = min(len(x), len(y), most)
    return x[rng.permutation(len(x))[:n]], y[rng.permutation(len(y))[:n]], unit


def _by_field(values: np.ndarray, fields: Sequence[int]) -> dict[int, tuple[float, ...]]:
    return {p: tuple(float(v) for v in row) for p, row in zip(fields, values, strict=True)}


def _verdict(first: TopologyReport, second: TopologyReport) -> Verdict:
    both = [(first.betti[p], second.betti[p]) for p in first.fields]
    pairs = [pair for numbers in both for pair in zip(*numbers, strict=True)]
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        return "disagrees"
    return "agrees" if first.determined and second.determined else "undetermined"
