"""The affine subspace that a cloud spans: the same distances in fewer columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arrays import row_bits
from .repeats import fits_float32

# Points may move by this share of their rms radius, a thousandth of the least tolerance of a
# learned manifold, or by their own rounding.
_TOLERANCE = 1e-6


class Span(NamedTuple):
    """The affine subspace centre + range(V)."""

    centre: np.ndarray  # shape (D,)
    V: np.ndarray  # orthonormal columns, shape (D, m)

    def inner(self, x: np.ndarray) -> np.ndarray:
        """The coordinates z of x = centre + V z, shape (n, m); equal rows of x stay equal."""
        z = (x - self.centre) @ self.V
        _, first, which = np.unique(row_bits(x), return_index=True, return_inverse=True)
        return z[first[which]]


def affine_span(x: np.ndarray, least: int) -> Span | None:
    """The least subspace of dimension `least` or more that contains a cloud; None where all do.

    A random range finder with the exact error of every point (N. Halko, P. G. Martinsson, J. A.
    Tropp, 2011, https://doi.org/10.1137/090771806), so that D x D matrices are met only where the
    cloud spans about as much. Points in a subspace keep their distances up to rounding.

    Args:
        x: points, shape (n, D).
        least: fewest dimensions of the subspace.
    """
    n, D = x.shape
    centre = x.mean(axis=0)
    y = x - centre
    radius = float(np.sqrt(np.einsum("ij,ij->", y, y) / n))
    most = max(_TOLERANCE * radius, _rounding(x))
    axes = _axes(y, most)
    t = y @ axes
    tails = np.cumsum(t[:, ::-1] ** 2, axis=1)[:, ::-1].max(axis=0)
    m = max(int((tails > most**2).sum()), least)
    if m >= D:
        return None
    if m > axes.shape[1]:  # any further directions will do
        more = np.random.default_rng(0).normal(size=(D, m - axes.shape[1]))
        axes = np.linalg.qr(np.concatenate([axes, more], axis=1))[0]
    return Span(centre, np.ascontiguousarray(axes[:, :m]))


def _rounding(x: np.ndarray) -> float:
    """How far rounding may have moved the points: that of float32 where all numbers fit it."""
    eps = 2.0**-23 if fits_float32(x) else 2.0**-52
    return float(eps * np.sqrt(np.einsum("ij,ij->i", x, x).max()))


def _axes(y: np.ndarray, most: float) -> np.ndarray:
    """Principal axes of centred points, as columns; what they leave of a point is below `most`."""
    n, D = y.shape
    rng, k = np.random.default_rng(0), 16
    while 2 * k <= min(n, D):
        Q = np.linalg.qr(y.T @ rng.normal(size=(n, k)))[0]
        t = y @ Q
        left = y - t @ Q.T
        if np.einsum("ij,ij->i", left, left).max() <= (0.5 * most) ** 2:
            return Q @ np.linalg.svd(t, full_matrices=False)[2].T
        k *= 4
    return np.linalg.svd(y, full_matrices=False)[2].T
