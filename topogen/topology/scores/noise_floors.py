"""What all scores of generated samples share: one frame, equal sizes, a real-versus-real floor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidPoints
from ...point_cloud.arrays import diameter
from ...point_cloud.cloud import prepare

LEAST_SIZE = 20  # points of a subsample: below it every score is noise


@dataclass(frozen=True)
class Score:
    r"""A score of samples b against data a, beside the same score of data against data.

    Attributes:
        name: of the score.
        value: mean over the repeats of the score between random subsamples of a and of b.
        spread: standard deviation of the score over the repeats.
        floor: the same mean between disjoint halves of a: no sample is expected to score better.
        floor_spread: standard deviation of the floor over the repeats.
        lower_is_better: whether a small value means samples like the data.
        size: number of points of each subsample.
        repeats: number of random subsamples.

    Example:
        >>> s = Score("imd", 3e-4, 1e-5, 1e-4, 1e-5, lower_is_better=True, size=500, repeats=5)
        >>> round(s.ratio, 6)
        3.0
        >>> print(s)
        imd 0.0003 +- 1e-05, floor 0.0001 +- 1e-05, ratio 3 (lower is better, 5 x 500 points)
    """

    name: str
    value: float
    spread: float
    floor: float
    floor_spread: float
    lower_is_better: bool
    size: int
    repeats: int

    @property
    def ratio(self) -> float:
        """The value over the floor: 1 for samples as good as data; 1 too where both are 0."""
        if self.floor == 0:
            return 1.0 if self.value == 0 else math.inf
        return self.value / self.floor

    def __str__(self) -> str:
        better = "lower" if self.lower_is_better else "higher"
        return (
            f"{self.name} {self.value:.3g} +- {self.spread:.1g}, floor {self.floor:.3g} +- "
            f"{self.floor_spread:.1g}, ratio {self.ratio:.3g} ({better} is better, "
            f"{self.repeats} x {self.size} points)"
        )


Statistic = Callable[[np.ndarray, np.ndarray, np.random.Generator], float]


def with_floor(
    name: str,
    statistic: Statistic,
    x: np.ndarray,
    y: np.ndarray,
    *,
    size: int,
    repeats: int,
    seed: int,
    lower_is_better: bool = True,
) -> Score:
    """Repeat `statistic` on random subsamples of equal size, x against y and x against x.

    Args:
        name: of the score.
        statistic: (points, points, generator) -> a number.
        x: the data, shape (n, D).
        y: the samples, shape (n', D').
        size: points per subsample; fewer where n / 2 or n' is smaller.
        repeats: number of subsamples.
        seed: of subsamples, and of what is random in `statistic`.
        lower_is_better: what the score calls good.

    Raises:
        InvalidPoints: fewer than 40 rows in x or 20 in y.
        ValueError: `size` < 20 or `repeats` < 1.
    """
    if size < LEAST_SIZE or repeats < 1:
        expected = f"expected size >= {LEAST_SIZE} and repeats >= 1"
        raise ValueError(f"{expected}, got {size} and {repeats}")
    if len(x) < 2 * LEAST_SIZE or len(y) < LEAST_SIZE:
        raise InvalidPoints(
            f"{name}: expected at least {2 * LEAST_SIZE} distinct points of data (its two halves "
            f"give the floor) and {LEAST_SIZE} of samples, got {len(x)} and {len(y)}; give more"
        )
    m = min(size, len(x) // 2, len(y))
    rng = np.random.default_rng(seed)
    scores = np.empty((repeats, 2))
    for r in range(repeats):
        order, other = rng.permutation(len(x)), rng.permutation(len(y))[:m]
        half, rest = x[order[:m]], x[order[m : 2 * m]]
        scores[r] = statistic(half, y[other], rng), statistic(half, rest, rng)
    value, floor = scores.mean(axis=0).tolist()
    spread, floor_spread = scores.std(axis=0).tolist()
    return Score(name, value, spread, floor, floor_spread, lower_is_better, m, repeats)


def one_frame(a: Any, b: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Two clouds of one space, moved and scaled alike: the diameter of both together becomes 1.

    Returns:
        the distinct points of a and of b, shapes (n, D) and (n', D), and the unit of length.

    Raises:
        InvalidPoints: not finite (n, D) arrays of the same D, fewer than 10 distinct points, or a
            cloud that is smaller than 1e-4 of both together: rounding would hide its shape.
    """
    first, second = prepare(a, seed=seed, name="a"), prepare(b, seed=seed, name="b")
    x, y = first.rows[first.index], second.rows[second.index]
    if x.shape[1] != y.shape[1]:
        raise InvalidPoints(f"b: expected points in R^{x.shape[1]}, got {y.shape[1]} columns")
    both = np.concatenate([x, y])
    size = float(np.abs(both).max())  # first, so that the squares of huge numbers are safe
    both = both / size
    both = both - both.mean(axis=0)
    length = diameter(both)
    unit = size * length
    if min(first.unit, second.unit) < 1e-4 * unit:
        raise InvalidPoints(
            f"expected clouds of like size and place, got diameters {first.unit:.1e} of a, "
            f"{second.unit:.1e} of b and {unit:.1e} of both; move or scale one to the other"
        )
    both = both / length
    return both[: len(x)], both[len(x) :], unit
