r"""Geodesics of a manifold M in R^D: exponential map and parallel transport.

A geodesic is the motion of a free particle on M. One step of length h from q with velocity p is

.. math:: q' = q + h p + N_q a \in M, \qquad p' = P_{q'} (p + N_q a / h),

with N_q a basis of the normal space at q and P the tangent projector (RATTLE without a force).
Vectors are carried by the orthogonal map nearest to the projection :math:`T_qM \to T_{q'}M`. Both
are symmetric, so the error at a fixed time is a series in :math:`h^2`: steps are refined, and the
series extrapolated until two estimates agree; the end is projected onto M.

H. C. Andersen, RATTLE (1983), https://doi.org/10.1016/0021-9991(83)90014-1; E. Hairer, C. Lubich
and G. Wanner, Geometric Numerical Integration (2006), section VII.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import calculus
from ..errors import GeodesicError
from . import solvers
from .curvature import second_fundamental_form
from .types import ManifoldLike

# Numbers of steps, over the first: few of them make a high order where M is smooth (Bulirsch).
_SEQUENCE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Geodesic:
    """Geodesics c: [0, 1] -> M, and how well each is known.

    Attributes:
        start: c(0), shape (..., D).
        velocity: c'(0), the tangent vector v of exp(v) and the value of log, shape (..., D).
        end: c(1), shape (..., D).
        arrival: c'(1), of the same length as `velocity`, shape (..., D).
        length: the length of the curve, |v|, shape (...).
        error: estimate of the error of `end`, together with that of the direction of `arrival`
            (and of what is carried) times `scale`, shape (...).
        converged: error <= tol, with both ends on M and all of the curve where M is stated.
        steps: steps of the finest subdivision, shape (...).

    Example:
        >>> from topogen.manifolds.spaces import Sphere
        >>> M = Sphere()
        >>> x, v = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, torch.pi / 2, 0.0])
        >>> g = M.exp(x, v)
        >>> bool((g.end - torch.tensor([0.0, 1.0, 0.0])).norm() < 1e-6), g.converged
        (True, tensor(True))
    """

    start: Float[Tensor, "*batch D"]
    velocity: Float[Tensor, "*batch D"]
    end: Float[Tensor, "*batch D"]
    arrival: Float[Tensor, "*batch D"]
    length: Float[Tensor, "*batch"]
    error: Float[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]
    steps: Int[Tensor, "*batch"]

    def require(self, tol: float) -> Geodesic:
        """Return self, or raise a GeodesicError where some geodesic is not known to `tol`."""
        if not bool(self.converged.all()):
            failed = ~self.converged
            worst = self.error[failed].nan_to_num(nan=math.inf).max()
            raise GeodesicError(
                f"{int(failed.sum())} of {failed.numel()} geodesics were not found to {tol:.1e} "
                f"(worst {float(worst):.1e} with {int(self.steps.max())} steps); raise max_steps "
                "or tol, check that the points lie on M, or give points of M to route through"
            )
        return self


class GeodesicState(NamedTuple):
    """A particle on M: position, velocity, tangent frame, carried vectors in it, status."""

    q: Float[Tensor, "n D"]
    p: Float[Tensor, "n D"]
    T: Float[Tensor, "n D d"]
    c: Float[Tensor, "n d m"]
    ok: Bool[Tensor, " n"]


def step(M: ManifoldLike, s: GeodesicState, h: Float[Tensor, " n"], tol: float) -> GeodesicState:
    """One step of length h; not ok where M is left, or the step is too long to return to M."""
    h = h.unsqueeze(-1)
    N = calculus.complement(s.T)
    free = s.q + h * s.p
    landed = solvers.return_along(M, free, N, tol=tol)
    back = landed.value - free
    ok = s.ok & landed.converged & M.in_domain(landed.value)
    # a normal part longer than the step itself belongs to another sheet
    ok = ok & (back.norm(dim=-1) <= (h * s.p).norm(dim=-1) + tol)
    q = torch.where(ok.unsqueeze(-1), landed.value, s.q)
    T = M.tangent_basis(q)
    p = (T @ (T.mT @ (s.p + back / h).unsqueeze(-1))).squeeze(-1)
    c = s.c
    if c.shape[-1]:
        U, _, Vh = torch.linalg.svd(T.mT @ s.T)
        c = U @ (Vh @ c)
    return GeodesicState(q, torch.where(ok.unsqueeze(-1), p, s.p), T, c, ok)


def integrate(
    M: ManifoldLike, start: GeodesicState, n: Int[Tensor, " n"], tol: float
) -> GeodesicState:
    """Take n equal steps over unit time; each row has a number of steps of its own."""
    h = 1 / n.to(torch.float64)
    now = start
    for i in range(int(n.max()) if n.numel() else 0):
        rows = ((i < n) & now.ok).nonzero().squeeze(-1)
        if rows.numel() == 0:
            break
        moved = step(M, GeodesicState(*(f[rows] for f in now)), h[rows], tol)
        pairs = zip(now, moved, strict=True)
        now = GeodesicState(*(f.index_put((rows,), m) for f, m in pairs))
    return now


def tolerance(M: ManifoldLike, tol: float | None, dtype: torch.dtype) -> float:
    """The default of `tol`: sqrt(eps) `scale`, or the `tolerance` of a learned manifold / 100."""
    if tol is not None:
        solvers.check_tolerance(tol, dtype, M.scale)
        return tol
    least = solvers.membership_tolerance(torch.float64, M.scale)
    return least if M.tolerance is None else max(least, 1e-2 * M.tolerance)


def require_tangent(
    vectors: Float[Tensor, "n m D"], tangential: Float[Tensor, "n m D"], known: Bool[Tensor, " n"]
) -> None:
    """Raise a ValueError where a vector at a known point has a normal part beyond rounding."""
    off = (vectors - tangential).norm(dim=-1) > 1e-3 * vectors.norm(dim=-1) + 1e-12
    wrong = off.any(-1) & known
    if bool(wrong.any()):
        raise ValueError(
            f"expected tangent vectors of M, got {int(wrong.sum())} rows with a normal part; "
            "project them: Q @ (Q.mT @ v), Q = M.tangent_basis(x)"
        )


def frames(
    M: ManifoldLike, x: Float[Tensor, "n D"], ok: Bool[Tensor, " n"]
) -> Float[Tensor, "n D d"]:
    """Tangent bases at x; 0 where not `ok`."""
    T = x.new_zeros(*x.shape, M.dim)
    return T.index_put((ok,), M.tangent_basis(x[ok]))


def start_at(
    M: ManifoldLike, x: Float[Tensor, "n D"], v: Float[Tensor, "n D"], w: Float[Tensor, "n D m"]
) -> tuple[GeodesicState, Float[Tensor, "n D"]]:
    """The state at the projection of x, and v without what rounding left of a normal part.

    Raises:
        ValueError: v or w has a normal part that is no rounding.
    """
    known = M.contains(x) & v.isfinite().all(-1)
    p = M.project(torch.where(known.unsqueeze(-1), x, torch.nan))
    ok = known & p.converged & M.in_domain(p.value)
    q = torch.where(ok.unsqueeze(-1), p.value, x)
    T = frames(M, q, ok)
    vectors = torch.cat([v.unsqueeze(-1), w], -1)
    c = T.mT @ vectors
    require_tangent(vectors.mT, (T @ c).mT, ok)
    v = (T @ c[..., :1]).squeeze(-1)
    return GeodesicState(q, v, T, c[..., 1:], ok), v


def first_steps(M: ManifoldLike, s: GeodesicState, angle: float = 0.5) -> Int[Tensor, " n"]:
    """How many steps turn by about `angle` radians each, by the curvature at the start."""
    n = torch.full(s.ok.shape, 2, dtype=torch.int64, device=s.q.device)
    if not bool(s.ok.any()):
        return n
    c = (s.T[s.ok].mT @ s.p[s.ok].unsqueeze(-1)).squeeze(-1)
    II = second_fundamental_form(M, s.q[s.ok], s.T[s.ok])
    bend = torch.einsum("ni,nj,nija->na", c, c, II).norm(dim=-1)
    length = c.norm(dim=-1)
    turn = torch.maximum(bend / length.clamp_min(1e-300), length / M.scale)
    return n.index_put((s.ok,), (turn / angle).ceil().clamp(2, 2**20).long())


def follow(
    M: ManifoldLike,
    x: Float[Tensor, "n D"],
    v: Float[Tensor, "n D"],
    w: Float[Tensor, "n D m"],
    *,
    tol: float | Float[Tensor, " n"],
    max_steps: int,
) -> tuple[Geodesic, Float[Tensor, "n D m"]]:
    """The geodesics from x with velocity v, and the vectors w carried along; float64 rows."""
    inner = M.solver_tolerance(None, torch.float64)
    s, v = start_at(M, x, v, w)
    D, speed, sizes = x.shape[-1], v.norm(dim=-1), w.norm(dim=-2)
    # directions count in the error as lengths of the size of M
    per_speed = M.scale / torch.where(speed > 0, speed, 1.0).unsqueeze(-1)
    per_size = M.scale / torch.where(sizes > 0, sizes, 1.0).unsqueeze(-2)

    def packed(s: GeodesicState) -> Tensor:
        carried = (s.T @ s.c) * per_size[rows]
        z = torch.cat([s.q, s.p * per_speed[rows], carried.flatten(-2)], -1)
        return torch.where(s.ok.unsqueeze(-1), z, torch.nan)

    rows, known = torch.arange(x.shape[0], device=x.device), s.ok
    best = packed(s)
    error = torch.where(s.ok & (speed == 0), 0.0, torch.full_like(speed, math.inf))
    n0, steps = first_steps(M, s), torch.zeros_like(rows)
    table: list[Tensor] = []
    for level, times in enumerate(_SEQUENCE):
        n = times * n0
        rows = (s.ok & ~(error <= tol) & (n <= max_steps)).nonzero().squeeze(-1)
        if rows.numel() == 0:
            break
        r = integrate(M, GeodesicState(*(f[rows] for f in s)), n[rows], inner)
        if times >= 16:  # where so fine a step fails M ends: finer ones lead no farther
            s = s._replace(ok=s.ok.index_put((rows,), r.ok))
        z = packed(r)
        now = [torch.full_like(best, torch.nan).index_put((rows,), z)]
        for j, old in enumerate(table):
            ratio = times / _SEQUENCE[level - j - 1]
            now.append(now[j] + (now[j] - old) / (ratio**2 - 1))
            change = (now[j + 1] - now[j]).norm(dim=-1)
            better = change < error
            best = torch.where(better.unsqueeze(-1), now[j + 1], best)
            error = torch.where(better, change, error)
        table = now
        steps[rows] = n[rows]
    p = M.project(best[:, :D])
    ok = s.ok & (error <= tol) & p.converged
    end = torch.where(ok.unsqueeze(-1), p.value, torch.nan)
    T = torch.full_like(s.T, torch.nan).index_put((ok,), M.tangent_basis(end[ok]))
    arrival = (T @ (T.mT @ best[:, D : 2 * D].unsqueeze(-1))).squeeze(-1)
    arrival = arrival * (speed / arrival.norm(dim=-1).clamp_min(1e-300)).unsqueeze(-1)
    carried = T @ (T.mT @ (best[:, 2 * D :].unflatten(-1, (D, w.shape[-1])) / per_size))
    v = torch.where(known.unsqueeze(-1), v, torch.nan)
    speed = torch.where(known, speed, torch.nan)
    return Geodesic(s.q, v, end, arrival, speed, error, ok, steps), carried


def rows_of(M: ManifoldLike, *points: Tensor) -> list[Float[Tensor, "n D"]]:
    """Tensors of shape (..., D), else a ValueError, broadcast to float64 rows."""
    D = M.ambient_dim
    wrong = [tuple(t.shape) for t in points if t.shape[-1:] != (D,)]
    if wrong:
        raise ValueError(f"expected points and vectors of shape (..., {D}), got {wrong[0]}")
    return [t.to(torch.float64).reshape(-1, D) for t in torch.broadcast_tensors(*points)]


def shaped(g: Geodesic, like: Float[Tensor, "*batch D"], tol: float, throw: bool) -> Geodesic:
    """The geodesics of rows in the shape and dtype of the points that were given."""
    parts = [getattr(g, f.name) for f in fields(g)]
    parts = [t.reshape((*like.shape[:-1], *t.shape[1:])) for t in parts]
    done = Geodesic(*(t.to(like.dtype) if t.is_floating_point() else t for t in parts))
    return done.require(tol) if throw else done


def exp(
    M: ManifoldLike,
    x: Float[Tensor, "*#batch D"],
    v: Float[Tensor, "*#batch D"],
    *,
    tol: float | None = None,
    max_steps: int = 1024,
    throw: bool = False,
) -> Geodesic:
    """The geodesic with c(0) = x and c'(0) = v; exp_x(v) is its `end`, with an error.

    Args:
        M: the manifold; as a method, the one it is called on.
        x: points of M.
        v: tangent vectors there.
        tol: error at which a geodesic counts as found; None takes sqrt(eps) times `scale`, or a
            hundredth of the `tolerance` of a learned manifold.
        max_steps: most steps of the finest subdivision.
        throw: raise where one is not found, instead of saying so.

    Raises:
        ValueError: v has a normal part that is no rounding, or `tol` is below the rounding of x.
        GeodesicError: `throw` is set and some geodesic was not found.
    """
    tol = tolerance(M, tol, x.dtype)
    with torch.no_grad():
        q, p = rows_of(M, x, v)
        g, _ = follow(M, q, p, p.new_zeros(*p.shape, 0), tol=tol, max_steps=max_steps)
    return shaped(g, torch.broadcast_tensors(x, v)[0], tol, throw)


def transport(
    M: ManifoldLike,
    x: Float[Tensor, "*#batch D"],
    v: Float[Tensor, "*#batch D"],
    w: Float[Tensor, "*#batch D"],
    *,
    tol: float | None = None,
    max_steps: int = 1024,
    throw: bool = False,
) -> tuple[Float[Tensor, "*batch D"], Geodesic]:
    """Vectors w at x in parallel along the geodesic of v, and that geodesic; see :meth:`exp`."""
    tol = tolerance(M, tol, x.dtype)
    with torch.no_grad():
        q, p, u = rows_of(M, x, v, w)
        g, carried = follow(M, q, p, u.unsqueeze(-1), tol=tol, max_steps=max_steps)
    like = torch.broadcast_tensors(x, v, w)[0]
    value = carried.squeeze(-1).reshape(like.shape).to(like.dtype)
    return value, shaped(g, like, tol, throw)
