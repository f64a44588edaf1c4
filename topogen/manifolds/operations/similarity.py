"""Similar copies of a manifold: moved, rotated, scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...homology import Homology
from ..base import Manifold, Projection, rounding
from .composite import Composite, Onto


class Similarity(Composite):
    r"""The copy cRM + b of a manifold M: rotated by R, c times as large, moved by b.

    Volumes are those of M times :math:`c^d`; homology and orientability are those of M. The copy
    may lie in a space of more dimensions, of which M is in a subspace: R has then as many rows.

    Args:
        manifold: the manifold M.
        shift: b, D numbers.
        factor: c > 0.
        rotation: R, a matrix of D rows with orthonormal columns; None is the identity.

    Raises:
        ValueError: a shift of the wrong length, c <= 0, or the columns of R not orthonormal.

    Example:
        >>> M = Similarity(tg.Sphere(), [3.0, 0.0, 0.0], factor=2.0)
        >>> M.project(torch.tensor([[9.0, 0.0, 0.0]])).value, round(M.volume / torch.pi, 6)
        (tensor([[5., 0., 0.]]), 16.0)
    """

    shift: Tensor
    rotation: Tensor | None

    def __init__(
        self,
        manifold: Manifold,
        shift: Sequence[float] | Float[Tensor, " D"],
        *,
        factor: float = 1.0,
        rotation: Float[Tensor, "D m"] | None = None,
    ) -> None:
        super().__init__()
        m = manifold.ambient_dim
        D = m if rotation is None else rotation.shape[0]
        b = torch.as_tensor(shift, dtype=torch.float64).detach().clone()
        if b.shape != (D,) or not bool(b.isfinite().all()):
            raise ValueError(f"expected a shift of {D} finite numbers, got shape {tuple(b.shape)}")
        if not 0 < factor < float("inf"):
            raise ValueError(f"expected a finite factor > 0, got factor={factor}")
        if rotation is not None:
            rotation = rotation.detach().to(torch.float64)
            eye = torch.eye(m, dtype=torch.float64)
            if rotation.shape != (D, m) or not torch.allclose(rotation.T @ rotation, eye):
                raise ValueError(
                    f"expected a matrix of {m} orthonormal columns, got shape "
                    f"{tuple(rotation.shape)}; take Q of its QR factors"
                )
        self.manifold = manifold
        self.dim, self.ambient_dim = manifold.dim, D
        self.factor = float(factor)
        self.register_buffer("shift", b)
        self.register_buffer("rotation", rotation)

    def back(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """The point of M that x is a copy of: R^T (x - b) / c."""
        self.check_points(x)
        y = x - self.shift.to(x)
        return (y if self.rotation is None else y @ self.rotation.to(x)) / self.factor

    def _inside(self, x: Tensor) -> Tensor:
        self.check_points(x)
        return self.back(x.to(torch.float64))

    def _rotated(self, v: Tensor) -> Tensor:
        """R v, v a row."""
        return v if self.rotation is None else v @ self.rotation.mT.to(v)

    def forth(self, y: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch D"]:
        """The copy of y: cRy + b."""
        return self.factor * self._rotated(y) + self.shift.to(y)

    @property
    def _spans(self) -> bool:
        """Whether the copy of the space of M is the whole space around the copy of M."""
        return self.manifold.ambient_dim == self.ambient_dim

    def _beside(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """(I - R R^T)(x - b): what x has beside the copy of the space of M."""
        y = x - self.shift.to(x)
        return y if self.rotation is None else y - self._rotated(y @ self.rotation.to(x))

    def _with_beside(self, r: Tensor, x: Tensor) -> Tensor:
        """The residual of x, from that of the point of the space of M."""
        r = self.factor * r
        return r if self._spans else torch.hypot(r, self._beside(x).norm(dim=-1).to(r))

    def listed(self) -> list[Manifold]:
        """M alone."""
        return [self.manifold]

    def _length(self, lengths: Tensor) -> Tensor:
        return self.factor * lengths[..., 0]

    def _at(self, x: Float[Tensor, "*batch D"]) -> list[tuple[Manifold, Tensor]]:
        return [(self.manifold, self.back(x))]

    def _combined(self, x: Tensor, onto: Onto, tol: float | None) -> Projection:
        p = onto(self.manifold, self._inside(x), None if tol is None else tol / self.factor)
        value, residual = self.forth(p.value), self.factor * p.residual
        return Projection(value, residual, p.converged, p.steps).like(x)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """That of M, times c."""
        return self._with_beside(self.manifold.residual(self._inside(x)), x).to(x.dtype)

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | Tensor | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol` of the copy."""
        bound = self.tolerance_at(x) + rounding(x) if atol is None else atol
        inside = self.manifold.contains(self._inside(x), bound / self.factor)
        return inside if self._spans else inside & (self.residual(x) <= bound)

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """That of M, copied."""
        r, y = self.manifold.step(self._inside(x))
        return self._with_beside(r, x).to(x.dtype), self.forth(y).to(x.dtype)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the copy of the domain of validity of M."""
        return self.manifold.in_domain(self.back(x))

    @property
    def defining(self) -> RowMap | None:
        """That of M, times c, where there is one, and M is in no subspace."""
        F = self.manifold.defining if self._spans else None
        return None if F is None else lambda x: self.factor * F(self.back(x))

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """Those of M, times c; then those of the subspace."""
        E = self.factor * self.manifold.equations(self.back(x))
        return E if self._spans else torch.cat([E, self._beside(x)], -1)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """Those of M: c E and DE R^T; then those of the subspace."""
        E, J = self.manifold.linearize(self.back(x))
        E, J = self.factor * E, self._rotated(J)
        if self._spans:
            return E, J
        P = self._beside(torch.eye(self.ambient_dim).to(x) + self.shift.to(x))
        return torch.cat([E, self._beside(x)], -1), torch.cat(
            [J, P.expand(*E.shape[:-1], -1, -1)], -2
        )

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """That of M, rotated."""
        return self._rotated(self.manifold.tangent_basis(self.back(x)).mT).mT

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """That of M, rotated, and the directions beside the space of M."""
        if not self._spans:
            return super().normal_basis(x)
        return self._rotated(self.manifold.normal_basis(self.back(x)).mT).mT

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Points of the uniform distribution of M, copied.

        Raises:
            UnsupportedError: M has no sampler.
        """
        return self.forth(self.manifold.sample_uniform(n, generator))

    def rough_points(
        self, n: int, generator: Generator | None = None
    ) -> Float[Tensor, "m D"] | None:
        """Points all over M, copied."""
        x = self.manifold.rough_points(n, generator)
        return None if x is None else self.forth(x)

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As M."""
        return self.manifold.closed

    @property
    def homology(self) -> Homology | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of M."""
        return self.manifold.homology

    @property
    def orientable(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As M."""
        return self.manifold.orientable

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of M, times c^d."""
        V = self.manifold.volume
        return None if V is None else V * self.factor**self.dim

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of M, times c^d."""
        error = self.manifold.volume_error
        return None if error is None else error * self.factor**self.dim

    def extra_repr(self) -> str:
        """Shown by repr."""
        rotated = "" if self.rotation is None else ", rotation=..."
        shift = self.shift.tolist() if self.ambient_dim <= 8 else "..."
        return f"shift={shift}, factor={self.factor:g}{rotated}"
