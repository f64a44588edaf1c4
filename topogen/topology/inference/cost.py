"""What a topology check will cost, before it is paid."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...homology import DEFAULT_FIELDS
from ...point_cloud.cloud import prepare
from ...point_cloud.knn import distances
from ...point_cloud.landmarks import farthest_points, holdout_gap
from ..local.dimension import dimension_of
from ..persistence.landmark_rips import PRICE, RunLimit, affordable_graph
from .check import check_degree, check_fields, top_degree
from .collect import STARTS, landmark_counts, most_landmarks


@dataclass(frozen=True)
class Cost:
    """Predicted cost of :func:`~topogen.topology.check_topology` with nothing expected.

    Attributes:
        seconds: wall time on this machine, within a factor of about 3.
        megabytes: peak memory beside the given array, likewise, in units of 2^20 bytes.
        dim: estimated dimension of the cloud.
        max_dim: the largest degree the prediction is for.
        landmarks: numbers of landmarks at the fine and the coarse resolution.
        simplices: predicted size of the larger complex.
    """

    seconds: float
    megabytes: float
    dim: int
    max_dim: int
    landmarks: tuple[int, int]
    simplices: float

    def __str__(self) -> str:
        return (
            f"about {self.seconds:.1g} s and {self.megabytes:.0f} MiB: dimension {self.dim}, "
            f"degrees up to {self.max_dim}, {self.landmarks[0]} and {self.landmarks[1]} "
            f"landmarks, {self.simplices:.0e} simplices"
        )


def estimate_cost(
    points: Any,
    *,
    max_dim: int | None = None,
    fields: Sequence[int] = DEFAULT_FIELDS,
    seed: int = 0,
) -> Cost:
    """Predict the cost of a topology check from one set of landmarks and the size of its complex.

    Args:
        points: array-like, shape (n, D).
        max_dim: the largest degree; by default the dimension of the cloud, at most 3.
        fields: primes p, as in the check.
        seed: of the landmarks.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: max_dim is not in 0..3, or fields are not primes.

    Example:
        >>> x = np.random.default_rng(0).random((500, 2))
        >>> estimate_cost(x).max_dim
        2
    """
    primes = check_fields(fields)
    check_degree(max_dim)
    begin = time.monotonic()
    cloud = prepare(points, seed=seed)
    dim = dimension_of(cloud, seed=seed).dim
    top = top_degree([dim], None) if max_dim is None else max_dim
    x, d, rng = cloud.points, min(dim, 4), np.random.default_rng(seed)
    gap, most = holdout_gap(x, rng), most_landmarks(len(x), d, top)
    start = time.monotonic()
    index, radius = farthest_points(x, most, int(rng.integers(len(x))))
    counts = landmark_counts(radius, gap, d, most)
    graphs = [
        affordable_graph(distances(x[index[:m]]), float(radius[m - 1]), d, top, RunLimit())
        for m in counts
    ]
    one_start = time.monotonic() - start
    persistence = sum(PRICE.run + PRICE.simplex * g.simplices for g in graphs)
    seconds = 2 * (start - begin) + STARTS * (2 * one_start + len(primes) * persistence)
    size = max(g.simplices for g in graphs)
    columns = np.shape(points)[1]
    memory = 8 * cloud.given * columns * 2 + 8 * 6 * counts[0] ** 2 + PRICE.simplex_bytes * size
    return Cost(seconds, memory / 2**20, dim, min(g.top for g in graphs), counts, size)
