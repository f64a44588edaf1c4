"""What manifolds that are learned from points share: units, projection, domain, boundary."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..manifolds.base import Manifold, Projection, iterate
from ..manifolds.locate import arrived
from .base import Fittable
from .boundary import Boundary


class LearnedManifold(Manifold, Fittable):
    r"""A manifold M that is fitted in the span of its points; abstract.

    Its inner coordinates z are those of x = centre + unit V z in the principal axes V of the
    points: M is in the subspace, and what a point has beside it counts in the residual alone. To
    implement one, write ``_evaluate``, ``_in_domain``, ``_tangents`` and ``_rough``.

    Raises:
        ValueError: not 1 <= dim < ambient_dim.
    """

    centre: Tensor
    unit: Tensor
    V: Tensor

    def __init__(self, dim: int, ambient_dim: int) -> None:
        if not 1 <= dim < ambient_dim:
            raise ValueError(
                f"expected 1 <= dim < ambient_dim, got dim={dim}, ambient_dim={ambient_dim}; "
                "a manifold of full dimension has no normal directions to learn"
            )
        super().__init__()
        self.dim, self.ambient_dim = dim, ambient_dim
        self.noise = math.nan
        self.reserve("centre", "unit", "V")
        self.boundary = Boundary()

    @abstractmethod
    def _evaluate(self, z: Float[Tensor, "n m"], /) -> tuple[Tensor, Tensor]:
        """The residual at z, and where a step goes."""

    @abstractmethod
    def _in_domain(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        """Whether z is where M is stated."""

    @abstractmethod
    def _tangents(self, z: Float[Tensor, "n m"]) -> Float[Tensor, "n m d"]:
        """Orthonormal tangent bases at z, in inner coordinates."""

    @abstractmethod
    def _rough(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "p m"]:
        """Points near M, all over it."""

    @property
    def _spans(self) -> bool:
        """Whether the points spanned all of R^D: then V is the identity."""
        return self.V.shape[-1] == self.ambient_dim

    def _inner(self, y: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        return y if self._spans else y @ self.V

    def _outer(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch D"]:
        return z if self._spans else z @ self.V.mT

    def _total(
        self, r: Float[Tensor, " n"], y: Float[Tensor, "n D"], z: Float[Tensor, "n m"]
    ) -> Float[Tensor, " n"]:
        """The residual at y, from that at its z."""
        return r if self._spans else torch.hypot(r, (y - self._outer(z)).norm(dim=-1))

    def _to_unit(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """The y of x."""
        self.require_fitted()
        self.check_points(x)
        return (x.to(torch.float64) - self.centre) / self.unit

    def _flat(self, x: Float[Tensor, "*batch D"]) -> tuple[Tensor, Tensor]:
        """The y of x as rows, and their z."""
        y = self._to_unit(x).reshape(-1, self.ambient_dim)
        return y, self._inner(y)

    def _from_inner(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch D"]:
        return self._outer(z) * self.unit + self.centre

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether no boundary of the data was found."""
        return len(self.boundary) == 0

    @property
    def step_stays_in_domain(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether steps arrive only inside the domain of validity: they may pass a boundary."""
        return self.closed

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Steps of :meth:`step` until the residual is at most tol; see :meth:`Manifold.project`.

        Outside the domain of validity a step goes towards a landmark, and so into it.
        """
        z, tol = self._inner(self._to_unit(x)), self.solver_tolerance(tol, x.dtype)
        p = iterate(self._evaluate, z, tol=tol / float(self.unit), max_steps=max_steps)
        value, residual = self._from_inner(p.value), p.residual * self.unit
        result = Projection(value, residual, p.converged, p.steps).like(x)
        return result.require(tol) if throw else result

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """The residual at x, and where one step of :meth:`project` takes it."""
        y, z = self._flat(x)
        r, moved = self._evaluate(z)
        r, moved = self._total(r, y, z) * self.unit, self._from_inner(moved)
        return r.reshape(x.shape[:-1]).to(x.dtype), moved.reshape(x.shape).to(x.dtype)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The length of a step in the domain of validity; else the distance to a landmark."""
        return self.step(x)[0]

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x is in the domain of validity: near the data, and inside their boundary."""
        return self._in_domain(self._flat(x)[1]).reshape(x.shape[:-1])

    def rough_points(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "p D"]:
        """Landmarks, and projections of about n points near M."""
        self.require_fitted()
        return arrived(self, self._from_inner(self._rough(n, generator)))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the kernel of the derivative of the equations, (..., D, d)."""
        T = self._tangents(self._flat(x)[1])
        T = T if self._spans else self.V @ T
        return T.reshape(*x.shape, self.dim).to(x.dtype)
