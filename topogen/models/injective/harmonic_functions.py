r"""Harmonic functions on a graph: potentials, eigenfunctions, angles, and conjugates of angles."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import TrainingError
from ...topology.persistence.cohomology import reduced_basis
from .neighbor_graph import Graph


def solve_poisson(L: Any, right: np.ndarray, fixed: np.ndarray | None = None) -> np.ndarray:
    """The u with L u = right on the free nodes, u = 0 on the fixed ones (mean 0 where none is).

    By conjugate gradients; `right` must add up to 0 where no node is fixed.

    Raises:
        TrainingError: they did not converge.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import cg

    n = L.shape[0]
    free = ~np.isin(np.arange(n), [] if fixed is None else fixed)
    A = L[free][:, free]
    M = diags(1 / np.maximum(A.diagonal(), 1e-300))
    u = np.zeros(n)
    with np.errstate(over="ignore", invalid="ignore"):
        u[free], status = cg(A, right[free], rtol=1e-9, atol=0.0, maxiter=20_000, M=M)
    if status != 0 or not np.isfinite(u).all():
        raise TrainingError(
            f"expected conjugate gradients to converge on {n} nodes, got status {status}; "
            "drop outliers, or give more points"
        )
    return u if fixed is not None else u - u.mean()


def eigenfunctions(graph: Graph, count: int, *, odd: bool = False) -> np.ndarray:
    """Eigenvectors of the lowest eigenvalues of the normalised Laplacian, shape (n, count).

    Args:
        graph: the graph; a cover where `odd` is set.
        count: how many; the constant is the first unless `odd`.
        odd: of the functions on a cover with u(sigma x) = -u(x) only.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import eigsh

    root = np.sqrt(np.maximum(graph.degree, 1e-300))
    S = diags(1 / root) @ graph.matrix(graph.weight) @ diags(1 / root)
    if odd:
        half = graph.n // 2
        S = (S[:half, :half] - S[:half, half:]).tocsr()
        root = root[:half]
    start = np.random.default_rng(0).normal(size=S.shape[0])
    lam, U = eigsh(S, k=count, which="LA", v0=start)
    U = U[:, np.argsort(-lam)] / root[:, None]
    return np.concatenate([U, -U]) if odd else U


def harmonic_angles(graph: Graph, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Angles, shape (n, k), and the harmonic forms on the edges, shape (k, e), in turns.

    With L f = div of the class, :math:`\eta - df` has the least energy in its class and is the
    differential of the angle :math:`2\pi f`; the k classes are exchanged for a short basis of
    their lattice, which removes shears.

    Args:
        graph: the graph.
        classes: integral cocycles on its edges, shape (k, e).
    """
    L = graph.laplacian()
    f = np.stack([solve_poisson(L, _divergence(graph, z)) for z in classes * graph.weight])
    eta = classes - f[:, graph.j] + f[:, graph.i]
    U = reduced_basis((eta * graph.weight) @ eta.T)
    return 2 * np.pi * ((U @ f).T % 1.0), U @ eta


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
    ends, weight = np.concatenate([i, j]), np.concatenate([w, w])
    step = np.concatenate([cover.forth, cover.back])
    rise = np.concatenate([difference, -difference])
    x, y = step.T
    terms = (x * x, x * y, y * y, x * rise, y * rise)
    a, b, c, r, s = (np.bincount(ends, weight * term, n) for term in terms)
    det = np.maximum(a * c - b * b, 1e-300)
    side = np.where(np.arange(n) < n // 2, 1.0, -1.0)[:, None]
    turned = side * np.stack([(b * r - a * s) / det, (c * r - b * s) / det], axis=1)
    beta = 0.5 * ((turned[i] * cover.forth).sum(axis=1) - (turned[j] * cover.back).sum(axis=1))
    return solve_poisson(cover.laplacian(), _divergence(cover, w * beta))


def _divergence(graph: Graph, flow: np.ndarray) -> np.ndarray:
    """What flows into every node less what flows out, for a flow along the edges i -> j."""
    return np.bincount(graph.j, flow, graph.n) - np.bincount(graph.i, flow, graph.n)
