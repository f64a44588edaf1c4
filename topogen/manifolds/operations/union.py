"""Unions of manifolds of one dimension, kept as lists of their parts."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from ...calculus import RowMap
from ...errors import UnsupportedError
from ...homology import Homology
from ..atlas import Atlas
from ..base import Manifold, Projection, membership_tolerance
from ..default_atlas import atlas_of_parts
from ..locate import gap as gap_of
from ..locate import of_part, one_space, some_points
from .composite import Composite, Onto, reasons
from .contact import Contact, find_contact
from .union_homology import mayer_vietoris


class Union(Composite):
    r"""A u B u ..., kept as its parts: a point belongs to the part of least residual.

    A product of defining functions is used only for parts that are apart: where they meet,
    :math:`D(F_A F_B) = F_B\, DF_A + F_A\, DF_B` vanishes, and with it the Newton step. A point of
    several parts counts once: with m(x) the number of parts that contain x,

    .. math:: H^d(A \cup B \cup \dots) = \sum_i \int_{A_i} \frac{1}{m(x)}\, dH^d(x),

    and the uniform distribution is that of the parts, weighted by volume, with points accepted
    with probability 1/m; it matters only for parts that share a subset of full dimension. Where
    parts cross, `tangent_basis` is NaN. `homology` is the sum where all parts are found apart;
    that of two crossing parts where :func:`mayer_vietoris` determines it; else None. Parts inside
    another part do not count. The position of the parts is found once, when first asked for.

    Args:
        parts: two or more manifolds of one dimension in one R^D.
        points: points near the parts, to search for common points from; besides, the search starts
            from the samplers of the parts, or from projected normal vectors.
        atol: distance at which a point of one part is one of another too; None takes the rounding
            of the points. Learned parts that overlap need their own accuracy here.
        homology: Betti numbers, where known.
        seed: of the search.
        gap: the least distance of parts known to be apart: then nothing is searched, and defining
            functions multiply (:func:`disjoint_union`).

    Raises:
        ValueError: parts of different dimensions, or in different spaces.

    Example:
        >>> from topogen.manifolds.operations import Similarity
        >>> A, B = (Similarity(tg.Sphere(), [s, 0.0, 0.0]) for s in (0.5, -0.5))
        >>> M = Union(A, B)
        >>> round(M.volume / torch.pi, 6), str(M.homology), M.closed
        (8.0, 'Z/2: (1, 0, 3), Z/3: (1, 0, 3)', False)
        >>> M.project(torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).value
        tensor([[ 1.5000,  0.0000,  0.0000],
                [-0.5000,  0.0000,  0.0000]])
    """

    def __init__(
        self,
        *parts: Manifold,
        points: Float[Tensor, "n D"] | None = None,
        atol: float | None = None,
        homology: Homology | None = None,
        seed: int = 0,
        gap: float | None = None,
    ) -> None:
        super().__init__()
        self.ambient_dim = one_space(parts)
        dims = [M.dim for M in parts]
        if len(set(dims)) > 1:
            raise ValueError(
                f"expected parts of one dimension, got dimensions {dims}; one of mixed dimension "
                "has no one volume: keep its parts in a list, with a distribution on each"
            )
        self.dim = dims[0]
        self.parts = nn.ModuleList(parts)
        self.points, self.atol_shared, self.seed, self.gap = points, atol, seed, gap
        self.given_homology = homology
        self.why_no_defining = "parts that meet have no common defining function"
        if gap is not None:
            self.why_no_defining = reasons(*parts)
            if self.why_no_defining is None and self.ambient_dim - self.dim > 2:
                self.why_no_defining = "no product of vectors of more than 2 equations is at hand"

    def arguments(self) -> dict[str, Any]:
        """See :class:`~topogen.storable.Storable`."""
        return {
            "parts": self.parts,
            "points": self.points,
            "atol": self.atol_shared,
            "homology": self.given_homology,
            "seed": self.seed,
            "gap": self.gap,
        }

    def listed(self) -> list[Manifold]:
        """The parts."""
        return cast("list[Manifold]", list(self.parts))

    # -- the parts at a point ---------------------------------------------------------------------

    def _residuals(self, x: Tensor) -> Tensor:
        """The residual of every part; infinite outside its domain, unless x is outside all."""
        self.check_points(x)
        r = torch.stack([M.residual(x) for M in self.listed()], -1)
        inside = torch.stack([M.in_domain(x) for M in self.listed()], -1)
        return torch.where(inside | ~inside.any(-1, keepdim=True), r, math.inf)

    def part(self, x: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch"]:
        """The index of the part of x: the least residual, of parts with x in their domain."""
        return self._residuals(x).detach().nan_to_num(nan=math.inf).argmin(-1)

    def members(
        self, x: Float[Tensor, "*batch D"], atol: float | None = None
    ) -> Bool[Tensor, "*batch K"]:
        """Which parts contain x, a point of the union: that of least residual, all within `atol`.

        `atol` is that of the union where it is None, or the rounding of x.
        """
        r = self._residuals(x).nan_to_num(nan=math.inf)
        own = nn.functional.one_hot(r.argmin(-1), len(self.parts)).bool()
        return own | (r <= (self._shared(x.dtype) if atol is None else atol))

    def _shared(self, dtype: torch.dtype) -> float:
        """`atol`, or the rounding of points of a dtype."""
        rounding = membership_tolerance(dtype, self.scale)
        return rounding if self.atol_shared is None else self.atol_shared

    # -- the manifold -----------------------------------------------------------------------------

    def _length(self, lengths: Tensor) -> Tensor:
        return lengths.amax(-1)

    def _combined(self, x: Tensor, onto: Onto, tol: float | None) -> Projection:
        """Onto every part; the nearest of the points reached, else the one of least residual."""
        found = [onto(M, x, tol) for M in self.listed()]
        distance = torch.stack([(p.value - x).norm(dim=-1) for p in found], -1).detach()
        residual = torch.stack([p.residual for p in found], -1).detach()
        ok = torch.stack([p.converged for p in found], -1)
        distance = torch.where(ok, distance, math.inf)
        score = torch.where(ok.any(-1, keepdim=True), distance, residual)
        k = score.nan_to_num(nan=math.inf).argmin(-1)
        return Projection(
            of_part([p.value for p in found], k),
            of_part([p.residual for p in found], k),
            of_part([p.converged for p in found], k),
            of_part([p.steps for p in found], k),
        )

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The least residual of the parts with x in their domain of validity."""
        r = self._residuals(x)
        return torch.where(r.isnan().all(-1), math.nan, r.nan_to_num(nan=math.inf).amin(-1))

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | Tensor | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether some part contains x, with its own tolerance where `atol` is None."""
        self.check_points(x)
        return torch.stack([M.contains(x, atol) for M in self.listed()]).any(0)

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """Those of the part that x belongs to."""
        k = self.part(x)
        residuals, moved = zip(*(M.step(x) for M in self.listed()), strict=True)
        return of_part(list(residuals), k), of_part(list(moved), k)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the domain of validity of some part."""
        self.check_points(x)
        return torch.stack([M.in_domain(x) for M in self.listed()]).any(0)

    def rough_points(self, n: int, generator: Generator | None = None) -> Tensor | None:
        """Points all over each part; None if a part knows none."""
        if self.gap is not None:
            return super().rough_points(n, generator)
        parts = [M.rough_points(n, generator) for M in self.listed()]
        return None if any(x is None for x in parts) else torch.cat(cast("list[Tensor]", parts))

    @property
    def defining(self) -> RowMap | None:
        """The product of those of parts that are apart, as real or complex numbers; else None.

        It needs D - d = 1 or 2.
        """
        known = [F for M in self.listed() if (F := M.defining) is not None]
        codim = self.ambient_dim - self.dim
        if self.gap is None or len(known) < len(self.parts) or codim > 2:
            return None
        if codim < 2:
            return lambda x: math.prod((F(x) for F in known[1:]), start=known[0](x))

        def product(x: Tensor) -> Tensor:
            values = [torch.complex(*F(x).unbind(-1)) for F in known]
            z = math.prod(values[1:], start=values[0])
            return torch.stack([z.real, z.imag], -1)

        return product

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """The defining function, else E of the part of x, filled up with zeros to one length."""
        F = self.defining
        if F is not None:
            return F(x)
        return of_part(_padded([M.equations(x) for M in self.listed()]), self.part(x))

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E and DE; see :meth:`equations`."""
        if self.defining is not None:
            return super().linearize(x)
        E, J = zip(*(M.linearize(x) for M in self.listed()), strict=True)
        k = self.part(x)
        return of_part(_padded(E), k), of_part(_padded([j.mT for j in J]), k).mT

    def _basis(self, x: Tensor, bases: list[Tensor]) -> Tensor:
        """The basis of the part of x; NaN where parts with different tangent spaces meet."""
        shares, k = self.members(x), self.part(x)
        own = of_part(bases, k)
        crossing = torch.zeros_like(k, dtype=torch.bool)
        shared = (shares.sum(-1) > 1).nonzero(as_tuple=True)
        for i, Q in enumerate(bases):
            if shared[0].numel() and own.shape[-1]:
                across = Q[shared] - own[shared] @ (own[shared].mT @ Q[shared])
                limit = 100 * membership_tolerance(x.dtype)
                crossing[shared] |= (across.norm(dim=(-2, -1)) > limit) & shares[shared][:, i]
        return torch.where(crossing[..., None, None], math.nan, own)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the tangent space at points x of M; NaN where parts cross."""
        self.check_points(x)
        return self._basis(x, [M.tangent_basis(x) for M in self.listed()])

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """Orthonormal basis of the normal space at points x of M; NaN where parts cross."""
        self.check_points(x)
        return self._basis(x, [M.normal_basis(x) for M in self.listed()])

    # -- the relative position of the parts -------------------------------------------------------

    @cached_property
    def contacts(self) -> dict[tuple[int, int], Contact]:
        """The relative position of each two parts, by a search from some thousand points."""
        every = itertools.combinations(range(len(self.parts)), 2)
        if self.gap is not None:
            return {pair: Contact("apart", self.gap) for pair in every}
        generator = Generator().manual_seed(self.seed)
        with torch.no_grad():
            clouds = [some_points(M, 4096, generator, self.points) for M in self.listed()]
        parts, atol = self.listed(), self._shared(torch.float64)
        find = functools.partial(find_contact, atol=atol, points=self.points, seed=self.seed)
        return {(i, j): find(parts[i], parts[j], clouds[i], clouds[j]) for i, j in every}

    @property
    def homology(self) -> Homology | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As given; else by the relative position of the parts, where that determines it."""
        parts = [M.homology for M in self.listed()]
        if self.given_homology is not None or any(h is None for h in parts):
            return self.given_homology
        left = {i: h for i, h in enumerate(parts) if h is not None and i in self._outer}
        for (i, j), contact in self.contacts.items():
            if contact.kind == "apart" or not {i, j} <= self._outer:
                continue
            C = None if contact.crossing is None else contact.crossing.homology
            # of three connected parts, two known pairs do not determine the whole
            if C is None or not (i in left and j in left):
                return None
            both = mayer_vietoris(left.pop(i), left.pop(j), C)
            if both is None:
                return None
            left[-1 - i] = both
        return functools.reduce(Homology.disjoint_union, left.values())

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all parts are closed and apart: where they cross, M is not a manifold."""
        return all(M.closed for M in self.listed()) and self._apart

    @property
    def orientable(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all parts are orientable, where that is known and they are apart; else None."""
        known = [M.orientable for M in self.listed()]
        return None if None in known or not self._apart else all(known)

    @cached_property
    def _outer(self) -> set[int]:
        """The parts that no other part contains."""
        outer = set(range(len(self.parts)))
        for (i, j), contact in self.contacts.items():
            if {i, j} <= outer and 1.0 in contact.shares:
                outer.remove(i if contact.shares[0] == 1.0 else j)
        return outer

    @property
    def _apart(self) -> bool:
        pairs = [c for pair, c in self.contacts.items() if set(pair) <= self._outer]
        return all(c.kind == "apart" for c in pairs)

    # -- volume and uniform distribution ----------------------------------------------------------

    @property
    def _volumes(self) -> list[float] | None:
        known = [M.volume for M in self.listed()]
        return None if None in known else cast("list[float]", known)

    @cached_property
    def _measure(self) -> tuple[float, float | None] | None:
        """H^d of the union and its error; None where it is not known."""
        volumes = self._volumes
        if volumes is None:
            return None
        errors = [M.volume_error for M in self.listed()]
        error = None if None in errors else math.fsum(cast("list[float]", errors))
        shared = {k for pair, c in self.contacts.items() if c.kind == "overlapping" for k in pair}
        total, variance = 0.0, 0.0
        generator = Generator().manual_seed(self.seed)
        for k, V in enumerate(volumes):
            if k not in shared:
                total += V
                continue
            try:
                x = self.listed()[k].sample_uniform(65_536, generator)
            except UnsupportedError:
                return None
            share = 1 / self.members(x).sum(-1).to(torch.float64)
            total += V * float(share.mean())
            variance += V**2 * float(share.var()) / x.shape[0]
        return total, None if error is None else error + 3 * math.sqrt(variance)

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The sum of the volumes, less what overlaps, each part counted once; None if not known.

        A common part of less than a thousandth of each volume can pass unseen.
        """
        return None if self._measure is None else self._measure[0]

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The sum of those of the parts, and three standard errors of a sampled overlap."""
        return None if self._measure is None else self._measure[1]

    @property
    def has_sampler(self) -> bool:
        """Whether all parts have one, and a known volume."""
        return self._volumes is not None and super().has_sampler

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """A part drawn by volume, a uniform point of it, accepted with probability 1 / m(x).

        Raises:
            UnsupportedError: a part has no sampler, or no known volume.
        """
        if self._volumes is None:
            raise UnsupportedError(
                "expected parts of known volumes, got "
                f"{[M.volume for M in self.listed()]}; estimate them with topogen.sampling, "
                "and take a Mixture with manifold=this union"
            )
        weights = torch.tensor(self._volumes, dtype=torch.float64)
        if self.gap is not None:  # a point of every part, one of them chosen by volume
            every = [M.sample_uniform(n, generator) for M in self.listed()]
            u = torch.rand(n, 1, generator=generator, dtype=torch.float64)
            shares = weights.cumsum(0)[:-1] / math.fsum(self._volumes)
            return of_part(every, (u >= shares).sum(-1))
        accepted = torch.zeros(0, self.ambient_dim, dtype=torch.float64)
        while len(accepted) < n:
            count = n - len(accepted) + 16
            k = torch.multinomial(weights, count, replacement=True, generator=generator)
            x = torch.zeros(count, self.ambient_dim, dtype=torch.float64)
            for i, M in enumerate(self.listed()):
                mine = (k == i).nonzero().squeeze(-1)
                if mine.numel():
                    x[mine] = M.sample_uniform(mine.numel(), generator)
            u = torch.rand(count, generator=generator, dtype=torch.float64)
            accepted = torch.cat([accepted, x[u * self.members(x).sum(-1) < 1]])
        return accepted[:n]

    def atlas(self) -> Atlas:
        """The charts of all parts."""
        return atlas_of_parts(self, self.listed())

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"dim={self.dim}, ambient_dim={self.ambient_dim}"


def _padded(rows: Sequence[Tensor]) -> list[Tensor]:
    """Filled up with zeros to the length of the longest."""
    most = max(row.shape[-1] for row in rows)
    return [nn.functional.pad(row, (0, most - row.shape[-1])) for row in rows]


def disjoint_union(*parts: Manifold) -> Union:
    r"""The union of manifolds of one dimension in R^D that do not meet.

    Betti numbers and volumes add; defining functions multiply, as real or complex numbers.

    Raises:
        ValueError: the dimensions differ, or two parts are found to meet: alternating projections
            from the closest of 500 sample points of each reach a distance below 1e-6 of their
            size. Parts that meet only where no sample point is near can pass.
        UnsupportedError: a part has no sampler.

    Example:
        >>> M = disjoint_union(tg.Circle(1.0), tg.Circle(2.0))
        >>> round(M.volume / torch.pi, 6), str(M.homology)
        (6.0, 'Z/2: (2, 2), Z/3: (2, 2)')
        >>> M.project(torch.tensor([[0.0, 1.4], [0.0, 1.6]])).value
        tensor([[0., 1.],
                [0., 2.]])
    """
    least = math.inf
    for A, B in itertools.combinations(parts, 2):
        if (A.dim, A.ambient_dim) != (B.dim, B.ambient_dim):
            raise ValueError(
                f"expected manifolds of one dimension in one R^D, got dimension {A.dim} in "
                f"R^{A.ambient_dim} and {B.dim} in R^{B.ambient_dim}"
            )
        generator = Generator().manual_seed(0)
        x, y = (M.sample_uniform(500, generator) for M in (A, B))
        found = gap_of(A, B, x, y)[0]
        if found <= 1e-6 * max(A.scale, B.scale):
            raise ValueError(
                f"expected manifolds that do not meet, got {A} and {B} at distance {found:.1e}; "
                "change a radius"
            )
        least = min(least, found)
    return Union(*parts, gap=least)
