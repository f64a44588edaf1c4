"""Repeats of one place: points that rounding or a jitter tells apart, and that say nothing new."""

from __future__ import annotations

import numpy as np

from .arrays import firsts
from .knn import component_labels, nearest, neighbours

# of numbers of size 1: a few thousand last digits of float64, as sums and sines of large arguments
# lose them, and a few of float32 where all numbers fit into it
ROUNDING, ROUNDING_32 = 1e-12, 1e-6


def rounding(x: np.ndarray) -> float:
    """How far most points of a cloud may be off: by their last digits, float32 where they fit."""
    # of the sizes of rows the lower middle one: a mean of two huge ones overflows
    middle = float(np.quantile(np.abs(x).max(axis=1), 0.5, method="lower"))
    return middle * (ROUNDING_32 if fits_float32(x) else ROUNDING)


def fits_float32(x: np.ndarray) -> bool:
    """Whether float32 holds all numbers as they are."""
    with np.errstate(over="ignore", under="ignore"):
        return np.array_equal(x, x.astype(np.float32))


def first_of_places(x: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices of the first row at each place: rows nearer than `tolerance` are at one.

    They are told apart by their order along six random directions, along which points at a
    distance of d lie at most d apart; chains of near rows count as one place.
    """
    label = np.zeros(len(x), dtype=np.int64)
    for axis in np.random.default_rng(0).standard_normal((6, x.shape[1])):
        along = x @ (axis / np.linalg.norm(axis))
        order = np.lexsort((along, label))
        apart = (np.diff(label[order]) > 0) | (np.diff(along[order]) > tolerance)
        label[order] = np.concatenate([[0], np.cumsum(apart)])
    return firsts(label)


def first_of_clusters(x: np.ndarray, most: int) -> np.ndarray:
    r"""Indices of one row of each cluster of repeats, and of all other rows.

    A cluster of repeats has fewer than `most` points, all far closer to each other than to the
    rest: where the distances r to the neighbours of each make their largest jump,
    :math:`r_{j+1} \ge 10\, r_j`, or :math:`2.5\, r_j` from j = 6 on. One point for it moves
    nothing by more than a part of the gaps around. Of random points of a curve about one in ten
    lies so, of a surface one in a hundred; all rows stay unless a third goes.

    Args:
        x: distinct points, shape (n, D).
        most: size from which a cluster may be a component.
    """
    n, everything = len(x), np.arange(len(x))
    k = min(most, n) - 1
    if k < 2:
        return everything
    if n > 1000:  # a look at a few tells how many neighbours are needed
        some = np.random.default_rng(0).choice(n, 200, replace=False)
        rank = _before_jump(nearest(x, x[some], k + 1)[0][:, 1:])
        if np.mean(rank > 0) < 0.25:
            return everything
        k = min(k, 2 * int(rank.max()) + 2)
    distance, index = neighbours(x, k)
    joined = np.arange(index.shape[1]) < _before_jump(distance)[:, None]
    label = component_labels(n, np.nonzero(joined)[0], index[joined])
    first = firsts(label)
    return first if len(first) < 2 * n / 3 else everything


def _before_jump(distance: np.ndarray) -> np.ndarray:
    """How many neighbours lie before the largest jump of the distances; 0 where it is small.

    Random points of a curve jump by the factor f after j neighbours with probability f^-j.
    """
    r = np.maximum(distance, np.finfo(float).tiny)
    jump = r[:, 1:] / r[:, :-1]
    rank = jump.argmax(axis=1) + 1
    return np.where(jump.max(axis=1) >= np.where(rank < 6, 10.0, 2.5), rank, 0)
