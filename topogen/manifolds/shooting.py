r"""Geodesics between two points of a manifold M: the logarithm, by shooting.

A path from x to y on M, the projected chord or one through a graph of points of M, is shortened as
in Birkhoff's process; its first arc starts Newton's method for :math:`\exp_x(v) = y`.

G. D. Birkhoff, Dynamical systems with two degrees of freedom (1917),
https://doi.org/10.1090/S0002-9947-1917-1501070-3.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..point_cloud.knn import neighbours
from . import geodesics
from .geodesics import Geodesic, GeodesicState
from .types import ManifoldLike

_LEVELS = 4  # a path has 2^_LEVELS arcs; the chord is halved as often
_SHOTS = 20  # Newton steps at most


def shortened(
    M: ManifoldLike, path: Float[Tensor, "n m D"], rounds: int = 8
) -> Float[Tensor, "n m D"]:
    """Move the inner points of each path, every second one at a time, between their neighbours."""
    path = path.clone()
    for i in range(2 * rounds):
        inner = slice(1 + i % 2, path.shape[1] - 1, 2)
        left, right = slice(i % 2, path.shape[1] - 2, 2), slice(2 + i % 2, None, 2)
        path[:, inner] = _onto(M, path[:, left], path[:, right])
    return path


def _onto(M: ManifoldLike, a: Float[Tensor, "n m D"], b: Float[Tensor, "n m D"]) -> Tensor:
    """The projection of the middle of a and b, or of a point beside it where that has none."""
    p = M.project((a + b) / 2)
    if bool(p.converged.all()):
        return p.value
    aside = torch.sin(torch.arange(1.0, a.shape[-1] + 1, dtype=a.dtype, device=a.device))
    aside = 1e-2 * (b - a).norm(dim=-1, keepdim=True) * aside
    q = M.project((a + b) / 2 + aside)
    return torch.where(p.converged.unsqueeze(-1), p.value, q.value)


def chord(
    M: ManifoldLike, x: Float[Tensor, "n D"], y: Float[Tensor, "n D"]
) -> Float[Tensor, "n m D"]:
    """A path of 2^4 arcs from x to y on M, halved and shortened from the chord."""
    path = torch.stack([x, y], 1)
    for _ in range(_LEVELS):
        middle = _onto(M, path[:, :-1], path[:, 1:])
        both = torch.stack([path[:, :-1], middle], 2).flatten(1, 2)
        path = shortened(M, torch.cat([both, path[:, -1:]], 1))
    return path


def routed(
    M: ManifoldLike, x: Float[Tensor, "n D"], y: Float[Tensor, "n D"], points: Float[Tensor, "N D"]
) -> Float[Tensor, "n m D"]:
    """The shortest paths from x to y through a graph of neighbours among points of M."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    n = x.shape[0]
    nodes = torch.cat([x, y, points]).numpy()
    k = min(2 * M.dim + 6, len(nodes) - 1)
    length, other = neighbours(nodes, k, exact=True)
    rows = np.repeat(np.arange(len(nodes)), k)
    # coincident points stay joined: a stored 0 is no edge
    weight = np.maximum(length.ravel(), 1e-12 * M.scale)
    graph = coo_matrix((weight, (rows, other.ravel())), shape=(len(nodes),) * 2)
    _, before = dijkstra(graph.tocsr(), directed=False, indices=range(n), return_predecessors=True)
    paths = []
    for i in range(n):
        chain = [n + i]
        while chain[-1] != i and chain[-1] >= 0:
            chain.append(int(before[i, chain[-1]]))
        if chain[-1] < 0:  # another component
            paths.append(np.full((2**_LEVELS + 1, nodes.shape[1]), np.nan))
            continue
        line = nodes[chain[::-1]]
        s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        at = np.linspace(0, s[-1], 2**_LEVELS + 1)
        paths.append(np.stack([np.interp(at, s, column) for column in line.T], 1))
    path = torch.from_numpy(np.stack(paths)).to(x)
    path[:, 1:-1] = M.project(path[:, 1:-1]).value
    return shortened(M, path, 32)


