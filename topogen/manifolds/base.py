"""A manifold M in R^D, given by a retraction and a residual; a distribution takes one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import constraints

from .. import calculus
from ..errors import InvalidPoints, UnsupportedError
from ..homology import Homology
from ..storable import Storable
from . import components, curvature, geodesics, shooting, solvers
from .factors import CoordinateFactor
from .solvers import iterate as iterate
from .solvers import membership_tolerance as membership_tolerance
from .solvers import projection_tolerance as projection_tolerance
from .solvers import rounding as rounding
from .types import Projection as Projection


class Manifold(Storable, ABC):
    r"""A manifold M of dimension `dim` in R^`ambient_dim`.

    To implement one, set `dim` and `ambient_dim` (and whatever else is known) and write `project`
    and `residual`; where M has them, `sample_uniform` and `atlas` too, as `has_sampler` and
    `has_atlas` then say. Check it with :func:`topogen.testing.check_manifold`.

    Attributes:
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.
        closed: whether M is compact without boundary.
        homology: Betti numbers, where known.
        orientable: whether M is orientable, where known.
        volume: H^d(M), the Hausdorff measure, in the units of the points, where known.
        volume_error: bound on the error of `volume`; 0 for a closed form.
        scale: a length of the size of M; tolerances are relative to it.
        tolerance: how far from a learned M its own points may lie; None for an exact set.
        exact_geodesics: whether :meth:`geodesic` is known, and `exp` and `log` are formulas.
        exact_retraction: whether :meth:`retract` is a formula, so that many points cost little.
        along_normals: whether :meth:`project` moves points along the normals of M to first order,
            so that its derivative on M is the tangent projector.
        round_sphere: whether M is the sphere of radius `scale` about 0.
        homeomorphic_to: the standard spaces whose product M is homeomorphic to, as pairs of a
            name and a dimension (:func:`topogen.models.injective.bases.standard`), where known.
        step_stays_in_domain: whether `step` arrives only inside `in_domain`.
        why_no_defining: the reason where `defining` is None, where there is one to give.
        patches: what :func:`~topogen.manifolds.default_atlas.charts_of` keeps until M changes.
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
    along_normals: bool = False
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

    def project_along_normals(self, x: Float[Tensor, "*batch D"]) -> Projection:
        r"""The y of :meth:`project`, moved until x - y is normal to M at y, to second order.

        With a basis T of the tangent space at y the next is the projection of
        :math:`y + T T^\top (x - y)`, and :math:`Dy = T T^\top` for x on M: a function of y has a
        tangent gradient there.
        """
        p = self.project(x)
        if self.along_normals:
            return p
        found = p.converged & self.in_domain(p.value)
        if not x.requires_grad:  # there is nothing to move, nor to differentiate
            found &= (x - p.value).norm(dim=-1) > 1e-9 * self.scale
        if not bool(found.any()):
            return p
        y = p.value[found].detach()
        T = self.tangent_basis(y).detach()
        q = self.project(y + (T @ (T.mT @ (x[found] - y).unsqueeze(-1))).squeeze(-1))
        rows = found.unsqueeze(-1).expand(p.value.shape)
        return Projection(
            p.value.masked_scatter(rows, q.value),
            p.residual.masked_scatter(found, q.residual),
            p.converged.masked_scatter(found, q.converged),
            p.steps.masked_scatter(found, p.steps[found] + q.steps),
        )

    @abstractmethod
    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """How far x is from M: 0 on M, and close to the distance near it."""

    def atol(self, dtype: torch.dtype) -> float:
        """The default of `atol` in :meth:`contains`: `tolerance`, at least sqrt(eps) `scale`."""
        return max(self.tolerance or 0.0, membership_tolerance(dtype, self.scale))

    def tolerance_at(self, x: Float[Tensor, "*batch D"]) -> float | Tensor:
        """How far points about x in M may be from M: :meth:`atol`, or more where M is guessed."""
        return self.atol(x.dtype)

    def contains(
        self, x: Float[Tensor, "*batch D"], atol: float | Tensor | None = None
    ) -> Bool[Tensor, "*batch"]:
        """Whether x is within `atol` of M, and of a learned M in its domain of validity.

        The default is :meth:`tolerance_at`, and the :func:`~.solvers.rounding` of x.
        """
        self.check_points(x)
        on = self.residual(x) <= (self.tolerance_at(x) + rounding(x) if atol is None else atol)
        return on & self.in_domain(x) if self.tolerance is not None and self.needs_domain else on

    def check_points(self, x: Any) -> None:
        """Raise InvalidPoints unless x is a tensor of floating point and of shape (..., D)."""
        if not isinstance(x, Tensor):
            raise InvalidPoints(
                f"expected a tensor of points of shape (..., {self.ambient_dim}) for "
                f"{type(self).__name__}, got {type(x).__name__}; pass torch.as_tensor(x)"
            )
        if x.shape[-1:] != (self.ambient_dim,) or not x.is_floating_point():
            raise InvalidPoints(
                f"expected floating-point points of shape (..., {self.ambient_dim}) for "
                f"{type(self).__name__}, got shape {tuple(x.shape)} of {x.dtype}"
            )

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """The residual at x, and where one step of :meth:`project` takes it."""
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
        mode = "forward" if self.defining is None else "reverse"
        return calculus.value_and_jacobian(self.equations, x, mode=mode)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the region where M is stated: everywhere, unless M says otherwise.

        Learned manifolds are stated near their data, restrictions where their inequalities hold.
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
        """The projection p itself, found to `tol` or to the default.

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

        Newton on :math:`y + DE^\top \lambda = x`, E(y) = 0, from project(x), with the second
        derivatives of :meth:`equations`. The residual, a length, has the tangential part of x - y
        and the distance of y to M. The value is differentiable once, exactly, with respect to x
        and to the parameters of M, by the implicit function theorem:

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
        p = solvers.nearest(self, x.to(torch.float64), tol=tol, max_steps=max_steps).like(x)
        return p.require(tol) if throw else p

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

    def distance(
        self,
        x: Float[Tensor, "*#batch D"],
        y: Float[Tensor, "*#batch D"],
        *,
        through: Float[Tensor, "N D"] | None = None,
        throw: bool = True,
    ) -> Float[Tensor, "*batch"]:
        """The length of the geodesic of :meth:`log`; NaN where there is none and not `throw`.

        It is differentiable once with respect to x and y.
        """
        g = self.log(x, y, through=through, throw=throw)
        # first variation of the length; 0 for x = y, where it has no derivative
        size = torch.where(g.length > 0, g.length, 1.0).unsqueeze(-1)
        moved = (y - y.detach()) * g.arrival - (x - x.detach()) * g.velocity
        length = g.length + torch.where(g.converged, (moved / size).sum(-1), 0.0)
        return torch.where(g.converged, length, torch.nan)

    # -- what follows from the above: functions of M in modules of their own; M is self here

    second_fundamental_form = curvature.second_fundamental_form
    mean_curvature = curvature.mean_curvature
    gauss_curvature = curvature.gauss_curvature
    scalar_curvature = curvature.scalar_curvature
    reach = curvature.reach
    exp = geodesics.exp
    log = shooting.log
    transport = geodesics.transport
    components = components.components


class OnManifold(constraints.Constraint):
    """The support of a distribution on M: x is within `atol` of M.

    Args:
        manifold: the manifold M.
        atol: how far from M a point may be; None takes the manifold's own default.
    """

    is_discrete = False
    event_dim = 1

    def __init__(self, manifold: Manifold, atol: float | None = None) -> None:
        self.manifold, self._atol = manifold, atol
        super().__init__()

    def tolerance(self, x: Float[Tensor, "*batch D"]) -> float | Tensor:
        """How far from x in M a point may be, in the units of the points."""
        return self.manifold.tolerance_at(x) if self._atol is None else self._atol

    @property
    def atol(self) -> float:
        """The tolerance for points in float64; the least, where it depends on the place."""
        return self.manifold.atol(torch.float64) if self._atol is None else self._atol

    def check(self, value: Tensor) -> Tensor:
        """Whether each point is on M, shape (...)."""
        return self.manifold.contains(value, self._atol)

    def __repr__(self) -> str:
        return f"OnManifold({type(self.manifold).__name__}, atol={self.atol:.2g})"
