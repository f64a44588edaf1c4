"""What the solvers on M need to know of it: a protocol, and what a projection returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ProjectionError


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
        """Return self, or raise a ProjectionError where some point did not converge."""
        if not bool(self.converged.all()):
            failed = ~self.converged
            worst = self.residual[failed].abs().nan_to_num(nan=math.inf).max()
            raise ProjectionError(
                f"{int(failed.sum())} of {failed.numel()} points did not reach residual {tol:.1e} "
                f"(worst {float(worst):.1e} after {int(self.steps.max())} steps); "
                "raise max_steps, or start nearer to the manifold"
            )
        return self

    def like(self, x: Float[Tensor, "*batch D"]) -> Projection:
        """This projection, of the rows of x, in the shape and dtype of x."""
        shape = x.shape[:-1]
        return Projection(
            self.value.reshape(*shape, self.value.shape[-1]).to(x.dtype),
            self.residual.reshape(shape).to(x.dtype),
            self.converged.reshape(shape),
            self.steps.reshape(shape),
        )


@runtime_checkable
class ManifoldLike(Protocol):
    """What nearest points, curvature, geodesics and components ask of M = {E = 0}.

    Every :class:`~topogen.Manifold` has it; the members are described there.
    """

    @property
    def dim(self) -> int:
        """Dimension d of M."""
        ...

    @property
    def ambient_dim(self) -> int:
        """Dimension D of the space around it."""
        ...

    @property
    def scale(self) -> float:
        """A length of the size of M."""
        ...

    @property
    def tolerance(self) -> float | None:
        """How far from M its own points may lie."""
        ...

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """E(x), of rank D - d on M."""
        ...

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E(x) and DE(x)."""
        ...

    def project(self, x: Float[Tensor, "*batch D"]) -> Projection:
        """Retract x onto M."""
        ...

    def contains(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies on M."""
        ...

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the region in which M is stated."""
        ...

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the tangent space."""
        ...

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """Orthonormal basis of the normal space."""
        ...

    def solver_tolerance(self, tol: float | None, dtype: torch.dtype) -> float:
        """The tolerance of a solver in float64 for points of this dtype."""
        ...

    def second_fundamental_form(
        self, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
    ) -> Float[Tensor, "*batch d d D"]:
        """II(t_i, t_j) in an orthonormal basis of the tangent space."""
        ...
