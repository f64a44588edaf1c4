"""Circle and spheres."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...calculus import RowMap
from ...homology import Homology
from ..atlas import Atlas
from ..charts import Ball, FunctionChart
from .base import Nearest, ReferenceSpace, closed_form, positive, sphere_tangents, unit
from .parametrized import TAU, ParametrizedSpace, wrap


class Circle(ParametrizedSpace):
    r"""The circle :math:`\{x \in R^2 : |x| = \rho\}` of radius rho, of length 2 pi rho.

    Example:
        >>> M = Circle(radius=2.0)
        >>> M.project(torch.tensor([[3.0, 4.0]])).value
        tensor([[1.2000, 1.6000]])
        >>> round(M.volume, 4), str(M.homology)
        (12.5664, 'Z/2: (1, 1), Z/3: (1, 1)')
    """

    dim = 1
    ambient_dim = 2
    orientable = True

    def __init__(self, radius: float = 1.0) -> None:
        super().__init__()
        positive(radius=radius)
        self.radius = float(radius)
        self.scale = self.radius
        self.volume, self.volume_error = TAU * self.radius, 0.0
        self.homology = Homology((1, 1))

    def parametrize(self, t: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2"]:
        """psi(t) = radius (cos t, sin t)."""
        return self.radius * torch.cat([t.cos(), t.sin()], -1)

    def coordinates(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 1"]:
        """The angle in (-pi, pi]."""
        return torch.atan2(x[..., 1:], x[..., :1])

    def lift(
        self, t: Float[Tensor, "*batch 1"], centre: Float[Tensor, " 1"]
    ) -> Float[Tensor, "*batch 1"]:
        """Angles modulo 2 pi."""
        return wrap(t, centre)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        return closed_form(self.radius * unit(x))

    @property
    def defining(self) -> RowMap:
        """F(x) = (|x|^2 - radius^2) / (2 radius)."""
        return _round(self.radius)

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """Points at uniform angles."""
        return self.parametrize(TAU * torch.rand(n, 1, generator=generator, dtype=torch.float64))

    def atlas(self) -> Atlas:
        """Three arcs: a good cover."""
        return self.arcs()

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"radius={self.radius:g}"


class Sphere(ReferenceSpace):
    r"""The sphere :math:`S^d = \{x \in R^{d+1} : |x| = \rho\}`.

    Its area is :math:`2 \pi^{(d+1)/2} \rho^d / \Gamma((d+1)/2)`.

    Example:
        >>> M = Sphere()
        >>> M.project(torch.tensor([[0.0, 3.0, 4.0]])).value
        tensor([[0.0000, 0.6000, 0.8000]])
        >>> round(M.volume, 4), str(M.homology)
        (12.5664, 'Z/2: (1, 0, 1), Z/3: (1, 0, 1)')
    """

    orientable = True

    def __init__(self, dim: int = 2, radius: float = 1.0) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got dim={dim}; S^0 is two points")
        positive(radius=radius)
        self.dim, self.ambient_dim = dim, dim + 1
        self.radius = float(radius)
        self.scale = self.radius
        self.volume = math.exp(log_sphere_area(dim) + dim * math.log(radius))
        self.volume_error = 0.0
        self.homology = Homology((1, *[0] * (dim - 1), 1))

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        return closed_form(self.radius * unit(x))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the complement of x."""
        self.check_points(x)
        return sphere_tangents(unit(x))

    @property
    def defining(self) -> RowMap:
        """F(x) = (|x|^2 - radius^2) / (2 radius)."""
        return _round(self.radius)

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """Directions of normal vectors."""
        g = torch.randn(n, self.ambient_dim, generator=generator, dtype=torch.float64)
        return self.radius * unit(g)

    def atlas(self) -> Atlas:
        r"""Stereographic charts from both poles on |u| < 3/2; the equator is at |u| = 1.

        psi(u) = radius (2 u, +-(|u|^2 - 1)) / (1 + |u|^2). Two charts cover S^d, but their overlap
        is not contractible: the cover is not good, and its nerve is not S^d.
        """
        return Atlas([self._stereographic(pole) for pole in (1.0, -1.0)], self)

    def _stereographic(self, pole: float) -> FunctionChart:
        """The chart that misses only pole * radius * e_D of the sphere, as |u| grows."""

        def decode(u: Tensor) -> Tensor:
            s = (u * u).sum(-1, keepdim=True)
            return self.radius * torch.cat([2 * u, pole * (s - 1)], -1) / (1 + s)

        def encode(x: Tensor) -> Tensor:
            return x[..., :-1] / (self.radius - pole * x[..., -1:])

        return FunctionChart(decode, encode, domain=Ball(self.dim, 1.5))

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"dim={self.dim}, radius={self.radius:g}"


def _round(radius: float) -> RowMap:
    return lambda x: ((x * x).sum(-1, keepdim=True) - radius**2) / (2 * radius)


def log_sphere_area(dim: int) -> float:
    r"""Log area of the unit sphere S^dim, :math:`\log 2 \pi^{(d+1)/2} / \Gamma((d+1)/2)`."""
    return math.log(2) + (dim + 1) / 2 * math.log(math.pi) - math.lgamma((dim + 1) / 2)
