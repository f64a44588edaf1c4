r"""What several manifolds have in common, where they cross at an angle."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from ... import calculus
from ...calculus import RowMap
from ...errors import TopogenError
from ...homology import Homology
from ..base import Manifold, Projection, iterate, projection_tolerance
from ..locate import arrived, distinct, gap, one_space, some_points
from .composite import tolerances
from .curves import Curves, trace

# sine of the least angle at which normals count as independent
_TRANSVERSAL = 1e-3


class TransversalityError(TopogenError, ValueError):
    """Manifolds do not meet, or meet without crossing.

    Attributes:
        gap: the least distance found between two of them; 0 where they meet.
        sigma_min: the least singular value of the stacked normals; NaN where they do not meet.
    """

    def __init__(self, message: str, gap: float, sigma_min: float) -> None:
        super().__init__(message)
        self.gap, self.sigma_min = gap, sigma_min


class Intersection(Manifold):
    r"""A n B n ..., where the manifolds cross: the zero set of :math:`E = (E_A, E_B, \dots)`.

    With orthonormal bases :math:`N_A, N_B, \dots` of the normal spaces as columns of N, they
    cross at x where the least singular value :math:`\sigma_{\min}(N)` is positive; the codimension
    is then :math:`k = k_A + k_B + \dots`. For two hypersurfaces whose normals make an angle
    :math:`\theta` it is :math:`\sqrt{1 - |\cos\theta|}`. One step of `project` is the shortest s
    with :math:`N_i^\top s = -a_i`, :math:`a_i` the steps of the parts in their normal coordinates.

    On an intersection energies add: :math:`\log p_A + \log p_B` is the unnormalised log density of
    the product of experts w.r.t. :math:`H^{D-k}`. Conditioning one distribution on the other
    manifold is another distribution: it has the factor :math:`1/\sqrt{\det N^\top N}`.

    Args:
        parts: two or more manifolds in one R^D.
        points: points near the intersection, to start the search from; besides, it starts from
            the samplers of the parts, or from projected normal vectors.
        homology: Betti numbers, where known; in dimensions 0 and 1 they are found.
        seed: of the search.
        found: points of the intersection; with them there is no search.
        transversality: the least :math:`\sigma_{\min}(N)`, where it is known too.

    Attributes:
        transversality: the least :math:`\sigma_{\min}(N)` found.
        found: the points of the intersection found by the search.

    Raises:
        ValueError: the codimensions add up to more than D.
        TransversalityError: no common point is found, or the parts are tangent at one. A component
            smaller than the spacing of a thousand points of each part can pass unseen.

    Reference:
        Guillemin and Pollack, Differential Topology, section 1.5, 1974.

    Example:
        >>> from topogen.manifolds.operations import Similarity
        >>> A, B = (Similarity(tg.Sphere(), [s, 0.0, 0.0]) for s in (0.5, -0.5))
        >>> M = Intersection(A, B)
        >>> M.dim, round(M.transversality, 4), round(M.volume, 4), str(M.homology)
        (1, 0.7071, 5.4414, 'Z/2: (1, 1), Z/3: (1, 1)')
        >>> bool(M.project(torch.tensor([[0.1, 0.2, 1.0]])).value[0, 0].abs() < 1e-7)
        True
    """

    def __init__(
        self,
        *parts: Manifold,
        points: Float[Tensor, "n D"] | None = None,
        homology: Homology | None = None,
        seed: int = 0,
        found: Float[Tensor, "m D"] | None = None,
        transversality: float | None = None,
    ) -> None:
        super().__init__()
        self.ambient_dim = one_space(parts)
        codim = sum(M.ambient_dim - M.dim for M in parts)
        self.dim = self.ambient_dim - codim
        if self.dim < 0:
            raise ValueError(
                f"expected codimensions that add up to at most D={self.ambient_dim}, got "
                f"{' + '.join(str(M.ambient_dim - M.dim) for M in parts)}; these do not meet "
                "in general, and where they do the intersection is not stable"
            )
        self.parts = nn.ModuleList(parts)
        self.given_homology, self.transversality = homology, 1.0
        generator = Generator().manual_seed(seed)
        self.found = self._search(generator, points) if found is None else found
        if transversality is None:
            transversality = self._least_sigma(generator)
        self.transversality = transversality

    def arguments(self) -> dict[str, Any]:
        """Those of the constructor, and what the search found: parts get their state later."""
        return {
            "parts": self.parts,
            "homology": self.given_homology,
            "found": self.found,
            "transversality": self.transversality,
        }

    def listed(self) -> list[Manifold]:
        """The parts."""
        return cast("list[Manifold]", list(self.parts))

    # -- the search -------------------------------------------------------------------------------

    def _search(self, generator: Generator, near: Tensor | None) -> Tensor:
        """Points of the intersection, or TransversalityError."""
        with torch.no_grad():
            clouds = [some_points(M, 1024, generator, near) for M in self.listed()]
            starts = torch.cat(clouds)
            # from those closest to all parts
            p = self.project(starts[self._apart(starts).argsort()[:256]])
            found = p.value[p.converged]
            if found.shape[0]:
                return distinct(found, 1e-6 * self.scale) if self.dim == 0 else found
            pairs = itertools.combinations(zip(self.listed(), clouds, strict=True), 2)
            gaps = [gap(A, B, x, y) for (A, x), (B, y) in pairs]
            if len(gaps) > 1:  # each two of them may meet
                worst = self._apart(p.value).nan_to_num(nan=math.inf)
                gaps.append((float(worst.min()), False))
        least, exact = max(gaps)
        what = "at distance" if exact else "at a distance of at most"
        names = " and ".join(type(M).__name__ for M in self.listed())
        raise TransversalityError(
            f"expected manifolds that meet, got {names} with no common point, {what} {least:.2g}; "
            "move one, or pass points= near where they meet",
            least,
            math.nan,
        )

    def _least_sigma(self, generator: Generator, rounds: int = 12) -> float:
        """The least sigma_min, by a search around the 8 lowest points; 0 is refused."""
        with torch.no_grad():
            x = self.found
            sigma = self.sigma_min(x)
            radius, lowest = 0.1 * self.scale, [float(sigma.min())]
            for _ in range(rounds if self.dim else 0):
                x = x[sigma.argsort()[:8]]
                noise = torch.randn(4, *x.shape, generator=generator, dtype=x.dtype)
                p = self.project((x + radius * noise).reshape(-1, self.ambient_dim))
                x = torch.cat([x, p.value[p.converged]])
                sigma = self.sigma_min(x)
                lowest.append(float(sigma.min()))
                # next to a contact it halves with the radius; 4 rounds without that end it
                if len(lowest) > 4 and lowest[-1] > 0.8 * lowest[-5]:
                    break
                radius /= 2
        least = float(sigma.min())
        if not least > _TRANSVERSAL:
            point = x[sigma.argmin()]
            point = torch.where(point.abs() < 1e-6 * self.scale, 0.0, point)
            where = ", ".join(f"{v:.3g}" for v in point.tolist())
            raise TransversalityError(
                f"expected manifolds that cross, got some tangent at ({where}): the least "
                f"singular value of their normals is {least:.1e} there, below "
                f"{_TRANSVERSAL:.0e}; move one",
                0.0,
                least,
            )
        return least

    # -- the manifold -----------------------------------------------------------------------------

    def sigma_min(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The least singular value of the stacked orthonormal normals of the parts at x."""
        N = self._stack(x.reshape(-1, self.ambient_dim).to(torch.float64))[1].detach()
        if N.shape[-1] == 0:
            return x.new_ones(x.shape[:-1])
        known = N.isfinite().flatten(-2).all(-1)
        s = torch.linalg.svdvals(torch.where(known[:, None, None], N, 0.0))[..., -1]
        return torch.where(known, s, math.nan).reshape(x.shape[:-1]).to(x.dtype)

    def _stack(self, x: Float[Tensor, "n D"]) -> tuple[Tensor, Tensor]:
        """The steps a of the parts in normal coordinates, shape (n, k), and N, shape (n, D, k)."""
        steps, normals = [x[..., :0]], [x.unsqueeze(-1)[..., :0]]
        for M in self.listed():
            k = M.ambient_dim - M.dim
            if k == 0:
                continue
            E, J = M.linearize(x)
            finite = E.isfinite().all(-1) & J.isfinite().flatten(-2).all(-1)
            J = torch.where(finite[:, None, None], J, 0.0)
            if E.shape[-1] > k:
                U = calculus.leading_range(J, k)
                E, J = (U.mT @ E.unsqueeze(-1)).squeeze(-1), U.mT @ J
            Q, R = torch.linalg.qr(J.mT)
            a = torch.linalg.solve_triangular(R.mT, E.unsqueeze(-1), upper=False).squeeze(-1)
            steps.append(torch.where(finite.unsqueeze(-1), a, math.nan))
            normals.append(torch.where(finite[:, None, None], Q, math.nan))
        return torch.cat(steps, -1), torch.cat(normals, -1)

    def _apart(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """The largest residual of the parts."""
        return torch.stack([M.residual(x) for M in self.listed()]).amax(0)

    def _evaluate(self, x: Float[Tensor, "n D"]) -> tuple[Tensor, Tensor]:
        """The residual at x, and where one step leads."""
        a, N = self._stack(x)
        Q, R = torch.linalg.qr(torch.where(N.isfinite(), N, 0.0))
        c = torch.linalg.solve_triangular(R.mT, a.unsqueeze(-1), upper=False)
        s = (Q @ c).squeeze(-1)
        length, apart = s.norm(dim=-1), self._apart(x)
        usable = length.isfinite() & self.in_domain(x)
        moved = x - s * (self.scale / length.clamp_min(self.scale)).unsqueeze(-1)
        if not bool(usable.all()):
            # the equations say nothing here: from part to part
            rows = (~usable & x.isfinite().all(-1)).nonzero().squeeze(-1)
            y = x[rows]
            for M in self.listed():
                y = M.project(y).value
            moved = moved.index_put((rows,), y)
        return torch.where(usable, torch.maximum(length, apart), apart), moved

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Gauss-Newton steps on the stacked equations; arguments as in :meth:`Manifold.project`.

        Outside the domain of validity of a part, a step projects onto one part after the other.
        """
        self.check_points(x)
        if tol is None:
            floor = next((p.dtype for p in self.parameters()), torch.float64)
            tol = projection_tolerance(floor, self.scale) / self.transversality
        p = iterate(self._evaluate, x.to(torch.float64), tol=tol, max_steps=max_steps)
        p = Projection(p.value, p.residual, p.converged & self.in_domain(p.value), p.steps)
        return (p.require(tol) if throw else p).like(x)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The length of a step: the distance to the intersection up to second order.

        Outside the domain of validity of a part, the largest residual of the parts, which is less.
        """
        return self.step(x)[0]

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """The residual at x, and where one step leads."""
        self.check_points(x)
        residual, moved = self._evaluate(x.reshape(-1, self.ambient_dim).to(torch.float64))
        return residual.reshape(x.shape[:-1]).to(x.dtype), moved.reshape(x.shape).to(x.dtype)

    @property
    def tolerance(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the parts together, over `transversality`; None where all are known exactly."""
        if all(M.tolerance is None for M in self.parts):
            return None
        return math.hypot(*(M.atol(torch.float64) for M in self.listed())) / self.transversality

    def tolerance_at(self, x: Float[Tensor, "*batch D"]) -> float | Tensor:
        """As `tolerance`, from those of the parts there."""
        if self.tolerance is None:
            return self.atol(x.dtype)
        there = tolerances([(M, x) for M in self.listed()]).norm(dim=-1)
        return (there / self.transversality).clamp_min(self.atol(x.dtype))

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | Tensor | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol` of the intersection, and valid for all parts."""
        return super().contains(x, atol) & self.in_domain(x)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies inside the domains of validity of all parts."""
        self.check_points(x)
        return torch.stack([M.in_domain(x) for M in self.listed()]).all(0)

    def rough_points(
        self, n: int, generator: Generator | None = None
    ) -> Float[Tensor, "m D"] | None:
        """The points that were found, and projections of points near these."""
        x = self.found[torch.randint(len(self.found), (n,), generator=generator)]
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return torch.cat([self.found, arrived(self, x + 0.1 * self.scale * noise)])

    @property
    def defining(self) -> RowMap | None:
        """(F_A, F_B, ...), where all parts have a defining function."""
        known = [F for M in self.listed() if (F := M.defining) is not None]
        if len(known) < len(self.parts):
            return None
        return lambda x: torch.cat([F(x) for F in known], -1)

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        """(E_A(x), E_B(x), ...)."""
        return torch.cat([M.equations(x) for M in self.listed()], -1)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """The equations and their Jacobian, part by part."""
        E, J = zip(*(M.linearize(x) for M in self.listed()), strict=True)
        return torch.cat(E, -1), torch.cat(J, -2)

    def _frame(self, x: Tensor) -> Tensor:
        """Orthonormal normals first, then tangents, shape (..., D, D); NaN where tangent."""
        self.check_points(x)
        N = self._stack(x.reshape(-1, self.ambient_dim).to(torch.float64))[1]
        known = N.isfinite().flatten(-2).all(-1)[:, None, None]
        Q, R = torch.linalg.qr(torch.where(known, N, 0.0), mode="complete")
        crossing = (R.diagonal(dim1=-2, dim2=-1).abs() > 1e-6).all(-1)[:, None, None]
        Q = torch.where(known & crossing, Q, math.nan)
        return Q.reshape(*x.shape, self.ambient_dim).to(x.dtype)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of what the tangent spaces share; NaN where the parts are tangent."""
        return self._frame(x)[..., self.ambient_dim - self.dim :]

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """Orthonormal basis of the sum of the normal spaces; NaN where the parts are tangent."""
        return self._frame(x)[..., : self.ambient_dim - self.dim]

    # -- what is known of it ----------------------------------------------------------------------
    # properties: a part that is loaded gets its state after its place here

    @property
    def scale(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The largest of the parts."""
        return max(M.scale for M in self.listed())

    @property
    def orientable(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Normal bundles of orientable parts are orientable, hence that of the intersection."""
        return True if self.dim <= 1 or all(M.orientable for M in self.listed()) else None

    @cached_property
    def _known(self) -> Curves | None:
        """The points or closed curves, in dimensions 0 and 1; None where not found."""
        if self.dim == 0:
            return Curves(len(self.found), float(len(self.found)), 0.0)
        with torch.no_grad():
            return trace(self, self.found) if self.dim == 1 else None

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all parts are, or all that is found are points and closed curves."""
        return all(M.closed for M in self.listed()) or self._known is not None

    @property
    def homology(self) -> Homology | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As given; else of points or closed curves, counted; None in higher dimensions."""
        if self.given_homology is not None or self._known is None:
            return self.given_homology
        return Homology((self._known.count,) * (1 + self.dim))

    @property
    def volume(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number of points or length of closed curves; else None: see `topogen.sampling`."""
        return None if self._known is None else self._known.length

    @property
    def volume_error(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of `volume`: 0 for points, estimated by doubling the steps for curves."""
        return None if self._known is None else self._known.error

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"dim={self.dim}, transversality={self.transversality:.3g}"
