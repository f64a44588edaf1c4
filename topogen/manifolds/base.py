"""A set M in R^D, told by its retraction and its residual; no law lives on it yet."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import constraints

from .. import calculus
from ..errors import ProjectionError

if TYPE_CHECKING:
    from ..homology import Homology


def projection_tolerance(dtype: torch.dtype, scale: float = 1.0) -> float:
    """Default residual at which a projection has converged: eps^(3/4) times the size of M."""
    return torch.finfo(dtype).eps ** 0.75 * scale


def membership_tolerance(dtype: torch.dtype, scale: float = 1.0) -> float:
    """Default residual up to which a point belongs to M: sqrt(eps) times the size of M."""
    return torch.finfo(dtype).eps ** 0.5 * scale


@dataclass(frozen=True)
class Projection:
    """Where a retraction took each point, and whether it arrived.

    Attributes:
        value: the points on M, shape (..., D); where not converged, the last iterate.
        residual: the residual of M at `value`, shape (...).
        converged: residual <= tol, shape (...); NaN input never converges.
        steps: steps taken, shape (...).
    """

    value: Float[Tensor, "*batch D"]
    residual: Float[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]
    steps: Int[Tensor, "*batch"]

    def require(self, tol: float) -> Projection:
        """Return self, or raise.

        Raises:
            ProjectionError: some point did not converge.
        """
        if not bool(self.converged.all()):
            failed = ~self.converged
            worst = self.residual[failed].abs().nan_to_num(nan=math.inf).max()
            raise ProjectionError(
                f"{int(failed.sum())} of {failed.numel()} points did not reach residual {tol:.1e} "
                f"(worst {float(worst):.1e} after {int(self.steps.max())} steps); "
                "raise max_steps, or start nearer to the manifold"
            )
        return self


def iterate(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    x: Float[Tensor, "*batch D"],
    *,
    tol: float,
    max_steps: int,
    throw: bool = False,
) -> Projection:
    """Repeat a row-wise step until each row's residual is <= tol; rows never affect one another.

    A row stops moving once it has converged, so its result does not depend on its company.

    Args:
        evaluate: points (n, D) to their residuals (n,) and to where a step takes them (n, D); one
            function, since both often come from one evaluation.
        x: start, shape (..., D).
        tol: residual at which a row counts as converged.
        max_steps: most steps of a row.
        throw: raise where a row does not converge.
    """
    shape = x.shape[:-1]
    value = x.reshape(-1, x.shape[-1]).clone()
    r = value.new_full(value.shape[:1], math.inf)
    steps = torch.zeros(value.shape[0], dtype=torch.int64, device=x.device)
    active = torch.arange(value.shape[0], device=x.device)
    for step in range(max_steps + 1):
        now, moved = evaluate(value[active])
        r = r.index_put((active,), now)
        going = (now > tol) & now.isfinite()
        if step == max_steps or not bool(going.any()):
            break
        active = active[going]
        value = value.index_put((active,), moved[going])
        steps[active] += 1
    projection = Projection(
        value.reshape(x.shape), r.reshape(shape), (r <= tol).reshape(shape), steps.reshape(shape)
    )
    return projection.require(tol) if throw else projection


class Manifold(nn.Module, ABC):
    r"""A set M of dimension `dim` in R^`ambient_dim`.

    To implement one, set `dim` and `ambient_dim` (and whatever else is known) and write

    - ``project(x, *, tol=None, max_steps=50, throw=False) -> Projection``: a retraction onto M;
    - ``residual(x)``: shape (...); 0 on M and close to the distance near it.

    Check it with :func:`topogen.testing.check_manifold`.

    Attributes:
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.
        closed: whether M is compact without boundary.
        homology: Betti numbers, where known.
        orientable: whether M is orientable, where known.
        volume: H^d(M), the d-dimensional Hausdorff measure, in the units of the points, where
            known.
        volume_error: bound on the error of `volume`; 0 for a closed form.
        scale: a length of the size of M; tolerances are relative to it.
        tolerance: how far from M its own points may lie (learned sets know M only up to an error);
            None for a set known exactly.
    """

    dim: int
    ambient_dim: int
    closed: bool = True
    homology: Homology | None = None
    orientable: bool | None = None
    volume: float | None = None
    volume_error: float | None = None
    scale: float = 1.0
    tolerance: float | None = None

    @abstractmethod
    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Retract x onto M.

        Args:
            x: points near M, shape (..., D).
            tol: residual at which a point counts as converged.
            max_steps: most steps per point.
            throw: raise where a point does not converge, instead of saying so.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
        """

    @abstractmethod
    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """How far x is from M: 0 on M, and close to the distance near it."""

    def atol(self, dtype: torch.dtype) -> float:
        """The default of `atol` in :meth:`contains`: `tolerance`, or sqrt(eps) times `scale`."""
        return (
            self.tolerance
            if self.tolerance is not None
            else membership_tolerance(dtype, self.scale)
        )

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is finite and within `atol` of M."""
        return self.residual(x) <= (self.atol(x.dtype) if atol is None else atol)

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """The residual at x, and where one step of :meth:`project` takes it, for solvers on M."""
        return self.residual(x), self.project(x, max_steps=1).value

    @property
    def defining(self) -> calculus.RowMap | None:
        r"""A row-wise F: R^D -> R^(D-d) with M = {F = 0} and DF of full rank on M, or None.

        Such an F trivialises the normal bundle, so M is orientable where there is one.
        """
        return None

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        r"""E(x), row-wise and differentiable: near M it vanishes on M only, with rank DE = D - d.

        The defining function where there is one; else E(x) = x - S(x), S one step of
        :meth:`project`. Solvers, tangent spaces and curvature on M follow from E: the second
        fundamental form is :math:`-DE^+\, D^2 E` on tangent vectors.
        """
        F = self.defining
        return x - self.step(x)[1] if F is None else F(x)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E(x) and its Jacobian DE(x), in one pass; see :meth:`equations`."""
        reverse = self.defining is not None
        mode = "reverse" if reverse else "forward"
        return calculus.value_and_jacobian(self.equations, x, mode=mode)

    def guard(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the region in which M is stated: everywhere, unless M says otherwise.

        Learned sets are stated near their data, restricted ones where their inequalities hold.
        """
        return x.isfinite().all(-1)

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """Orthonormal basis of the normal space at points x of M, shape (..., D, D - d)."""
        return calculus.complement(self.tangent_basis(x))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        r"""Orthonormal basis of T_xM at points x of M, shape (..., D, d).

        A retraction is the identity on M, so the range of its derivative at x in M is T_xM; the
        basis is that of the d leading left singular vectors.
        """
        P = calculus.jacobian(lambda y: self.project(y).value, x)
        return torch.linalg.svd(P)[0][..., : self.dim]

    def nearest(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 200,
        throw: bool = False,
    ) -> Projection:
        r"""A point y of M at which the distance to x is stationary: x - y is normal to M at y.

        The iteration y <- project(y + Q Q^T (x - y)), Q = tangent basis at y, started at
        project(x). It contracts by (distance to M) / (reach) per step, so it needs x closer to M
        than the reach. The residual of the result is the length of the tangential part of x - y.
        """
        tol = projection_tolerance(x.dtype, self.scale) if tol is None else tol
        shape = x.shape[:-1]
        target = x.reshape(-1, x.shape[-1])
        start = self.project(target)
        y, ok = start.value, start.converged

        def tangential(y: Tensor, x: Tensor) -> Tensor:
            Q = self.tangent_basis(y)
            return (Q @ (Q.mT @ (x - y).unsqueeze(-1))).squeeze(-1)

        shift = tangential(y, target)
        r = shift.norm(dim=-1)
        steps = start.steps.clone()
        for _ in range(max_steps):
            active = (ok & (r > tol)).nonzero().squeeze(-1)
            if active.numel() == 0:
                break
            moved = self.project(y[active] + shift[active])
            y = y.index_put((active,), moved.value)
            ok = ok.index_put((active,), moved.converged)
            new = tangential(moved.value, target[active])
            shift = shift.index_put((active,), new)
            r = r.index_put((active,), new.norm(dim=-1))
            steps[active] += 1
        result = Projection(
            y.reshape(x.shape),
            r.reshape(shape),
            (ok & (r <= tol)).reshape(shape),
            steps.reshape(shape),
        )
        return result.require(tol) if throw else result


class OnManifold(constraints.Constraint):
    """The support of a law on M: x is within `atol` of M.

    Args:
        manifold: the set M.
        atol: how far from M a point may be; None takes the manifold's own default.
    """

    is_discrete = False
    event_dim = 1

    def __init__(self, manifold: Manifold, atol: float | None = None) -> None:
        self.manifold = manifold
        self._atol = atol
        super().__init__()

    @property
    def atol(self) -> float:
        """The tolerance in the units of the points, for float64 where it is the default."""
        return self.manifold.atol(torch.float64) if self._atol is None else self._atol

    def check(self, value: Tensor) -> Tensor:
        """Whether each point is on M, shape (...)."""
        return self.manifold.contains(value, self._atol)

    def __repr__(self) -> str:
        return f"OnManifold({type(self.manifold).__name__}, atol={self.atol:.2g})"
