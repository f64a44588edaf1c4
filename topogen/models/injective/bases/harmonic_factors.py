"""The spaces that bases are products of: round spheres, the interval, the line."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ....homology import Homology
from ....manifolds import spaces
from ....manifolds.spaces.base import ReferenceSpace, sphere_tangents, unit
from ....manifolds.spaces.spheres import log_sphere_area, sphere_exp, sphere_log
from . import harmonics

Points = Float[Tensor, "*batch w"]
Broadcast = Float[Tensor, "*#batch w"]


class HarmonicFactor(ABC):
    """A space whose points are given by numbers.

    To implement one, set `dim`, `width`, `volume` and `homology` (`closed` where it is not), and
    write the geometry (`space`, `frame`, `move`, `log`, `retract`), the orthonormal functions
    (`table`, `degrees`, `laplacian`, `bound`), and the uniform distribution (`nodes`, `sample`).

    Attributes:
        dim: d.
        width: w, how many numbers give a point.
        volume: its Riemannian volume.
        homology: its Betti numbers.
        closed: whether it is compact without boundary.
    """

    dim: int
    width: int
    volume: float
    homology: Homology
    closed: bool = True

    @abstractmethod
    def space(self) -> ReferenceSpace:
        """The reference space with the same points."""

    @abstractmethod
    def retract(self, b: Points) -> Points:
        """Numbers near the space to the nearest point of it."""

    @abstractmethod
    def frame(self, b: Points) -> Float[Tensor, "*batch w d"]:
        """An orthonormal basis E(b) of the tangent space at b."""

    @abstractmethod
    def move(self, b: Broadcast, v: Broadcast) -> Broadcast:
        """exp_b(v), v tangent at b."""

    @abstractmethod
    def log(self, b: Broadcast, c: Broadcast) -> Broadcast:
        """The tangent vector v at b with exp_b(v) = c, the shortest one."""

    def distance(self, b: Broadcast, c: Broadcast) -> Float[Tensor, "*#batch"]:
        """The length of the shortest geodesic."""
        return self.log(b, c).norm(dim=-1)

    @abstractmethod
    def table(self, b: Points, degree: int) -> Float[Tensor, "*batch p"]:
        """Polynomials up to a degree, orthonormal under the uniform distribution."""

    @abstractmethod
    def degrees(self, degree: int) -> tuple[int, ...]:
        """The degree of each column of :meth:`table`."""

    @abstractmethod
    def laplacian(self, degree: int) -> tuple[float, ...]:
        """The eigenvalue of each column of :meth:`table`, or its size where it is none."""

    @abstractmethod
    def bound(self, degree: int) -> tuple[float, float]:
        r"""(s, l) for combinations f of the functions of one degree, of mean square 1.

        :math:`|f| \le s`, and :math:`|f^{(j)}| \le l^j s`, j = 1, 2, 3, along every geodesic of
        unit speed.
        """

    @abstractmethod
    def nodes(self, degree: int) -> tuple[Float[Tensor, "m w"], Float[Tensor, " m"]]:
        """A quadrature, uniform weight, exact for products of two polynomials of a degree."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Independent points of the uniform distribution."""


