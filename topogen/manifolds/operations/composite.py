"""What manifolds made of other manifolds have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Manifold, Projection

# the projection of points onto a part, to a tolerance
Onto = Callable[[Manifold, Tensor, float | None], Projection]


class Composite(Manifold):
    """A manifold made of others, its parts: their projections and lengths give those of it.

    What depends on parts that may still be learned is a property, not an attribute.
    """

    @abstractmethod
    def listed(self) -> list[Manifold]:
        """The parts."""

    @abstractmethod
    def _combined(self, x: Float[Tensor, "*batch D"], onto: Onto, tol: float | None) -> Projection:
        """The projection of x, to `tol`, from those onto the parts."""

    @abstractmethod
    def _length(self, lengths: Float[Tensor, "*batch parts"]) -> Float[Tensor, "*batch"]:
        """A length of M from the same length of every part."""

    def _at(self, x: Float[Tensor, "*batch D"]) -> list[tuple[Manifold, Tensor]]:
        """The parts, and x in their spaces."""
        return [(M, x) for M in self.listed()]

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """By `project` of the parts; arguments as in :meth:`Manifold.project`."""
        self.check_points(x)
        p = self._combined(x, lambda M, y, t: M.project(y, tol=t, max_steps=max_steps), tol)
        return self.checked_projection(p, tol, throw)

    def nearest(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 200,
        throw: bool = False,
    ) -> Projection:
        """By `nearest` of the parts; arguments as in :meth:`Manifold.nearest`."""
        self.check_points(x)
        p = self._combined(x, lambda M, y, t: M.nearest(y, tol=t, max_steps=max_steps), tol)
        return self.checked_projection(p, tol, throw)

    @property
    def has_sampler(self) -> bool:
        """Whether all parts have one."""
        return all(M.has_sampler for M in self.listed())

    @property
    def along_normals(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all parts move so."""
        return all(M.along_normals for M in self.listed())

    @property
    def scale(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """From those of the parts."""
        return self._whole([M.scale for M in self.listed()])

    @property
    def tolerance(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """From those of the parts; None where all are known exactly."""
        if all(M.tolerance is None for M in self.listed()):
            return None
        return self._whole([M.atol(torch.float64) for M in self.listed()])

    def tolerance_at(self, x: Float[Tensor, "*batch D"]) -> float | Tensor:
        """From those of the parts there."""
        if self.tolerance is None:
            return self.atol(x.dtype)
        return self._length(tolerances(self._at(x))).clamp_min(self.atol(x.dtype))

    def _whole(self, lengths: list[float]) -> float:
        return float(self._length(torch.tensor(lengths, dtype=torch.float64)))


def tolerances(parts: Sequence[tuple[Manifold, Tensor]]) -> Float[Tensor, "*batch parts"]:
    """`tolerance_at` of every part, at the points of its space."""
    found = [torch.as_tensor(M.tolerance_at(y)).to(y).expand(y.shape[:-1]) for M, y in parts]
    return torch.stack(found, -1)


def reasons(*parts: Manifold) -> str | None:
    """Why parts have no defining function, those that have none; None where all have one."""
    without = [M for M in parts if M.defining is None]
    return "; ".join(M.why_no_defining or f"{type(M).__name__} has none" for M in without) or None
