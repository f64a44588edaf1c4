"""Curves that are knotted or linked: torus knots and the Hopf link, in R^3."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ... import calculus
from ...calculus import RowMap
from ...homology import Homology
from ..atlas import Atlas
from ..charts import Box, FunctionChart
from ..factors import TAU
from .base import Nearest, ReferenceSpace, closed_form, unit
from .parametrized import ARC, PeriodicSpace, circle_nodes, nearest_parameters, trapezoid, wrap
from .tori import ring


class TorusKnot(PeriodicSpace):
    r"""The (p, q) torus knot: p times around the axis and q times around the tube of a ring torus.

    .. math:: \psi(t) = ((R + r \cos qt) \cos pt, (R + r \cos qt) \sin pt, r \sin qt)

    As a space it is a circle: no homology sees the knot. (2, 3) is the trefoil.

    Example:
        >>> M = TorusKnot(2, 3)
        >>> round(M.volume, 4), str(M.homology)
        (14.7759, 'Z/2: (1, 1), Z/3: (1, 1)')
        >>> M.contains(M.sample_uniform(5)).all()
        tensor(True)
    """

    dim = 1
    ambient_dim = 3
    orientable = True
    homology = Homology((1, 1))
    _shown = ("p", "q", "R", "r")

    def __init__(self, p: int = 2, q: int = 3, R: float = 1.0, r: float = 0.4) -> None:
        super().__init__()
        ring(R, r)
        if p == 0 or q == 0 or math.gcd(p, q) != 1:
            raise ValueError(
                f"expected nonzero p, q without common divisor, got {p}, {q}; "
                "otherwise the curve has several components"
            )
        self.p, self.q, self.R, self.r = p, q, float(R), float(r)
        self.scale = self.R + self.r
        self.volume, self.volume_error = trapezoid(self._speed)
        self._grid = circle_nodes(200 * max(abs(p), abs(q))).unsqueeze(-1)
        # t = m (p t) + n (q t) with m p + n q = 1
        m = pow(p, -1, abs(q)) if abs(q) > 1 else 0
        self._bezout = (m, (1 - m * p) // q)

    def _speed(self, t: Tensor) -> Tensor:
        rho = self.R + self.r * (self.q * t).cos()
        return ((self.p * rho) ** 2 + (self.q * self.r) ** 2).sqrt()

    def parametrize(self, t: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 3"]:
        """psi(t)."""
        a, b = self.p * t, self.q * t
        rho = self.R + self.r * b.cos()
        return torch.cat([rho * a.cos(), rho * a.sin(), self.r * b.sin()], -1)

    def coordinates(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
        """The t = m a + n b from the two angles a = pt and b = qt, where m p + n q = 1."""
        a = torch.atan2(x[..., 1], x[..., 0])
        b = torch.atan2(x[..., 2], x[..., :2].norm(dim=-1) - self.R)
        m, n = self._bezout
        return wrap(m * a + n * b).unsqueeze(-1)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        t, residual, steps = nearest_parameters(self.parametrize, x, self._grid, tol, max_steps)
        return self.parametrize(t), residual, steps

    @property
    def defining(self) -> RowMap:
        r"""F = (Re, Im) of :math:`r (e^{i q a} - w^p)`, w = (rho - R + i z) / r.

        Here a is the angle about the axis and rho the distance to it. |w| = 1 puts x on the torus,
        and the phases agree where q a = p b, b the angle about the tube.
        """

        def F(x: Tensor) -> Tensor:
            rho2 = (x[..., :2] ** 2).sum(-1)
            positive = rho2 > 0
            rho = torch.where(positive, rho2, 1.0).sqrt() * positive
            e = torch.complex(x[..., 0], x[..., 1]) / torch.where(positive, rho, 1.0)
            # the conjugate of w for p q < 0; torch's own is a view that vmap cannot differentiate
            height = x[..., 2] if self.p * self.q > 0 else -x[..., 2]
            w = torch.complex((rho - self.R) / self.r, height / self.r)
            f = e ** abs(self.q) - w ** abs(self.p)
            return torch.stack([f.real, f.imag], -1) * self.r

        return F

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """A t of density proportional to the speed, by rejection."""
        most = math.hypot(self.p * (self.R + self.r), self.q * self.r)
        return self._accepted(n, lambda t: self._speed(t[:, 0]), most, generator)


class HopfLink(ReferenceSpace):
    r"""Two linked unit circles in R^3: |x| = 1, x_3 = 0, and |x - e_1| = 1, x_2 = 0.

    Each passes through the centre of the other. As a space it is two circles: no homology sees the
    link.

    Example:
        >>> M = HopfLink()
        >>> M.project(torch.tensor([[0.0, 3.0, 0.0], [1.0, 0.0, 5.0]])).value
        tensor([[0., 1., 0.],
                [1., 0., 1.]])
        >>> str(M.homology)
        'Z/2: (2, 2), Z/3: (2, 2)'
    """

    dim = 1
    ambient_dim = 3
    orientable = True
    scale = 1.5
    volume = 2 * TAU
    volume_error = 0.0
    homology = Homology((2, 2))

    def __init__(self) -> None:  # the arguments of a file are read from this signature
        super().__init__()

    @staticmethod
    def _circle(component: int, t: Tensor) -> Tensor:
        c, s, zero = t.cos(), t.sin(), torch.zeros_like(t)
        return torch.cat([c, s, zero] if component == 0 else [1 + c, zero, s], -1)

    @staticmethod
    def _angle(component: int, x: Tensor) -> Tensor:
        a, b, c = (x[..., i : i + 1] for i in range(3))
        return torch.atan2(b, a) if component == 0 else torch.atan2(c, a - 1)

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        first = torch.nn.functional.pad(unit(x[:, :2]), (0, 1))
        c, s = unit(torch.stack([x[:, 0] - 1, x[:, 2]], -1)).unbind(-1)
        second = torch.stack([1 + c, torch.zeros_like(c), s], -1)
        nearer = (first - x).detach().norm(dim=-1) <= (second - x).detach().norm(dim=-1)
        return closed_form(torch.where(nearer.unsqueeze(-1), first, second))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The unit tangent of the circle that x lies on."""
        self.check_points(x)
        first = (x[..., 2:].abs() <= x[..., 1:2].abs()).unsqueeze(-1)
        T = [calculus.jacobian(partial(self._circle, k), self._angle(k, x)) for k in (0, 1)]
        return torch.where(first, T[0], T[1])

    @property
    def defining(self) -> RowMap:
        """F = (Re, Im) of (|x|^2 - 1 + 2i x_3)(|x - e_1|^2 - 1 + 2i x_2) / 4."""

        def F(x: Tensor) -> Tensor:
            f = torch.complex((x * x).sum(-1) - 1, 2 * x[..., 2])
            g = torch.complex((x * x).sum(-1) - 2 * x[..., 0], 2 * x[..., 1])
            return torch.stack([(f * g).real, (f * g).imag], -1) / 4

        return F

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """A fair coin for the circle, a uniform angle on it."""
        u = torch.rand(n, 2, generator=generator, dtype=torch.float64)
        t = TAU * u[:, 1:]
        return torch.where(u[:, :1] < 0.5, self._circle(0, t), self._circle(1, t))

    def atlas(self) -> Atlas:
        """Three arcs on each circle: a good cover."""
        return Atlas(
            [self._arc(k, j * TAU / 3) for k in range(2) for j in range(3)], self, own=True
        )

    def _arc(self, component: int, centre: float) -> FunctionChart:
        return FunctionChart(
            lambda z: self._circle(component, z + centre),
            lambda x: wrap(self._angle(component, x), centre) - centre,
            domain=Box(-ARC, ARC),
        )
