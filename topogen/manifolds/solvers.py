r"""Iterations on a manifold M = {E = 0}: retraction, nearest point, return along a fixed frame.

E: R^D -> R^m has rank k = D - d on M, m >= k. With J = DE, its pseudo-inverse :math:`J^+` of rank
k, an orthonormal basis T of what is left by the k leading right singular vectors of J, and
:math:`D^2 E` contracted with multipliers :math:`\lambda`:

- Gauss-Newton: :math:`x \leftarrow x - J^+ E`;
- Levenberg-Marquardt: :math:`x \leftarrow x - J^\top (J J^\top + \mu I_k)^{-1} E`, with the small
  Gram matrix, mu smaller where |E| falls and larger where it does not;
- nearest point to x: Newton on :math:`y + J^\top \lambda = x`, E(y) = 0, in the null-space form

  .. math:: y \leftarrow y + n + T t, \quad n = -J^+ E, \quad
            T^\top (I + \lambda \cdot D^2 E) T\, t
            = T^\top (x - y) - T^\top (\lambda \cdot D^2 E)\, n, \quad
            \lambda = J^{+\top} (x - y);

- return along a fixed normal frame N: :math:`a \leftarrow a - (J N)^+ E`, at y + N a.

K. Levenberg (1944), D. Marquardt (1963); J. Nocedal and S. Wright, Numerical Optimization (2006),
chapters 10 and 18.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from .types import ManifoldLike, Projection

Linearize = Callable[[Tensor], tuple[Tensor, Tensor]]
Method = Literal["auto", "gauss_newton", "levenberg_marquardt"]

# of mu over the mean square singular value of J: at the start, and its factors after a step that
# is taken and after one that is not
_DAMPING, _LOWER, _RAISE = 1e-2, 0.1, 5.0
# a residual that is infinite because J loses rank does not end a damped iteration
_FINITE = 1e300


def projection_tolerance(dtype: torch.dtype, scale: float = 1.0) -> float:
    """Default residual at which a projection has converged: eps^(3/4) times the size of M."""
    return torch.finfo(dtype).eps ** 0.75 * scale


def membership_tolerance(dtype: torch.dtype, scale: float = 1.0) -> float:
    """Default residual up to which a point belongs to M: sqrt(eps) times the size of M."""
    return torch.finfo(dtype).eps ** 0.5 * scale


def rounding(x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
    r"""How far x may be from a point that was rounded to x: :math:`\tfrac12 \epsilon |x|`.

    With the epsilon of the coarsest of float32, float16 and bfloat16 that holds the row exactly;
    0 where none does. A file in float32 leaves its points off M by so much.
    """
    half = x.new_zeros(x.shape[:-1])
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        exact = (x.detach().to(dtype).to(x.dtype) == x).all(-1)
        size = x.detach().norm(dim=-1) + torch.finfo(dtype).smallest_normal
        half = torch.where(exact, 0.5 * torch.finfo(dtype).eps * size, half)
    return half


def iterate(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Float[Tensor, "*batch D"],
    *,
    tol: float,
    max_steps: int,
    throw: bool = False,
) -> Projection:
    """Repeat a row-wise step until each row's residual is <= tol.

    A row stops once it has converged, so its result does not depend on its company. One that has
    converged at its start stays there, but its derivative is that of the step all the same: on M a
    retraction is the identity, and its derivative is not.

    Args:
        evaluate: points (n, D) to their residuals (n,) and to where a step takes them (n, D).
        x: start, shape (..., D).
        tol: residual at which a row counts as converged.
        max_steps: most steps of a row.
        throw: raise where a row does not converge.
    """
    value = x.reshape(-1, x.shape[-1]).clone()
    r = value.new_full(value.shape[:1], math.inf)
    steps = torch.zeros(value.shape[0], dtype=torch.int64, device=x.device)
    active = torch.arange(value.shape[0], device=x.device)
    first = value
    for step in range(max_steps + 1):
        now, moved = evaluate(value[active])
        first = moved if step == 0 else first
        r = r.index_put((active,), now)
        going = (now > tol) & now.isfinite()
        if step == max_steps or not bool(going.any()):
            break
        active = active[going]
        value = value.index_put((active,), moved[going])
        steps[active] += 1
    still = ((steps == 0) & (r <= tol) & first.isfinite().all(-1)).unsqueeze(-1)
    derivative = torch.where(still, first - first.detach(), 0.0)  # its value is 0
    value = torch.where(still, value.detach(), value) + derivative
    projection = Projection(value, r, r <= tol, steps).like(x)
    return projection.require(tol) if throw else projection


def check_tolerance(tol: float | None, dtype: torch.dtype, scale: float) -> None:
    """Refuse a tolerance that points of this dtype cannot meet.

    Raises:
        ValueError: tol is not positive, or below the rounding of points of size `scale`.
    """
    if tol is None:
        return
    least = torch.finfo(dtype).eps * scale
    if not tol >= least:
        raise ValueError(
            f"expected tol >= {least:.1e}, the rounding of {dtype} at this scale, got {tol:.1e}; "
            "raise tol, or give float64 points"
        )


def _reduced(f: Tensor, J: Tensor, rank: int) -> tuple[Tensor | None, Tensor, Tensor]:
    """U, U^T f and U^T J, where U spans the range of J of this rank; None for the unit matrix."""
    if f.shape[-1] == rank:
        return None, f, J
    U = calculus.leading_range(J, rank)
    return U, _project_to(U, f), U.mT @ J


def _project_to(U: Tensor | None, f: Tensor) -> Tensor:
    return f if U is None else (U.mT @ f.unsqueeze(-1)).squeeze(-1)


def _least_norm(g: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """K^+ g, K of full row rank, and its length; 0 and infinity where K loses rank, g not 0."""
    Q, R = calculus.orthonormalize(K.mT)
    zero, singular = (g == 0).all(-1), (R <= 0).any(-1)
    still, L = singular.unsqueeze(-1), (K @ Q).tril()
    identity = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
    L = torch.where(still.unsqueeze(-1), identity, L)
    w = torch.linalg.solve_triangular(L, g.unsqueeze(-1), upper=False)
    v = torch.where(still, 0.0, (Q @ w).squeeze(-1))
    # double where: a norm has no derivative at 0
    length = torch.where(zero.unsqueeze(-1), 1.0, v).norm(dim=-1)
    return v, torch.where(zero, 0.0, torch.where(singular, math.inf, length))


def gauss_newton_step(
    f: Float[Tensor, "*batch m"], J: Float[Tensor, "*batch m D"], rank: int
) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
    """J^+ f, and the residual |J^+ f|; what f has outside the range of J counts in it too.

    Both are differentiable; where J loses rank the step is 0 and the residual infinite.
    """
    U, g, K = _reduced(f, J, rank)
    v, length = _least_norm(g, K)
    if U is None:
        return v, length
    # no derivative: it is no part of the step
    rest = (f.square().sum(-1) - g.square().sum(-1)).detach().clamp_min(0).sqrt()
    size = torch.linalg.matrix_norm(K.detach(), ord=2) if rank else torch.ones_like(rest)
    return v, torch.where(rest > 0, torch.hypot(length, rest / size), length)


def _capped(v: Tensor, longest: float) -> Tensor:
    # the cap itself is no part of the derivative where it does not act
    far = v.detach().norm(dim=-1, keepdim=True) > longest
    # double where: a norm has no derivative at 0
    return torch.where(far, v * (longest / torch.where(far, v, 1.0).norm(dim=-1, keepdim=True)), v)


def project(
    linearize: Linearize,
    x: Float[Tensor, "*batch D"],
    *,
    rank: int,
    scale: float,
    tol: float,
    max_steps: int,
    method: Method = "auto",
) -> Projection:
    """Retract x onto {E = 0}; every step is differentiated: the first derivatives are exact.

    Args:
        linearize: points (n, D) to E, shape (n, m), and J, shape (n, m, D).
        x: start, shape (..., D).
        rank: k, the rank of J on M.
        scale: longest step.
        tol: residual :math:`|J^+ E|` at which a row has converged.
        max_steps: most steps of a row and a method.
        method: one of the two, or "auto": Gauss-Newton, and from the start the other if it fails.
    """
    if method not in get_args(Method):
        raise ValueError(f"expected a method out of {get_args(Method)}, got {method!r}")

    def gauss_newton(y: Tensor) -> tuple[Tensor, Tensor]:
        v, r = gauss_newton_step(*linearize(y), rank)
        return r, y - _capped(v, scale)

    if method == "levenberg_marquardt":
        return _levenberg_marquardt(linearize, x, rank, scale, tol, max_steps)
    p = iterate(gauss_newton, x, tol=tol, max_steps=max_steps)
    rows = ~p.converged & x.isfinite().all(-1)
    if method == "gauss_newton" or not bool(rows.any()):
        return p
    q = _levenberg_marquardt(linearize, x[rows], rank, scale, tol, max_steps)
    better = rows.masked_scatter(rows, q.converged)
    return Projection(
        p.value.index_put((better,), q.value[q.converged]),
        p.residual.index_put((better,), q.residual[q.converged]),
        p.converged | better,
        p.steps.index_put((rows,), p.steps[rows] + q.steps),
    )


def _levenberg_marquardt(
    linearize: Linearize, x: Tensor, rank: int, scale: float, tol: float, max_steps: int
) -> Projection:
    """The damping travels with its row, as a last column."""

    def step(state: Tensor) -> tuple[Tensor, Tensor]:
        y, damping = state[:, :-1], state[:, -1]
        f, J = linearize(y)
        U, g, K = _reduced(f, J, rank)
        _, r = gauss_newton_step(f.detach(), J.detach(), rank)
        G = K @ K.mT
        done = r <= tol  # a step without damping, for its derivative
        mu = torch.where(done, 0.0, damping * G.diagonal(dim1=-2, dim2=-1).mean(-1))
        G = G + mu[:, None, None] * torch.eye(rank, dtype=y.dtype, device=y.device)
        w = torch.linalg.solve_ex(G, g.unsqueeze(-1))[0]
        moved = y - _capped((K.mT @ w).squeeze(-1), scale)
        # with one U before and after; False where E is NaN there
        taken = _project_to(U, linearize(moved.detach())[0]).norm(dim=-1) < g.norm(dim=-1)
        damping = torch.where(taken, _LOWER * damping, _RAISE * damping).clamp(1e-14, 1e14)
        value = torch.where((taken | done).unsqueeze(-1), moved, y)
        return r.clamp_max(_FINITE), torch.cat([value, damping.unsqueeze(-1)], -1)

    start = torch.cat([x, torch.full_like(x[..., :1], _DAMPING)], -1)
    p = iterate(step, start, tol=tol, max_steps=max_steps)
    r = torch.where(p.residual >= _FINITE, math.inf, p.residual)
    return Projection(p.value[..., :-1], r, p.converged, p.steps)


def nearest(
    M: ManifoldLike, x: Float[Tensor, "*batch D"], *, tol: float, max_steps: int
) -> Projection:
    """A point y of M nearest to x among those around project(x); see :meth:`Manifold.nearest`."""
    D, target = M.ambient_dim, x.reshape(-1, x.shape[-1])
    fixed = target.detach()
    with torch.no_grad():
        start = M.project(fixed)

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor]:
            y, z = state[:, :D], state[:, D:]
            f, J = M.linearize(y)
            J = calculus.split(J, D - M.dim)
            n = -J.solve(f.unsqueeze(-1))
            g = J.T.mT @ (z - y).unsqueeze(-1)
            r = torch.hypot(g.flatten(-2).norm(dim=-1), n.flatten(-2).norm(dim=-1))
            A, h = _stationarity(M, y, z, J, n)
            # |eigenvalues|, and not too small: downhill for |x - y| also where A is not positive
            w, V = torch.linalg.eigh(torch.where(A.isfinite(), A, 0.0))
            w = w.abs().clamp_min(1e-3).unsqueeze(-1)
            step = n + J.T @ (V @ ((V.mT @ (g - h)) / w))
            return r, torch.cat([y + _capped(step.squeeze(-1), 0.25 * M.scale), z], -1)

        state = torch.cat([start.value, fixed], -1)
        p = iterate(evaluate, state, tol=tol, max_steps=max_steps)
    y = p.value[:, :D]
    value = torch.where(p.converged.unsqueeze(-1), _implicit(M, y, target), y)
    ok = p.converged & start.converged & M.in_domain(y)
    return Projection(value, p.residual, ok, start.steps + p.steps).like(x)


def _stationarity(
    M: ManifoldLike, y: Tensor, x: Tensor, J: calculus.Split, n: Tensor
) -> tuple[Tensor, Tensor]:
    """T^T (I + lambda . D^2 E) T, shape (n, d, d), and T^T (lambda . D^2 E) n, shape (n, d, 1)."""
    H = calculus.second_derivative(M.equations, y, torch.cat([J.T, n], -1))
    H = (_multipliers(J, x - y).unsqueeze(-1) * H).sum(-3)
    A, h = H[..., : M.dim, : M.dim], H[..., : M.dim, M.dim :]
    return torch.eye(M.dim, dtype=y.dtype, device=y.device) + (A + A.mT) / 2, h


def _multipliers(J: calculus.Split, v: Tensor) -> Tensor:
    """The transpose of J^+, applied to v."""
    return J.U @ ((J.N.mT @ v.unsqueeze(-1)) / J.s.unsqueeze(-1))


def _implicit(
    M: ManifoldLike, y: Float[Tensor, "n D"], x: Float[Tensor, "n D"]
) -> Float[Tensor, "n D"]:
    """One more step from y, of which only x and the parameters of E are differentiated."""
    y, fixed = y.detach(), x.detach()
    with torch.no_grad():
        J = calculus.split(M.linearize(y)[1], M.ambient_dim - M.dim)
        lam = _multipliers(J, fixed - y)
    f, JT = calculus.value_and_jacobian(
        lambda t: M.equations(y + (J.T @ t.unsqueeze(-1)).squeeze(-1)),
        y.new_zeros(y.shape[0], M.dim),
    )
    n = -J.solve(f.unsqueeze(-1))
    A, h = _stationarity(M, y, fixed, J, n)
    g = J.T.mT @ (x - y).unsqueeze(-1) - JT.mT @ lam - h
    move = J.T @ torch.linalg.solve_ex(A.detach(), g)[0]
    return y + (n + move).squeeze(-1)


def return_along(
    M: ManifoldLike,
    y: Float[Tensor, "n D"],
    N: Float[Tensor, "n D k"],
    *,
    tol: float,
    max_steps: int = 12,
) -> Projection:
    """The point of M in y + range(N): Newton on E(y + N a) = 0 from a = 0.

    With N the normal frame at q and y = q + v, v tangent at q, this is the step of an integrator
    on M that can be reversed. The residual is the length of the last Newton step.
    """
    D, k = N.shape[-2:]

    def evaluate(state: Tensor) -> tuple[Tensor, Tensor]:
        y, N = state[:, :D], state[:, D:].unflatten(-1, (D, k))
        f, J = M.linearize(y)
        Q, R = torch.linalg.qr(J @ N)
        a = torch.linalg.solve_triangular(R, Q.mT @ f.unsqueeze(-1), upper=True)
        step = (N @ a).squeeze(-1)
        return step.norm(dim=-1), torch.cat([y - step, state[:, D:]], -1)

    if k == 0:
        zero = y.new_zeros(y.shape[0])
        return Projection(y, zero, y.isfinite().all(-1), zero.long())
    p = iterate(evaluate, torch.cat([y, N.flatten(-2)], -1), tol=tol, max_steps=max_steps)
    return Projection(p.value[:, :D], p.residual, p.converged, p.steps)
