"""The connected components of a cloud, each with its own dimension, homology and orientability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..homology import DEFAULT_FIELDS
from ..point_cloud.arrays import first_rows
from ..point_cloud.cloud import LEAST_POINTS, prepare
from ..point_cloud.knn import component_labels, distances, nearest
from ..point_cloud.landmarks import count_for_radius, farthest_points, holdout_gap
from .inference.check import check_topology
from .inference.collect import MOST_LANDMARKS, RESOLUTIONS, gather
from .inference.report import TopologyReport, row
from .local.dimension import dimension_of
from .local.orientability import Orientability, orientability
from .persistence.null_distributions import check_alpha, rips_noise
from .persistence.rips import collapsed_graph

LEAST_SIZE = 3 * LEAST_POINTS  # of a cloud, so that its halves and links can be prepared too


@dataclass(frozen=True)
class ConnectedComponent:
    """One connected component of a cloud.

    Attributes:
        index: rows of the cloud that belong to it.
        dim: its dimension; None with too few points.
        topology: its homology at its own scale; None with too few points.
        orientability: whether it is orientable; None with too few points.
        reason: one sentence.

    Example:
        >>> t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
        >>> circle = np.stack([np.cos(t), np.sin(t)], axis=1)
        >>> parts = connected_components(np.concatenate([circle, circle + 5]))
        >>> [(len(part.index), part.dim) for part in parts]
        [(400, 1), (400, 1)]
    """

    index: np.ndarray = field(repr=False)
    dim: int | None
    topology: TopologyReport | None = field(repr=False)
    orientability: Orientability | None = field(repr=False)
    reason: str

    def __str__(self) -> str:
        return f"{len(self.index)} points: {self.reason}"


def connected_components(
    points: Any, *, fields: Sequence[int] = DEFAULT_FIELDS, alpha: float = 0.01, seed: int = 0
) -> tuple[ConnectedComponent, ...]:
    r"""Split a cloud into its connected components and describe each at its own scale.

    Two sets of points are apart when the edge between them in the minimum spanning tree of
    farthest-point landmarks is longer, over the covering radius, than what samples of curves (the
    hardest case) show at level `alpha`. Each part is split again at its own, finer, scale.

    Args:
        points: array-like, shape (n, D).
        fields: primes p; homology is over Z/p.
        alpha: bound on the probability to split a connected cloud, and of each topology report.
        seed: of landmarks and samples.

    Returns:
        the components, largest first; they partition the rows.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: an argument out of range.
    """
    check_alpha(alpha)
    cloud = prepare(points, seed=seed)
    part = _split(cloud.points, alpha, np.random.default_rng(seed))
    label, given = cloud.spread(part), cloud.rows
    rows = [np.flatnonzero(label == c) for c in range(part.max() + 1)]
    rows.sort(key=len, reverse=True)
    return tuple(_describe(given, r, fields, alpha, seed) for r in rows)


def components(points: Any, *, alpha: float = 0.01, seed: int = 0) -> int | None:
    r"""The number of connected components that the cloud shows at its scale; None if unclear.

    As in degree 0 of :func:`~topogen.topology.check_topology`.

    Args:
        points: array-like, shape (n, D).
        alpha: bound on the probability to report a component that is not there.
        seed: of the landmarks.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: alpha not in (0, 0.1].
    """
    check_alpha(alpha)
    cloud = prepare(points, seed=seed)
    dim = dimension_of(cloud, seed=seed).dim
    return gather(cloud, dim, 0, (2,), alpha=alpha, seed=seed).betti[2][0]


def _split(x: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers of the components, 0 to the last, shape (n,)."""
    label = np.zeros(len(x), dtype=int)
    if len(x) < LEAST_SIZE:
        return label
    most = min(MOST_LANDMARKS[2][0], len(x) // 2)
    index, radius = farthest_points(x, most, int(rng.integers(len(x))))
    m = min(count_for_radius(radius, RESOLUTIONS[1][0] * holdout_gap(x, rng)), most)
    if m < 2:
        return label
    longest = rips_noise(1, 0).cut_off(alpha) * radius[m - 1]
    short = collapsed_graph(distances(x[index[:m]]), longest, 0)
    of_mark = component_labels(m, short.row, short.col)
    if of_mark.max() == 0:
        return label
    top = of_mark[nearest(x[index[:m]], x, 1)[1][:, 0]]
    used = 0
    for c in range(of_mark.max() + 1):
        rows = np.flatnonzero(top == c)
        label[rows] = used + _split(x[rows], alpha, rng)
        used = int(label[rows].max()) + 1
    return label


def _describe(
    given: np.ndarray, rows: np.ndarray, fields: Sequence[int], alpha: float, seed: int
) -> ConnectedComponent:
    x = given[rows]
    distinct = len(first_rows(x))
    if distinct < LEAST_SIZE:
        reason = f"{distinct} distinct points are too few to say more, {LEAST_SIZE} are needed"
        return ConnectedComponent(rows, None, None, None, reason)
    cloud = prepare(x, seed=seed)
    dim = dimension_of(cloud, seed=seed).dim
    topology = check_topology(cloud, fields=fields, alpha=alpha, seed=seed)
    signs = orientability(cloud, dim=dim, seed=seed)
    numbers = "; ".join(f"Z/{p} {row(betti)}" for p, betti in topology.betti.items())
    word = {True: "orientable", False: "non-orientable", None: "of unknown orientability"}
    reason = f"dimension {dim}, Betti {numbers}, {word[signs.orientable]}"
    consistent, why = signs.consistent_with(topology.betti)
    if consistent is False:
        reason += f"; but {why}"
    return ConnectedComponent(rows, dim, topology, signs, reason)
