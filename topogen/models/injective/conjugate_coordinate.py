r"""The second coordinate of a band: the conjugate of its angle."""

from __future__ import annotations

import numpy as np

from ...point_cloud.knn import component_labels
from .neighbor_graph import Graph, solve


def conjugate(cover: Graph, theta: np.ndarray) -> np.ndarray:
    r"""The function h of least :math:`\int |\nabla h - \ast\nabla\theta|^2` on a surface.

    :math:`\ast` turns gradients by a right angle, to the left on one sheet of the orientation
    cover and to the right on the other. In the continuum the conjugate of a harmonic angle is
    exact, and (theta, h) is conformal.

    Args:
        cover: the orientation cover.
        theta: an angle on its nodes, shape (n,).
    """
    n, i, j, w = cover.n, cover.i, cover.j, cover.weight
    difference = np.angle(np.exp(1j * (theta[j] - theta[i])))
    # gradients in the tangent frames, by least squares over the edges of each node
    ends = np.concatenate([i, j])
    step = np.concatenate([cover.forth, cover.back])
    rise = np.concatenate([difference, -difference])
    weight = np.concatenate([w, w])

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(ends, weight * values, n)

    a, b, c = (total(step[:, k] * step[:, m]) for k, m in ((0, 0), (0, 1), (1, 1)))
    r, s = total(step[:, 0] * rise), total(step[:, 1] * rise)
    det = np.maximum(a * c - b * b, 1e-300)
    gradient = np.stack([(c * r - b * s) / det, (a * s - b * r) / det], axis=1)
    side = np.where(np.arange(n) < n // 2, 1.0, -1.0)[:, None]
    turned = side * np.stack([-gradient[:, 1], gradient[:, 0]], axis=1)
    beta = 0.5 * ((turned[i] * cover.forth).sum(axis=1) - (turned[j] * cover.back).sum(axis=1))
    flow = w * beta
    return solve(cover.laplacian(), np.bincount(j, flow, n) - np.bincount(i, flow, n))


def one_sheet(cover: Graph) -> np.ndarray:
    """Of a cover of two components, the node of one component over every point."""
    label = component_labels(cover.n, cover.i, cover.j)
    n = cover.n // 2
    return np.where(label[:n] == label[0], np.arange(n), np.arange(n, 2 * n))
