"""Whether the density of points falls to 0 towards a place, or ends there: edges against tails."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .knn import nearest


def tail_index(
    at: Float[np.ndarray, "e D"], x: Float[np.ndarray, "n D"], dim: int
) -> Float[np.ndarray, " e"]:
    r"""How the density of points x grows from places on their boundary inwards.

    Let k = 1, 2, ... be the points in the order of their distance from a place, :math:`h_k` the
    distance of each from its sixth neighbour. Near the place :math:`h_k^{-d} \propto k^a`: a is 0
    at edges and corners, m / (m + d) where the density falls like the power m of the distance, and
    1 in the tails of normal and exponential distributions, however many points there are (von
    Mises' condition: L. de Haan and A. Ferreira, Extreme Value Theory, 2006,
    https://doi.org/10.1007/0-387-34471-3).

    Args:
        at: places on the boundary.
        x: distinct points.
        dim: their dimension d.

    Returns:
        the slope a of the logarithms for k = 6, ..., 100, each with weight 1 / k; 0 for fewer than
        20 points.
    """
    if len(x) < 20:
        return np.zeros(len(at))
    index = nearest(x, at, min(100, len(x) // 2))[1][:, 5:]
    rows, place = np.unique(index, return_inverse=True)
    spacing = nearest(x, x[rows], min(7, len(x)))[0][:, -1]
    # seven points in one place say nothing of the density: as far apart as the nearest others
    spacing = np.maximum(spacing, spacing[spacing > 0].min(initial=np.inf))
    log_density = -dim * np.log(spacing)[place.reshape(index.shape)]
    k = np.arange(6, 6 + index.shape[1])
    u = np.log(k) - np.average(np.log(k), weights=1 / k)
    return (log_density @ (u / k)) / (u**2 / k).sum()
