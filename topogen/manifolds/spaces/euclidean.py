"""R^d and the closed interval."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...errors import UnsupportedError
from ...homology import Homology
from ..atlas import Atlas
from ..charts import Ball, Domain, FunctionChart
from ..factors import Coordinate, CoordinateFactor
from .base import Nearest, closed_form
from .exact_geodesics import ExactGeodesics


class EuclideanSubset(ExactGeodesics):
    """A convex subset of R^d with interior points: geodesics are straight."""

    orientable = True
    closed = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = self.ambient_dim = dim
        self.homology = Homology((1,))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The unit matrix."""
        self.check_points(x)
        eye = torch.eye(self.dim, dtype=x.dtype, device=x.device)
        return eye.expand(*x.shape[:-1], self.dim, self.dim)

    def _to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v

    def _exp(self, x: Tensor, v: Tensor) -> Tensor:
        return x + v

    def _log(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        v = y - x
        return v, v.isfinite().all(-1)

    def _transport(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return w

    def _acceleration(self, x: Tensor, v: Tensor) -> Tensor:
        return torch.zeros_like(v)


class Euclidean(EuclideanSubset):
    r"""The space R^d in itself: contractible, not compact, without a uniform distribution.

    Example:
        >>> M = Euclidean(3)
        >>> M.contains(torch.tensor([[1.0, 2.0, 3.0]])), str(M.homology)
        (tensor([True]), 'Z/2: (1,), Z/3: (1,)')
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got dim={dim}")
        super().__init__(dim)
        self.homeomorphic_to = (("euclidean", dim),)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        return closed_form(x)

    @property
    def defining(self) -> RowMap:
        """No equation: F takes (..., d) to (..., 0)."""
        return lambda x: x[..., :0]

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Raise UnsupportedError: there are none."""
        raise UnsupportedError(
            f"expected a set of finite volume for a uniform distribution, got R^{self.dim}; "
            "use a product of intervals, or torch.distributions"
        )

    def atlas(self) -> Atlas:
        """One chart, the diffeomorphism u -> u / sqrt(1 - |u|^2) of the unit ball onto R^d."""
        chart = FunctionChart(
            lambda u: u / (1 - (u * u).sum(-1, keepdim=True)).sqrt(),
            lambda x: x / (1 + (x * x).sum(-1, keepdim=True)).sqrt(),
            domain=Ball(self.dim),
        )
        return Atlas([chart], self, own=True)

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.dim}"


class ClosedInterval(Domain):
    """The closed interval lo <= z <= hi, the domain of a chart that reaches the boundary of M.

    Example:
        >>> ClosedInterval(0.0, 2.0).depth(torch.tensor([[0.0], [2.0], [2.5]]))
        tensor([ 1.0000,  1.0000, -0.5000])
    """

    corners: Tensor

    def __init__(self, lo: float, hi: float) -> None:
        super().__init__()
        self.dim = 1
        self.lo, self.hi = lo, hi
        # a boundary point may leave the segment by rounding
        self.slack = 1e-6 * (hi - lo)
        self.register_buffer("corners", torch.tensor([[lo], [hi]], dtype=torch.float64))

    def depth(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """1 on the segment, and the negative distance to it outside."""
        beyond = torch.maximum(self.lo - z[..., 0], z[..., 0] - self.hi)
        return torch.where(beyond <= self.slack, torch.ones_like(beyond), -beyond)

    def bounding_box(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """The segment."""
        return self.corners[0], self.corners[1]

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.lo:g}, {self.hi:g}"


class Interval(EuclideanSubset):
    r"""The closed interval [lo, hi] of R: contractible, with two boundary points.

    Example:
        >>> M = Interval(-1.0, 3.0)
        >>> M.project(torch.tensor([[5.0]])).value, M.volume, M.closed
        (tensor([[3.]]), 4.0, False)
    """

    why_no_defining = "a regular zero set has no boundary"
    homeomorphic_to = (("interval", 1),)

    def __init__(self, lo: float, hi: float) -> None:
        super().__init__(1)
        if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
            raise ValueError(f"expected finite lo < hi, got lo={lo}, hi={hi}")
        self.lo, self.hi = float(lo), float(hi)
        self.scale = max(abs(self.lo), abs(self.hi))
        self.volume, self.volume_error = self.hi - self.lo, 0.0

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        return closed_form(x.clamp(self.lo, self.hi))

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether lo <= x <= hi."""
        return self.contains(x)

    def factors(self) -> list[CoordinateFactor]:
        """The interval itself."""
        middle, half = (self.lo + self.hi) / 2, (self.hi - self.lo) / 2
        return [CoordinateFactor(0, 1, middle, half, (Coordinate("interval"),))]

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Uniform numbers."""
        u = torch.rand(n, 1, generator=generator, dtype=torch.float64)
        return self.lo + (self.hi - self.lo) * u

    def atlas(self) -> Atlas:
        """One chart, the identity, boundary included."""
        chart = FunctionChart(lambda z: z, lambda x: x, domain=ClosedInterval(self.lo, self.hi))
        return Atlas([chart], self, own=True)

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.lo:g}, {self.hi:g}"