@dataclass(frozen=True)
class UnitSphere(HarmonicFactor):
    """The unit sphere S^n in R^(n+1), the circle for n = 1; its functions are the harmonics."""

    n: int = 1

    def __post_init__(self) -> None:
        n = self.n
        # frozen, but these follow from n
        object.__setattr__(self, "dim", n)
        object.__setattr__(self, "width", n + 1)
        object.__setattr__(self, "volume", math.exp(log_sphere_area(n)))
        object.__setattr__(self, "homology", Homology((1, *[0] * (n - 1), 1)))

    def space(self) -> ReferenceSpace:
        """The unit circle or sphere."""
        return spaces.Circle() if self.n == 1 else spaces.Sphere(self.n)

    def retract(self, b: Points) -> Points:
        """B / |b|."""
        return unit(b)

    def frame(self, b: Points) -> Float[Tensor, "*batch w d"]:
        """The complement of b; on the circle it turns with b."""
        if self.n == 1:
            return torch.stack([-b[..., 1], b[..., 0]], -1).unsqueeze(-1)
        return sphere_tangents(b)

    def move(self, b: Broadcast, v: Broadcast) -> Broadcast:
        """Along the great circle."""
        return sphere_exp(b, v)

    def log(self, b: Broadcast, c: Broadcast) -> Broadcast:
        """Along the great circle; to the antipode along any of them."""
        return sphere_log(b, c)[0]

    def table(self, b: Points, degree: int) -> Float[Tensor, "*batch p"]:
        """Spherical harmonics."""
        return harmonics.solid_harmonics(b, degree)

    def degrees(self, degree: int) -> tuple[int, ...]:
        """l, per harmonic."""
        return harmonics.harmonic_degrees(self.n, degree)

    def laplacian(self, degree: int) -> tuple[float, ...]:
        """Of degree l it is l (l + n - 1)."""
        return tuple(float(k * (k + self.n - 1)) for k in self.degrees(degree))

    def bound(self, degree: int) -> tuple[float, float]:
        """By the addition theorem; along great circles f is a trigonometric polynomial.

        Its derivatives are bounded by Bernstein's inequality.
        """
        return math.sqrt(self.degrees(degree).count(degree)), float(degree)

    def nodes(self, degree: int) -> tuple[Float[Tensor, "m w"], Float[Tensor, " m"]]:
        """Equal angles times Gauss rules in the heights."""
        from scipy.special import roots_gegenbauer

        count = 2 * degree + 2
        angle = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        x = torch.stack([angle.cos(), angle.sin()], -1)
        w = torch.full((count,), 1 / count, dtype=torch.float64)
        for k in range(2, self.n + 1):
            t, q = (torch.from_numpy(a) for a in roots_gegenbauer(degree + 1, (k - 1) / 2))
            ring = (1 - t * t).sqrt()[:, None, None] * x
            x = torch.cat([ring, t[:, None, None].expand(-1, len(x), 1)], -1).flatten(0, 1)
            w = (q / q.sum())[:, None].mul(w).flatten()
        return x, w

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Normalised Gaussian vectors."""
        return unit(torch.randn(n, self.width, generator=generator, dtype=torch.float64))


@dataclass(frozen=True)
class Flat(HarmonicFactor):
    """A part of the real line; its functions are polynomials, one of each degree."""

    dim = width = 1
    homology = Homology((1,))
    closed = False

    def retract(self, b: Points) -> Points:
        """The nearest number between the ends, which lie at -volume / 2 and volume / 2."""
        end = self.volume / 2
        return b.clamp(-end, end)

    def frame(self, b: Points) -> Float[Tensor, "*batch w d"]:
        """The unit vector."""
        return torch.ones_like(b).unsqueeze(-1)

    def log(self, b: Broadcast, c: Broadcast) -> Broadcast:
        """The difference c - b."""
        return c - b

    def move(self, b: Broadcast, v: Broadcast) -> Broadcast:
        """The sum b + v, which stops at the ends."""
        return self.retract(b + v)

    def degrees(self, degree: int) -> tuple[int, ...]:
        """0, 1, ..., degree."""
        return tuple(range(degree + 1))


@dataclass(frozen=True)
class UnitInterval(Flat):
    """The interval [-1, 1]; its functions are the Legendre polynomials."""

    volume = 2.0

    def space(self) -> ReferenceSpace:
        """[-1, 1]."""
        return spaces.Interval(-1.0, 1.0)

    def table(self, b: Points, degree: int) -> Float[Tensor, "*batch p"]:
        """Legendre polynomials."""
        return harmonics.legendre(b, degree)

    def laplacian(self, degree: int) -> tuple[float, ...]:
        r"""Of degree j it is j (j + 1), that of Legendre's operator :math:`-((1 - h^2) f')'`."""
        return tuple(float(j * (j + 1)) for j in range(degree + 1))

    def bound(self, degree: int) -> tuple[float, float]:
        """By Markov: the derivatives of Legendre polynomials are largest at the ends."""
        j, top = degree, 1.0
        speeds = []
        for k in range(3):
            top *= max(j - k, 0) * (j + k + 1) / (2 * k + 2)
            speeds.append(top ** (1 / (k + 1)))
        return math.sqrt(2 * j + 1), max(speeds)

    def nodes(self, degree: int) -> tuple[Float[Tensor, "m w"], Float[Tensor, " m"]]:
        """Gauss-Legendre."""
        from scipy.special import roots_legendre

        t, q = (torch.from_numpy(a) for a in roots_legendre(degree + 1))
        return t.unsqueeze(-1), q / 2

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Uniform numbers."""
        return 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1


@dataclass(frozen=True)
class RealLine(Flat):
    """The real line under N(0, 1), which takes the place of the uniform distribution."""

    volume = math.inf

    def space(self) -> ReferenceSpace:
        """R."""
        return spaces.Euclidean(1)

    def table(self, b: Points, degree: int) -> Float[Tensor, "*batch p"]:
        """Hermite polynomials."""
        return harmonics.hermite(b, degree)

    def laplacian(self, degree: int) -> tuple[float, ...]:
        """j, eigenvalues of the generator of the Ornstein-Uhlenbeck process."""
        return tuple(float(j) for j in range(degree + 1))

    def bound(self, degree: int) -> tuple[float, float]:
        """None but for constants: polynomials are unbounded on the line."""
        return (1.0, 0.0) if degree == 0 else (math.inf, math.inf)

    def nodes(self, degree: int) -> tuple[Float[Tensor, "m w"], Float[Tensor, " m"]]:
        """Gauss-Hermite."""
        from scipy.special import roots_hermitenorm

        t, q = (torch.from_numpy(a) for a in roots_hermitenorm(degree + 1))
        return t.unsqueeze(-1), q / q.sum()

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Gaussian numbers."""
        return torch.randn(n, 1, generator=generator, dtype=torch.float64)
