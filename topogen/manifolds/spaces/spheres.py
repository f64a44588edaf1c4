"""Circle and spheres."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...homology import Homology
from ..atlas import Atlas
from ..charts import Ball, FunctionChart
from ..factors import CIRCLE, TAU, Coordinate, CoordinateFactor
from .base import Nearest, closed_form, positive, sphere_tangents, unit
from .exact_geodesics import CUT, ExactGeodesics
from .parametrized import PeriodicSpace


def sphere_exp(
    x: Float[Tensor, "*#batch D"], v: Float[Tensor, "*#batch D"]
) -> Float[Tensor, "*batch D"]:
    r""":math:`\cos|v|\, x + \sin|v|\, v / |v|`, for v tangent at a point x of the unit sphere."""
    length = v.norm(dim=-1, keepdim=True)
    return unit(length.cos() * x + torch.sinc(length / math.pi) * v)


def sphere_log(
    x: Float[Tensor, "*#batch D"], y: Float[Tensor, "*#batch D"]
) -> tuple[Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
    r"""The v with exp_x(v) = y on the unit sphere, and whether y is not the antipode of x.

    .. math:: v = \frac{w}{\sin w} (y - \cos w\, x), \quad \cos w = x \cdot y; \qquad |v| = \pi
              \text{ at the antipode.}
    """
    cosine = (x * y).sum(-1, keepdim=True)
    v = y - cosine * x
    sine = v.norm(dim=-1, keepdim=True)
    zero = sine == 0
    # at x = y the factor is 1, with derivative 0
    v = v * torch.where(zero, 1.0, torch.atan2(sine, cosine)) / torch.where(zero, 1.0, sine)
    v = torch.where(zero & (cosine < 0), math.pi * sphere_tangents(x)[..., 0], v)
    return v, ((cosine > 0) | (sine > CUT)).squeeze(-1)


def sphere_transport(
    x: Float[Tensor, "*#batch D"], v: Float[Tensor, "*#batch D"], w: Float[Tensor, "*#batch D"]
) -> Float[Tensor, "*batch D"]:
    r"""W in parallel along the great circle of v, from a point x of the unit sphere.

    The part along e = v / |v| turns with it, :math:`e \mapsto \cos|v|\, e - \sin|v|\, x`.
    """
    half = v.norm(dim=-1, keepdim=True) / (2 * math.pi)
    along = (v * w).sum(-1, keepdim=True)
    return w - along * (torch.sinc(half).square() / 2 * v + torch.sinc(2 * half) * x)


class RoundSphere(ExactGeodesics):
    """The sphere |x| = radius in R^(d+1); geodesics are great circles."""

    orientable = True
    round_sphere = True
    _shown = ("dim", "radius")

    def __init__(self, dim: int = 2, radius: float = 1.0) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got dim={dim}; S^0 is two points")
        positive(radius=radius)
        self.dim, self.ambient_dim = dim, dim + 1
        self.radius = self.scale = float(radius)
        self.volume = math.exp(log_sphere_area(dim) + dim * math.log(radius))
        self.volume_error = 0.0
        self.homology = Homology((1, *[0] * (dim - 1), 1))
        self.homeomorphic_to = (("sphere", dim),)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        return closed_form(self.radius * unit(x))

    def _to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v - (x * v).sum(-1, keepdim=True) / self.radius**2 * x

    def _exp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.radius * sphere_exp(x / self.radius, v / self.radius)

    def _log(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        v, determined = sphere_log(x / self.radius, y / self.radius)
        return self.radius * v, determined

    def _transport(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return sphere_transport(x / self.radius, v / self.radius, w)

    def _acceleration(self, x: Tensor, v: Tensor) -> Tensor:
        return -v.square().sum(-1, keepdim=True) / self.radius**2 * x

    @property
    def defining(self) -> RowMap:
        """F(x) = (|x|^2 - radius^2) / (2 radius)."""
        return lambda x: (x.square().sum(-1, keepdim=True) - self.radius**2) / (2 * self.radius)

    def factors(self) -> list[CoordinateFactor]:
        """The polar angles, then the angle on the last circle."""
        polar = tuple(Coordinate("polar", m) for m in range(self.dim - 1, 0, -1))
        return [CoordinateFactor(0, self.ambient_dim, 0.0, self.radius, (*polar, CIRCLE))]


class Circle(RoundSphere, PeriodicSpace):
    r"""The circle :math:`\{x \in R^2 : |x| = radius\}`, of length 2 pi radius.

    Example:
        >>> M = Circle(radius=2.0)
        >>> M.project(torch.tensor([[3.0, 4.0]])).value
        tensor([[1.2000, 1.6000]])
        >>> round(M.volume, 4), str(M.homology)
        (12.5664, 'Z/2: (1, 1), Z/3: (1, 1)')
    """

    _shown = ("radius",)

    def __init__(self, radius: float = 1.0) -> None:
        super().__init__(1, radius)
        self.homeomorphic_to = (("circle", 1),)
        self.volume = TAU * self.radius

    def parametrize(self, t: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2"]:
        """psi(t) = radius (cos t, sin t)."""
        return self.radius * torch.cat([t.cos(), t.sin()], -1)

    def coordinates(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 1"]:
        """The angle in (-pi, pi]."""
        return torch.atan2(x[..., 1:], x[..., :1])

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Points at uniform angles."""
        return self.parametrize(TAU * torch.rand(n, 1, generator=generator, dtype=torch.float64))


class Sphere(RoundSphere):
    r"""The sphere :math:`S^d = \{x \in R^{d+1} : |x| = \rho\}`.

    Its area is :math:`2 \pi^{(d+1)/2} \rho^d / \Gamma((d+1)/2)`.

    Example:
        >>> M = Sphere()
        >>> M.project(torch.tensor([[0.0, 3.0, 4.0]])).value
        tensor([[0.0000, 0.6000, 0.8000]])
        >>> round(M.volume, 4), str(M.homology)
        (12.5664, 'Z/2: (1, 0, 1), Z/3: (1, 0, 1)')
    """

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the complement of x."""
        self.check_points(x)
        return sphere_tangents(unit(x))

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Directions of normal vectors."""
        size = n, self.ambient_dim
        return self.radius * unit(torch.randn(size, generator=generator, dtype=torch.float64))

    def atlas(self) -> Atlas:
        r"""Stereographic charts from both poles on |u| < 3/2; the equator is at |u| = 1.

        psi(u) = radius (2 u, +-(|u|^2 - 1)) / (1 + |u|^2). Two charts cover S^d, but their overlap
        is not contractible: the cover is not good, and its nerve is not S^d.
        """
        return Atlas([self._stereographic(pole) for pole in (1.0, -1.0)], self, own=True)

    def _stereographic(self, pole: float) -> FunctionChart:
        """The chart that misses only pole * radius * e_D of the sphere, as |u| grows."""

        def decode(u: Tensor) -> Tensor:
            s = (u * u).sum(-1, keepdim=True)
            return self.radius * torch.cat([2 * u, pole * (s - 1)], -1) / (1 + s)

        def encode(x: Tensor) -> Tensor:
            return x[..., :-1] / (self.radius - pole * x[..., -1:])

        return FunctionChart(decode, encode, domain=Ball(self.dim, 1.5))


def log_sphere_area(dim: int) -> float:
    r"""Log area of the unit sphere S^dim, :math:`\log 2 \pi^{(d+1)/2} / \Gamma((d+1)/2)`."""
    return math.log(2) + (dim + 1) / 2 * math.log(math.pi) - math.lgamma((dim + 1) / 2)
