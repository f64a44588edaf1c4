r"""The alpha filtration of few points in R^2..R^4, on the Delaunay triangulation of Qhull.

A Delaunay simplex enters at its circumradius where no vertex of a coface lies inside its
circumsphere (Gabriel), else at :math:`\min_{\sigma \supset \tau} \alpha(\sigma)`, with its first
coface (Edelsbrunner and Muecke, 1994, https://doi.org/10.1145/174462.156635). The complex at
radius a has the homotopy type of the union of balls of radius a around the points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from .null_distributions import NoiseRatio
from .rips import Diagrams

# median and 99 % quantile of the largest noise ratio by (local dimension, degree), of SIZES points
# that fill R^dimension; benchmarks/topology_null_alpha.py (in R^4 the last is extrapolated)
SIZES = (100, 300, 1000, 2500)
NULL: dict[tuple[int, int], tuple[tuple[float, ...], tuple[float, ...]]] = {
    (2, 1): ((1.84, 2.23, 2.62, 2.90), (2.52, 2.85, 3.29, 3.45)),
    (3, 1): ((1.70, 1.91, 2.05, 2.15), (2.01, 2.20, 2.28, 2.38)),
    (3, 2): ((1.15, 1.25, 1.37, 1.46), (1.40, 1.45, 1.54, 1.60)),
    (4, 1): ((1.60, 1.73, 1.83, 1.92), (1.81, 1.93, 2.03, 2.12)),
    (4, 2): ((1.16, 1.25, 1.31, 1.37), (1.32, 1.36, 1.42, 1.47)),
    (4, 3): ((1.04, 1.09, 1.15, 1.19), (1.10, 1.15, 1.20, 1.24)),
}
MOST_AMBIENT = 4  # the triangulation grows about ninefold with each further dimension
JITTER = 1e-6  # shares of the extent: far above rounding, far below any scale that is looked at


@dataclass(frozen=True)
class AlphaFiltration:
    """Persistence of an alpha filtration, or why it was not computed.

    Attributes:
        diagrams: {p: [(birth, death) as radii, shape (b, 2), per degree]}; None where refused.
        simplices: their number; where refused, the number predicted (0: not predicted).
        reason: why it was refused, else empty.
    """

    diagrams: Diagrams | None
    simplices: int
    reason: str = ""


def alpha_diagrams(
    x: Float[np.ndarray, "n D"],
    fields: Sequence[int],
    max_dim: int,
    *,
    seed: int = 0,
    most_simplices: int = 1_000_000,
    most_radius: float = math.inf,
) -> AlphaFiltration:
    r"""Persistence diagrams of the alpha filtration of all points, in radii.

    The points are moved by about 1e-6 of their extent, into general position.

    Args:
        x: distinct points (those of :func:`~topogen.point_cloud.cloud.prepare`).
        fields: primes p; homology is over Z/p.
        max_dim: the largest degree; degrees from D on are empty, as they are in R^D.
        seed: of the jitter.
        most_simplices: refuse from this predicted number of simplices on.
        most_radius: where the filtration ends; classes alive there get it as their death.

    Returns:
        the diagrams, without classes of zero length; the component that never dies has death
        `most_radius`. Refused where the points do not lie in R^1..R^4 or cost too much.

    Example:
        >>> t = np.linspace(0, 2 * np.pi, 13)[1:]
        >>> found = alpha_diagrams(np.stack([np.cos(t), np.sin(t)], axis=1), (2,), 1)
        >>> found.diagrams[2][1].round(3)
        array([[0.259, 1.   ]])
    """
    from gudhi import SimplexTree

    y = jittered(in_span(x), seed)
    n, D = y.shape
    if D > MOST_AMBIENT:
        reason = f"the points span R^{D}; alpha complexes are feasible up to R^{MOST_AMBIENT}"
        return AlphaFiltration(None, 0, reason)
    predicted = predicted_simplices(y)
    if predicted > most_simplices:
        reason = (
            f"the alpha complex of {n} points would have about {predicted:.1e} simplices, more "
            f"than the {most_simplices:.1e} allowed"
        )
        return AlphaFiltration(None, predicted, reason)
    cells = delaunay(y)
    if cells is None:
        return AlphaFiltration(None, 0, "Qhull could not triangulate the points")
    tree = SimplexTree()
    for simplices, value in alpha_values(y, cells)[: max_dim + 2]:
        early = value <= most_radius
        tree.insert_batch(np.ascontiguousarray(simplices[early].T), value[early])
    top = tree.dimension() <= max_dim
    diagrams: Diagrams = {}
    for p in fields:
        tree.compute_persistence(homology_coeff_field=p, persistence_dim_max=top)
        bars = [tree.persistence_intervals_in_dimension(k) for k in range(max_dim + 1)]
        diagrams[p] = [np.minimum(b.reshape(-1, 2), most_radius) for b in bars]
    return AlphaFiltration(diagrams, int(tree.num_simplices()))


def alpha_noise(dim: int, degree: int, n: int) -> NoiseRatio:
    """The distribution of the largest ratio death/birth of noise, quantiles linear in ln n.

    Noise needs a dimension more than its degree; a thin cloud has that of its normal noise.

    Args:
        dim: intrinsic dimension of the cloud.
        degree: of the class, 1 to 3.
        n: number of points; beyond the largest size of the table too.
    """
    rows = NULL[min(max(dim, degree + 1), MOST_AMBIENT), degree]
    at, ln = math.log(max(n, SIZES[0])), np.log(SIZES)
    i = min(int(np.searchsorted(ln, at, side="right")), len(ln) - 1)
    t = (at - ln[i - 1]) / (ln[i] - ln[i - 1])
    return NoiseRatio(*(float(row[i - 1] + t * (row[i] - row[i - 1])) for row in rows))


def in_span(x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n r"]:
    """The points in coordinates of their affine span; axes below the jitter are left out."""
    y = x - x.mean(axis=0)
    _, s, axes = np.linalg.svd(y, full_matrices=False)
    rank = max(1, int((s > JITTER * s[0]).sum()))
    return y if rank == x.shape[1] else y @ axes[:rank].T


def jittered(x: Float[np.ndarray, "n D"], seed: int) -> Float[np.ndarray, "n D"]:
    """The points, each moved by at most 1e-6 of the extent of the cloud per coordinate."""
    extent = float(np.ptp(x, axis=0).max())
    return x + JITTER * extent * np.random.default_rng(seed).uniform(-1, 1, x.shape)


def delaunay(x: Float[np.ndarray, "n D"]) -> Int[np.ndarray, "c k"] | None:
    """Cells of the Delaunay triangulation, of k = D+1 sorted vertices; None where Qhull fails."""
    from scipy.spatial import Delaunay, QhullError

    if x.shape[1] == 1:
        order = np.argsort(x[:, 0])
        return np.sort(np.stack([order[:-1], order[1:]], axis=1), axis=1)
    try:
        return np.sort(Delaunay(x).simplices.astype(np.int64), axis=1)
    except QhullError:
        return None


def predicted_simplices(x: Float[np.ndarray, "n D"], trial: int = 150) -> int:
    """Simplices of the Delaunay triangulation, by a power law through two random subsamples."""
    n = len(x)
    order = np.random.default_rng(0).permutation(n)
    sizes = [min(n, trial), min(n, 2 * trial)]
    found = [delaunay(x[order[:size]]) for size in sizes]
    counts = [0 if c is None else sum(len(s) for s, _ in _levels(c)) for c in found]
    if n <= sizes[1] or min(counts) == 0:
        return counts[1]
    exponent = math.log(counts[1] / counts[0]) / math.log(sizes[1] / sizes[0])
    return int(counts[1] * (n / sizes[1]) ** max(1.0, exponent))


def _levels(cells: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per dimension k = D..0 simplices (s, k+1), and their facets, the j-th without vertex j."""
    levels: list[tuple[np.ndarray, np.ndarray]] = []
    simplices, base = cells, int(cells.max()) + 1
    while simplices.shape[1] > 1:
        k = simplices.shape[1]
        facets = np.stack([np.delete(simplices, j, axis=1) for j in range(k)], axis=1)
        rows = facets.reshape(-1, k - 1)
        key = rows @ base ** np.arange(k - 1)  # one number per facet: n^4 < 2^63 to n = 55 000
        _, first, index = np.unique(key, return_index=True, return_inverse=True)
        levels.append((simplices, index.reshape(-1, k)))
        simplices = rows[first]
    return [*levels, (simplices, np.empty((len(simplices), 0), dtype=np.int64))]


