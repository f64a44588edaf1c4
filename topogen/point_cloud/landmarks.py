"""Landmarks that stand for a cloud: farthest points, their scale, and greedy covers by balls."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .knn import ROUNDED, nearest


def farthest_points(x: np.ndarray, m: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Farthest-point sampling: each landmark is the point farthest from those before it.

    Args:
        x: points, shape (n, D).
        m: number of landmarks.
        start: index of the first one.

    Returns:
        indices, shape (m,), and covering radii :math:`\epsilon(j) = \max_i \min_{l < j} |x_i -
        x_l|`, shape (m,): entry j-1 is that of the first j landmarks, so one pass gives them all.
    """
    squares = (x * x).sum(axis=1)
    index = np.empty(m, dtype=np.int64)
    radius = np.empty(m)
    closest = np.full(len(x), np.inf)
    i = start
    for j in range(m):
        index[j] = i
        d2 = squares - 2 * (x @ x[i]) + squares[i]
        close = np.flatnonzero(d2 < ROUNDED * squares[i])
        d2[close] = ((x[close] - x[i]) ** 2).sum(axis=1)
        np.minimum(closest, d2, out=closest)
        i = int(closest.argmax())
        radius[j] = math.sqrt(max(closest[i], 0.0))
    return index, radius


def holdout_gap(x: np.ndarray, rng: np.random.Generator, repeats: int = 3) -> float:
    """The largest hole of a sample: max distance from one random half to the other (median)."""
    gaps, half = [], len(x) // 2
    for _ in range(repeats):
        order = rng.permutation(len(x))
        gaps.append(nearest(x[order[:half]], x[order[half:]], 1)[0].max())
    return float(np.median(gaps))


def count_for_radius(radius: np.ndarray, epsilon: float) -> int:
    """The largest number m of landmarks with covering radius eps(m) >= `epsilon`; at least 1."""
    return max(1, int(np.searchsorted(-radius, -epsilon, side="right")))


def greedy_cover(
    n: int, order: np.ndarray, ball: Callable[[int], np.ndarray | list[int]]
) -> np.ndarray:
    """Rows, taken in order, such that each of n rows lies in the ball of one of them.

    Args:
        n: number of rows.
        order: in which rows are taken where they are not covered yet, shape (n,).
        ball: the rows in the ball about a row; the row itself is covered in any case.
    """
    covered = np.zeros(n, dtype=bool)
    chosen = []
    for i in order.tolist():
        if not covered[i]:
            chosen.append(i)
            covered[ball(i)] = covered[i] = True
    return np.array(chosen, dtype=np.int64)