def shoot(
    M: ManifoldLike,
    x: Float[Tensor, "n D"],
    y: Float[Tensor, "n D"],
    path: Float[Tensor, "n m D"],
    *,
    tol: float,
    max_steps: int,
) -> Geodesic:
    """The geodesics from x to y near the given paths; float64 rows on M.

    Newton with a few steps per geodesic first; with its matrix, a few accurate shots then.
    """
    arc = (path[:, 1:] - path[:, :-1]).norm(dim=-1)
    total = arc.sum(-1)
    # an arc that stays long joins two sheets of M
    joined = arc.amax(-1) <= 4 * arc.mean(-1)
    ok = joined & total.isfinite() & M.contains(x) & M.contains(y)
    T, B = (geodesics.frames(M, z, ok) for z in (x, y))
    c = (T.mT @ (path[:, 1] - x).unsqueeze(-1)).squeeze(-1)
    c = c * (total / c.norm(dim=-1).clamp_min(1e-300)).unsqueeze(-1)
    c = torch.where(ok.unsqueeze(-1), c, 0.0)
    none = x.new_zeros(*x.shape, 0)
    start = GeodesicState(x, (T @ c.unsqueeze(-1)).squeeze(-1), T, none, ok)
    count = 2 * geodesics.first_steps(M, start)
    first, _ = _coarse(M, x, y, T, B, c, count)
    second, A = _coarse(M, x, y, T, B, first, 2 * count)
    c = second + (second - first) / 3  # the error of both is a series in 1 / count^2

    def aimed(rows: Tensor, c: Tensor, close: Tensor) -> tuple[Geodesic, Tensor]:
        # as accurate as what is left to correct asks for
        v, aim = (T[rows] @ c.unsqueeze(-1)).squeeze(-1), (0.01 * close).clamp(0.1 * tol)
        g, _ = geodesics.follow(M, x[rows], v, none[rows], tol=aim, max_steps=max_steps)
        return g, (B[rows].mT @ (g.end - y[rows]).unsqueeze(-1)).squeeze(-1)

    g, miss = aimed(torch.arange(x.shape[0], device=x.device), c, 1e-4 * total)
    active = (ok & g.converged).nonzero().squeeze(-1)
    for _ in range(_SHOTS):
        far = miss[active].norm(dim=-1)
        done = (far <= 0.5 * tol) & (g.error[active] <= 0.2 * tol)
        active, far = active[~done], far[~done]
        if active.numel() == 0:
            break
        trial = c[active] - _solve(A[active], miss[active])
        h, new = aimed(active, trial, far)
        better = h.converged & (new.norm(dim=-1) < far + g.error[active])
        active = active[better]
        c, miss = c.index_put((active,), trial[better]), miss.index_put((active,), new[better])
        g = _merged(g, active, h, better)
    error = torch.hypot(g.error, (g.end - y).norm(dim=-1))
    return replace(g, error=error, converged=ok & g.converged & (error <= tol))


