"""One reversible move along M: a tangential step, and a return along the fixed normal frame.

It is that of :func:`topogen.sampling.random_walk` and of :func:`topogen.sampling.constrained_hmc`.
Zappa, Holmes-Cerfon and Goodman, 2018, https://doi.org/10.1002/cpa.21783; Lelievre, Rousset and
Stoltz, 2019, https://doi.org/10.1007/s00211-019-01056-4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import calculus
from ..manifolds.base import Manifold, projection_tolerance

# up to this many equations, one backward pass for each is faster than a vectorised one
_FEW_EQUATIONS = 3


@dataclass(frozen=True)
class NormalSolver:
    r"""How E(x + v + N_x a) = 0 is solved for a: R^k, from a = 0, in float64.

    A step is :math:`a \leftarrow a - (DE(y) N_x)^+ E(y)` at y = x + v + N_x a, by least squares
    where there are more than k equations. The way back is solved with the same budget and start,
    since a move counts only if it returns.

    Attributes:
        tol: length of a step at which a row has converged; None takes eps^(3/4) times the size of
            M, eps being that of the precision in which E is computed.
        reverse_tol: how near to x the way back must end; None takes sqrt(eps) times the size.
        max_steps: most steps of a row.
        quasi: take DE(x) in place of DE(y): a step is cheaper, convergence is linear.
        reverse_check: False accepts moves that do not return: a wrong distribution, to compare.
    """

    tol: float | None = None
    reverse_tol: float | None = None
    max_steps: int = 10
    quasi: bool = False
    reverse_check: bool = True

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"expected max_steps >= 1, got {self.max_steps}")
        for name, value in (("tol", self.tol), ("reverse_tol", self.reverse_tol)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"expected {name} > 0, got {value}")


@dataclass(frozen=True)
class Frames:
    """Points x of M, shape (n, D), with orthonormal bases N of their normal spaces, (n, D, k)."""

    x: Float[Tensor, "n D"]
    N: Float[Tensor, "n D k"]

    def coefficients(self, p: Float[Tensor, "n D"]) -> Float[Tensor, "n k"]:
        """N^T p."""
        if self.N.shape[-1] == 1:
            return (self.N[..., 0] * p).sum(-1, keepdim=True)
        return (self.N.mT @ p.unsqueeze(-1)).squeeze(-1)

    def normal(self, a: Float[Tensor, "n k"]) -> Float[Tensor, "n D"]:
        """N a."""
        return _combine(self.N, a)

    def tangential(self, p: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """P p = p - N N^T p."""
        return p - self.normal(self.coefficients(p))

    def __getitem__(self, rows: Tensor) -> Frames:
        return Frames(self.x[rows], self.N[rows])

    def put(self, rows: Int[Tensor, " m"], other: Frames) -> Frames:
        """These, with the given rows replaced."""
        return Frames(self.x.index_copy(0, rows, other.x), self.N.index_copy(0, rows, other.N))


@dataclass(frozen=True)
class Move:
    """Where a tangential step took each row."""

    at: Frames  # the points y reached; the starting ones, x, of rows that did not arrive
    v: Float[Tensor, "n D"]  # the tangential part of y - x at y; reversed, it leads back
    arrived: Bool[Tensor, " n"]  # whether the return to M converged
    inside: Bool[Tensor, " n"]  # whether y lies in the domain of validity
    returned: Bool[Tensor, " n"]  # whether the move from y along -v ends at x

    @property
    def ok(self) -> Bool[Tensor, " n"]:
        """Whether the move may be taken."""
        return self.arrived & self.inside & self.returned


class Mover:
    """Moves along one M with one solver.

    Raises:
        ValueError: its tolerance is finer than the precision in which M is computed.
    """

    def __init__(self, M: Manifold, solver: NormalSolver) -> None:
        self.M, self.solver = M, solver
        self.codim = M.ambient_dim - M.dim
        # a manifold that knows DE in closed form is faster where its equations are over-determined
        closed = type(M).linearize is not Manifold.linearize
        self.few = self.codim <= _FEW_EQUATIONS and (M.defining is not None or not closed)
        dtypes = (torch.float64, *(parameter.dtype for parameter in M.parameters()))
        floor = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
        eps = torch.finfo(floor).eps
        self.tol = projection_tolerance(floor, M.scale) if solver.tol is None else solver.tol
        # rounding of E is about eps times the size of M
        if self.tol < 8 * eps * M.scale:
            raise ValueError(
                f"expected tol >= {8 * eps * M.scale:.1e}, since {type(M).__name__} is computed "
                f"in {floor}, got {self.tol:.1e}; no row would ever converge: raise tol, or call "
                "M.double()"
            )
        given = solver.reverse_tol
        self.reverse_tol = eps**0.5 * M.scale if given is None else given

    def linearize(self, x: Float[Tensor, "n D"]) -> tuple[Tensor, Tensor]:
        """E(x), shape (n, m), and DE(x), shape (n, m, D)."""
        if not self.few:
            return self._closed(x)
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            E = self.M.equations(y)
            if E.shape[-1] > _FEW_EQUATIONS:
                self.few = False
                return self._closed(x)
            parts = [
                torch.autograd.grad(e.sum(), y, retain_graph=True, materialize_grads=True)[0]
                for e in E.unbind(-1)
            ]
        return E.detach(), torch.stack(parts, -2)

    @torch.no_grad()
    def _closed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.M.linearize(x)

    def frames(self, x: Float[Tensor, "n D"], J: Tensor | None = None) -> Frames:
        """Normal frames at points x of M; J = DE(x), where it is known."""
        J = self.linearize(x)[1] if J is None else J
        if J.shape[-2] == self.codim == 1:
            return Frames(x, (J / J.norm(dim=-1, keepdim=True)).mT)
        if J.shape[-2] == self.codim:
            return Frames(x, calculus.normal_basis(J))
        N, rest = _row_space(J, self.codim)
        # E has rank k on M; where rounding leaves more than that, M says what is normal
        rows = (~(rest <= 1e-8)).nonzero().squeeze(-1)
        if rows.numel():
            N = N.index_copy(0, rows, self.M.normal_basis(x[rows]))
        return Frames(x, N)

    def solve(
        self, at: Frames, v: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n m D"] | None, Bool[Tensor, " n"]]:
        """Solve E(x + v + N_x a) = 0: the points, DE there if at hand, and who converged."""
        y, N, J_all, n = at.x + v, at.N, None, v.shape[0]
        fixed = _apply(self.linearize(at.x)[1], N) if self.solver.quasi else None
        active = torch.arange(n, device=y.device)
        converged = torch.zeros(n, dtype=torch.bool, device=y.device)
        for step in range(self.solver.max_steps + 1):
            here = y if active.numel() == n else y[active]
            if fixed is None:
                E, J = self.linearize(here)
                a, rest = _least_squares(_apply(J, N), E)
            else:
                with torch.no_grad():
                    E, J = self.M.equations(here), None
                a, rest = _least_squares(fixed, E)
            size = a.norm(dim=-1)
            done = (size <= self.tol) & (rest <= self.reverse_tol)
            if J is not None:
                rows = active[done]
                J_all = J if J_all is None else J_all.index_copy(0, rows, J[done])
            converged = converged.index_put((active,), done)
            going = size.isfinite() & ~done
            if step == self.solver.max_steps or not bool(going.any()):
                break
            if not bool(going.all()):
                active, N, a = active[going], N[going], a[going]
                fixed = None if fixed is None else fixed[going]
            moved = -_combine(N, a)
            y = y + moved if active.numel() == n else y.index_add(0, active, moved)
        return y, J_all, converged

    def move(self, at: Frames, v: Float[Tensor, "n D"]) -> Move:
        """Step along the tangential vectors v and return to M; check the way back."""
        y, J, arrived = self.solve(at, v)
        inside, returned = torch.zeros_like(arrived), torch.zeros_like(arrived)
        rows = arrived.nonzero().squeeze(-1)
        if rows.numel() < arrived.numel():
            y, J = y[rows], None if J is None else J[rows]
        if rows.numel() == 0:
            return Move(at, torch.zeros_like(v), arrived, inside, returned)
        there, x = self.frames(y, J), at.x[rows]
        inside[rows] = self.M.in_domain(y) & there.N.isfinite().flatten(1).all(-1)
        w = there.tangential(y - x)
        returned[rows] = True
        if self.solver.reverse_check:
            z, _, back = self.solve(there, -w)
            returned[rows] = back & ((z - x).norm(dim=-1) <= self.reverse_tol)
        if rows.numel() < arrived.numel():
            there, w = at.put(rows, there), torch.zeros_like(v).index_copy(0, rows, w)
        return Move(there, w, arrived, inside, returned)


def _combine(N: Tensor, a: Tensor) -> Tensor:
    """N a."""
    if N.shape[-1] == 1:
        return N[..., 0] * a
    return (N @ a.unsqueeze(-1)).squeeze(-1)


def _apply(J: Tensor, N: Tensor) -> Tensor:
    """J N."""
    if N.shape[-1] == 1:
        return (J * N.mT).sum(-1, keepdim=True)
    return J @ N


def _row_space(J: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Orthonormal basis of the span of k pivot rows of J, and what others have outside it."""
    left, chosen = J, []
    for _ in range(k):
        length = left.square().sum(-1)
        pivot = length.argmax(-1)[:, None, None].expand(-1, 1, J.shape[-1])
        row = left.gather(-2, pivot)
        row = row / row.norm(dim=-1, keepdim=True)
        chosen.append(J.gather(-2, pivot))
        left = left - (left @ row.mT) * row
    N = calculus.normal_basis(torch.cat(chosen, -2))
    return N, left.flatten(1).norm(dim=-1) / J.flatten(1).norm(dim=-1)


