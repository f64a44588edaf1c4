r"""A set learned as the zero set of a network, regular or over-determined."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ... import calculus
from ...baselines.implicit_ebm import Published
from ...errors import InvalidPoints
from ...manifolds.base import Manifold, Projection, iterate
from ...manifolds.locate import arrived
from ...point_cloud.tensors import as_tensor, distinct
from ..base import Fittable, Stage
from ..boundary import Boundary
from ..local_polynomials import LocalPolynomials
from ..nn.mlp import Perceptron
from ..nn.sine import SineNetwork
from .constant_rank import full_step, leading_step, linearize_leading, project_leading
from .leaving import find_edges
from .normal_orientation import Form, Frames, choose_frames
from .region import ValidityRegion
from .regression import Targets, solved
from .tubular_neighborhood import Frame, TubularNeighborhood, local_geometry, principal_frame
from .zero_set_checks import ZeroSetChecks, end_before_strays, inspect_set, measure

# the singular values of DF on M are 1 and 0, up to what was learned
_GAP = 0.4
# of F outside its leading directions, on M, in units of the domain of validity
_REST = 0.25
_WIDTH, _PUBLISHED_WIDTH = 128, 8
# the narrower the tube, the higher the frequencies of the random features
_SPREAD, _MOST_SPREAD = 0.8, 6.0
_MAX_STEP = 0.3
_ROWS = 2048
_LEAST_POINTS = 20


class NeuralImplicit(Manifold, Fittable):
    r"""A d-dimensional set learned as :math:`M = \{x : F(x) = 0\}` near its data.

    F is a network of sines, :math:`F(z) = C\,\varphi(z)`, see :class:`SineNetwork`: its inner
    layers are drawn at random, its last one is solved for by least squares. Two forms:

    - *regular*: :math:`F: R^D \to R^{D-d}`, which measures the distance along a smooth
      oriented normal frame, :math:`F(p + a) = A(p)^\top a`. All singular values of DF on M are
      close to 1 and |F| is close to the distance to M.
    - *residual*: :math:`F(x) = x - r(x)`, r the projection of x on M, over-determined, DF of rank
      D - d:

      .. math:: M = \{x : \Pi(x) F(x) = 0\},\quad \Pi = U_k U_k^\top,\ k = D - d,

      where U_k are the k leading left singular vectors of DF(x). Equations, tangents and
      curvature are those of :math:`\Pi F`, with the derivative of :math:`\Pi`.

    A regular zero set has a trivial normal bundle and is therefore orientable: a Klein bottle or a
    projective plane is none, whatever the network. The form is chosen by the orientability of the
    normal spaces of the data, and by whether these have a smooth frame.

    M is stated inside the domain of validity: near the data, and (residual form) where the
    spectrum has its gap, :math:`s_k > 0.4 > s_{k+1}`, and F is in its leading directions,
    :math:`F \approx \Pi F`; other points are first pulled to the nearest landmark. It ends before
    zeros of F that are far from M, where it can. The projections, normals and tube radii that F
    learns from are those of :class:`LocalPolynomials`, so noisy data are denoised first.

    After Ross et al., 2024, "Neural implicit manifold learning for topology-aware density
    estimation" (https://arxiv.org/abs/2206.11267); unit-speed distances from Sutanto et al., 2020
    (https://arxiv.org/abs/2009.11852).

    Args:
        dim: dimension d of the set.
        ambient_dim: dimension D of the space.
        constraints: None chooses the form; D - d asks for the regular one, or "residual".
        width: units of each layer; None takes 128, and 8 for the published objective.
        features: random sines beside them.
        objective: "distance" as above; "published" is the energy-based objective of Ross et al.,
            for comparison: regular form, a perceptron with SiLU, no frames, no least squares, no
            denoising of F, all layers trained.
        settings: of the published objective where they differ from its defaults, such as
            {"steps": 2000, "mu": 1.0}; see :class:`~topogen.models.implicit.Published`.

    Attributes:
        form: "regular" or "residual", after fitting.
        reason: why, in one sentence.
        checks: what was measured after the fit, see :class:`ZeroSetChecks`.
        tolerance: the largest of: four times the 99.9 % quantile of the distance from data to M,
            what M may be off in gaps of the data, a thousandth of the rms radius of the data; at
            most what the domain of validity allows.
        closed: whether M ends nowhere; edges of the data are found after the fit, and M is stated
            up to them.
        noise: root mean square distance of the data to M.

    Example:
        >>> t = torch.linspace(0, 6.2832, 400, dtype=torch.float64)
        >>> circle = NeuralImplicit(1, 2, features=100, width=32)
        >>> result = tg.fit(circle, torch.stack([t.cos(), t.sin()], -1))
        >>> x = circle.project(torch.tensor([[0.0, 1.01]], dtype=torch.float64)).value
        >>> circle.form, bool((x.norm() - 1).abs() < 1e-4)
        ('regular', True)
    """

    centre: Tensor
    unit: Tensor
    V: Tensor
    W: Tensor

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        constraints: int | Literal["residual"] | None = None,
        *,
        width: int | None = None,
        features: int = 600,
        objective: Literal["distance", "published"] = "distance",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= dim < ambient_dim:
            raise ValueError(
                f"expected 1 <= dim < ambient_dim, got dim={dim}, ambient_dim={ambient_dim}"
            )
        if constraints not in (None, "residual", ambient_dim - dim):
            raise ValueError(
                f"expected constraints None, 'residual' or D - d = {ambient_dim - dim}, got "
                f"{constraints!r}; another number of equations has zero sets of another dimension"
            )
        if width is None:
            width = _PUBLISHED_WIDTH if objective == "published" else _WIDTH
        if width < 1 or features < 0:
            raise ValueError(f"expected width >= 1 and features >= 0, got {width}, {features}")
        published = Published.of(settings, objective, constraints)
        super().__init__()
        self.dim, self.ambient_dim, self.constraints = dim, ambient_dim, constraints
        self.width, self.features, self.objective = width, features, objective
        self.settings, self.published = settings, published
        self.codim = ambient_dim - dim
        self.form: Form = "regular"
        self.reason = "not fitted yet"
        self.noise = math.nan
        self.checks: ZeroSetChecks | None = None
        self.net = self._network(ambient_dim, self.codim)
        self.region, self.edges = ValidityRegion(), Boundary()
        for name in ("centre", "unit", "V", "W"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def _network(self, inputs: int, outputs: int) -> SineNetwork | Perceptron:
        """The network that the objective asks for, without gradients."""
        if self.objective == "published":
            net = Perceptron(inputs, outputs, width=self.width, depth=self.published.depth)
        else:
            net = SineNetwork(inputs, outputs, width=self.width, features=self.features)
        return net.requires_grad_(False)

    # -- learning ---------------------------------------------------------------------------------

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """Local geometry and frames; least squares, or descent on |F|; checks."""
        if self.fitted:
            return
        work: dict[str, Any] = {}
        yield Stage("local geometry", lambda generator: self._prepare(points, work, generator))
        if self.objective == "published":
            descend, steps = self.published.descend, self.published.steps
            yield Stage(
                "network",
                lambda g: descend(cast("Any", self.net), work["z"], work["frame"].unit, g),
                steps,
            )
        yield Stage("last layer", lambda generator: self._finish(work, generator))
        yield Stage("checks", lambda generator: self._check(work, generator))

    def _prepare(
        self, points: Tensor, work: dict[str, Any], generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        x = distinct(as_tensor(points, ambient_dim=self.ambient_dim))
        if x.shape[0] < _LEAST_POINTS:
            raise InvalidPoints(
                f"expected at least {_LEAST_POINTS} different points, got {x.shape[0]}; give more"
            )
        frame = principal_frame(x, self.dim)
        z = frame.inner(x)
        local = LocalPolynomials(self.dim, z.shape[1])
        for stage in local.stages(z):
            yield from stage.run(generator)
        with torch.no_grad():
            geometry = local_geometry(local, z, generator)
            if self.objective == "published":
                frames = Frames("regular", "the only one published", None, geometry.N)
            else:
                frames = choose_frames(geometry, self.constraints, generator)
            self.form, self.reason = frames.form, frames.reason
            self.orientable, A = frames.orientable, frames.A
            work.update(
                x=x, z=z, local=local, geometry=geometry, frame=frame,
                targets=Targets.of(geometry, A, frames.angle, generator),
            )  # fmt: skip
        self.net = self._network(z.shape[1], A.shape[-1])
        bent = _SPREAD / float(geometry.tau.median())
        if isinstance(self.net, Perceptron):
            self.net.draw(generator)
        else:
            self.net.draw(generator, min(max(bent, 1.0), _MOST_SPREAD))
        yield {"loss": geometry.noise, "projections": float(geometry.p.shape[0])}
        return True

    def _finish(
        self, work: dict[str, Any], generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        geometry: TubularNeighborhood = work["geometry"]
        frame: Frame = work["frame"]
        with torch.no_grad():
            if isinstance(self.net, SineNetwork):
                targets = yield from solved(self.net, work["targets"], generator)
                geometry = work["geometry"] = targets.geometry
            self.centre, self.V, self.W = frame.centre, frame.V, frame.W
            self.unit, self.scale = torch.tensor(frame.unit, dtype=torch.float64), frame.unit
            self.region.place(geometry, generator)
            self.fitted = True
            find_edges(self, geometry, generator)
            end_before_strays(self, geometry, generator)
            self.noise, self.tolerance, work["off"] = measure(self, work["x"], geometry)
        yield {"loss": self.noise, "off": work["off"]}
        return work["off"] < 0.01

    def _check(
        self, work: dict[str, Any], generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        with torch.no_grad():
            self.checks = inspect_set(self, work["geometry"], work["off"], generator)
        yield {k: v for k, v in self.checks.numbers().items() if math.isfinite(v)}
        for problem in self.checks.problems:
            warnings.warn(f"NeuralImplicit: {problem}", UserWarning, stacklevel=2)
        return not self.checks.problems

    def get_extra_state(self) -> dict[str, Any]:
        """The plain numbers of the fit."""
        return {
            **super().get_extra_state(),
            "form": self.form,
            "reason": self.reason,
            "orientable": self.orientable,
            "scale": self.scale,
            "noise": self.noise,
            "tolerance": self.tolerance,
            "checks": None if self.checks is None else self.checks.to_dict(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        super().set_extra_state(state)
        self.form, self.reason = state["form"], state["reason"]
        self.orientable, self.scale = state["orientable"], float(state["scale"])
        self.noise, self.tolerance = state["noise"], state["tolerance"]
        self.checks = state["checks"] and ZeroSetChecks.from_dict(state["checks"])

    # -- the set ----------------------------------------------------------------------------------

    @property
    def step_stays_in_domain(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether steps arrive only inside the domain of validity: at edges it is narrower than the region."""
        return self.closed

    @property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether M stays in its domain of validity: it ends at no edge of the data."""
        return len(self.edges) == 0

    @property
    def defining(self) -> calculus.RowMap | None:
        """F, where it is regular."""
        return self.equations if self.fitted and self.form == "regular" else None

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        r"""F(x), or :math:`\Pi(x) F(x)`; then the linear equations. In the units of the points."""
        self.require_fitted()
        y = (x.to(torch.float64) - self.centre) / self.unit
        z, regular = y @ self.V, self.form == "regular"
        E = self.net(z) if regular else project_leading(*self.net.linearize(z), self._k)
        return (self.unit * torch.cat([E, y @ self.W], -1)).to(x.dtype)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E(x) and DE(x), in closed form."""
        y = self._inner(x).reshape(-1, self.ambient_dim)
        E, DE = self._linearize(y @ self.V)
        E = self.unit * torch.cat([E, y @ self.W], -1)
        DE = torch.cat([DE @ self.V.mT, self.W.mT.expand(y.shape[0], -1, -1)], -2)
        E, DE = E.reshape(*x.shape[:-1], E.shape[-1]), DE.reshape(*x.shape[:-1], *DE.shape[-2:])
        return E.to(x.dtype), DE.to(x.dtype)

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        r"""Gauss-Newton steps :math:`x - DF^+ F` of rank k; see :meth:`Manifold.project`."""
        self.require_fitted()
        z = self._inner(x) @ self.V
        tol = self.solver_tolerance(tol, x.dtype)
        p = iterate(self._evaluate, z, tol=tol / float(self.unit), max_steps=max_steps)
        value = (p.value @ self.V.mT * self.unit + self.centre).to(x.dtype)
        result = Projection(value, (p.residual * self.unit).to(x.dtype), p.converged, p.steps)
        return result.require(tol) if throw else result

    def step(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch D"]]:
        """The residual at x, and where one step of :meth:`project` takes it."""
        self.require_fitted()
        y = self._inner(x).reshape(-1, self.ambient_dim)
        r, moved = self._evaluate(y @ self.V)
        r = torch.hypot(r, (y @ self.W).norm(dim=-1))
        moved = (moved @ self.V.mT * self.unit + self.centre).reshape(x.shape)
        return (r * self.unit).reshape(x.shape[:-1]).to(x.dtype), moved.to(x.dtype)

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        r"""The length of :math:`DF^+ F` in the domain of validity, else the distance to a landmark."""
        return self.step(x)[0]

    def contains(self, x: Tensor, atol: float | None = None) -> Bool[Tensor, "*batch"]:
        """Whether x is finite, within `atol` of M, and in its domain of validity."""
        return super().contains(x, atol) & (self.in_domain(x) if self.closed else True)

    def in_domain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x lies in the region where M is stated: near data, and with a spectral gap."""
        self.require_fitted()
        z = (self._inner(x) @ self.V).reshape(-1, self.V.shape[-1])
        return self._inside(z).reshape(x.shape[:-1])

    def rough_points(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m D"]:
        """Projections of landmarks, and of points of the domain of validity."""
        self.require_fitted()
        z = torch.cat([self.region.c, self.region.draw(n, generator)])
        return arrived(self, z @ self.V.mT * self.unit + self.centre)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the kernel of DE(x), shape (..., D, d)."""
        z = (self._inner(x) @ self.V).reshape(-1, self.V.shape[-1])
        parts = []
        for part in z.split(_ROWS):
            DE = self._linearize(part)[1]
            DE = torch.where(DE.isfinite().flatten(-2).all(-1)[:, None, None], DE, 0.0)
            parts.append(
                self.V @ torch.linalg.svd(DE, full_matrices=True)[2][..., self._k :, :].mT
            )
        return torch.cat(parts).reshape(*x.shape, self.dim).to(x.dtype)

    @property
    def _k(self) -> int:
        """Equations that are not linear: D - d less the constant directions."""
        return self.V.shape[-1] - self.dim

    def _inner(self, x: Tensor) -> Tensor:
        self.require_fitted()
        self.check_points(x)
        return (x.to(torch.float64) - self.centre) / self.unit

    def _linearize(self, z: Float[Tensor, "n m"]) -> tuple[Tensor, Tensor]:
        if self.form == "regular":
            return self.net.linearize(z)
        return linearize_leading(*self.net.second(z), self._k)

    def _inside(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        parts = [
            self.region.near(part).inside & self._solve(part)[2] & ~self.edges.beyond(part)
            for part in z.split(_ROWS)
        ]
        return torch.cat(parts) if parts else z.new_zeros(0, dtype=torch.bool)

    def _solve(self, z: Float[Tensor, "n m"]) -> tuple[Tensor, Tensor, Tensor]:
        """The Gauss-Newton step, its length, and whether F and DF are as they are near M."""
        F, J = self.net.linearize(z)
        if self.form == "regular":
            return full_step(F, J)
        return leading_step(F, J, self._k, gap=_GAP, rest=_REST * float(self.region.nu.min()))

    def _evaluate(self, z: Float[Tensor, "n m"]) -> tuple[Tensor, Tensor]:
        """The residual at z and where a step goes; outside the domain of validity, towards a landmark."""
        residuals, moves = [], []
        for part in z.split(_ROWS):
            near = self.region.near(part)
            step, r, gap = self._solve(part)
            ok = near.inside & gap
            moved = part - step * (_MAX_STEP / r.clamp_min(_MAX_STEP)).unsqueeze(-1)
            residuals.append(torch.where(ok, r, near.distance))
            moves.append(
                torch.where(ok.unsqueeze(-1), moved, self.region.projection(part, near.j))
            )
        return torch.cat(residuals), torch.cat(moves)

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"dim={self.dim}, ambient_dim={self.ambient_dim}, form={self.form!r}"
