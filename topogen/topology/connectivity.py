"""The connected components of a cloud, each with its own dimension, homology and orientability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..homology import DEFAULT_FIELDS
from ..point_cloud.arrays import first_rows
from ..point_cloud.cloud import LEAST_POINTS, prepare
from .inference.check import check_topology
from .inference.parts import find_parts
from .inference.report import TopologyReport, row
from .local.dimension import dimension_of
from .local.orientability import Orientability, orientability
from .persistence.null_distributions import check_alpha

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

    Two sets of points are apart when the gap between them is longer, over the longest link of the
    minimum spanning tree inside either, than what samples of curves (the hardest case) show.

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
    found = find_parts(cloud.points, alpha)
    label, given = cloud.spread(found.label), cloud.rows
    rows = [np.flatnonzero(label == c) for c in range(found.count)]
    rows.sort(key=len, reverse=True)
    return tuple(_describe(given, r, fields, alpha, seed) for r in rows)


def components(points: Any, *, alpha: float = 0.01, seed: int = 0) -> int | None:
    r"""The number of connected components that the cloud shows at its scale; None if unclear.

    Degree 0 of :func:`~topogen.topology.check_topology`.

    Args:
        points: array-like, shape (n, D).
        alpha: bound on the probability to report a component that is not there.
        seed: of the landmarks.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: alpha not in (0, 0.1].
    """
    return check_topology(points, fields=(2,), max_dim=0, alpha=alpha, seed=seed).betti[2][0]


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