def _solve(A: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.solve_ex(A, b.unsqueeze(-1))[0].squeeze(-1)


def _coarse(
    M: ManifoldLike, x: Tensor, y: Tensor, T: Tensor, B: Tensor, c: Tensor, count: Tensor
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d d"]]:
    """Damped Newton with a fixed number of steps; c, and D exp there in the bases T and B."""
    every = torch.arange(x.shape[0], device=x.device)

    def run(rows: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        end, D_exp = _jacobi(M, x[rows], T[rows], c, count[rows])
        Bt = B[rows].mT
        return (Bt @ (end - y[rows]).unsqueeze(-1)).squeeze(-1), Bt @ D_exp

    miss, A = run(every, c)
    damping = torch.ones_like(c[:, 0])
    for _ in range(_SHOTS):
        far = miss.norm(dim=-1)
        going = (far > 1e-6 * c.norm(dim=-1)) & (damping > 0.5**6)
        active = going.nonzero().squeeze(-1)
        if active.numel() == 0:
            break
        move = damping[active].unsqueeze(-1) * _solve(A[active], miss[active])
        longest = c[active].norm(dim=-1, keepdim=True)
        move = move * (longest / move.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)
        trial = c[active] - move
        new, slope = run(active, trial)
        better = new.norm(dim=-1) < far[active]
        rows = active[better]
        c, miss = c.index_put((rows,), trial[better]), miss.index_put((rows,), new[better])
        A = A.index_put((rows,), slope[better])
        step = torch.where(better, (2 * damping[active]).clamp_max(1.0), 0.5 * damping[active])
        damping = damping.index_put((active,), step)
    return c, A


def _jacobi(
    M: ManifoldLike, x: Tensor, T: Tensor, c: Tensor, count: Tensor
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D d"]]:
    """exp(T c), and its derivative in c by differences of runs with one number of steps."""
    n, d = c.shape
    m = 2 * d + 1
    delta = 1e-5 * c.norm(dim=-1).clamp_min(1e-8 * M.scale)
    axes = torch.eye(d, dtype=c.dtype, device=c.device)
    signs = torch.cat([torch.zeros_like(axes[:1]), axes, -axes])
    near = (c + signs.unsqueeze(1) * delta[:, None]).flatten(0, 1)
    T, ok = T.repeat(m, 1, 1), torch.ones(m * n, dtype=torch.bool, device=x.device)
    v = (T @ near.unsqueeze(-1)).squeeze(-1)
    start = GeodesicState(x.repeat(m, 1), v, T, v.new_zeros(*v.shape, 0), ok)
    r = geodesics.integrate(M, start, count.repeat(m), M.solver_tolerance(None, torch.float64))
    q = torch.where(r.ok.unsqueeze(-1), r.q, torch.nan).unflatten(0, (m, n))
    columns = (q[1 : d + 1] - q[d + 1 :]) / (2 * delta[:, None])
    return q[0], columns.movedim(0, -1)


def _merged(g: Geodesic, rows: Tensor, h: Geodesic, chosen: Tensor) -> Geodesic:
    """The geodesics g, with the chosen rows of h in the given rows."""
    pairs = ((getattr(g, f.name), getattr(h, f.name)) for f in fields(g))
    return Geodesic(*(old.index_put((rows,), new[chosen]) for old, new in pairs))


def log(
    M: ManifoldLike,
    x: Float[Tensor, "*#batch D"],
    y: Float[Tensor, "*#batch D"],
    *,
    through: Float[Tensor, "N D"] | None = None,
    tol: float | None = None,
    max_steps: int = 1024,
    throw: bool = False,
) -> Geodesic:
    """A geodesic from x to y; log_x(y) is its `velocity`, the distance its `length`.

    It is the one that the chord from x to y shortens to on M: the shortest one for points closer
    than the reach; farther apart there may be shorter ones.

    Args:
        M: the manifold; as a method, the one it is called on.
        x: points of M.
        y: points of M.
        through: points all over M; the shortest path through a graph of them is tried too.
        tol: as in :meth:`Manifold.exp`.
        max_steps: as in :meth:`Manifold.exp`.
        throw: as in :meth:`Manifold.exp`.
    """
    tol = geodesics.tolerance(M, tol, x.dtype)
    with torch.no_grad():
        a, b = geodesics.rows_of(M, x, y)
        known = M.contains(a) & M.contains(b)
        p, q = (M.project(torch.where(known.unsqueeze(-1), t, torch.nan)).value for t in (a, b))
        best = shoot(M, p, q, chord(M, p, q), tol=tol, max_steps=max_steps)
        if through is not None:
            path = routed(M, p, q, *geodesics.rows_of(M, through))
            other = shoot(M, p, q, path, tol=tol, max_steps=max_steps)
            better = other.converged & (~best.converged | (other.length < best.length))
            best = _merged(best, better.nonzero().squeeze(-1), other, better)
    return geodesics.shaped(best, torch.broadcast_tensors(x, y)[0], tol, throw)