def circumspheres(
    x: Float[np.ndarray, "n D"], simplices: Int[np.ndarray, "s k"]
) -> tuple[Float[np.ndarray, "s D"], Float[np.ndarray, " s"]]:
    r"""Centres and radii of the smallest spheres through the vertices.

    With the edge matrix E from the first vertex and :math:`E^T = QR`, the centre relative to that
    vertex is :math:`c = Q y,\ 2 R^T y = |e|^2`, the radius :math:`|y|`: no condition is squared.
    """
    corner = x[simplices[:, 0]]
    if simplices.shape[1] == 1:
        return corner, np.zeros(len(simplices))
    E = x[simplices[:, 1:]] - corner[:, None]
    Q, R = np.linalg.qr(np.swapaxes(E, 1, 2))
    squares = (E**2).sum(axis=2)
    y = np.linalg.solve(np.swapaxes(R, 1, 2), squares[..., None] / 2)
    return corner + (Q @ y)[..., 0], np.linalg.norm(y[..., 0], axis=1)


def alpha_values(
    x: Float[np.ndarray, "n D"], cells: Int[np.ndarray, "c k"]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per dimension: simplices (s, k+1) and their radii (s,), never above those of a coface."""
    result = [(cells, circumspheres(x, cells)[1])]
    for (above, facets), (simplices, _) in pairwise(_levels(cells)):
        centre, radius = circumspheres(x, simplices)
        gap = np.linalg.norm(x[above] - centre[facets], axis=2)
        encloses = np.zeros(len(simplices), dtype=bool)
        encloses[facets[gap < radius[facets]]] = True
        value = np.where(encloses, np.inf, radius)
        np.minimum.at(value, facets, result[-1][1][:, None])
        result.append((simplices, value))
    return result[::-1]
