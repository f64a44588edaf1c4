"""Local polynomial graphs of a cloud over its tangent planes, fitted in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .. import calculus
from ..manifolds.monomials import monomials

# A landmark covers the points within this share of its radius, so that supports overlap.
CORE = 0.7


@dataclass(frozen=True)
class LocalGraphs:
    """Local graphs x = c + T s + b(s / r), s = T^T (x - c), one per landmark, and their error."""

    c: Tensor
    T: Tensor
    r: Tensor
    b: Tensor
    degree: int
    error: float


def fit_graphs(x: np.ndarray, order: np.ndarray, d: int, degree: int, k: int) -> LocalGraphs:
    """Landmarks, frames and polynomials from the k nearest neighbours of each landmark."""
    from scipy.spatial import KDTree

    distance, neighbour = (np.asarray(found) for found in KDTree(x).query(x, k + 1))
    radius = distance[:, -1]
    # greedy cover: every point lies within CORE times the radius of some landmark
    covered = np.zeros(x.shape[0], dtype=bool)
    landmarks = []
    for i in order:
        if not covered[i]:
            landmarks.append(i)
            covered[neighbour[i][distance[i] <= CORE * radius[i]]] = True
    index = torch.from_numpy(neighbour[landmarks])
    r = torch.from_numpy(radius[landmarks])
    X = torch.from_numpy(x)[index]
    weight = torch.exp(-torch.from_numpy((distance[landmarks] / radius[landmarks, None]) ** 2))
    c = X[:, 0]
    T = _local_frames(X - c.unsqueeze(1), weight, d)
    for _ in range(3):
        # refit in the frame tangent to the last fit at its own foot point
        b, error = _fit_polynomials(X - c.unsqueeze(1), T, r, weight, degree)
        c = c + b[:, 0]
        if degree > 0:
            slope = T + b[:, 1 : d + 1].mT / r[:, None, None]
            T = calculus.orthonormalize(slope)[0]
    b, error = _fit_polynomials(X - c.unsqueeze(1), T, r, weight, degree)
    return LocalGraphs(c, T, r, b, degree, float(error))


def _local_frames(offsets: Tensor, weight: Tensor, d: int) -> Tensor:
    """The d leading principal directions of each weighted neighbourhood."""
    centred = (
        offsets
        - (weight.unsqueeze(-1) * offsets).sum(1, keepdim=True) / weight.sum(1)[:, None, None]
    )
    return torch.linalg.svd(weight.sqrt().unsqueeze(-1) * centred, full_matrices=False)[2][
        :, :d
    ].mT


def _fit_polynomials(
    offsets: Tensor, T: Tensor, r: Tensor, weight: Tensor, degree: int
) -> tuple[Tensor, float]:
    """Weighted least squares of the normal offsets on monomials, and the leave-one-out error."""
    s = offsets @ T
    normal = offsets - s @ T.mT
    phi = monomials(s / r[:, None, None], degree)
    root = weight.sqrt().unsqueeze(-1)
    U, sv, Vh = torch.linalg.svd(root * phi, full_matrices=False)
    inverse = torch.where(sv > 1e-10 * sv[:, :1], 1 / sv.clamp_min(1e-300), 0.0)
    b = Vh.mT @ (inverse.unsqueeze(-1) * (U.mT @ (root * normal)))
    # leave-one-out residual at the landmark itself (row 0): e / (1 - leverage)
    leverage = U[:, 0].square().sum(-1).clamp_max(0.999)
    left_out = (normal[:, 0] - (phi[:, :1] @ b).squeeze(1)).norm(dim=-1) / (1 - leverage)
    return b, left_out.median().item()


def overlapping(c: Tensor, r: Tensor) -> Tensor:
    """For each landmark j those k with |c_j - c_k| < 2 r_k, padded with the farthest landmark."""
    distance = torch.cdist(c, c)
    close = distance < 2 * r
    order = torch.where(close, distance, torch.inf).argsort(dim=-1)[:, : int(close.sum(-1).max())]
    farthest = distance.argmax(dim=-1, keepdim=True)
    return torch.where(close.gather(1, order), order, farthest)
