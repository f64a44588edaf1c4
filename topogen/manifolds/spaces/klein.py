"""The Klein bottle in R^4 and the Moebius band in R^3: a tube and a strip with half a twist."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...homology import Homology
from ..atlas import Atlas
from ..charts import Domain
from ..factors import TAU
from .base import Nearest, positive
from .parametrized import ARC, ParametrizedSpace, circle_nodes, nearest_parameters, trapezoid, wrap
from .tori import ring

NOT_ORIENTABLE = (
    "a regular zero set of codimension D - d has a trivial normal bundle, hence is orientable; "
    "this set is not. Over-determined constraints, or an atlas, can tell it"
)


def twisted(t: Tensor, centre: Tensor) -> Tensor:
    """The representative of (u, v) ~ (u + 2 pi, -v) whose u is nearest to centre_u."""
    u, v = t.unbind(-1)
    turns = torch.round((u - centre[..., 0]) / TAU)
    odd = turns.remainder(2) == 1
    return torch.stack([u - TAU * turns, torch.where(odd, -v, v)], -1)


class KleinBottle(ParametrizedSpace):
    r"""The Klein bottle in R^4: a tube of radius r over a circle of radius R that turns over once.

    .. math:: \psi(u, v) = ((R + r \cos v) \cos u, (R + r \cos v) \sin u,
              r \sin v \cos \tfrac u2, r \sin v \sin \tfrac u2), \quad (u, v) \sim (u + 2\pi, -v).

    The area element is :math:`r \sqrt{(R + r \cos v)^2 + \tfrac14 r^2 \sin^2 v}\, du\, dv`;
    `volume` is its integral by the trapezoidal rule.

    Example:
        >>> M = KleinBottle(R=2.0, r=1.0)
        >>> round(M.volume, 6), M.orientable, str(M.homology)
        (80.260549, False, 'Z/2: (1, 2, 1), Z/3: (1, 1)')
        >>> M.project(torch.tensor([[4.0, 0.0, 0.0, 0.0]])).value
        tensor([[3., 0., 0., 0.]])
    """

    dim = 2
    ambient_dim = 4
    orientable = False
    why_no_defining = NOT_ORIENTABLE
    homeomorphic_to = (("klein", 2),)
    homology = Homology({2: (1, 2, 1), 3: (1, 1)})
    _shown = ("R", "r")

    def __init__(self, R: float = 1.0, r: float = 0.5) -> None:
        super().__init__()
        ring(R, r)
        self.R, self.r = float(R), float(r)
        self.scale = self.R + self.r
        integral, error = trapezoid(self._speed)
        self.volume, self.volume_error = TAU * self.r * integral, TAU * self.r * error
        self._grid = torch.cartesian_prod(circle_nodes(48), circle_nodes(24))

    def _speed(self, v: Tensor) -> Tensor:
        """|d psi / du|."""
        return ((self.R + self.r * v.cos()) ** 2 + self.r**2 * v.sin() ** 2 / 4).sqrt()

    def parametrize(self, t: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 4"]:
        """psi(u, v)."""
        u, v = t.unbind(-1)
        rho, h = self.R + self.r * v.cos(), self.r * v.sin()
        parts = [rho * u.cos(), rho * u.sin(), h * (u / 2).cos(), h * (u / 2).sin()]
        return torch.stack(parts, -1)

    def coordinates(self, x: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 2"]:
        """The angles u in (-pi, pi] and v in (-pi, pi]."""
        u = torch.atan2(x[..., 1], x[..., 0])
        h = x[..., 2] * (u / 2).cos() + x[..., 3] * (u / 2).sin()
        return torch.stack([u, torch.atan2(h, x[..., :2].norm(dim=-1) - self.R)], -1)

    def lift(
        self, t: Float[Tensor, "*batch 2"], centre: Float[Tensor, " 2"]
    ) -> Float[Tensor, "*batch 2"]:
        """(u, v) ~ (u + 2 pi, -v) ~ (u, v + 2 pi)."""
        u, v = twisted(t, centre).unbind(-1)
        return torch.stack([u, wrap(v, centre[..., 1])], -1)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        t, residual, steps = nearest_parameters(self.parametrize, x, self._grid, tol, max_steps)
        return self.parametrize(t), residual, steps

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """A uniform u, and v by rejection from the area element."""
        return self._accepted(n, lambda t: self._speed(t[:, 1]), self.R + self.r, generator)

    def atlas(self) -> Atlas:
        """3 x 3 boxes of arcs: a good cover."""
        return self.arcs()


class Strip(Domain):
    """The box |u| < half_length, |s| <= half_width: its closed sides go to the boundary of M.

    The depth does not fall to 0 there.

    Example:
        >>> Strip(1.0, 0.3).depth(torch.tensor([[0.0, 0.3], [0.5, 0.3], [0.0, 0.4]]))
        tensor([ 1.0000,  0.7500, -0.1000])
    """

    high: Tensor

    def __init__(self, half_length: float, half_width: float) -> None:
        super().__init__()
        self.dim = 2
        self.half_length, self.half_width = half_length, half_width
        # psi(phi(x)) of a boundary point may leave the strip by rounding
        self.slack = 1e-6 * half_width
        self.register_buffer("high", torch.tensor([half_length, half_width], dtype=torch.float64))

    def depth(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """1 - (u / half_length)^2 in the strip; minus the distance to it beyond its long sides."""
        along = 1 - (z[..., 0] / self.half_length) ** 2
        beyond = z[..., 1].abs() - self.half_width
        return torch.where(beyond <= self.slack, along, -beyond)

    def bounding_box(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """The closed strip."""
        return -self.high, self.high

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.half_length:g}, {self.half_width:g}"


class MobiusBand(ParametrizedSpace):
    r"""The Moebius band in R^3, the strip of the given width around the unit circle.

    .. math:: \psi(u, s) = ((1 + s \cos \tfrac u2) \cos u, (1 + s \cos \tfrac u2) \sin u, s \sin
              \tfrac u2), \quad |s| \le \tfrac12 width, \quad (u, s) \sim (u + 2\pi, -s).

    It has one boundary circle, s = width/2 with u in [0, 4 pi); points beyond it project onto it.
    The area element is :math:`\sqrt{(1 + s \cos \tfrac u2)^2 + \tfrac14 s^2}\, du\, ds`.

    Example:
        >>> M = MobiusBand(width=0.6)
        >>> M.project(torch.tensor([[2.0, 0.0, 0.0]])).value
        tensor([[1.3000, 0.0000, 0.0000]])
        >>> M.closed, M.orientable, round(M.volume, 6)
        (False, False, 3.784392)
    """

    dim = 2
    ambient_dim = 3
    closed = False
    orientable = False
    why_no_defining = NOT_ORIENTABLE + "; besides, a regular zero set has no boundary"
    homeomorphic_to = (("mobius", 2),)
    homology = Homology((1, 1))
    _shown = ("width",)

    def __init__(self, width: float = 0.6) -> None:
        super().__init__()
        positive(width=width)
        if width >= 2:
            raise ValueError(f"expected width < 2, got {width}; the band would meet its axis")
        self.width = float(width)
        self._half = self.width / 2
        self.scale = 1 + self._half
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(60))
        s, weights = self._half * nodes, self._half * weights

        def across(u: Tensor) -> Tensor:
            t = torch.stack(torch.broadcast_tensors(u[:, None], s), -1)
            return self._density(t) @ weights

        # over u in [0, 4 pi) the strip is covered twice, and the integrand is periodic
        integral, error = trapezoid(across, 2 * TAU)
        self.volume, self.volume_error = integral / 2, error / 2
        heights = torch.linspace(-self._half, self._half, 7, dtype=torch.float64)
        self._inner = torch.cartesian_prod(circle_nodes(64), heights)
        self._rim = circle_nodes(128, 2 * TAU).unsqueeze(-1)

    @staticmethod
    def _density(t: Tensor) -> Tensor:
        u, s = t.unbind(-1)
        return ((1 + s * (u / 2).cos()) ** 2 + s**2 / 4).sqrt()

    def parametrize(self, t: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """psi(u, s)."""
        u, s = t.unbind(-1)
        rho = 1 + s * (u / 2).cos()
        return torch.stack([rho * u.cos(), rho * u.sin(), s * (u / 2).sin()], -1)

    def boundary(self, u: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 3"]:
        """The boundary circle, psi(u, width/2), u in [0, 4 pi)."""
        return self.parametrize(torch.cat([u, torch.full_like(u, self._half)], -1))

    def coordinates(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
        """The angle u in (-pi, pi] and s."""
        u = torch.atan2(x[..., 1], x[..., 0])
        rho = x[..., :2].norm(dim=-1)
        return torch.stack([u, (rho - 1) * (u / 2).cos() + x[..., 2] * (u / 2).sin()], -1)

    def lift(
        self, t: Float[Tensor, "*batch 2"], centre: Float[Tensor, " 2"]
    ) -> Float[Tensor, "*batch 2"]:
        """(u, s) ~ (u + 2 pi, -s)."""
        return twisted(t, centre)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether |s| <= width/2: `equations` hold on the band without end."""
        s = self.coordinates(x)[..., 1]
        return x.isfinite().all(-1) & (s.abs() <= self._half + self.atol(x.dtype))

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        """The nearer of the stationary points inside the band and on its boundary circle."""
        t, r, steps = nearest_parameters(self.parametrize, x, self._inner, tol, max_steps)
        u, r_rim, steps_rim = nearest_parameters(self.boundary, x, self._rim, tol, max_steps)
        y, y_rim = self.parametrize(t), self.boundary(u)
        inside = t[:, 1].abs() <= self._half
        inner = inside & ((x - y).norm(dim=-1) <= (x - y_rim).norm(dim=-1))
        return (
            torch.where(inner.unsqueeze(-1), y, y_rim),
            torch.where(inner, r, r_rim),
            torch.where(inner, steps, steps_rim),
        )

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """(u, s) by rejection from the area element."""
        corners = torch.tensor([[0.0, -self._half], [TAU, self._half]], dtype=torch.float64)
        most = math.hypot(1 + self._half, self._half / 2)
        return self._accepted(n, self._density, most, generator, (corners[0], corners[1]))

    def atlas(self) -> Atlas:
        """Three strips across the whole band, boundary included: a good cover."""
        centres = [torch.tensor([k * TAU / 3, 0.0], dtype=torch.float64) for k in range(3)]
        return Atlas([self.chart(c, Strip(ARC, self._half)) for c in centres], self, own=True)
