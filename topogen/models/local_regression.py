"""Local polynomial graphs of a cloud over its tangent planes, fitted in closed form."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import calculus
from ..manifolds.monomials import monomial_count, monomials
from ..point_cloud.landmarks import greedy_cover
from .base import Progress

# A landmark covers the points within this share of its radius, so that supports overlap.
CORE = 0.7
# Degree, and number of neighbours in units of the number of monomials of that degree: every
# doubling is there, at the degrees that such noise leaves room for.
_SIZES = ((3, 3), (3, 6), (2, 10), (3, 12), (2, 20), (1, 40), (2, 40), (1, 80), (1, 160), (1, 320))
# A neighbourhood is a ball of noise where its error is more than so many radii: half of that of
# an evenly filled disc about a line, r / 2.
_BALL = 0.25

Size = tuple[int, int]
"""Degree of the polynomials, and number of neighbours they are fitted to."""


class LocalGraphs(NamedTuple):
    """Local graphs x = c + T s + b(s / r), s = T^T (x - c), one per landmark; b padded with 0."""

    c: Tensor
    T: Tensor
    r: Tensor
    b: Tensor
    error: Tensor
    """Median distance of the points fitted, over 1 - p / k, p monomials of k points."""
    degree: int


def allowed_sizes(d: int, n: int) -> list[Size]:
    """The sizes that n points in dimension d allow, from fine to wide, stiffer ones later.

    Those of which the data contain three, or the three finest.
    """
    # more than the largest hole of random points would contain, about log n on average
    least = min(24, n // 8)
    known = {(q, max(factor * monomial_count(d, q), least)) for q, factor in _SIZES}
    # only noise that is denser than all of these asks for more
    most = max(k for _, k in known)
    known |= {(1, most << i) for i in range(1, 8)}
    ordered = sorted(known, key=lambda size: (size[1], -size[0]))
    wide = [size for size in ordered if size[1] <= n // 3]
    few = [size for size in ordered if size[1] < n][:3]
    return max(few, wide, key=len)


def fit_graphs(
    x: np.ndarray, order: np.ndarray, d: int, sizes: list[Size]
) -> Progress[LocalGraphs]:
    r"""Landmarks, frames and polynomials, each of the size that suits the data around it.

    The errors of all sizes are taken at probes that cover the cloud, by generalised
    cross-validation (P. Craven and G. Wahba, 1979, https://doi.org/10.1007/BF01404567): the root
    mean square of the k residuals over 1 - p / k, p the number of monomials. Around each probe the
    size of the least error is chosen: a fine one where curvature decides, a wide one where noise
    does. Errors are averaged over the six nearest probes; within 2 % the wider graph is taken.

    Neighbourhoods smaller than the noise are balls, whose error is a share of their radius. The
    first size for which this does not hold at the median probe, or at which the error grew by less
    than 5 % while the radius grew by 30 %, is wide for the noise; where finer ones are half-way
    balls, radii below .7 of its radius do not count. If it holds for all sizes, all count.

    Args:
        x: points.
        order: in which points that are not covered yet become landmarks.
        d: dimension.
        sizes: from fine to wide.

    Returns:
        The graphs, after one record for every size that was tried.
    """
    from scipy.spatial import KDTree

    tree = KDTree(x)
    probes = _cover(tree, order, np.full(len(x), sizes[0][1]))
    by_probe = KDTree(x[probes])
    near = torch.from_numpy(_neighbours(by_probe, x[probes], 6)[1])
    fits: list[LocalGraphs] = []
    errors: list[Tensor] = []
    medians: list[tuple[float, float]] = []
    first: int | None = None  # size that is no ball
    for degree, k in sizes:
        fitted, _, error = _fit(x, tree, probes, d, degree, k)
        fits.append(fitted)
        errors.append(error.square()[near].mean(1).sqrt())
        middle, r = float(errors[-1].median()), float(fitted.r.median())
        yield {"degree": degree, "neighbours": k, "loss": middle}
        flat = any(q * 1.3 < r and middle < 1.05 * finer for finer, q in medians)
        medians.append((middle, r))
        if first is None and (middle < _BALL * r or flat):
            first = len(errors) - 1
        worse = errors[-1] > 2 * torch.stack(errors).amin(0)
        if degree > 1 and first is not None and bool(worse.all()):
            break  # curvature, not noise, is what the graphs miss
    E = torch.stack(errors)
    if first:
        R = torch.stack([fitted.r for fitted in fits])
        small = (R < 0.7 * R[first].median()) & (E[0] > _BALL / 2 * R[0])
        E[:-1] = E[:-1].masked_fill(small[:-1], torch.inf)
    choice = torch.zeros(len(probes), dtype=torch.int64)
    for i in range(1, len(E)):
        choice[E[i] < 1.02 * E[:i].amin(0)] = i
    if not bool(choice.any()):
        return fits[0]  # the probes are the landmarks
    _, nearest = by_probe.query(x)
    size = choice.numpy()[nearest]
    landmarks = _cover(tree, order, np.asarray([k for _, k in sizes])[size])
    return _together(x, tree, landmarks, d, [sizes[i] for i in size[landmarks]])


def graph_error(
    x: np.ndarray, order: np.ndarray, d: int, degree: int, k: int
) -> tuple[float, float]:
    """The medians of the leave-one-out errors of graphs of one size, and of their radii."""
    from scipy.spatial import KDTree

    tree = KDTree(x)
    landmarks = _cover(tree, order, np.full(len(x), k))
    fitted, left_out, _ = _fit(x, tree, landmarks, d, degree, k)
    return float(left_out.median()), float(fitted.r.median())


def _cover(tree: Any, order: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Points such that every point lies within CORE times the radius of one, taken in order."""

    def core(i: int) -> np.ndarray:
        distance, neighbour = _neighbours(tree, tree.data[i], int(k[i]) + 1)
        return neighbour[distance <= CORE * distance[-1]]

    return greedy_cover(tree.n, order, core)


def _neighbours(tree: Any, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows of the k nearest points, themselves included."""
    distance, row = tree.query(x, range(1, min(k, tree.n) + 1))
    return np.asarray(distance), np.asarray(row)


def _fit(
    x: np.ndarray, tree: Any, landmarks: np.ndarray, d: int, degree: int, k: int
) -> tuple[LocalGraphs, Tensor, Tensor]:
    """Graphs from the k nearest neighbours; their leave-one-out and cross-validation errors."""
    distance, neighbour = _neighbours(tree, x[landmarks], k + 1)
    distance = torch.from_numpy(distance)
    r = distance[:, -1]
    X = torch.from_numpy(x)[torch.from_numpy(neighbour)]
    weight = torch.exp(-((distance / r[:, None]) ** 2))
    c = X[:, 0]
    offsets, w = X - c.unsqueeze(1), weight.unsqueeze(-1)
    centred = offsets - (w * offsets).sum(1, keepdim=True) / weight.sum(1)[:, None, None]
    T = _leading_axes(w.sqrt() * centred, d)
    for _ in range(3):
        # refit in the frame tangent to the last fit at its own projection point
        b = _fit_polynomials(X - c.unsqueeze(1), T, r, weight, degree)[0]
        c = c + b[:, 0]
        if degree > 0:
            T = calculus.orthonormalize(T + b[:, 1 : d + 1].mT / r[:, None, None])[0]
    b, left_out, off = _fit_polynomials(X - c.unsqueeze(1), T, r, weight, degree)
    middle, error = off.median(-1)[0], off.square().mean(-1).sqrt()
    return LocalGraphs(c, T, r, b, middle, degree), left_out, error


def _leading_axes(y: Tensor, d: int) -> Tensor:
    """The d leading right singular vectors of each y, (l, k, D) to (l, D, d)."""
    if y.shape[-2] < y.shape[-1]:
        U = torch.linalg.eigh(y @ y.mT)[1][..., -d:]
        return calculus.orthonormalize(y.mT @ U)[0]
    return torch.linalg.svd(y, full_matrices=False)[2][:, :d].mT


def _together(
    x: np.ndarray, tree: Any, landmarks: np.ndarray, d: int, sizes: list[Size]
) -> LocalGraphs:
    """Graphs of several sizes, with 0 for the monomials that some do not have."""
    degree = max(degree for degree, _ in sizes)
    n, D = len(landmarks), x.shape[1]
    like = torch.from_numpy(x)
    c, T = like.new_empty(n, D), like.new_empty(n, D, d)
    r, error = like.new_empty(n), like.new_empty(n)
    b = like.new_zeros(n, monomial_count(d, degree), D)
    for size in dict.fromkeys(sizes):
        rows = np.asarray([i for i, other in enumerate(sizes) if other == size])
        at, fitted = torch.from_numpy(rows), _fit(x, tree, landmarks[rows], d, *size)[0]
        c[at], T[at], r[at], error[at] = fitted.c, fitted.T, fitted.r, fitted.error
        b[at, : fitted.b.shape[1]] = fitted.b
    return LocalGraphs(c, T, r, b, error, degree)


def graph_points(graphs: LocalGraphs, s: Tensor, k: Tensor) -> Tensor:
    """The points c + T r s + b(s) of the graphs k."""
    flat = (graphs.T[k] @ (graphs.r[k].unsqueeze(-1) * s).unsqueeze(-1)).squeeze(-1)
    bent = (monomials(s, graphs.degree).unsqueeze(-2) @ graphs.b[k]).squeeze(-2)
    return graphs.c[k] + flat + bent


def continued(graphs: LocalGraphs, at: Tensor, T: Tensor, k: Tensor) -> LocalGraphs:
    """The graphs, and others beyond the ends of graphs k, about places there with tangents T.

    They are the polynomials, quadratic at most, that fit graph k best around the place. Their
    radii are those of the graphs, or less where they turn by more than .2 over them: beyond that
    they would leave M, and each other. Of places within half a radius of each other one is taken.
    """

    def ball(i: int) -> list[int]:
        return ((at - at[i]).norm(dim=-1) < graphs.r[k[i]] / 2).nonzero().flatten().tolist()

    rows = torch.from_numpy(greedy_cover(len(at), np.arange(len(at)), ball))
    at, T, k = at[rows], T[rows], k[rows]
    r, d = graphs.r[k], T.shape[-1]
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(20 * monomial_count(d, 2), d, generator=generator, dtype=at.dtype)
    u = torch.nn.functional.normalize(u, dim=-1)
    u = u * torch.rand(len(u), 1, generator=generator, dtype=at.dtype).pow(1 / d)
    # as many points within graph k as beyond it, where it is not known
    around = at.unsqueeze(1) + (r[:, None, None] * u) @ T.mT
    s = (around - graphs.c[k].unsqueeze(1)) @ graphs.T[k] / r[:, None, None]
    inside = (s.norm(dim=-1) < 1).to(at.dtype)
    each = k.repeat_interleave(len(u))
    X = graph_points(graphs, s.flatten(0, 1), each).unflatten(0, inside.shape)
    degree = min(2, graphs.degree)
    first = _fit_polynomials(X - at.unsqueeze(1), T, r, inside, degree)[0]
    turn = 2 * first[:, 1 + d :].flatten(1).norm(dim=-1) / r
    r = r * (0.2 / turn.clamp_min(0.2))
    fitted = _fit_polynomials(X - at.unsqueeze(1), T, r, inside, degree)[0]
    b = graphs.b.new_zeros(len(k), *graphs.b.shape[1:])
    b[:, : fitted.shape[1]] = fitted
    error = r / 320  # 16 times as much is allowed, r / 20: fresh points were up to r / 30 off
    both = (torch.cat(pair) for pair in zip(graphs[:-1], (at, T, r, b, error), strict=True))
    return LocalGraphs._make([*both, graphs.degree])


def _fit_polynomials(
    offsets: Tensor, T: Tensor, r: Tensor, weight: Tensor, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted least squares of the normal offsets on monomials, with its errors.

    These are the leave-one-out error at the landmark, and the distances of all k points from the
    graph over 1 - p / k, p the number of monomials.
    """
    s = offsets @ T
    normal = offsets - s @ T.mT
    phi = monomials(s / r[:, None, None], degree)
    root = weight.sqrt().unsqueeze(-1)
    U, sv, Vh = torch.linalg.svd(root * phi, full_matrices=False)
    inverse = torch.where(sv > 1e-10 * sv[:, :1], 1 / sv.clamp_min(1e-300), 0.0)
    b = Vh.mT @ (inverse.unsqueeze(-1) * (U.mT @ (root * normal)))
    # leave-one-out residual at the landmark itself (row 0): e / (1 - leverage)
    off = (normal - phi @ b).norm(dim=-1)
    left_out = off[:, 0] / (1 - U[:, 0].square().sum(-1).clamp_max(0.999))
    k, p = phi.shape[1:]
    return b, left_out, off / (1 - p / k)


def overlapping(c: Tensor, r: Tensor) -> Tensor:
    """For each landmark j those k with |c_j - c_k| < 2 r_k, padded with the farthest landmark."""
    distance = torch.cdist(c, c)
    close = distance < 2 * r
    order = torch.where(close, distance, torch.inf).argsort(dim=-1)[:, : int(close.sum(-1).max())]
    farthest = distance.argmax(dim=-1, keepdim=True)
    return torch.where(close.gather(1, order), order, farthest)
