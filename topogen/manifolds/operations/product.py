"""Products of sets."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...calculus import RowMap
from ...homology import Homology
from ..atlas import Atlas
from ..base import Manifold, Projection
from ..charts import Chart, Domain
from ..default_atlas import charts_of
from ..factors import CoordinateFactor
from ..geodesics import Geodesic, tolerance
from ..locate import sampler_of
from ..spaces.base import Nearest, ReferenceSpace


class ProductDomain(Domain):
    """U x V, with the product of the depths inside.

    Example:
        >>> from topogen.manifolds.charts import Ball
        >>> ProductDomain(Ball(1), Ball(1)).depth(torch.tensor([[0.0, 0.5], [0.0, 2.0]]))
        tensor([ 0.7500, -3.0000])
    """

    def __init__(self, first: Domain, second: Domain) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.dim = first.dim + second.dim

    def depth(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The product of the depths where both are positive, else the lesser of them."""
        a = self.first.depth(z[..., : self.first.dim])
        b = self.second.depth(z[..., self.first.dim :])
        return torch.where((a > 0) & (b > 0), a * b, torch.minimum(a, b).clamp_max(0))

    def bounding_box(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """The product of the boxes."""
        boxes = zip(self.first.bounding_box(), self.second.bounding_box(), strict=True)
        low, high = (torch.cat(pair) for pair in boxes)
        return low, high


class ProductChart(Chart):
    """psi x chi: (z, w) -> (psi(z), chi(w)).

    Example:
        >>> from topogen.manifolds.charts import Ball, FunctionChart
        >>> line = FunctionChart(lambda z: 2 * z, lambda x: x / 2, domain=Ball(1))
        >>> ProductChart(line, line).decode(torch.tensor([0.5, -0.5]))
        tensor([ 1., -1.])
    """

    def __init__(self, first: Chart, second: Chart) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.domain = ProductDomain(first.domain, second.domain)
        self.ambient_dim = first.ambient_dim + second.ambient_dim

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        d = self.first.dim
        return torch.cat([self.first._decode(z[..., :d]), self.second._decode(z[..., d:])], -1)

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        D = self.first.ambient_dim
        (z, a), (w, b) = self.first._encode(x[..., :D]), self.second._encode(x[..., D:])
        return torch.cat([z, w], -1), a & b

    def value_and_jacobian(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """Those of both charts, side by side."""
        d = self.first.dim
        x, J = self.first.value_and_jacobian(z[..., :d])
        y, K = self.second.value_and_jacobian(z[..., d:])
        return torch.cat([x, y], -1), _blocks(J, K)


def _volume(M: Manifold) -> tuple[float, float | None] | None:
    return None if M.volume is None else (M.volume, M.volume_error)


def _why(M: Manifold) -> str | None:
    return getattr(M, "why_no_defining", None) or f"{type(M).__name__} has none"


class Product(ReferenceSpace):
    r"""A x B in R^{D_A + D_B}: homology by Kuenneth, volume |A||B|, everything else side by side.

    The factors may be any sets, learned ones too. `project` is then a product of retractions
    instead of a nearest point, and `sample_uniform` and `atlas` need factors that have them.

    Example:
        >>> from topogen.manifolds.spaces import Circle, Interval
        >>> M = Product(Circle(), Interval(0.0, 1.0))
        >>> M.dim, M.ambient_dim, M.closed, str(M.homology)
        (2, 3, False, 'Z/2: (1, 1), Z/3: (1, 1)')
        >>> M.project(torch.tensor([[2.0, 0.0, 5.0]])).value
        tensor([[1., 0., 1.]])
    """

    def __init__(self, first: Manifold, second: Manifold) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.dim = first.dim + second.dim
        self.ambient_dim = first.ambient_dim + second.ambient_dim
        why = [_why(M) for M in (first, second) if M.defining is None]
        self.why_no_defining = "; ".join(w for w in why if w) or None

    # properties: a factor may still be learned
    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both factors are."""
        return self.first.closed and self.second.closed

    @property
    def scale(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The hypotenuse of those of the factors."""
        return math.hypot(self.first.scale, self.second.scale)

    @property
    def tolerance(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The hypotenuse of those of the factors; None where both are known exactly."""
        if self.first.tolerance is None and self.second.tolerance is None:
            return None
        return math.hypot(*(M.atol(torch.float64) for M in (self.first, self.second)))

    @property
    def orientable(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both factors are, where both are known."""
        a, b = self.first.orientable, self.second.orientable
        return None if a is None or b is None else a and b

    @property
    def homology(self) -> Homology | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By Kuenneth, where both are known."""
        a, b = self.first.homology, self.second.homology
        return None if a is None or b is None else a.product(b)

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """|A||B|; None where one is not known."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[0] * b[0]

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Bound on the error of `volume`; None where one is not known."""
        a, b = _volume(self.first), _volume(self.second)
        if a is None or b is None or a[1] is None or b[1] is None:
            return None
        return a[0] * b[1] + a[1] * b[0] + a[1] * b[1]

    @property
    def exact_geodesics(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both factors have them."""
        return self.first.exact_geodesics and self.second.exact_geodesics

    @property
    def exact_retraction(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both factors have one."""
        return self.first.exact_retraction and self.second.exact_retraction

    @property
    def homeomorphic_to(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[tuple[str, int], ...] | None:
        """Those of the first factor, then of the second, where both are known."""
        a, b = self.first.homeomorphic_to, self.second.homeomorphic_to
        return None if a is None or b is None else (*a, *b)

    def factors(self) -> list[CoordinateFactor]:
        """Those of the first factor, then of the second.

        Raises:
            UnsupportedError: they are not known for one.
        """
        D = self.first.ambient_dim
        moved = [replace(f, start=D + f.start) for f in self.second.factors()]
        return [*self.first.factors(), *moved]

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.check_points(x)
        D = self.first.ambient_dim
        return x[..., :D], x[..., D:]

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        p = self.project(x, tol=tol, max_steps=max_steps)
        return p.value, p.residual, p.steps

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Those of the factors, each to half the square of `tol`; see :meth:`Manifold.project`."""
        parts = zip((self.first, self.second), self._split(x), strict=True)
        p, q = (M.project(y, tol=_half(tol), max_steps=max_steps) for M, y in parts)
        both = _beside(x, p, q)
        return self.settled(both, tol, throw)

    def nearest(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Those of the factors; arguments as in :meth:`Manifold.nearest`."""
        parts = zip((self.first, self.second), self._split(x), strict=True)
        p, q = (M.nearest(y, tol=_half(tol), max_steps=max_steps) for M, y in parts)
        both = _beside(x, p, q)
        return self.settled(both, tol, throw)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The hypotenuse of those of the factors."""
        a, b = self._split(x)
        r = torch.hypot(self.first.residual(a), self.second.residual(b))
        return torch.where(x.isfinite().all(-1), r, math.nan)

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol`; each half within the default of its factor, if None."""
        if atol is not None:
            return super().contains(x, atol) & self.in_domain(x)
        a, b = self._split(x)
        return self.first.contains(a) & self.second.contains(b)

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """E(x, y) = (E_A(x), E_B(y))."""
        a, b = self._split(x)
        return torch.cat([self.first.equations(a), self.second.equations(b)], -1)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E and DE, of two diagonal blocks."""
        a, b = self._split(x)
        (E, J), (F, K) = self.first.linearize(a), self.second.linearize(b)
        return torch.cat([E, F], -1), _blocks(J, K)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether both parts lie where their factor is stated."""
        a, b = self._split(x)
        return self.first.in_domain(a) & self.second.in_domain(b)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The bases of both factors, as diagonal blocks."""
        a, b = self._split(x)
        return _blocks(self.first.tangent_basis(a), self.second.tangent_basis(b))

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """The bases of both factors, as diagonal blocks."""
        a, b = self._split(x)
        return _blocks(self.first.normal_basis(a), self.second.normal_basis(b))

    @property
    def defining(self) -> RowMap | None:
        """F(x, y) = (F_A(x), F_B(y))."""
        F, G = self.first.defining, self.second.defining
        if F is None or G is None:
            return None
        return lambda x: torch.cat([F(self._split(x)[0]), G(self._split(x)[1])], -1)

    def retract(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
        """Those of the factors."""
        a, b = self._split(x)
        (y, on), (z, on_too) = self.first.retract(a), self.second.retract(b)
        return torch.cat([y, z], -1), on & on_too

    def second_fundamental_form(
        self, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
    ) -> Float[Tensor, "*batch d d D"]:
        """Those of the factors, of the parts of the frame in each."""
        T = self.tangent_basis(x) if frame is None else frame
        halves = zip((self.first, self.second), self._split(x), self._split(T.mT), strict=True)
        parts = []
        for M, y, v in halves:
            C = v @ M.tangent_basis(y)
            II = M.second_fundamental_form(y)
            parts.append(torch.einsum("...ai,...bj,...ijk->...abk", C, C, II))
        return torch.cat(parts, -1)

    def mean_curvature(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Those of the factors, weighted by their dimensions."""
        halves = zip((self.first, self.second), self._split(x), strict=True)
        return torch.cat([M.dim / self.dim * M.mean_curvature(y) for M, y in halves], -1)

    def geodesic(
        self,
        x: Float[Tensor, "*batch D"],
        y: Float[Tensor, "*batch D"],
        t: Float[Tensor, "*batch"],
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
        """Those of the factors, side by side."""
        (a, b), (c, d) = self._split(x), self._split(y)
        (p, u, ok), (q, v, ok_too) = self.first.geodesic(a, c, t), self.second.geodesic(b, d, t)
        return torch.cat([p, q], -1), torch.cat([u, v], -1), ok & ok_too

    def exp(
        self,
        x: Float[Tensor, "*#batch D"],
        v: Float[Tensor, "*#batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> Geodesic:
        """Those of the factors, side by side; see :meth:`Manifold.exp`."""
        return self.transport(x, v, v, tol=tol, max_steps=max_steps, throw=throw)[1]

    def transport(
        self,
        x: Float[Tensor, "*#batch D"],
        v: Float[Tensor, "*#batch D"],
        w: Float[Tensor, "*#batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> tuple[Float[Tensor, "*batch D"], Geodesic]:
        """Those of the factors, side by side; see :meth:`Manifold.transport`."""
        half = _half(tol)
        (a, b), (c, d), (e, f) = self._split(x), self._split(v), self._split(w)
        p, g = self.first.transport(a, c, e, tol=half, max_steps=max_steps)
        q, h = self.second.transport(b, d, f, tol=half, max_steps=max_steps)
        both = _both(g, h)
        carried = torch.where(both.converged.unsqueeze(-1), torch.cat([p, q], -1), math.nan)
        return carried, both.require(tolerance(self, tol, x.dtype)) if throw else both

    def log(
        self,
        x: Float[Tensor, "*#batch D"],
        y: Float[Tensor, "*#batch D"],
        *,
        through: Float[Tensor, "N D"] | None = None,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> Geodesic:
        """Those of the factors, side by side; see :meth:`Manifold.log`."""
        via = (None, None) if through is None else self._split(through)
        halves = zip((self.first, self.second), self._split(x), self._split(y), via, strict=True)
        g, h = (
            M.log(a, b, through=points, tol=_half(tol), max_steps=max_steps)
            for M, a, b, points in halves
        )
        both = _both(g, h)
        return both.require(tolerance(self, tol, x.dtype)) if throw else both

    def distance(
        self,
        x: Float[Tensor, "*#batch D"],
        y: Float[Tensor, "*#batch D"],
        *,
        through: Float[Tensor, "N D"] | None = None,
        throw: bool = True,
    ) -> Float[Tensor, "*batch"]:
        """The hypotenuse of those of the factors; see :meth:`Manifold.distance`."""
        via = (None, None) if through is None else self._split(through)
        halves = zip((self.first, self.second), self._split(x), self._split(y), via, strict=True)
        return torch.hypot(
            *(M.distance(a, b, through=points, throw=throw) for M, a, b, points in halves)
        )

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """Independent uniform points of the factors.

        Raises:
            UnsupportedError: a factor has no sampler.
        """
        samplers = [sampler_of(M) for M in (self.first, self.second)]
        return torch.cat([draw(n, generator) for draw in samplers], -1)

    def rough_points(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m D"] | None:
        """Pairs of points all over the factors; None if one does not know where it is."""
        a, b = (M.rough_points(n, generator) for M in (self.first, self.second))
        if a is None or b is None or not (len(a) and len(b)):
            return None
        i, j = (torch.randint(len(x), (n,), generator=generator) for x in (a, b))
        return torch.cat([a[i], b[j]], -1)

    def atlas(self) -> Atlas:
        """All products of charts; a good cover where both factors have one.

        Raises:
            UnsupportedError: a factor has no charts, and knows no points to put them on.
        """
        charts = [list(charts_of(M)) for M in (self.first, self.second)]
        return Atlas([ProductChart(a, b) for a, b in itertools.product(*charts)], self)


def _blocks(P: Tensor, Q: Tensor) -> Tensor:
    """The matrix of diagonal blocks P and Q."""
    upper = torch.cat([P, P.new_zeros(*P.shape[:-1], Q.shape[-1])], -1)
    lower = torch.cat([Q.new_zeros(*Q.shape[:-1], P.shape[-1]), Q], -1)
    return torch.cat([upper, lower], -2)


def _half(tol: float | None) -> float | None:
    """The tolerance of each factor whose errors make up one of `tol`."""
    return None if tol is None else tol / math.sqrt(2)


def _both(g: Geodesic, h: Geodesic) -> Geodesic:
    """The pairs of geodesics of the factors, at ends that both of them reach."""
    ok = g.converged & h.converged
    pairs = {f.name: (getattr(g, f.name), getattr(h, f.name)) for f in fields(Geodesic)}
    vectors = {k: torch.cat(pairs[k], -1) for k in ("start", "velocity", "end", "arrival")}
    for k in ("end", "arrival"):
        vectors[k] = torch.where(ok.unsqueeze(-1), vectors[k], math.nan)
    lengths = {k: torch.hypot(*pairs[k]) for k in ("length", "error")}
    return Geodesic(**vectors, **lengths, converged=ok, steps=torch.maximum(g.steps, h.steps))


def _beside(x: Tensor, p: Projection, q: Projection) -> Projection:
    """The projection of pairs x; NaN or infinity in one half spoils both."""
    finite = x.isfinite().all(-1)
    return Projection(
        torch.where(finite.unsqueeze(-1), torch.cat([p.value, q.value], -1), math.nan),
        torch.where(finite, torch.hypot(p.residual, q.residual), math.nan),
        p.converged & q.converged,
        torch.maximum(p.steps, q.steps),
    )
