"""Products of manifolds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...calculus import RowMap
from ...homology import Homology
from ..atlas import Atlas
from ..base import Manifold, Projection
from ..charts import Chart, Domain
from ..default_atlas import charts_of
from ..factors import CoordinateFactor
from ..geodesics import Geodesic, tolerance
from .composite import Composite, Onto, reasons


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
        (a, b), (c, d) = self.first.bounding_box(), self.second.bounding_box()
        return torch.cat([a, c]), torch.cat([b, d])


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


class Product(Composite):
    r"""A x B in R^{D_A + D_B}: homology by Kuenneth, volume |A||B|, everything else side by side.

    The factors may be any manifolds, learned ones too. `project` is then a product of retractions
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
        self.why_no_defining = reasons(first, second)

    # properties: a factor may still be learned
    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both factors are."""
        return self.first.closed and self.second.closed

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
        V, W = self.first.volume, self.second.volume
        return None if V is None or W is None else V * W

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Bound on the error of `volume`; None where one is not known."""
        (V, a), (W, b) = ((M.volume, M.volume_error) for M in self.listed())
        if V is None or W is None or a is None or b is None:
            return None
        return V * b + a * W + a * b

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

    def _halves(self, x: Tensor) -> Iterator[tuple[Manifold, Tensor]]:
        """Each factor with its columns of x."""
        return zip(self.listed(), self._split(x), strict=True)

    def _via(self, through: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return (None, None) if through is None else self._split(through)

    def listed(self) -> list[Manifold]:
        """The factors."""
        return [self.first, self.second]

    def _length(self, lengths: Tensor) -> Tensor:
        return lengths.norm(dim=-1)

    def _at(self, x: Float[Tensor, "*batch D"]) -> list[tuple[Manifold, Tensor]]:
        return list(self._halves(x))

    def _combined(self, x: Tensor, onto: Onto, tol: float | None) -> Projection:
        """Side by side, each to half the square of `tol`; NaN in one half is NaN in both."""
        p, q = (onto(M, y, _half(tol)) for M, y in self._halves(x))
        finite = x.isfinite().all(-1)
        return Projection(
            torch.where(finite.unsqueeze(-1), torch.cat([p.value, q.value], -1), math.nan),
            torch.where(finite, torch.hypot(p.residual, q.residual), math.nan),
            p.converged & q.converged,
            torch.maximum(p.steps, q.steps),
        )

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The hypotenuse of those of the factors."""
        r = torch.hypot(*(M.residual(y) for M, y in self._halves(x)))
        return torch.where(x.isfinite().all(-1), r, math.nan)

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | Tensor | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol`; each half within the default of its factor, if None."""
        if atol is not None:
            return super().contains(x, atol) & self.in_domain(x)
        return torch.stack([M.contains(y) for M, y in self._halves(x)]).all(0)

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """E(x, y) = (E_A(x), E_B(y))."""
        return torch.cat([M.equations(y) for M, y in self._halves(x)], -1)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E and DE, of two diagonal blocks."""
        (E, J), (F, K) = (M.linearize(y) for M, y in self._halves(x))
        return torch.cat([E, F], -1), _blocks(J, K)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether both parts lie in the domain of validity of their factor."""
        return torch.stack([M.in_domain(y) for M, y in self._halves(x)]).all(0)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The bases of both factors, as diagonal blocks."""
        return _blocks(*(M.tangent_basis(y) for M, y in self._halves(x)))

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """The bases of both factors, as diagonal blocks."""
        return _blocks(*(M.normal_basis(y) for M, y in self._halves(x)))

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
        (y, on), (z, on_too) = (M.retract(half) for M, half in self._halves(x))
        return torch.cat([y, z], -1), on & on_too

    def second_fundamental_form(
        self, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
    ) -> Float[Tensor, "*batch d d D"]:
        """Those of the factors, of the parts of the frame in each."""
        T = self.tangent_basis(x) if frame is None else frame
        parts = []
        for (M, y), v in zip(self._halves(x), self._split(T.mT), strict=True):
            C = v @ M.tangent_basis(y)
            II = M.second_fundamental_form(y)
            parts.append(torch.einsum("...ai,...bj,...ijk->...abk", C, C, II))
        return torch.cat(parts, -1)

    def mean_curvature(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Those of the factors, weighted by their dimensions."""
        parts = [M.dim / self.dim * M.mean_curvature(y) for M, y in self._halves(x)]
        return torch.cat(parts, -1)

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
        (a, b), (c, d), (e, f) = self._split(x), self._split(v), self._split(w)
        p, g = self.first.transport(a, c, e, tol=_half(tol), max_steps=max_steps)
        q, h = self.second.transport(b, d, f, tol=_half(tol), max_steps=max_steps)
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
        (a, b), (c, d), (p, q) = self._split(x), self._split(y), self._via(through)
        half = _half(tol)
        g = self.first.log(a, c, through=p, tol=half, max_steps=max_steps)
        both = _both(g, self.second.log(b, d, through=q, tol=half, max_steps=max_steps))
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
        (a, b), (c, d), (p, q) = self._split(x), self._split(y), self._via(through)
        r = self.first.distance(a, c, through=p, throw=throw)
        return torch.hypot(r, self.second.distance(b, d, through=q, throw=throw))

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Independent uniform points of the factors.

        Raises:
            UnsupportedError: a factor has no sampler.
        """
        return torch.cat([M.sample_uniform(n, generator) for M in self.listed()], -1)

    def rough_points(
        self, n: int, generator: Generator | None = None
    ) -> Float[Tensor, "m D"] | None:
        """Pairs of points all over the factors; None if one knows none."""
        a, b = (M.rough_points(n, generator) for M in self.listed())
        if a is None or b is None or not (len(a) and len(b)):
            return None
        i, j = (torch.randint(len(x), (n,), generator=generator) for x in (a, b))
        return torch.cat([a[i], b[j]], -1)

    def atlas(self) -> Atlas:
        """All products of charts; a good cover where both factors have one.

        Raises:
            UnsupportedError: a factor has no charts, and no points to put them on.
        """
        charts = [list(charts_of(M)) for M in self.listed()]
        return Atlas([ProductChart(a, b) for a, b in itertools.product(*charts)], self, own=True)


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
