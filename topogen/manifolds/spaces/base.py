"""What every reference space has: a nearest point, an area-uniform sampler and an exact atlas."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..atlas import Atlas
from ..base import Manifold, Projection, projection_tolerance

# value on M, length of what is left of the defining equations of the nearest point, steps taken
Nearest = tuple[Tensor, Tensor, Tensor]


class ReferenceSpace(Manifold):
    r"""A manifold that is known exactly, with the ground truth that tests and demos need.

    To implement one, set the attributes of :class:`Manifold` and write ``_nearest`` (a nearest
    point, the residual of the equations solved for it, 0 for a closed form, and the steps),
    ``sample_uniform`` and ``atlas``.
    """

    along_normals = True
    # arguments that repr shows
    _shown: tuple[str, ...] = ()

    @abstractmethod
    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        """A nearest point of M to each finite float64 row, the residual, and the steps taken.

        The residual is that of the equations solved for it: 0 for a closed form.
        """

    @abstractmethod
    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Draw n independent points of distribution H^d / H^d(M), float64 on the CPU."""

    @abstractmethod
    def atlas(self) -> Atlas:
        """Exact charts that cover M; each point of M lies well inside one of them."""

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """A nearest point of M; one of them where there are several.

        Solved in float64 and returned in the dtype of x. Rows with NaN or infinity give NaN and do
        not converge. The residual is 0 for a closed form, else the length of the tangential part
        of x - y. An iteration starts at the nearest of a dense set of points of M; between two
        branches of M at almost equal distances it may take the farther.

        Args:
            x: points, shape (..., D).
            tol: residual at which a point counts as converged, in the units of the points.
            max_steps: most Newton steps per point, where there is no closed form.
            throw: raise where a point does not converge.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
            ValueError: x has no last axis of length D, or is not real floating point.
        """
        self.check_points(x)
        tol = projection_tolerance(torch.float64, self.scale) if tol is None else tol
        rows = x.reshape(-1, self.ambient_dim).to(torch.float64)
        finite = rows.isfinite().all(-1)
        safe = torch.where(finite.unsqueeze(-1), rows, 0.0)
        value, residual, steps = self._nearest(safe, tol, max_steps)
        # far from M the residual cannot be told below the rounding of x itself
        rounding = 64 * torch.finfo(torch.float64).eps * safe.detach().abs().amax(-1)
        converged = finite & (residual <= rounding.clamp_min(tol))
        value = torch.where(finite.unsqueeze(-1), value, math.nan)
        residual = torch.where(finite, residual, math.nan)
        projection = Projection(value, residual, converged, steps).like(x)
        return projection.require(tol) if throw else projection

    def nearest(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """What :meth:`project` gives: a nearest point is known."""
        return self.project(x, tol=tol, max_steps=max_steps, throw=throw)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The distance from x to M: |x - y|, y the nearest point that `project` finds."""
        y = x.to(torch.float64)
        return (y - self.project(y).value).norm(dim=-1).to(x.dtype)

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """The defining function, else x - y, y the nearest point that `project` finds."""
        F = self.defining
        return x - self.project(x).value if F is None else F(x)

    def extra_repr(self) -> str:
        """Shown by repr."""
        return ", ".join(f"{name}={getattr(self, name):g}" for name in self._shown)


def closed_form(value: Float[Tensor, "n D"]) -> Nearest:
    """The answer of `_nearest` where a formula gives the nearest point: no residual, no steps."""
    zero = value.detach().new_zeros(value.shape[:-1])
    return value, zero, zero.long()


def unit(x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
    """The direction x / |x|; where x = 0, all being equally near, the first axis."""
    size = x.detach().abs().amax(-1, keepdim=True)
    axis = torch.zeros_like(x)
    axis[..., 0] = 1
    # scaled before the squares are taken: neither overflow nor underflow
    y = torch.where(size == 0, axis, x / torch.where(size == 0, 1.0, size))
    return y / y.norm(dim=-1, keepdim=True)


def sphere_tangents(n: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
    r"""Orthonormal basis of the complement of the unit vector n, k = D - 1, in closed form.

    The reflection :math:`I - 2 v v^\top / |v|^2` with v = n + sign(n_D) e_D takes the last axis to
    -sign(n_D) n, so its other columns are the basis.
    """
    last = torch.zeros_like(n)
    last[..., -1] = torch.where(n[..., -1] >= 0, 1.0, -1.0)
    v = n + last
    outer = v.unsqueeze(-1) * v.unsqueeze(-2)
    eye = torch.eye(n.shape[-1], dtype=n.dtype, device=n.device)
    return (eye - 2 * outer / (v * v).sum(-1)[..., None, None])[..., :-1]


def uniform_box(n: int, low: Tensor, high: Tensor, generator: Generator | None) -> Tensor:
    """Draw n independent points, uniform in the box low <= t < high."""
    u = torch.rand(n, low.numel(), generator=generator, dtype=torch.float64)
    return low + (high - low) * u


def positive(**lengths: float) -> None:
    """Check that the named numbers are finite and positive.

    Raises:
        ValueError: one is not.
    """
    for name, value in lengths.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"expected a finite {name} > 0, got {name}={value}")
