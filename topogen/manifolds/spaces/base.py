"""What every reference space has: a nearest point, an area-uniform sampler and an exact atlas."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..atlas import Atlas
from ..base import Manifold, Projection, projection_tolerance

# value on M, length of what is left of the defining equations of the nearest point, steps taken
Nearest = tuple[Tensor, Tensor, Tensor]


class ReferenceSpace(Manifold):
    r"""A manifold that is known exactly, with the ground truth that tests and demos need.

    To implement one, set the attributes of :class:`Manifold` and write

    - ``_nearest(x, tol, max_steps)``: for finite float64 rows x, shape (n, D), a nearest point of
      M, the residual of the equations solved for it (0 for a closed form), and the steps;
    - ``sample_uniform(n, generator=None)``: the normalised H^d on M, exactly;
    - ``atlas()``: charts in closed form that cover M.

    Attributes:
        why_no_defining: the reason where `defining` is None.
    """

    why_no_defining: str | None = None

    @abstractmethod
    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        """A nearest point of M to each finite float64 row, its residual, and the steps taken."""

    @abstractmethod
    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
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
        not converge. The residual is that of the equations of a nearest point: 0 for a closed
        form, else the length of the tangential part of x - y. An
        iteration starts at the nearest of a dense set of points of M; between two branches of M
        at almost equal distances it may take the farther.

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
        shape = x.shape[:-1]
        projection = Projection(
            torch.where(finite.unsqueeze(-1), value, math.nan).to(x.dtype).reshape(x.shape),
            torch.where(finite, residual, math.nan).to(x.dtype).reshape(shape),
            converged.reshape(shape),
            steps.reshape(shape),
        )
        return projection.require(tol) if throw else projection

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The distance from x to M: |x - y|, y the nearest point that `project` finds."""
        y = x.to(torch.float64)
        return (y - self.project(y).value).norm(dim=-1).to(x.dtype)

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

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """The defining function, else x - y, y the nearest point that `project` finds."""
        F = self.defining
        return x - self.project(x).value if F is None else F(x)


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
    D = n.shape[-1]
    last = torch.zeros_like(n)
    last[..., -1] = torch.where(n[..., -1] >= 0, 1.0, -1.0)
    v = n + last
    H = (
        torch.eye(D, dtype=n.dtype, device=n.device)
        - 2 * (v.unsqueeze(-1) * v.unsqueeze(-2)) / (v * v).sum(-1)[..., None, None]
    )
    return H[..., : D - 1]


def rejection(
    n: int,
    propose: Callable[[int], Float[Tensor, "m d"]],
    density: Callable[[Tensor], Tensor],
    bound: float,
    generator: torch.Generator | None,
) -> Float[Tensor, "n d"]:
    """Draws from an unnormalised density w.r.t. the distribution of the proposals.

    Args:
        n: how many.
        propose: m independent proposals, shape (m, d).
        density: (m, d) to (m,), between 0 and `bound`.
        bound: the larger, the more proposals are wasted; never less than the density.
        generator: source of randomness.
    """
    batch = 2 * n + 16
    parts: list[Tensor] = []
    found = 0
    while found < n or not parts:
        t = propose(batch)
        u = torch.rand(batch, generator=generator, dtype=torch.float64)
        kept = t[u * bound < density(t)]
        parts.append(kept)
        found += kept.shape[0]
    return torch.cat(parts)[:n]


def uniform_box(
    n: int, low: Tensor, high: Tensor, generator: torch.Generator | None
) -> Float[Tensor, "n d"]:
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
