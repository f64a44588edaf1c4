"""The ring torus in R^3 and the flat torus in R^2d."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...errors import UnsupportedError
from ...homology import Homology
from ..atlas import Atlas
from ..factors import CIRCLE, TAU, CoordinateFactor
from .base import Nearest, closed_form, positive, unit
from .exact_geodesics import ExactGeodesics
from .parametrized import PeriodicSpace
from .spheres import sphere_exp, sphere_log, sphere_transport


def ring(R: float, r: float) -> None:
    """Check the radii of a ring torus, or of a tube around a circle, 0 < r < R.

    Raises:
        ValueError: they are not; the tube would meet itself.
    """
    positive(R=R, r=r)
    if r >= R:
        raise ValueError(f"expected r < R, got R={R}, r={r}; the tube would meet itself")


class Torus(PeriodicSpace):
    r"""The ring torus psi(u, v) = ((R + r cos v) cos u, (R + r cos v) sin u, r sin v).

    Its area is :math:`4 \pi^2 R r`. The area element is r (R + r cos v) du dv: uniform angles are
    not area-uniform.

    Example:
        >>> M = Torus(R=1.0, r=0.4)
        >>> M.project(torch.tensor([[2.0, 0.0, 0.0]])).value
        tensor([[1.4000, 0.0000, 0.0000]])
        >>> round(M.volume, 4), str(M.homology)
        (15.7914, 'Z/2: (1, 2, 1), Z/3: (1, 2, 1)')
    """

    dim = 2
    ambient_dim = 3
    orientable = True
    homeomorphic_to = (("torus", 2),)
    homology = Homology((1, 2, 1))
    _shown = ("R", "r")

    def __init__(self, R: float = 1.0, r: float = 0.4) -> None:
        super().__init__()
        ring(R, r)
        self.R, self.r = float(R), float(r)
        self.scale = self.R + self.r
        self.volume, self.volume_error = 4 * math.pi**2 * self.R * self.r, 0.0

    def parametrize(self, t: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """psi(u, v)."""
        u, v = t.unbind(-1)
        rho = self.R + self.r * v.cos()
        return torch.stack([rho * u.cos(), rho * u.sin(), self.r * v.sin()], -1)

    def coordinates(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
        """The angles u around the axis, v around the tube."""
        v = torch.atan2(x[..., 2], x[..., :2].norm(dim=-1) - self.R)
        return torch.stack([torch.atan2(x[..., 1], x[..., 0]), v], -1)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        e = torch.nn.functional.pad(unit(x[:, :2]), (0, 1))
        # the tube's circle lies in the plane of e and the axis: the first column is along e
        c = unit(torch.stack([(x * e).sum(-1) - self.R, x[:, 2]], -1))
        axial = torch.nn.functional.pad(c[:, 1:], (2, 0))
        return closed_form(self.R * e + self.r * (c[:, :1] * e + axial))

    @property
    def defining(self) -> RowMap:
        """F(x) = ((|x|^2 + R^2 - r^2)^2 - 4 R^2 (x_1^2 + x_2^2)) / (8 R^2 r), a polynomial."""
        return ring_torus(self.R, self.r)

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """A uniform u, and v of density (R + r cos v) / (2 pi R) by rejection."""
        most = self.R + self.r
        return self._accepted(n, lambda t: self.R + self.r * t[:, 1].cos(), most, generator)


def ring_torus(R: float, r: float, centre: float = 0.0) -> RowMap:
    r"""The polynomial of a ring torus about the point (centre, 0, 0), over 8 R^2 r.

    It is :math:`(d_1^2 - r^2)(d_2^2 - r^2)` with d_1, d_2 the distances to the near and the far
    point of the core circle; divided so, |DF| is about 1 on the torus.
    """

    def F(x: Tensor) -> Tensor:
        a, b, c = (x[..., i : i + 1] for i in range(3))
        a = a - centre
        rho2 = a * a + b * b
        return ((rho2 + c * c + R**2 - r**2) ** 2 - 4 * R**2 * rho2) / (8 * R**2 * r)

    return F


class FlatTorus(ExactGeodesics, PeriodicSpace):
    r"""The flat torus T^d: (cos t_1, sin t_1, ..., cos t_d, sin t_d) in R^2d, of volume (2 pi)^d.

    Example:
        >>> M = FlatTorus(2)
        >>> M.project(torch.tensor([[2.0, 0.0, 0.0, -0.5]])).value
        tensor([[ 1.,  0.,  0., -1.]])
        >>> round(M.volume, 4), str(M.homology)
        (39.4784, 'Z/2: (1, 2, 1), Z/3: (1, 2, 1)')
    """

    orientable = True
    _shown = ("dim",)

    def __init__(self, dim: int = 2) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got dim={dim}")
        self.dim, self.ambient_dim = dim, 2 * dim
        self.scale = math.sqrt(dim)
        self.volume, self.volume_error = TAU**dim, 0.0
        self.homology = Homology([math.comb(dim, k) for k in range(dim + 1)])
        self.homeomorphic_to = (("torus", dim),)

    def parametrize(self, t: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """The points of d unit circles."""
        return torch.stack([t.cos(), t.sin()], -1).flatten(-2)

    def coordinates(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch d"]:
        """The d angles."""
        return torch.atan2(x[..., 1::2], x[..., ::2])

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        return closed_form(unit(_circles(x)).flatten(-2))

    # geodesics are those of the d unit circles, side by side

    def _to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v - (_circles(x * v).sum(-1, keepdim=True) * _circles(x)).flatten(-2)

    def _exp(self, x: Tensor, v: Tensor) -> Tensor:
        return sphere_exp(_circles(x), _circles(v)).flatten(-2)

    def _log(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        v, determined = sphere_log(_circles(x), _circles(y))
        return v.flatten(-2), determined.all(-1)

    def _transport(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return sphere_transport(_circles(x), _circles(v), _circles(w)).flatten(-2)

    def _acceleration(self, x: Tensor, v: Tensor) -> Tensor:
        return -(_circles(v).square().sum(-1, keepdim=True) * _circles(x)).flatten(-2)

    def factors(self) -> list[CoordinateFactor]:
        """The circles."""
        return [CoordinateFactor(2 * i, 2, 0.0, 1.0, (CIRCLE,)) for i in range(self.dim)]

    @property
    def defining(self) -> RowMap:
        """F_i(x) = (x_{2i-1}^2 + x_{2i}^2 - 1) / 2, i = 1..d."""
        return lambda x: ((x[..., ::2] ** 2 + x[..., 1::2] ** 2) - 1) / 2

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Uniform angles: the metric is flat."""
        t = torch.rand(n, self.dim, generator=generator, dtype=torch.float64)
        return self.parametrize(TAU * t)

    def atlas(self) -> Atlas:
        """3^d boxes of arcs: a good cover.

        Raises:
            UnsupportedError: d > 6, where 3^d charts are no longer of use.
        """
        if self.dim > 6:
            raise UnsupportedError(
                f"expected dim <= 6 for an atlas of 3^dim boxes, got dim={self.dim}; "
                "build an Atlas of your own from M.chart(centre, domain)"
            )
        return self.arcs()


def _circles(x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch d 2"]:
    """The pairs of numbers of each circle."""
    return x.unflatten(-1, (-1, 2))
