"""A manifold M in R^D, given by a retraction and a residual; a distribution takes one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.distributions import constraints

from .. import calculus
from ..errors import UnsupportedError
from ..homology import Homology
from ..storable import Storable
from . import components, curvature, geodesics, shooting, solvers
from .curvature import Reach
from .factors import CoordinateFactor
from .geodesics import Geodesic
from .solvers import iterate as iterate
from .solvers import membership_tolerance as membership_tolerance
from .solvers import projection_tolerance as projection_tolerance
from .types import Projection as Projection


class Manifold(Storable, ABC):
    r"""A manifold M of dimension `dim` in R^`ambient_dim`.

    To implement one, set `dim` and `ambient_dim` (and whatever else is known) and write

    - ``project(x, *, tol=None, max_steps=50, throw=False) -> Projection``: a retraction onto M;
    - ``residual(x)``: shape (...); 0 on M and close to the distance near it.

    A class that has them writes ``sample_uniform`` and ``atlas`` too; `has_sampler` and
    `has_atlas` then say so. Check it with :func:`topogen.testing.check_manifold`.

    Attributes:
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.
        closed: whether M is compact without boundary.
        homology: Betti numbers, where known.
        orientable: whether M is orientable, where known.
        volume: H^d(M), the d-dimensional Hausdorff measure, in the units of the points, where
            known.
        volume_error: bound on the error of `volume`; 0 for a closed form.
        scale: a length of the size of M; tolerances are relative to it.
        tolerance: how far from M its own points may lie (learned manifolds know M only up to an
            error); None for a set known exactly.
        exact_geodesics: whether :meth:`geodesic` is known, and `exp` and `log` are formulas.
        exact_retraction: whether :meth:`retract` is a formula, so that many points cost little.
        round_sphere: whether M is the sphere of radius `scale` about 0.
        homeomorphic_to: the standard spaces whose product M is homeomorphic to, as pairs of a
            name and a dimension (:func:`topogen.models.injective.bases.standard`), where known.
        step_stays_in_domain: whether `step` arrives only inside `in_domain`, so that nothing that
            solves by it needs to ask the domain of validity.
        why_no_defining: the reason where `defining` is None, where there is one to give.
        patches: Monge patches on points of M's own and what they depend on, kept by
            :func:`~topogen.manifolds.default_atlas.charts_of` until M changes.
    """

    dim: int
    ambient_dim: int
    closed: bool = True
    homology: Homology | None = None
    orientable: bool | None = None
    volume: float | None = None
    volume_error: float | None = None
    scale: float = 1.0
    tolerance: float | None = None
    exact_geodesics: bool = False
    exact_retraction: bool = False
    round_sphere: bool = False
    homeomorphic_to: tuple[tuple[str, int], ...] | None = None
    step_stays_in_domain: bool = False
    why_no_defining: str | None = None
    # in a tuple, which nn.Module does not search: the patches are no part of the state of M
    patches: tuple[Any, Any] | None = None

    @abstractmethod
    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """Retract x onto M.

        Args:
            x: points near M, shape (..., D).
            tol: residual at which a point counts as converged.
            max_steps: most steps per point.
            throw: raise where a point does not converge, instead of saying so.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
        """

    @abstractmethod
    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """How far x is from M: 0 on M, and close to the distance near it."""

    def atol(self, dtype: torch.dtype) -> float:
        """The default of `atol` in :meth:`contains`: `tolerance`, at least sqrt(eps) `scale`."""
        return max(self.tolerance or 0.0, membership_tolerance(dtype, self.scale))

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol` of M, and of a learned M in its domain of validity."""
        on = self.residual(x) <= (self.atol(x.dtype) if atol is None else atol)
        return on & self.in_domain(x) if self.tolerance is not None and self.needs_domain else on

    def check_points(self, x: Tensor) -> None:
        """Raise unless x holds points of R^D.

        Raises:
            ValueError: x is not of floating point, or not of shape (..., D).
        """
        if x.shape[-1:] != (self.ambient_dim,) or not x.is_floating_point():
            raise ValueError(
                f"expected floating-point points of shape (..., {self.ambient_dim}) for "
                f"{type(self).__name__}, got shape {tuple(x.shape)} of {x.dtype}"
            )

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """The residual at x, and where one step of :meth:`project` takes it, for solvers on M."""
        return self.residual(x), self.project(x, max_steps=1).value

    @property
    def defining(self) -> calculus.RowMap | None:
        r"""A row-wise F: R^D -> R^(D-d) with M = {F = 0} and DF of full rank on M, or None.

        Such an F trivialises the normal bundle, so M is orientable where there is one.
        """
        return None

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        r"""E(x), row-wise and differentiable: near M it vanishes on M only, with rank DE = D - d.

        The defining function where there is one; else E(x) = x - S(x), S one step of
        :meth:`project`. Solvers, tangent spaces and curvature on M follow from E: the second
        fundamental form is :math:`-DE^+\, D^2 E` on tangent vectors.
        """
        F = self.defining
        return x - self.step(x)[1] if F is None else F(x)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E(x) and its Jacobian DE(x), in one pass; see :meth:`equations`."""
        reverse = self.defining is not None
        mode = "reverse" if reverse else "forward"
        return calculus.value_and_jacobian(self.equations, x, mode=mode)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the region in which M is stated: everywhere, unless M says otherwise.

        Learned manifolds are stated near their data, restricted ones where their inequalities
        hold.
        """
        return x.isfinite().all(-1)

    @property
    def needs_domain(self) -> bool:
        """Whether charts of M may reach beyond its domain of validity, and must ask it."""
        return type(self).in_domain is not Manifold.in_domain and not self.step_stays_in_domain

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        """Draw n independent points of the distribution H^d / H^d(M).

        Raises:
            UnsupportedError: M has no exact sampler, or infinite volume.
        """
        raise UnsupportedError(
            f"expected a manifold with an area-uniform sampler, got {type(self).__name__}; "
            "see topogen.sampling for learned manifolds"
        )

    @property
    def has_sampler(self) -> bool:
        """Whether M has a `sample_uniform` that draws; a manifold made of others asks them."""
        return type(self).sample_uniform is not Manifold.sample_uniform and self.volume != math.inf

    def atlas(self) -> Any:
        """Charts that cover M, an :class:`~topogen.Atlas`.

        Raises:
            UnsupportedError: M has none of its own.
        """
        raise UnsupportedError(
            f"expected a manifold with charts of its own, got {type(self).__name__}; take "
            "topogen.manifolds.default_atlas.charts_of(M), or tg.ProjectedAtlas(M)"
        )

    @property
    def has_atlas(self) -> bool:
        """Whether the class of M writes `atlas`."""
        return type(self).atlas is not Manifold.atlas

    def retract(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
        """Points of M near x by the cheapest retraction, and whether they lie in the domain."""
        p = self.project(x)
        return p.value, p.converged & self.in_domain(p.value)

    def factors(self) -> list[CoordinateFactor]:
        """Factors of M with coordinates in [0, 1] that preserve volume; see :mod:`.factors`.

        Raises:
            UnsupportedError: none are known.
        """
        raise UnsupportedError(
            "expected a Circle, FlatTorus, Interval, Sphere or a Product of these, got "
            f"{type(self).__name__}; on other sets take AtlasDensity or EnergyModel"
        )

    def rough_points(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m D"] | None:
        """About n points all over M, of no particular distribution; None where none are known."""
        try:
            return self.sample_uniform(n, generator)
        except UnsupportedError:
            return None

    def normal_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D k"]:
        """Orthonormal basis of the normal space at points x of M, shape (..., D, D - d)."""
        return calculus.complement(self.tangent_basis(x))

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        r"""Orthonormal basis of T_xM at points x of M, shape (..., D, d).

        A retraction is the identity on M, so the range of its derivative at x in M is T_xM; the
        basis is that of the d leading left singular vectors.
        """
        P = calculus.jacobian(lambda y: self.project(y).value, x)
        return torch.linalg.svd(P)[0][..., : self.dim]

    def solver_tolerance(self, tol: float | None, dtype: torch.dtype) -> float:
        """The tolerance of a solver in float64 for points of this dtype: `tol`, or the default.

        Raises:
            ValueError: `tol` is below the rounding of the points, or of the parameters of M.
        """
        floats = (p.dtype for p in self.parameters() if p.is_floating_point())
        parameters = next(floats, torch.float64)
        if tol is None:
            return projection_tolerance(parameters, self.scale)
        for kind in (dtype, parameters):
            solvers.check_tolerance(tol, kind, self.scale)
        return tol

    def checked_projection(self, p: Projection, tol: float | None, throw: bool) -> Projection:
        """A projection found to `tol`, or to the default: p itself, unless `throw` refuses it.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
        """
        tol = self.solver_tolerance(None, p.value.dtype) if tol is None else tol
        return p.require(tol) if throw else p

    def nearest(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        r"""A point y of M at which the distance to x is least among its neighbours on M.

        Newton on :math:`y + DE^\top \lambda = x`, E(y) = 0, from project(x): quadratic, with the
        second derivatives of :meth:`equations`. The residual is how far this still is from being
        solved, in units of length: the tangential part of x - y, and the distance of y to M.

        The value is differentiable once, exactly, with respect to x and to the parameters of M,
        by the implicit function theorem:

        .. math:: dy = T (T^\top (I + \lambda \cdot D^2 E) T)^{-1} T^\top dx \quad (= P\, dx
                  \text{ for x on M}), \qquad N N^\top dy = -DE^+\, \partial_\theta E\, d\theta.

        Args:
            x: points closer to M than its reach, shape (..., D).
            tol: residual at which a point counts as converged.
            max_steps: most Newton steps per point.
            throw: raise where a point does not converge.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
            ValueError: `tol` is below the rounding of the dtype.
        """
        tol = self.solver_tolerance(tol, x.dtype)
        p = solvers.nearest(self, x.to(torch.float64), tol=tol, max_steps=max_steps)
        p = Projection(p.value.to(x.dtype), p.residual.to(x.dtype), p.converged, p.steps)
        return p.require(tol) if throw else p

    # -- what follows from the above, each written out in its own module -------------------------

    def second_fundamental_form(
        self, x: Float[Tensor, "*batch D"], frame: Float[Tensor, "*batch D d"] | None = None
    ) -> Float[Tensor, "*batch d d D"]:
        r"""II(t_i, t_j) :math:`= -DE^+ D^2 E[t_i, t_j]` at points x of M, in `tangent_basis`."""
        return curvature.second_fundamental_form(self, x, frame)

    def mean_curvature(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        r"""The vector :math:`\tfrac1d \sum_i II(t_i, t_i)`; of length 1/r on a sphere."""
        return curvature.mean_curvature(self, x)

    def gauss_curvature(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The Gauss curvature of a surface in any codimension; see also `scalar_curvature`."""
        return curvature.gauss_curvature(self, x)

    def scalar_curvature(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        r"""The sum of the sectional curvatures of all ordered pairs of axes; 2 on S^2."""
        return curvature.scalar_curvature(self, x)

    def reach(self, points: Float[Tensor, "n D"]) -> Reach:
        """Upper bounds on the reach of M from points of it; see :func:`~.curvature.reach`."""
        return curvature.reach(self, points)

    def geodesic(
        self,
        x: Float[Tensor, "*batch D"],
        y: Float[Tensor, "*batch D"],
        t: Float[Tensor, "*batch"],
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"], Bool[Tensor, "*batch"]]:
        """The shortest geodesic c from x to y over unit time, where it is a formula.

        Args:
            x: points of M, c(0).
            y: points of M, c(1).
            t: times in [0, 1].

        Returns:
            c(t), c'(t), and whether c is determined: not where there are several shortest ones.

        Raises:
            UnsupportedError: M has no `exact_geodesics`.
        """
        raise UnsupportedError(
            f"expected a space with geodesics in closed form, got {type(self).__name__}; "
            "take M.exp(x, t * M.log(x, y).velocity)"
        )

    def exp(
        self,
        x: Float[Tensor, "*#batch D"],
        v: Float[Tensor, "*#batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 1024,
        throw: bool = False,
    ) -> Geodesic:
        """The geodesic with c(0) = x and c'(0) = v; exp_x(v) is its `end`, with an error.

        Args:
            x: points of M.
            v: tangent vectors there; a normal part that is no rounding is refused.
            tol: error at which a geodesic counts as found; None takes sqrt(eps) times `scale`,
                or a hundredth of the `tolerance` of a learned manifold.
            max_steps: most steps of the finest subdivision.
            throw: raise GeodesicError where one is not found, instead of saying so.
        """
        return geodesics.exp(self, x, v, tol=tol, max_steps=max_steps, throw=throw)

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
        """A geodesic from x to y; log_x(y) is its `velocity`, the distance its `length`.

        It is the one that the chord from x to y shortens to on M: the shortest one for points
        closer than the reach; farther apart there may be shorter ones.

        Args:
            x: points of M.
            y: points of M.
            through: points all over M; the shortest path through a graph of them is tried too.
            tol: as in :meth:`exp`.
            max_steps: as in :meth:`exp`.
            throw: as in :meth:`exp`.
        """
        return shooting.log(self, x, y, through=through, tol=tol, max_steps=max_steps, throw=throw)

    def distance(
        self,
        x: Float[Tensor, "*#batch D"],
        y: Float[Tensor, "*#batch D"],
        *,
        through: Float[Tensor, "N D"] | None = None,
        throw: bool = True,
    ) -> Float[Tensor, "*batch"]:
        """The length of the geodesic of :meth:`log`; NaN where there is none and not `throw`."""
        g = self.log(x, y, through=through, throw=throw)
        return torch.where(g.converged, g.length, torch.nan)

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
        """Tangent vectors w at x in parallel along the geodesic of v, and that geodesic."""
        return geodesics.transport(self, x, v, w, tol=tol, max_steps=max_steps, throw=throw)

    def components(
        self, points: Float[Tensor, "n D"], *, neighbors: int | None = None
    ) -> Int[Tensor, " n"]:
        """The connected component of M that each point belongs to: 0 is the one with most points.

        Two neighbours are joined where a walk on M leads from one to the other, so sheets that
        come close stay apart; points must be dense enough that neighbours lie within the reach.

        Args:
            points: points of M, or near it; -1 where one does not project to M.
            neighbors: how many neighbours of each point are tried; None takes 2 d + 6.
        """
        return components.components(self, points, neighbors)


class OnManifold(constraints.Constraint):
    """The support of a distribution on M: x is within `atol` of M.

    Args:
        manifold: the manifold M.
        atol: how far from M a point may be; None takes the manifold's own default.
    """

    is_discrete = False
    event_dim = 1

    def __init__(self, manifold: Manifold, atol: float | None = None) -> None:
        self.manifold = manifold
        self._atol = atol
        super().__init__()

    def tolerance(self, dtype: torch.dtype) -> float:
        """How far from M a point of this dtype may be, in the units of the points."""
        return self.manifold.atol(dtype) if self._atol is None else self._atol

    @property
    def atol(self) -> float:
        """The tolerance for points in float64."""
        return self.tolerance(torch.float64)

    def check(self, value: Tensor) -> Tensor:
        """Whether each point is on M, shape (...)."""
        return self.manifold.contains(value, self._atol)

    def __repr__(self) -> str:
        return f"OnManifold({type(self.manifold).__name__}, atol={self.atol:.2g})"
