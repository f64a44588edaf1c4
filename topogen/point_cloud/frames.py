"""Principal axes of small neighbourhoods: tangent frames, and how flat a neighbourhood is."""

from __future__ import annotations

import numpy as np


def spectrum(points: np.ndarray) -> np.ndarray:
    """Eigenvalues of the scatter of each set of k points about its mean, largest first.

    Args:
        points: shape (..., k, D).

    Returns:
        of y^T y, y the centred points, the min(k, D) that can be nonzero, shape (..., min(k, D)).
    """
    y = points - points.mean(axis=-2, keepdims=True)
    yT = np.swapaxes(y, -1, -2)
    gram = y @ yT if y.shape[-2] < y.shape[-1] else yT @ y
    return np.maximum(np.linalg.eigvalsh(gram)[..., ::-1], 0.0)


def principal_axes(points: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and the d leading principal axes of sets of k points each.

    Args:
        points: shape (..., k, D).
        d: how many axes, at most min(k, D).

    Returns:
        the means, shape (..., 1, D), and orthonormal rows, shape (..., d, D).
    """
    centre = points.mean(axis=-2, keepdims=True)
    return centre, np.linalg.svd(points - centre, full_matrices=False)[2][..., :d, :]
