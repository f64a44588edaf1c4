r"""Circle-valued coordinates of a cloud, one per class of :math:`H^1(X; Z) = [X, S^1]`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from ..errors import InvalidPoints
from ..homology import is_prime
from ..point_cloud.arrays import as_array
from ..point_cloud.cloud import Cloud, prepare
from ..point_cloud.knn import distances, nearest
from ..point_cloud.landmarks import count_for_radius, farthest_points, holdout_gap
from .inference.collect import RESOLUTIONS, STARTS
from .local.dimension import dimension_of
from .persistence.cohomology import (
    PersistentClass,
    harmonic_potential,
    integral_basis,
    persistent_classes,
    reduced_basis,
)
from .persistence.null_distributions import rips_noise
from .persistence.rips import by_rank, ratios, truncated_rips

CHUNK = 4_000_000  # numbers in one block of distances


@dataclass(frozen=True, eq=False)
class BallCover:
    """Open balls of one radius about landmarks, in the coordinates of a prepared cloud.

    Attributes:
        landmarks: centres, shape (m, D').
        radius: of the balls, in units of `unit`.
        unit: length of one step of the prepared coordinates.
        origin: of the prepared coordinates, in steps, shape (D,).
        axes: of the prepared coordinates, shape (D, D').
    """

    landmarks: np.ndarray
    radius: float
    unit: float
    origin: np.ndarray
    axes: np.ndarray

    def distances(self, x: np.ndarray) -> np.ndarray:
        """Distances of given points, shape (n, D), to the landmarks, shape (n, m).

        Raises:
            InvalidPoints: a point lies in no ball.
        """
        y = (x / self.unit - self.origin) @ self.axes
        squares = (y * y).sum(axis=1)[:, None] + (self.landmarks**2).sum(axis=1)
        distance = np.sqrt(np.maximum(squares - 2 * y @ self.landmarks.T, 0.0))
        least = distance.min(axis=1)
        outside = np.flatnonzero(least >= self.radius)
        if len(outside):
            raise InvalidPoints(
                f"expected points within {self.radius * self.unit:.3g} of a landmark, got "
                f"{len(outside)} of {len(x)} farther (the farthest at "
                f"{least.max() * self.unit:.3g}); drop those that are not near the cloud"
            )
        return distance

    def blocks(self, n: int) -> list[slice]:
        """The rows of n points, in parts whose distances take 32 MB."""
        rows = max(1, CHUNK // len(self.landmarks))
        return [slice(i, i + rows) for i in range(0, n, rows)]


@dataclass(frozen=True, eq=False)
class CircularCoordinates:
    r"""k maps of a cloud to the circle, a basis of its persistent integral classes of degree 1.

    With landmarks :math:`l_r`, integral cocycles :math:`\eta`, potentials f for which :math:`\eta
    - d_0 f` is harmonic, and the partition of unity :math:`\varphi_r(x) \propto (1 - |x - l_r|^2 /
    \rho^2)_+^2` on balls of radius :math:`\rho`,

    .. math:: \theta(x) = 2\pi \sum_r \varphi_r(x)\,(f_r - \eta_{jr}) \pmod{2\pi}

    for any landmark j whose ball contains x: the same for all as :math:`\eta` is a cocycle,
    so theta is continuous on the union of the balls.

    Attributes:
        values: the angles of the given points, in [0, 2 pi), shape (n, k).
        gram: mean of :math:`\nabla\theta_a \cdot \nabla\theta_b` over the cloud,
            (radians/length)^2, shape (k, k).
        scale: :math:`2\rho`, the longest edge of the Rips complex that carries the classes.
        reason: one sentence on the number k of classes.
        cover: the balls.
        cocycles: :math:`\eta`, shape (k, m, m).
        potential: f, in turns, shape (k, m).

    Example:
        >>> t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        >>> circle = np.stack([np.cos(t), np.sin(t)], axis=1)
        >>> coordinates = circular_coordinates(circle)
        >>> coordinates.values.shape, abs(coordinates.winding(circle))
        ((200, 1), array([1]))
    """

    values: Float[np.ndarray, "n k"]
    gram: Float[np.ndarray, "k k"]
    scale: float
    reason: str
    cover: BallCover
    cocycles: Integer[np.ndarray, "k m m"]
    potential: Float[np.ndarray, "k m"]

    def evaluate(self, new_points: Any) -> Float[np.ndarray, "n k"]:
        """The angles of points near the cloud, in [0, 2 pi).

        Args:
            new_points: array-like, shape (n, D).

        Raises:
            InvalidPoints: not a finite (n, D) array, or a point in no ball of the cover.
        """
        x = as_array(new_points, ambient_dim=len(self.cover.origin))
        return _angles(x, self.cover, self.cocycles, self.potential)

    def winding(self, loop: Any) -> Integer[np.ndarray, " k"]:
        r"""How often a closed polyline runs round each circle: the degrees, exact integers.

        Two consecutive points must share a ball: it contains their segment, on which theta has one
        lift. With :math:`r_i` a ball of the points i and i+1 the degree is :math:`\sum_i
        \eta_{r_i r_{i-1}}`. A decoder preserves a latent circle only if
        its image has the degrees that it should have.

        Args:
            loop: array-like, shape (n, D); the last point is joined to the first.

        Raises:
            InvalidPoints: not a finite (n, D) array, a point in no ball, or too long a step.
        """
        x = as_array(loop, name="loop", ambient_dim=len(self.cover.origin))
        after, shared = np.roll(x, -1, axis=0), np.empty(len(x), dtype=np.int64)
        for rows in self.cover.blocks(len(x)):
            farther = np.maximum(self.cover.distances(x[rows]), self.cover.distances(after[rows]))
            shared[rows] = farther.argmin(axis=1)
            long = np.flatnonzero(farther.min(axis=1) >= self.cover.radius)
            if len(long):
                i = rows.start + int(long[0])
                step = float(np.linalg.norm(after[i] - x[i]))
                raise InvalidPoints(
                    f"loop: expected steps that stay in one ball of radius {self.scale / 2:.3g}, "
                    f"got one of length {step:.3g} after row {i}; give the loop by more points"
                )
        return self.cocycles[:, shared, np.roll(shared, 1)].sum(axis=1, dtype=np.int64)

    def arcs(
        self, n: int, *, coordinate: int = 0, overlap: float = 0.5
    ) -> Bool[np.ndarray, "points arcs"]:
        r"""Which points lie in each of n overlapping arcs of one coordinate.

        Arc a contains the angles within :math:`(1 + \mathrm{overlap})\,\pi / n` of
        :math:`2\pi a/n`. Only neighbours meet, so the nerve is a circle of n vertices.

        Args:
            n: number of arcs, at least 3.
            coordinate: which of the k coordinates.
            overlap: in (0, 1), the part of an arc's spacing that two neighbours share.

        Raises:
            ValueError: n < 3, no such coordinate, or overlap not in (0, 1).
        """
        k = self.values.shape[1]
        if n < 3:
            raise ValueError(f"expected n >= 3 arcs, got {n}: fewer do not have a circle as nerve")
        if not 0 <= coordinate < k:
            raise ValueError(f"expected a coordinate below {k}, got {coordinate}; {self.reason}")
        if not 0 < overlap < 1:
            raise ValueError(f"expected 0 < overlap < 1, got {overlap}")
        centres = 2 * math.pi * np.arange(n) / n
        return _apart(self.values[:, coordinate, None], centres) < (1 + overlap) * math.pi / n

    def grid(self, n: int) -> Int[np.ndarray, " m"]:
        r"""Rows of the points nearest to a grid of n angles in each of the k coordinates.

        The grid is :math:`(2\pi/n) \{0, \dots, n-1\}^k`. Each row is given once, near or not.

        Raises:
            ValueError: n < 1, or there is no coordinate.
        """
        k = self.values.shape[1]
        if n < 1 or k == 0:
            raise ValueError(f"expected n >= 1 and a coordinate, got n = {n}, {k}; {self.reason}")
        angles = 2 * math.pi * np.arange(n) / n
        nodes = np.stack(np.meshgrid(*[angles] * k, indexing="ij"), axis=-1).reshape(-1, k)
        squares = _apart(self.values[None], nodes[:, None]) ** 2
        return np.unique(squares.sum(axis=-1).argmin(axis=1))


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    difference = np.abs(first - second)
    return np.minimum(difference, 2 * math.pi - difference)


def circular_coordinates(
    points: Any, *, count: int | None = None, prime: int = 47, alpha: float = 0.01, seed: int = 0
) -> CircularCoordinates:
    r"""Circle-valued coordinates from the persistent cohomology of farthest-point landmarks.

    The j-th strongest bar of H^1(Rips; Z/p) is a class where its ratio death/birth, the median of
    three starts, is one that noise exceeds with probability at most `alpha`. The classes are
    lifted to integral cocycles, made harmonic by least squares; a lattice reduction of their Gram
    matrix makes the k angles as independent as can be. Torsion carries no angle: RP^2 has k = 0.
    Follows de Silva, Morozov and Vejdemo-Johansson, 2011 (https://arxiv.org/abs/0905.4887), Perea,
    2018 (https://arxiv.org/abs/1809.09269) and Scoccola et al., 2023, "Toroidal coordinates"
    (https://arxiv.org/abs/2212.07201).

    Args:
        points: array-like, shape (n, D).
        count: number of landmarks; by default from the widest gap of the cloud, at most 400.
        prime: p, at least 5 (lifts from Z/2 and Z/3 are ambiguous) and below 2^15.
        alpha: bound on the probability to return a class of noise, with the default count.
        seed: of the first landmarks and of the hold-out halves.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: `count`, `prime` or `alpha` out of range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"expected 0 < alpha < 1, got {alpha}")
    if not (5 <= prime < 2**15 and is_prime(prime)):
        raise ValueError(f"expected a prime from 5 to 2^15, got {prime}")
    cloud = prepare(points, seed=seed)
    x = cloud.rows
    if count is not None and not 3 <= count <= len(cloud.points):
        raise ValueError(
            f"expected a count of 3 to {len(cloud.points)} landmarks, got {count}: a landmark is "
            "one of the distinct points"
        )
    d = dimension_of(cloud, seed=seed).dim
    starts = _landmark_sets(cloud, d, count, seed)
    landmarks = starts[0]
    origin, axes = _frame(x[cloud.index] / cloud.unit, cloud.points)
    gap = float(nearest(landmarks, (x / cloud.unit - origin) @ axes, 1)[0].max())
    D = distances(landmarks)
    lengths = np.sort(D[np.triu_indices(len(D), 1)])
    # 40 edges per landmark, which reach to 6 (d = 2) or 3 (d = 3) covering radii
    threshold = max(2.5 * gap, lengths[min(40 * len(D), len(lengths)) - 1])
    cut = rips_noise(d, 1).cut_off(alpha)
    diagrams = [truncated_rips(distances(y), threshold, (prime, 2), 1) for y in starts]
    strengths = {  # over each field, the median over starts of the j-th largest death/birth
        p: np.median(by_rank([ratios(of[p][1]) for of in diagrams]), axis=0) for p in (prime, 2)
    }
    significant = persistent_classes(D, threshold, prime=prime, least_ratio=cut)
    significant = significant[: int((strengths[prime] > cut).sum())]
    classes, scale = _at_one_scale(significant, gap, threshold)
    graph = (D <= scale) & ~np.eye(len(D), dtype=bool)
    modular = np.array([c.cocycle * graph for c in classes], dtype=np.int64)
    cocycles = integral_basis(modular.reshape(-1, *D.shape), graph, prime)
    if cocycles is None:
        cocycles = np.zeros((0, *D.shape), dtype=np.int64)
    potential = harmonic_potential(cocycles, graph)
    U = reduced_basis(_gram(cocycles, potential, graph))
    cocycles, potential = np.einsum("ab,bij->aij", U, cocycles), U @ potential
    per_length = d * (2 * math.pi / cloud.unit) ** 2 / (D[graph] ** 2).sum()
    cover = BallCover(landmarks, scale / 2, cloud.unit, origin, axes)
    return CircularCoordinates(
        values=_angles(x, cover, cocycles, potential),
        gram=_gram(cocycles, potential, graph) * per_length,
        scale=scale * cloud.unit,
        reason=_reason(strengths, prime, cut, len(classes), len(cocycles), len(D)),
        cover=cover,
        cocycles=cocycles,
        potential=potential,
    )


def _landmark_sets(cloud: Cloud, dim: int, count: int | None, seed: int) -> list[np.ndarray]:
    """From each start `count` farthest points, or as many as the widest gap allows."""
    x, rng = cloud.points, np.random.default_rng(seed)
    gap = holdout_gap(x, rng) * RESOLUTIONS[min(dim, 4)][0]
    starts, most = rng.integers(len(x), size=STARTS).tolist(), count or min(400, len(x))
    found = (farthest_points(x, most, start) for start in starts)
    return [x[i[: count or max(3, count_for_radius(radius, gap))]] for i, radius in found]


def _frame(given: np.ndarray, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Origin and axes with (given - origin) @ axes = prepared, both in one unit of length."""
    origin = given.mean(axis=0)
    centred = given - origin
    if centred.shape == prepared.shape and np.allclose(centred, prepared, atol=1e-9):
        return origin, np.eye(given.shape[1])
    # principal coordinates X V, with V^T V = 1 and orthogonal columns: V = X^T (X V) / |X V|^2
    return origin, centred.T @ prepared / (prepared**2).sum(axis=0)


def _at_one_scale(
    classes: list[PersistentClass], gap: float, threshold: float
) -> tuple[list[PersistentClass], float]:
    """The classes that live together, the strongest first, and an edge length where they do."""
    alive: list[PersistentClass] = []
    low, high = 2.001 * gap, threshold  # balls of half that length must cover the cloud
    for c in classes:
        if max(low, c.birth) < min(high, c.death):
            alive.append(c)
            low, high = max(low, c.birth), min(high, c.death)
    return alive, math.sqrt(low * high) if alive else threshold


def _gram(cocycles: np.ndarray, potential: np.ndarray, graph: np.ndarray) -> np.ndarray:
    """Inner products of the harmonic cocycles over all oriented edges, shape (k, k)."""
    i, j = np.nonzero(graph)
    theta = cocycles[:, i, j] - potential[:, j] + potential[:, i]
    return theta @ theta.T


def _angles(
    x: np.ndarray, cover: BallCover, cocycles: np.ndarray, potential: np.ndarray
) -> np.ndarray:
    """The formula of :class:`CircularCoordinates`, shape (n, k)."""
    turns = np.empty((len(x), len(cocycles)))
    for rows in cover.blocks(len(x)):
        distance = cover.distances(x[rows])
        phi = np.maximum(1 - (distance / cover.radius) ** 2, 0.0) ** 2
        phi /= phi.sum(axis=1, keepdims=True)
        j = distance.argmin(axis=1)
        for a, (eta, f) in enumerate(zip(cocycles, potential, strict=True)):
            turns[rows, a] = (phi * (f - eta[j])).sum(axis=1)
    turns -= np.floor(turns)
    turns[turns >= 1] = 0.0  # 1 - 1e-17 is rounded to 1
    return 2 * math.pi * turns


def _reason(
    strengths: dict[int, np.ndarray], prime: int, cut: float, alive: int, k: int, m: int
) -> str:
    """One sentence on the number k of coordinates, of `alive` classes at one scale."""
    if k < alive:
        return (
            f"{alive} classes over Z/{prime} do not lift to the integers; try another prime, or "
            "other landmarks by count and seed"
        )
    seen = strengths[prime][strengths[prime] > cut]
    words = (
        f"no class of degree 1 over Z/{prime} outlasts noise on {m} landmarks (largest "
        f"death/birth {strengths[prime][0]:.2f}, class from {cut:.2f})"
    )
    if len(seen):
        listed = ", ".join(f"{r:.2f}" for r in seen)
        words = f"death/birth over Z/{prime} is {listed} (class from {cut:.2f})"
    if k < len(seen):
        words += f"; {len(seen) - k} not at one scale with the rest: try another count or seed"
    torsion = int((strengths[2] > cut).sum()) - len(seen)
    if torsion > 0:
        words += f"; {torsion} more over Z/2: torsion, which no circle-valued map carries"
    return words
