r"""Bases B = cover / Gamma of injective flows: products of factors, and their free quotients."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from ....errors import SaveError, UnsupportedError
from ....homology import Homology
from ....manifolds import spaces
from ....manifolds.base import Manifold
from ....manifolds.operations.product import Product
from ....storable import Storable
from .harmonic_factors import Broadcast, HarmonicFactor, Points, RealLine, UnitInterval, UnitSphere

# standard bases of one dimension only
FIXED = {"circle": 1, "klein": 2, "mobius": 2, "cylinder": 2}
# of a quadrature, where the next level would have more
_MOST_NODES = 60_000
_LARGEST_DEGREE = 3000  # whose nodes are found within a second


@dataclass(frozen=True)
class LogIntegral:
    """An integral over B.

    Attributes:
        log_value: its logarithm.
        error: how much that changed from the level before.
        nodes: of the last level.
        values: of the exponent there.
    """

    log_value: Float[Tensor, ""]
    error: float
    nodes: Float[Tensor, "m w"]
    values: Float[Tensor, " m"]


class Base(Storable):
    r"""A Riemannian manifold B with points given by those of a cover, a product of factors.

    :math:`B = \tilde B / \Gamma`, with :math:`\tilde B = X_1 \times \dots \times X_k` of unit
    circles, unit spheres, intervals [-1, 1] and lines, a point b of it the numbers of its factors
    side by side, and Gamma a finite group of orthogonal matrices that maps the cover to itself
    without fixed points. Volumes and lengths on B are those of the cover, so B has volume
    :math:`|\tilde B| / |\Gamma|`.

    Args:
        factors: X_1, ..., X_k.
        group: the matrices of Gamma, the unit matrix first, shape (m, w, w); trivial when None.
        name: what it is called.
        parts: (name, dim) of the standard bases that it is a product of.
        homology: Betti numbers; by Kuenneth where Gamma is trivial.
        orientable: whether B is orientable.

    Attributes:
        dim: d.
        width: w, how many numbers give a point.
        closed: whether B is compact without boundary.
        cover_volume: of the cover; infinite with a line among the factors.
        volume: of B.

    Example:
        >>> B = standard("klein")
        >>> B.dim, B.width, len(B.group), str(B.homology)
        (2, 4, 2, 'Z/2: (1, 2, 1), Z/3: (1, 1, 0)')
    """

    group: Tensor

    def __init__(
        self,
        factors: Sequence[HarmonicFactor],
        group: Float[Tensor, "m w w"] | None = None,
        *,
        name: str,
        parts: Sequence[tuple[str, int]] = (),
        homology: Homology | None = None,
        orientable: bool = True,
    ) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.name, self.orientable, self.parts = name, orientable, tuple(parts)
        self.dim = sum(f.dim for f in self.factors)
        self.width = sum(f.width for f in self.factors)
        eye = torch.eye(self.width, dtype=torch.float64)
        matrices = eye.unsqueeze(0) if group is None else group.to(torch.float64)
        if matrices.shape[1:] != eye.shape or not torch.equal(matrices[0], eye):
            raise ValueError(
                f"expected matrices of shape (m, {self.width}, {self.width}), the unit matrix "
                f"first, got shape {tuple(matrices.shape)}"
            )
        if homology is None:
            if len(matrices) > 1:
                raise ValueError("expected the homology of a quotient, got none")
            homology = functools.reduce(Homology.product, [f.homology for f in self.factors])
        self.homology = homology
        self.closed = all(f.closed for f in self.factors)
        self.cover_volume = math.prod(f.volume for f in self.factors)
        self.volume = self.cover_volume / len(matrices)
        self.register_buffer("group", matrices)

    def arguments(self) -> dict[str, Any]:
        """The standard bases that it is a product of."""
        if not self.parts:
            raise SaveError(
                f"the base {self.name} is no product of standard ones, so it cannot be written to "
                "a file; save its state_dict yourself"
            )
        return {"parts": self.parts}

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Base:
        """The product of the standard bases."""
        return from_parts([(name, dim) for name, dim in arguments["parts"]])

    def split(self, b: Points) -> tuple[Tensor, ...]:
        """The numbers of each factor."""
        return b.split([f.width for f in self.factors], dim=-1)

    def retract(self, b: Points) -> Points:
        """Numbers near the cover to the nearest point of it."""
        parts = zip(self.factors, self.split(b), strict=True)
        return torch.cat([f.retract(c) for f, c in parts], -1)

    def frame(self, b: Points) -> Float[Tensor, "*batch w d"]:
        """An orthonormal basis E(b) of the tangent space of the cover at b."""
        blocks, column = [], 0
        for f, c in zip(self.factors, self.split(b), strict=True):
            # the block of the factor among the columns of the others, which are zero there
            blocks.append(pad(f.frame(c), (column, self.dim - column - f.dim)))
            column += f.dim
        return torch.cat(blocks, -2)

    def move(self, b: Broadcast, v: Broadcast, *, ends: bool = True) -> Broadcast:
        """exp_b(v) for tangent vectors v of the cover at b.

        Args:
            b: points of the cover.
            v: tangent vectors.
            ends: whether intervals stop at their ends, or go on.
        """
        parts = zip(self.factors, self.split(b), self.split(v), strict=True)
        moved = [c + u if f == UnitInterval() and not ends else f.move(c, u) for f, c, u in parts]
        return torch.cat(moved, -1)

    def blocked(self, b: Points, v: Points) -> Bool[Tensor, "*batch d"]:
        """Which directions of the frame v leaves B in: those of intervals, at their ends."""
        parts = []
        for f, c, u in zip(self.factors, self.split(b), self.split(v), strict=True):
            if f == UnitInterval():
                parts.append((c.abs() >= 1) & (c * u > 0))
            else:
                parts.append(c.new_zeros(*c.shape[:-1], f.dim, dtype=torch.bool))
        return torch.cat(parts, -1)

    def log(self, b: Broadcast, c: Broadcast) -> Broadcast:
        """The shortest tangent vector v at b with exp_b(v) = c, on the cover."""
        parts = zip(self.factors, self.split(b), self.split(c), strict=True)
        return torch.cat([f.log(p, q) for f, p, q in parts], -1)

    def orbit(self, b: Points) -> Float[Tensor, "m *batch w"]:
        """The points of the cover over the point of B under b."""
        return torch.stack([b @ gamma.T for gamma in self.group.to(b)])

    def distance(
        self, b: Broadcast, c: Broadcast, scale: Float[Tensor, " k"] | None = None
    ) -> Float[Tensor, "*#batch"]:
        """The geodesic distance on B.

        Args:
            b: points of the cover.
            c: points of the cover.
            scale: lengths in each factor are multiplied by these; 1 when None.
        """
        parts = zip(self.factors, self.split(b), self.split(self.orbit(c)), strict=True)
        lengths = torch.stack([f.distance(p, q) for f, p, q in parts], -1)
        return (lengths if scale is None else lengths * scale).norm(dim=-1).amin(0)

    def nodes(self, degree: int) -> tuple[Float[Tensor, "m w"], Float[Tensor, " m"]]:
        """A quadrature of the uniform distribution of the cover, see :class:`HarmonicFactor`."""
        x, w = self.factors[0].nodes(degree)
        for f in self.factors[1:]:
            y, v = f.nodes(degree)
            x = torch.cat([x.repeat_interleave(len(y), 0), y.repeat(len(x), 1)], -1)
            w = w.repeat_interleave(len(v)) * v.repeat(len(w))
        return x.to(self.group), w.to(self.group)

    def integrate_exp(
        self, energy: Callable[[Tensor], Tensor], degree: int, *, tol: float = 1e-9
    ) -> LogIntegral:
        r"""The integral of exp(energy) over B, on levels whose degree grows by a half each.

        Ends where two levels differ by at most `tol` in the logarithm, or the next would have too
        many nodes.
        """
        before: Tensor | None = None
        while True:
            b, w = self.nodes(degree)
            values = energy(b)
            log_mean = torch.logsumexp(values + w.log(), 0)
            if before is not None:
                error = abs(float(log_mean - before))
                last = len(b) * 1.5**self.dim > _MOST_NODES or degree > _LARGEST_DEGREE
                if error <= tol or last:
                    return LogIntegral(log_mean + math.log(self.volume), error, b, values)
            before, degree = log_mean, degree + degree // 2

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n w"]:
        """Independent points of the cover, uniform (Gaussian in the lines)."""
        return torch.cat([f.sample(n, generator) for f in self.factors], -1).to(self.group)

    def loops(self, count: int = 256) -> list[Float[Tensor, "count w"]]:
        """Closed loops of B that generate H_1(B; Z), as paths on the cover.

        The circles, and a path from a point to its image under each matrix of Gamma.
        """
        generator = torch.Generator().manual_seed(0)
        start, via = self.sample(2, generator=generator)
        t = torch.arange(count, dtype=torch.float64).to(start) / count
        loops, at, angle = [], 0, 2 * math.pi * t
        for f in self.factors:
            if f == UnitSphere(1):
                loop = start.repeat(count, 1)
                loop[:, at : at + 2] = torch.stack([angle.cos(), angle.sin()], -1)
                loops.append(loop)
            at += f.width
        half = 2 * t[: count // 2, None]
        for gamma in self.group[1:]:
            legs = ((start, via), (via, gamma @ start))
            loops.append(torch.cat([self.move(p, half * self.log(p, q)) for p, q in legs]))
        return loops

    @property
    def cover(self) -> Manifold:
        """The cover as a reference space, with the same coordinates."""
        factors = [f.space() for f in self.factors]
        if len(factors) > 1 and all(f == UnitSphere(1) for f in self.factors):
            return spaces.FlatTorus(len(factors))
        return functools.reduce(Product, factors)

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.name!r}, dim={self.dim}"


def product(first: Base, second: Base) -> Base:
    """B x C, with the product of the groups."""
    pairs = itertools.product(first.group, second.group)
    return Base(
        (*first.factors, *second.factors),
        torch.stack([torch.block_diag(a, c) for a, c in pairs]),
        name=f"{first.name} x {second.name}",
        parts=(*first.parts, *second.parts),
        homology=first.homology.product(second.homology),
        orientable=first.orientable and second.orientable,
    )


def standard(name: str, dim: int | None = None) -> Base:
    r"""A base by its name.

    ``"euclidean"`` R^d, ``"interval"`` [-1, 1]^d, ``"circle"``, ``"torus"`` T^d, ``"sphere"`` S^d,
    ``"projective"`` RP^d (SO(3) is RP^3), ``"klein"``, the torus modulo :math:`(t, s) \sim (t +
    \pi, -s)`, ``"mobius"``, :math:`S^1 \times [-1, 1]` modulo :math:`(t, h) \sim (t + \pi, -h)`,
    and ``"cylinder"`` S^1 x [-1, 1].

    Args:
        name: one of these.
        dim: d; 2 where it is not given, and fixed for the last three and the circle.

    Raises:
        ValueError: no such name, or a dimension that it does not have.
    """
    d = FIXED.get(name, 2) if dim is None else dim
    if d < 1 or (name in FIXED and d != FIXED[name]):
        raise ValueError(
            f"expected dim={FIXED.get(name, '>= 1')} for the base {name!r}, got {dim}"
        )
    known: dict[str, tuple[str, Sequence[HarmonicFactor]]] = {
        "euclidean": (f"R^{d}", [RealLine()] * d),
        "interval": (f"[-1, 1]^{d}", [UnitInterval()] * d),
        "circle": ("S^1", [UnitSphere(1)]),
        "torus": (f"T^{d}" if d > 1 else "S^1", [UnitSphere(1)] * d),
        "sphere": (f"S^{d}", [UnitSphere(d)]),
        "projective": (f"RP^{d}", [UnitSphere(d)]),
        "klein": ("Klein bottle", [UnitSphere(1), UnitSphere(1)]),
        "mobius": ("Moebius band", [UnitSphere(1), UnitInterval()]),
        "cylinder": ("S^1 x [-1, 1]", [UnitSphere(1), UnitInterval()]),
    }
    # of quotients by two elements the diagonal of the second, and the homology
    quotients = {
        "projective": ([-1] * (d + 1), {2: [1] * (d + 1), 3: [1, *[0] * (d - 1), d % 2]}),
        "klein": ([-1, -1, 1, -1], {2: [1, 2, 1], 3: [1, 1, 0]}),
        "mobius": ([-1, -1, -1], {2: [1, 1], 3: [1, 1]}),
    }
    if name not in known:
        raise ValueError(
            "expected a base among 'euclidean', 'interval', 'circle', 'torus', 'sphere', "
            f"'projective', 'klein', 'mobius', 'cylinder', got {name!r}; or pass a Manifold"
        )
    title, factors = known[name]
    if name not in quotients:
        return Base(factors, name=title, parts=[(name, d)])
    diagonal, betti = quotients[name]
    return Base(
        factors,
        torch.tensor([[1] * len(diagonal), diagonal], dtype=torch.float64).diag_embed(),
        name=title,
        parts=[(name, d)],
        homology=Homology(betti),
        orientable=name == "projective" and d % 2 == 1,
    )


def from_parts(parts: Sequence[tuple[str, int]]) -> Base:
    """The product of standard bases, given by their names and dimensions."""
    return functools.reduce(product, [standard(name, dim) for name, dim in parts])


def base_of(manifold: Manifold) -> Base:
    """The base that a reference space is a copy of.

    Raises:
        UnsupportedError: there is none of its kind.
    """
    if manifold.homeomorphic_to is None:
        raise UnsupportedError(
            "expected a space that is a product of circles, spheres, intervals, Klein bottles, "
            f"Moebius bands or projective spaces as a base, got {type(manifold).__name__}; name "
            "the base, or use an atlas (tg.ProjectedAtlas)"
        )
    return from_parts(manifold.homeomorphic_to)
