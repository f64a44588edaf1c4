r"""A manifold learned as the zero set of a network, regular or over-determined."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ... import calculus
from ...errors import InvalidPoints
from ...point_cloud.tensors import as_tensor, distinct
from ..base import Progress, Stage
from ..learned_manifold import LearnedManifold
from ..local_polynomials import LocalPolynomials
from ..nn.mlp import MLP
from ..nn.sine import SineNetwork
from .normal_orientation import Form, NormalFrames, choose_frames
from .region import ValidityRegion
from .regression import Targets, solved
from .tubular_neighborhood import Frame, TubularNeighborhood, local_geometry, principal_frame
from .zero_set import ZeroSet
from .zero_set_checks import ZeroSetChecks, inspect_zero_set


class LearnedZeroSet(LearnedManifold):
    r"""The zero set M of a network F that is fitted to points, stated near them; abstract.

    M is :math:`\{x : F(x) = 0\}` (regular form) or :math:`\{x : \Pi(x) F(x) = 0\}` (residual
    form, see :class:`NeuralImplicit`), inside the domain of validity.

    To implement one, write ``_network``, ``_frames``, ``_draw``, ``_descent`` and ``_last_layer``.

    Args:
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.

    Raises:
        ValueError: not 1 <= d < D.
    """

    _numbers = ("form", "reason", "orientable", "scale", "noise", "tolerance", "checks_state")
    along_normals = True
    net: SineNetwork | MLP

    def __init__(self, dim: int, ambient_dim: int) -> None:
        super().__init__(dim, ambient_dim)
        self.codim = ambient_dim - dim
        self.form: Form = "regular"
        self.reason = "not fitted yet"
        self.checks: ZeroSetChecks | None = None
        self.region = ValidityRegion()

    @abstractmethod
    def _network(self, inputs: int, outputs: int) -> SineNetwork | MLP:
        """A network for F, without gradients."""

    @abstractmethod
    def _frames(self, geometry: TubularNeighborhood, generator: torch.Generator) -> NormalFrames:
        """The form, and frames of the normal spaces."""

    @abstractmethod
    def _draw(self, geometry: TubularNeighborhood, generator: torch.Generator) -> None:
        """Draw the first weights of the network."""

    @abstractmethod
    def _descent(self, work: dict[str, Any]) -> Stage | None:
        """What trains the whole network; None where only its last layer is fitted."""

    @abstractmethod
    def _last_layer(self, targets: Targets, generator: torch.Generator) -> Progress[Targets]:
        """Fit the last layer, if it is to be; returns the targets that are left."""

    # -- learning ---------------------------------------------------------------------------------

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """Local geometry and frames; a descent, where there is one; the last layer; checks."""
        if self.fitted:
            return
        work: dict[str, Any] = {}
        yield Stage("local geometry", lambda generator: self._prepare(points, work, generator))
        descent = self._descent(work)
        if descent is not None:
            yield descent
        yield Stage("last layer", lambda generator: self._finish(work, generator))
        yield Stage("checks", lambda generator: self._check(work, generator))

    def _prepare(
        self, points: Tensor, work: dict[str, Any], generator: torch.Generator
    ) -> Progress[bool]:
        x = distinct(as_tensor(points, ambient_dim=self.ambient_dim))
        if x.shape[0] < 20:
            raise InvalidPoints(
                f"expected at least 20 different points, got {x.shape[0]}; give more"
            )
        frame = principal_frame(x, self.dim)
        z = frame.inner(x)
        most = 200  # normal frames at 8000 points then take 2.5 GB
        if z.shape[1] > most:
            raise InvalidPoints(
                f"expected points that vary in at most {most} directions (a zero set has "
                f"an equation for every one), got {z.shape[1]} of {self.ambient_dim}; take fewer "
                "principal axes of them, or local polynomials (family='atlas')"
            )
        local = LocalPolynomials(self.dim, z.shape[1])
        for stage in local.stages(z):
            yield from stage.run(generator)
        with torch.no_grad():
            geometry = local_geometry(local, z, generator)
            frames = self._frames(geometry, generator)
            self.form, self.reason = frames.form, frames.reason
            self.orientable, A = frames.orientable, frames.A
            work.update(
                x=x, z=z, geometry=geometry, frame=frame,
                targets=Targets.of(geometry, A, frames.angle, generator),
            )  # fmt: skip
        self.net = self._network(z.shape[1], A.shape[-1])
        self._draw(geometry, generator)
        yield {"loss": geometry.noise, "projections": float(geometry.p.shape[0])}
        return True

    def _finish(self, work: dict[str, Any], generator: torch.Generator) -> Progress[bool]:
        frame: Frame = work["frame"]
        with torch.no_grad():
            targets = yield from self._last_layer(work["targets"], generator)
            geometry = work["geometry"] = targets.geometry
            self.centre, self.V = frame.centre, frame.V
            self.unit, self.scale = torch.tensor(frame.unit, dtype=torch.float64), frame.unit
            self.region.place(geometry, generator)
            self.fitted = True
            self.zero_set.find_boundary(geometry, generator)
            self.zero_set.end_before_spurious_zeros(geometry, generator)
            work["off"] = self._measure(work["x"], geometry)
        yield {"loss": self.noise, "off": work["off"]}
        return work["off"] < 0.01

    def _check(self, work: dict[str, Any], generator: torch.Generator) -> Progress[bool]:
        off, tolerance = work["off"], cast("float", self.tolerance)
        with torch.no_grad():
            self.checks = inspect_zero_set(
                self.zero_set, work["geometry"], off=off, tolerance=tolerance, generator=generator
            )
        yield {k: v for k, v in self.checks.numbers().items() if math.isfinite(v)}
        for problem in self.checks.problems:
            warnings.warn(f"{type(self).__name__}: {problem}", UserWarning, stacklevel=2)
        return not self.checks.problems

    def _measure(self, x: Tensor, geometry: TubularNeighborhood) -> float:
        """Set noise and tolerance from the data x; the share of x that M does not contain.

        The tolerance is less than the width of the region, within which M is the only zero set.
        """
        moved = self.project(x)
        distance = (moved.value - x).norm(dim=-1)
        found = moved.converged & self.in_domain(moved.value)
        near = distance[found] if bool(found.any()) else distance.new_zeros(1)
        least = self.scale * max(geometry.extrapolation(), 1e-3)
        most = self.scale * float(self.region.nu.median())
        self.noise = float(near.square().mean().sqrt())
        self.tolerance = min(max(4 * float(near.quantile(0.999)), least), most)
        return 1 - float((found & (distance <= self.tolerance)).double().mean())

    @property
    def checks_state(self) -> dict[str, Any] | None:
        """The checks as plain data, to be saved."""
        return None if self.checks is None else self.checks.to_dict()

    @checks_state.setter
    def checks_state(self, state: dict[str, Any] | None) -> None:
        self.checks = None if state is None else ZeroSetChecks.from_dict(state)

    # -- the manifold -----------------------------------------------------------------------------

    @property
    def defining(self) -> calculus.RowMap | None:
        """F, where it is regular."""
        return self.equations if self.fitted and self.form == "regular" else None

    def equations(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch m"]:
        r"""F(x), or :math:`\Pi(x) F(x)`; then the linear equations. In the units of the points."""
        self.require_fitted()
        y = (x.to(torch.float64) - self.centre) / self.unit
        E = self.zero_set.equations(y @ self.V)
        return (self.unit * torch.cat([E, self._beside(y)], -1)).to(x.dtype)

    def linearize(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch m D"]]:
        """E(x) and DE(x), in closed form."""
        y, z = self._flat(x)
        E, DE = self.zero_set.linearize(z)
        W = self._beside(torch.eye(self.ambient_dim, dtype=y.dtype))
        E = self.unit * torch.cat([E, y @ W], -1)
        DE = torch.cat([DE @ self.V.mT, W.mT.expand(y.shape[0], -1, -1)], -2)
        E, DE = E.reshape(*x.shape[:-1], E.shape[-1]), DE.reshape(*x.shape[:-1], *DE.shape[-2:])
        return E.to(x.dtype), DE.to(x.dtype)

    def contains(self, x: Tensor, atol: float | Tensor | None = None) -> Bool[Tensor, "*batch"]:
        """Whether x is finite, within `atol` of M, and in its domain of validity."""
        return super().contains(x, atol) & (self.in_domain(x) if self.closed else True)

    @property
    def zero_set(self) -> ZeroSet:
        """M in the coordinates z of the fit: x = centre + unit V z."""
        k = self.V.shape[-1] - self.dim
        return ZeroSet(self.net, self.region, self.boundary, k, self.form == "regular")

    def _beside(self, y: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch l"]:
        """The coordinates of y in an orthonormal basis of the complement of range(V)."""
        m = self.V.shape[-1]
        return y[..., m:] if self._spans else calculus.reflected(self.V, y)[..., m:]

    def _evaluate(self, z: Float[Tensor, "n m"]) -> tuple[Tensor, Tensor]:
        return self.zero_set.evaluate(z)

    def _in_domain(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        return self.zero_set.in_domain(z)

    def _tangents(self, z: Float[Tensor, "n m"]) -> Float[Tensor, "n m d"]:
        return self.zero_set.tangents(z)

    def _rough(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "p m"]:
        return torch.cat([self.region.c, self.region.draw(n, generator)])

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"dim={self.dim}, ambient_dim={self.ambient_dim}, form={self.form!r}"


class NeuralImplicit(LearnedZeroSet):
    r"""A d-dimensional manifold learned as :math:`M = \{x : F(x) = 0\}` near its data.

    F is a network of sines, :math:`F(z) = C\,\varphi(z)`, see :class:`SineNetwork`: its inner
    layers are drawn at random, its last one is solved for by least squares. Two forms:

    - *regular*: :math:`F: R^D \to R^{D-d}` measures the distance along a smooth oriented normal
      frame, :math:`F(p + a) = A(p)^\top a`. All singular values of DF on M are close to 1.
    - *residual*: :math:`F(x) = x - r(x)`, r the projection of x on M, over-determined, DF of rank
      D - d:

      .. math:: M = \{x : \Pi(x) F(x) = 0\},\quad \Pi = U_k U_k^\top,\ k = D - d,

      where U_k are the k leading left singular vectors of DF(x). Equations, tangents and
      curvature are those of :math:`\Pi F`, with the derivative of :math:`\Pi`.

    A regular zero set has a trivial normal bundle, so it is orientable: a Klein bottle or a
    projective plane is none. The form is chosen by the orientability of the normal spaces of the
    data, and by whether these have a smooth frame.

    M is stated inside the domain of validity: near the data, and (residual form) where the
    spectrum has its gap, :math:`s_k > 0.4 > s_{k+1}`, and :math:`F \approx \Pi F`; other points
    are first pulled to the nearest landmark. It ends before zeros of F that are far from M, where
    it can. F learns from the projections, normals and tube radii of :class:`LocalPolynomials`,
    which denoises the data.

    After Ross et al., 2024, "Neural implicit manifold learning for topology-aware density
    estimation" (https://arxiv.org/abs/2206.11267); unit-speed distances from Sutanto et al., 2020
    (https://arxiv.org/abs/2009.11852).

    Args:
        dim: dimension d of M.
        ambient_dim: dimension D of the space around it.
        constraints: None chooses the form; D - d asks for the regular one, or "residual".
        width: units of each layer.
        features: random sines beside them.

    Raises:
        ValueError: not 1 <= d < D, another number of constraints, or sizes that make no sense.

    Attributes:
        form: "regular" or "residual", after fitting.
        reason: why, in one sentence.
        checks: what was measured after the fit, see :class:`ZeroSetChecks`.
        tolerance: the largest of: four times the 99.9 % quantile of the distance from data to M,
            what M may be off in gaps of the data, a thousandth of the rms radius of the data; at
            most what the domain of validity allows.
        closed: whether M ends nowhere: no boundary of the data was found.
        noise: root mean square distance of the data to M.

    Example:
        >>> t = torch.linspace(0, 6.2832, 400, dtype=torch.float64)
        >>> circle = NeuralImplicit(1, 2, features=100, width=32)
        >>> result = tg.fit(circle, torch.stack([t.cos(), t.sin()], -1))
        >>> x = circle.project(torch.tensor([[0.0, 1.01]], dtype=torch.float64)).value
        >>> circle.form, bool((x.norm() - 1).abs() < 1e-4)
        ('regular', True)
    """

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        constraints: int | Literal["residual"] | None = None,
        *,
        width: int = 128,
        features: int = 600,
    ) -> None:
        super().__init__(dim, ambient_dim)
        if constraints not in (None, "residual", self.codim):
            raise ValueError(
                f"expected constraints None, 'residual' or D - d = {self.codim}, got "
                f"{constraints!r}; another number of equations has zero sets of another dimension"
            )
        if width < 1 or features < 0:
            raise ValueError(f"expected width >= 1 and features >= 0, got {width}, {features}")
        self.constraints, self.width, self.features = constraints, width, features
        self.net = self._network(ambient_dim, self.codim)

    def _network(self, inputs: int, outputs: int) -> SineNetwork:
        net = SineNetwork(inputs, outputs, width=self.width, features=self.features)
        return net.requires_grad_(False)

    def _frames(self, geometry: TubularNeighborhood, generator: torch.Generator) -> NormalFrames:
        return choose_frames(geometry, self.constraints, generator)

    def _draw(self, geometry: TubularNeighborhood, generator: torch.Generator) -> None:
        """Random features: the narrower the tube, the higher their frequencies."""
        bent = 0.8 / float(geometry.tau.median())
        cast("SineNetwork", self.net).draw(generator, min(max(bent, 1.0), 6.0))

    def _descent(self, work: dict[str, Any]) -> None:
        return None

    def _last_layer(self, targets: Targets, generator: torch.Generator) -> Progress[Targets]:
        return solved(cast("SineNetwork", self.net), targets, generator)
