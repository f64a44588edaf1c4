"""IMD: the heat traces of two neighbour graphs, compared at all scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InvalidPoints
from ...point_cloud.cloud import prepare
from ...point_cloud.knn import neighbour_graph
from .noise_floors import Score, with_floor

TIMES = np.logspace(-1, 1, 256)


def graph_laplacian(x: np.ndarray, k: int = 5) -> Any:
    r"""Normalised Laplacian :math:`L = I - \Delta^{-1/2} A \Delta^{-1/2}` of a neighbour graph.

    A joins two points when one is among the k nearest of the other; :math:`\Delta` are degrees.

    Returns:
        a scipy sparse matrix of shape (n, n).
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import laplacian

    return csr_matrix(laplacian(neighbour_graph(x, k), normed=True))


def heat_trace(
    L: Any, probes: np.ndarray, *, times: np.ndarray = TIMES, steps: int = 10
) -> np.ndarray:
    r"""Heat trace :math:`\mathrm{hkt}(t) = \operatorname{tr} e^{-tL}` by Lanczos quadrature.

    For a probe v of unit length Lanczos gives a tridiagonal matrix with eigenvalues
    :math:`\theta_j` and first components :math:`\tau_j` of its eigenvectors; then
    :math:`v^T f(L) v \approx \sum_j \tau_j^2 f(\theta_j)`, and the trace is n times the mean over
    the probes (Ubaru, Chen and Saad, 2017, https://doi.org/10.1137/16M1104974). Only the part of
    :math:`e^{-t\lambda}` that a quadratic leaves on [0, 2] is estimated so: its trace is known.

    Args:
        L: symmetric, shape (n, n), with spectrum in [0, 2].
        probes: random vectors, shape (n, s).
        times: t, shape (T,).
        steps: of Lanczos.

    Returns:
        shape (T,).
    """
    n = L.shape[0]
    theta, weight = _lanczos(L, probes / np.linalg.norm(probes, axis=0), min(steps, n))
    grid = 1 + np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    powers = grid[:, None] ** np.arange(3)
    c = np.linalg.lstsq(powers, np.exp(-np.outer(grid, times)), rcond=None)[0]  # (3, T)
    moments = np.array([n, L.diagonal().sum(), L.multiply(L).sum()])
    rest = np.exp(-theta[..., None] * times) - (theta[..., None] ** np.arange(3)) @ c
    return n * np.einsum("sj,sjt->st", weight, rest).mean(axis=0) + moments @ c


def _lanczos(L: Any, v: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the quadrature of each column of v, both of shape (s, steps)."""
    basis = [v]
    T = np.zeros((v.shape[1], steps, steps))  # eigh reads the lower triangle
    for j in range(steps):
        w = L @ basis[j]
        T[:, j, j] = (w * basis[j]).sum(axis=0)
        for q in [*basis, *basis]:  # twice: full reorthogonalisation
            w = w - q * (q * w).sum(axis=0)
        length = np.linalg.norm(w, axis=0)
        alive = length > 1e-10  # else the Krylov space is full: the rest has weight 0
        T[:, j + 1 : j + 2, j] = (length * alive)[:, None]
        basis.append(np.where(alive, w / np.where(alive, length, 1.0), 0.0))
    theta, vectors = np.linalg.eigh(T)
    return theta, vectors[:, 0, :] ** 2


def imd_of_traces(first: np.ndarray, second: np.ndarray, times: np.ndarray = TIMES) -> float:
    r""":math:`\sup_t e^{-2(t + 1/t)} |\mathrm{hkt}_a(t) - \mathrm{hkt}_b(t)|` over `times`."""
    return float((np.exp(-2 * (times + 1 / times)) * np.abs(first - second)).max())


def imd(
    a: Any,
    b: Any,
    *,
    size: int = 1000,
    repeats: int = 5,
    k: int = 5,
    probes: int = 100,
    steps: int = 10,
    seed: int = 0,
) -> Score:
    r"""Intrinsic multi-scale distance, from the heat traces of two neighbour graphs.

    .. math:: \mathrm{IMD}(a, b) = \sup_{t > 0} e^{-2 (t + 1/t)}
        |\mathrm{hkt}_a(t) - \mathrm{hkt}_b(t)|, \quad
        \mathrm{hkt}(t) = \tfrac{1}{n} \operatorname{tr} e^{-tL},

    over 256 times t from 0.1 to 10, even in log t; L is the :func:`graph_laplacian`. Symmetric, a
    pseudometric up to the error of :func:`heat_trace`, invariant under isometries and scalings of
    each cloud alone; a and b may lie in different spaces. Follows Tsitsulin et al., 2020
    (https://arxiv.org/abs/1905.11141).

    Args:
        a: the data, array-like of shape (n, D).
        b: the samples, array-like of shape (n', D').
        size: points per subsample, see :class:`Score`.
        repeats: number of subsamples.
        k: neighbours in the graph.
        probes: random vectors of the trace.
        steps: of Lanczos.
        seed: of everything random.

    Raises:
        InvalidPoints: not finite (n, D) arrays, or too few distinct points.
        ValueError: a number out of range.
    """
    if min(k, probes, steps) < 1:
        raise ValueError(f"expected k, probes, steps >= 1, got {k}, {probes}, {steps}")
    x, y = prepare(a, seed=seed, name="a").points, prepare(b, seed=seed, name="b").points
    if min(len(x) // 2, len(y)) <= k:
        raise InvalidPoints(
            f"imd: expected more than k = {k} points in each half, got {len(x)} and {len(y)}; "
            "give more points, or lower k"
        )

    def statistic(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> float:
        z = rng.standard_normal((len(u), probes))  # the same for both: equal clouds score 0
        first, second = (heat_trace(graph_laplacian(w, k), z, steps=steps) for w in (u, v))
        return imd_of_traces(first / len(u), second / len(v))

    return with_floor("imd", statistic, x, y, size=size, repeats=repeats, seed=seed)
