"""New reference spaces from old ones: products and disjoint unions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...calculus import RowMap
from ...errors import UnsupportedError
from ..base import Manifold
from ..charts import Chart, Domain
from .base import Nearest, ReferenceSpace

if TYPE_CHECKING:
    from ..atlas import Atlas


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


class RestrictedChart(Chart):
    """A chart of a part of M; the residual of the part tells its image from the rest of M."""

    def __init__(self, chart: Chart, part: Manifold) -> None:
        super().__init__()
        self.chart, self.part = chart, part
        self.domain, self.ambient_dim = chart.domain, chart.ambient_dim

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        return self.chart._decode(z)

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        z, inside = self.chart._encode(x)
        return z, inside & self.part.contains(x)


def _volume(M: ReferenceSpace) -> tuple[float, float] | None:
    return None if M.volume is None else (M.volume, M.volume_error or 0.0)


class Product(ReferenceSpace):
    r"""A x B in R^{D_A + D_B}: homology by Kuenneth, volume |A||B|, everything else side by side.

    Example:
        >>> from topogen.manifolds.library import Circle, Interval
        >>> M = Product(Circle(), Interval(0.0, 1.0))
        >>> M.dim, M.ambient_dim, M.closed, str(M.homology)
        (2, 3, False, 'Z/2: (1, 1), Z/3: (1, 1)')
        >>> M.project(torch.tensor([[2.0, 0.0, 5.0]])).value
        tensor([[1., 0., 1.]])
    """

    def __init__(self, first: ReferenceSpace, second: ReferenceSpace) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.dim = first.dim + second.dim
        self.ambient_dim = first.ambient_dim + second.ambient_dim
        self.closed = first.closed and second.closed
        self.scale = math.hypot(first.scale, second.scale)
        if first.orientable is not None and second.orientable is not None:
            self.orientable = first.orientable and second.orientable
        if first.homology is not None and second.homology is not None:
            self.homology = first.homology.product(second.homology)
        why = [M.why_no_defining for M in (first, second) if M.defining is None]
        self.why_no_defining = "; ".join(w for w in why if w) or None

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """|A||B|; None where one is not known."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[0] * b[0]

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Bound on the error of `volume`."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[0] * b[1] + a[1] * b[0] + a[1] * b[1]

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        D = self.first.ambient_dim
        return x[..., :D], x[..., D:]

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        a, b = self._split(x)
        # half the squared tolerance to each factor
        half = tol / math.sqrt(2)
        y, r, k = self.first._nearest(a, half, max_steps)
        z, s, m = self.second._nearest(b, half, max_steps)
        return torch.cat([y, z], -1), torch.hypot(r, s), torch.maximum(k, m)

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """E(x, y) = (E_A(x), E_B(y))."""
        a, b = self._split(x)
        return torch.cat([self.first.equations(a), self.second.equations(b)], -1)

    def guard(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether both parts lie where their factor is stated."""
        a, b = self._split(x)
        return self.first.guard(a) & self.second.guard(b)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The bases of both factors, as diagonal blocks."""
        self._check(x)
        a, b = self._split(x)
        P, Q = self.first.tangent_basis(a), self.second.tangent_basis(b)
        upper = torch.cat([P, P.new_zeros(*P.shape[:-1], Q.shape[-1])], -1)
        lower = torch.cat([Q.new_zeros(*Q.shape[:-1], P.shape[-1]), Q], -1)
        return torch.cat([upper, lower], -2)

    @property
    def defining(self) -> RowMap | None:
        """F(x, y) = (F_A(x), F_B(y))."""
        F, G = self.first.defining, self.second.defining
        if F is None or G is None:
            return None
        return lambda x: torch.cat([F(self._split(x)[0]), G(self._split(x)[1])], -1)

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """Independent uniform points of the factors."""
        parts = [M.sample_uniform(n, generator) for M in (self.first, self.second)]
        return torch.cat(parts, -1)

    def atlas(self) -> Atlas:
        """All products of charts; a good cover where both factors have one."""
        from ..atlas import Atlas

        pairs = [(a, b) for a in self.first.atlas().charts for b in self.second.atlas().charts]
        return Atlas(
            [
                ProductChart(a, b)
                for a, b in pairs
                if isinstance(a, Chart) and isinstance(b, Chart)
            ],
            self,
        )


class DisjointUnion(ReferenceSpace):
    r"""The union of two sets of equal dimension in R^D that do not meet.

    Betti numbers and volumes add.

    Raises:
        ValueError: the dimensions differ, or the sets are found to meet: alternating projections
        from the
            closest of 500 sample points of each reach a distance below 1e-6 of their size. Sets
            that meet only where no sample point is near can pass.

    Example:
        >>> from topogen.manifolds.library import Circle
        >>> M = DisjointUnion(Circle(1.0), Circle(2.0))
        >>> round(M.volume / torch.pi, 6), str(M.homology)
        (6.0, 'Z/2: (2, 2), Z/3: (2, 2)')
        >>> M.project(torch.tensor([[0.0, 1.4], [0.0, 1.6]])).value
        tensor([[0., 1.],
                [0., 2.]])
    """

    def __init__(self, first: ReferenceSpace, second: ReferenceSpace) -> None:
        super().__init__()
        a, b = ((M.dim, M.ambient_dim) for M in (first, second))
        if a != b:
            raise ValueError(
                f"expected two sets of one dimension in one R^D, got dimension {a[0]} in R^{a[1]} "
                f"and {b[0]} in R^{b[1]}"
            )
        self.first, self.second = first, second
        self.dim, self.ambient_dim = a
        self.closed = first.closed and second.closed
        self.scale = max(first.scale, second.scale)
        if first.orientable is not None and second.orientable is not None:
            self.orientable = first.orientable and second.orientable
        if first.homology is not None and second.homology is not None:
            self.homology = first.homology.disjoint_union(second.homology)
        why = [M.why_no_defining for M in (first, second) if M.defining is None]
        if not why and self.ambient_dim - self.dim > 2:
            why = ["no product of two vectors of more than 2 equations is at hand"]
        self.why_no_defining = "; ".join(w for w in why if w) or None
        gap = self._gap()
        if gap <= 1e-6 * self.scale:
            raise ValueError(
                f"expected two sets that do not meet, got {first} and {second} "
                f"at distance {gap:.1e}; change a radius"
            )

    def _gap(self) -> float:
        """The distance of two points, made small by alternating projections."""
        generator = torch.Generator().manual_seed(0)
        x = self.first.sample_uniform(500, generator)
        y = self.second.sample_uniform(500, generator)
        close = torch.cdist(x, y).min(0).values.argsort()[:16]
        y = y[close]
        gap = math.inf
        for _ in range(100):
            x = self.first.project(y).value
            y = self.second.project(x).value
            new = float((x - y).norm(dim=-1).min())
            if new > (1 - 1e-3) * gap:
                break
            gap = new
        return gap

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """|A| + |B|; None where one is not known."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[0] + b[0]

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Bound on the error of `volume`."""
        a, b = _volume(self.first), _volume(self.second)
        return None if a is None or b is None else a[1] + b[1]

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        y, r, k = self.first._nearest(x, tol, max_steps)
        z, s, m = self.second._nearest(x, tol, max_steps)
        one = (x - y).norm(dim=-1) <= (x - z).norm(dim=-1)
        return (
            torch.where(one.unsqueeze(-1), y, z),
            torch.where(one, r, s),
            torch.maximum(k, m),
        )

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """The basis of the part that x lies on."""
        self._check(x)
        one = self.first.residual(x) <= self.second.residual(x)
        P, Q = self.first.tangent_basis(x), self.second.tangent_basis(x)
        return torch.where(one[..., None, None], P, Q)

    @property
    def defining(self) -> RowMap | None:
        """F_A F_B as a product of real (D - d = 1) or complex (D - d = 2) numbers; else None."""
        F, G = self.first.defining, self.second.defining
        codim = self.ambient_dim - self.dim
        if F is None or G is None or codim > 2:
            return None
        if codim < 2:
            return lambda x: F(x) * G(x)

        def product(x: Tensor) -> Tensor:
            f, g = torch.complex(*F(x).unbind(-1)), torch.complex(*G(x).unbind(-1))
            return torch.stack([(f * g).real, (f * g).imag], -1)

        return product

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """A coin weighted by the volumes for the part, a uniform point on it."""
        a, b = _volume(self.first), _volume(self.second)
        x, y = (M.sample_uniform(n, generator) for M in (self.first, self.second))
        if a is None or b is None:
            raise UnsupportedError(
                f"expected two sets of known volume, got {self.first} and {self.second}; "
                "sample each by itself"
            )
        share = a[0] / (a[0] + b[0])
        u = torch.rand(n, 1, generator=generator, dtype=torch.float64)
        return torch.where(u < share, x, y)

    def atlas(self) -> Atlas:
        """The charts of both parts."""
        from ..atlas import Atlas

        return Atlas(
            [
                RestrictedChart(chart, M)
                for M in (self.first, self.second)
                for chart in M.atlas().charts
                if isinstance(chart, Chart)
            ],
            self,
        )
