r"""Unions of sets of one dimension, as lists of components."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ...errors import UnsupportedError
from ...homology import Homology
from ..atlas import Atlas
from ..base import Manifold, Projection, membership_tolerance
from ..default_atlas import atlas_of_parts
from ..locate import of_part, one_space, sampler_of, some_points
from .contact import Contact, find_contact
from .mayer_vietoris import mayer_vietoris

# points of each part, to find what parts share
_COUNT = 4096
_FINE_COUNT = 65_536


class Union(Manifold):
    r"""A u B u ..., kept as its parts: a point belongs to the part of least residual.

    A product of defining functions is not used: :math:`D(F_A F_B) = F_B\, DF_A + F_A\, DF_B`
    vanishes where the parts meet, and no Newton step is left there. A point of several parts
    counts once: with m(x) the number of parts that hold x,

    .. math:: H^d(A \cup B \cup \dots) = \sum_i \int_{A_i} \frac{1}{m(x)}\, dH^d(x),

    and the uniform distribution is that of the parts, weighted by volume, with points kept with
    probability 1/m. Only parts that share a set of full dimension feel it. Two tangent planes meet
    where parts
    cross: `tangent_basis` is NaN there.

    `homology` is the sum where all parts are found apart; that of two crossing parts where
    :func:`mayer_vietoris` tells it; else None. Parts that another part holds do not count. How
    the parts lie to each other is found once, when first asked for.

    Args:
        parts: two or more sets of one dimension in one R^D.
        points: points near the parts, to search for common points from; besides, the search starts
            from the samplers of the parts, or from projected normal vectors.
        atol: distance at which a point of one part is a point of another as well; None takes the
            rounding of the points. Learned parts that share a piece need their own accuracy here.
        homology: Betti numbers, where known.
        seed: of the search.

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
    ) -> None:
        super().__init__()
        self.ambient_dim = one_space(parts)
        dims = [M.dim for M in parts]
        if len(set(dims)) > 1:
            raise ValueError(
                f"expected parts of one dimension, got dimensions {dims}; a set of mixed "
                "dimension has no one volume: keep its parts in a list, with a distribution on each"
            )
        self.dim = dims[0]
        self.parts = nn.ModuleList(parts)
        self.points, self.atol_shared, self.seed = points, atol, seed
        self._homology = homology

    def arguments(self) -> dict[str, Any]:
        """See :class:`~topogen.storable.Storable`."""
        return {
            "parts": self.parts,
            "points": self.points,
            "atol": self.atol_shared,
            "homology": self._homology,
            "seed": self.seed,
        }

    def listed(self) -> list[Manifold]:
        """The parts."""
        return cast("list[Manifold]", list(self.parts))

    # -- the parts at a point ---------------------------------------------------------------------

    def _residuals(self, x: Tensor) -> Tensor:
        """The residual of every part, infinite outside its domain of validity unless x is outside all."""
        self.check_points(x)
        r = torch.stack([M.residual(x) for M in self.listed()], -1)
        inside = torch.stack([M.in_domain(x) for M in self.listed()], -1)
        return torch.where(inside | ~inside.any(-1, keepdim=True), r, math.inf)

    def part(self, x: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch"]:
        """The index of the part that x belongs to: that of least residual, among guards of x."""
        return self._residuals(x).detach().nan_to_num(nan=math.inf).argmin(-1)

    def members(
        self, x: Float[Tensor, "*batch D"], atol: float | None = None
    ) -> Bool[Tensor, "*batch K"]:
        """Which parts hold x, a point of the union: that of least residual, and all within `atol`.

        `atol` is that of the union where it is None, or the rounding of x.
        """
        if atol is None:
            rounding = membership_tolerance(x.dtype, self.scale)
            atol = rounding if self.atol_shared is None else self.atol_shared
        r = self._residuals(x).nan_to_num(nan=math.inf)
        own = torch.nn.functional.one_hot(r.argmin(-1), len(self.parts)).bool()
        return own | (r <= atol)

    # -- the set ----------------------------------------------------------------------------------

    def _closest(self, found: list[Projection], x: Tensor) -> Projection:
        """Of the projections of x onto the parts, the nearest that converged, else the best."""
        distance = torch.stack([(p.value - x).norm(dim=-1) for p in found], -1).detach()
        residual = torch.stack([p.residual for p in found], -1).detach()
        ok = torch.stack([p.converged for p in found], -1)
        score = torch.where(
            ok.any(-1, keepdim=True), torch.where(ok, distance, math.inf), residual
        )
        k = score.nan_to_num(nan=math.inf).argmin(-1)
        return Projection(
            of_part([p.value for p in found], k),
            of_part([p.residual for p in found], k),
            of_part([p.converged for p in found], k),
            of_part([p.steps for p in found], k),
        )

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Onto every part; the nearest of the points reached. As in :meth:`Manifold.project`."""
        self.check_points(x)
        found = [M.project(x, tol=tol, max_steps=max_steps) for M in self.listed()]
        return self.settled(self._closest(found, x), tol, throw)

    def nearest(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 200,
        throw: bool = False,
    ) -> Projection:
        """The nearest of the stationary points of the parts; as in :meth:`Manifold.nearest`."""
        self.check_points(x)
        found = [M.nearest(x, tol=tol, max_steps=max_steps) for M in self.listed()]
        return self.settled(self._closest(found, x), tol, throw)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The least residual of the parts whose guards hold x."""
        r = self._residuals(x)
        return torch.where(r.isnan().all(-1), math.nan, r.nan_to_num(nan=math.inf).amin(-1))

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | None = None
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

    def rough_points(self, n: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Points all over each part; None if a part does not know where it is."""
        parts = [M.rough_points(n, generator) for M in self.listed()]
        return None if any(x is None for x in parts) else torch.cat(cast("list[Tensor]", parts))

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """E of the part that x belongs to, filled up with zeros to one length."""
        E = [M.equations(x) for M in self.listed()]
        m = max(e.shape[-1] for e in E)
        return of_part([nn.functional.pad(e, (0, m - e.shape[-1])) for e in E], self.part(x))

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E and DE of the part that x belongs to, filled up with zeros to one length."""
        E, J = zip(*(M.linearize(x) for M in self.listed()), strict=True)
        m, k = max(e.shape[-1] for e in E), self.part(x)
        E = [nn.functional.pad(e, (0, m - e.shape[-1])) for e in E]
        J = [nn.functional.pad(j, (0, 0, 0, m - j.shape[-2])) for j in J]
        return of_part(E, k), of_part(J, k)

    def _basis(self, x: Tensor, bases: list[Tensor]) -> Tensor:
        """The basis of the part of x; NaN where parts with different tangent spaces hold x."""
        held, k = self.members(x), self.part(x)
        own = of_part(bases, k)
        d = own.shape[-1]
        # the cosines of the angles between two spaces are the singular values of Q^T R
        crossing = torch.zeros_like(k, dtype=torch.bool)
        shared = (held.sum(-1) > 1).nonzero(as_tuple=True)
        for i, Q in enumerate(bases):
            if shared[0].numel() and d:
                across = Q[shared] - own[shared] @ (own[shared].mT @ Q[shared])
                limit = 100 * membership_tolerance(x.dtype)
                crossing[shared] |= (across.norm(dim=(-2, -1)) > limit) & held[shared][:, i]
        return torch.where(crossing[..., None, None], math.nan, own)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the tangent space at points x of M; NaN where parts cross."""
        self.check_points(x)
        return self._basis(x, [M.tangent_basis(x) for M in self.listed()])

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """Orthonormal basis of the normal space at points x of M; NaN where parts cross."""
        self.check_points(x)
        return self._basis(x, [M.normal_basis(x) for M in self.listed()])

    # -- how the parts lie to each other ----------------------------------------------------------

    @cached_property
    def contacts(self) -> dict[tuple[int, int], Contact]:
        """How each two parts lie to each other, found by a search from some thousand points."""
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            clouds = [some_points(M, _COUNT, generator, self.points) for M in self.listed()]
        pairs = itertools.combinations(range(len(clouds)), 2)
        return {(i, j): self._contact(i, j, clouds[i], clouds[j]) for i, j in pairs}

    def _contact(self, i: int, j: int, x: Tensor, y: Tensor) -> Contact:
        atol = self.atol_shared
        if atol is None:
            atol = membership_tolerance(torch.float64, self.scale)
        A, B = self.listed()[i], self.listed()[j]
        return find_contact(A, B, x, y, atol=atol, points=self.points, seed=self.seed)

    @property
    def homology(self) -> Homology | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As given; else by how the parts lie to each other, where that tells it."""
        parts = [M.homology for M in self.listed()]
        if self._homology is not None or any(h is None for h in parts):
            return self._homology
        left = {i: h for i, h in enumerate(parts) if h is not None and i in self._outer}
        for (i, j), contact in self.contacts.items():
            if contact.kind == "apart" or not {i, j} <= self._outer:
                continue
            C = None if contact.crossing is None else contact.crossing.homology
            # of three parts that hang together, two known pairs do not tell the whole
            if C is None or not (i in left and j in left):
                return None
            both = mayer_vietoris(left.pop(i), left.pop(j), C)
            if both is None:
                return None
            left[-1 - i] = both
        whole, *others = left.values()
        for h in others:
            whole = whole.disjoint_union(h)
        return whole

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
        """The parts that no other part holds."""
        outer = set(range(len(self.parts)))
        for (i, j), contact in self.contacts.items():
            if {i, j} <= outer and 1.0 in contact.shares:
                outer.remove(i if contact.shares[0] == 1.0 else j)
        return outer

    @property
    def _apart(self) -> bool:
        pairs = [c for pair, c in self.contacts.items() if set(pair) <= self._outer]
        return all(c.kind == "apart" for c in pairs)

    # -- volume and uniform distribution
    # -------------------------------------------------------------------

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
        overlapping = {
            k for pair, c in self.contacts.items() if c.kind == "overlapping" for k in pair
        }
        total, variance = 0.0, 0.0
        generator = torch.Generator().manual_seed(self.seed)
        for k, V in enumerate(volumes):
            if k not in overlapping:
                total += V
                continue
            try:
                x = sampler_of(self.listed()[k])(_FINE_COUNT, generator)
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

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """A part drawn by volume, a uniform point of it, kept with probability 1 / m(x).

        Raises:
            UnsupportedError: a part has no sampler, or no known volume.
        """
        if self._volumes is None:
            raise UnsupportedError(
                "expected parts of known volumes, got "
                f"{[M.volume for M in self.listed()]}; estimate them with topogen.sampling, "
                "and take a Mixture with manifold=this union"
            )
        samplers = [sampler_of(M) for M in self.listed()]
        weights = torch.tensor(self._volumes, dtype=torch.float64)
        kept = [torch.zeros(0, self.ambient_dim, dtype=torch.float64)]
        found = 0
        while found < n:
            count = n - found + 16
            k = torch.multinomial(weights, count, replacement=True, generator=generator)
            x = torch.zeros(count, self.ambient_dim, dtype=torch.float64)
            for i, draw in enumerate(samplers):
                mine = (k == i).nonzero().squeeze(-1)
                if mine.numel():
                    x[mine] = draw(mine.numel(), generator)
            u = torch.rand(count, generator=generator, dtype=torch.float64)
            x = x[u * self.members(x).sum(-1) < 1]
            kept.append(x)
            found += x.shape[0]
        return torch.cat(kept)[:n]

    def atlas(self) -> Atlas:
        """The charts of all parts."""
        return atlas_of_parts(self, self.listed())

    @property  # like the next: the parts may still be learned
    def scale(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The largest of the parts."""
        return max(M.scale for M in self.listed())

    @property
    def tolerance(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The largest of the parts; None where all are known exactly."""
        if all(M.tolerance is None for M in self.listed()):
            return None
        return max(M.atol(torch.float64) for M in self.listed())

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"dim={self.dim}, ambient_dim={self.ambient_dim}"