def _least_squares(A: Tensor, E: Tensor) -> tuple[Tensor, Tensor]:
    """The a that minimises |A a - E|, and what is left, relative to the size of A.

    Rows with a singular A give NaN or infinity, never an error.
    """
    m, k = A.shape[-2:]
    if m == k:
        if k == 1:
            a = E / A[..., 0]
        elif k == 2:
            det = A[..., 0, 0] * A[..., 1, 1] - A[..., 0, 1] * A[..., 1, 0]
            first = A[..., 1, 1] * E[..., 0] - A[..., 0, 1] * E[..., 1]
            second = A[..., 0, 0] * E[..., 1] - A[..., 1, 0] * E[..., 0]
            a = torch.stack([first, second], -1) / det.unsqueeze(-1)
        else:
            a = torch.linalg.solve_ex(A, E.unsqueeze(-1))[0].squeeze(-1)
        return a, torch.zeros_like(a[..., 0])
    right = (A.mT @ E.unsqueeze(-1)).squeeze(-1)
    if k == 1:
        a = right / A.square().sum(-2)
    else:
        L, failed = torch.linalg.cholesky_ex(A.mT @ A)
        a = torch.cholesky_solve(right.unsqueeze(-1), L).squeeze(-1)
        a = torch.where((failed > 0).unsqueeze(-1), math.nan, a)
    rest = (E - (A @ a.unsqueeze(-1)).squeeze(-1)).norm(dim=-1)
    return a, rest * (k / A.square().sum((-2, -1))).sqrt()
