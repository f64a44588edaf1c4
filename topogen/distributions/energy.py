"""Any energy on a manifold with charts: normalised by quadrature, sampled by rejection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AtlasError, UnsupportedError
from ..manifolds.atlas import BaseAtlas
from ..manifolds.base import Manifold
from ..manifolds.integration import Quadrature
from ..manifolds.rejection_sampling import Draw, RejectionGrid, start
from .base import ManifoldDistribution, likelihood_of, manifold_of

LogDensity = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LogZ:
    r"""The logarithm of :math:`Z = \int_M e^{f}\, dH^d`, in nats, and how well it is known.

    Attributes:
        value: the estimate.
        error: one standard error, or for quadrature the difference of two levels.
        method: what gave it: "quadrature", "importance", "thermodynamic" or "bridge".
    """

    value: float
    error: float
    method: str

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.5f} +- {self.error:.1e} ({self.method})"


@dataclass(frozen=True)
class Levels:
    """Two levels of quadrature on one atlas, for many densities that share them.

    Attributes:
        atlas: the charts.
        per_axis: nodes per axis of every chart on the finer level.
        coarse: the coarser level.
        fine: the finer one, with 3/2 as many nodes per axis.
    """

    atlas: BaseAtlas
    per_axis: int
    coarse: Quadrature
    fine: Quadrature

    @property
    def manifold(self) -> Manifold:
        """The manifold that the atlas covers."""
        return manifold_of(self.atlas)

    @staticmethod
    def of(atlas: BaseAtlas, per_axis: int | None = None) -> Levels:
        """The levels of `per_axis` nodes per axis and of 3/2 times as many.

        Raises:
            AtlasError: no node of the atlas decodes.
            UnsupportedError: the dimension is above 3.
        """
        manifold_of(atlas)  # refuses what is no atlas
        atlas.verify()
        if atlas.dim > 3:
            raise UnsupportedError(
                f"expected dimension 1, 2 or 3 for quadrature, got {atlas.dim}; estimate log Z "
                "from samples (topogen.models.energy.bridge)"
            )
        per_axis = start(atlas.dim, len(atlas)) if per_axis is None else per_axis
        if per_axis < 2:
            raise ValueError(f"expected per_axis >= 2, got {per_axis}")
        fine = math.ceil(1.5 * per_axis)
        levels = Levels(atlas, fine, atlas.quadrature(per_axis), atlas.quadrature(fine))
        if levels.coarse.weights.numel() == 0 or levels.fine.weights.numel() == 0:
            raise AtlasError(
                "expected charts with points in their domains, but no chart decodes any node of "
                "its grid; check decode with topogen.testing.check_chart"
            )
        volumes = [float(q.weights.sum()) for q in (levels.coarse, levels.fine)]
        atlas.verify_volume(volumes[1], abs(volumes[1] - volumes[0]))
        return levels

    def refined(self) -> Levels:
        """The finer level and the next."""
        fine = math.ceil(1.5 * self.per_axis)
        return Levels(self.atlas, fine, self.fine, self.atlas.quadrature(fine))

    def log_integral(self, log_density: LogDensity) -> LogZ:
        r"""Log of :math:`\int_M e^{f}\, dH^d` on the finer level, and its distance to the other.

        Two standard deviations of what cells at a boundary of M add are added to the error.

        Raises:
            ValueError: f gives NaN or infinity, or not one value per point.
        """
        with torch.no_grad():
            f = evaluate(log_density, self.fine.points)
            fine = float(log_sum(self.fine, f))
            coarse = float(log_sum(self.coarse, evaluate(log_density, self.coarse.points)))
        if fine == -math.inf:
            raise ValueError(
                "expected a log density that is finite somewhere, got -inf at every node; "
                "no distribution has density 0 everywhere"
            )
        boundary = float((self.fine.spread * (f - fine).exp()).norm())
        return LogZ(fine, abs(fine - coarse) + 2 * boundary, "quadrature")


def evaluate(log_density: LogDensity, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
    """f(x) in float64; ValueError for NaN or +inf, or not one value per point."""
    f = log_density(x)
    if not isinstance(f, Tensor) or f.shape != x.shape[:-1]:
        got = tuple(f.shape) if isinstance(f, Tensor) else type(f).__name__
        raise ValueError(
            f"expected log_density to take points (n, D) to values (n,), got {got} for n = "
            f"{x.shape[0]}"
        )
    f = f.to(torch.float64)
    bad = f.isnan() | (f == math.inf)
    if bool(bad.any()):
        raise ValueError(
            f"expected a log density below infinity, got NaN or inf at {int(bad.sum())} of "
            f"{bad.numel()} points of the manifold; -inf is allowed where the density is 0"
        )
    return f


def log_sum(q: Quadrature, f: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Log of sum_i w_i exp f_i."""
    return (q.weights.log() + f).logsumexp(0)


class EnergyDistribution(ManifoldDistribution):
    r"""The distribution with a given log density f, up to a constant, on a manifold with an atlas.

    .. math:: p(x) = e^{f(x)} / Z, \qquad Z = \int_M e^{f}\, dH^d
              = \sum_k \int_{U_k} \rho_k\, e^{f \circ \psi_k} \sqrt{\det G_k}\, dz

    by partition-of-unity quadrature (d <= 3), refined until two levels agree on log Z to `tol`, or
    the next would take more than `max_nodes`. The difference of the levels is `log_z_error`. A
    peak narrower than the spacing of the nodes escapes both: give a larger `per_axis` where f has
    such. M is what the charts cover: elsewhere log p is -inf. Gradients flow from log p into the
    parameters of f, those of log Z included.

    Samples are independent, by rejection: a cell of a chart's grid is chosen in proportion to a
    bound on :math:`\rho_k e^f \sqrt{\det G_k}` in it, a uniform point of it is accepted in
    proportion to the value there; :meth:`draw` reports how often a bound proved too small.

    Args:
        atlas: charts of one manifold.
        log_density: f, points (n, D) to values (n,), in nats; row-wise.
        tol: where refinement stops, in nats; 5e-4 or more where M has a boundary in the charts.
        per_axis: nodes per axis of every chart on the first level; None takes about 400, 4000 or
            12000 nodes in all in dimension 1, 2 or 3.
        max_nodes: no level takes more.
        levels: the first two levels, where they are at hand already.
        validate_args: raise on points off M instead of giving them -inf.

    Raises:
        AtlasError: no atlas.
        UnsupportedError: dimension above 3.
        ValueError: f gives NaN or infinity on M, or not one value per point.

    Example:
        >>> from topogen.manifolds.spaces import Sphere
        >>> q = EnergyDistribution(Sphere().atlas(), lambda x: 5 * x[..., 2], validate_args=False)
        >>> print(q.log_z.method, round(float(q.log_z), 5), q.likelihood)  # log 4 pi sinh(5) / 5
        quadrature 5.22839 exact
        >>> x = q.sample((4000,), generator=torch.Generator().manual_seed(0))
        >>> bool((x[:, 2].mean() - 0.8001).abs() < 0.01)  # coth 5 - 1 / 5
        True
    """

    def __init__(
        self,
        atlas: BaseAtlas,
        log_density: LogDensity,
        *,
        tol: float = 2e-4,
        per_axis: int | None = None,
        max_nodes: int = 200_000,
        levels: Levels | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not tol > 0:
            raise ValueError(f"expected tol > 0, in nats, got {tol}")
        levels = Levels.of(atlas, per_axis) if levels is None else levels
        if levels.atlas is not atlas:
            raise AtlasError("expected levels of the atlas itself; take Levels.of(atlas)")
        log_z = levels.log_integral(log_density)
        if bool(levels.fine.spread.any()):
            # M has a boundary in the charts: that error falls only as the nodes^(-3/4)
            tol = max(tol, 5e-4)
        while not log_z.error <= tol:
            if len(atlas) * math.ceil(1.5 * levels.per_axis) ** atlas.dim > max_nodes:
                break
            levels = levels.refined()
            log_z = levels.log_integral(log_density)
        self.atlas, self.levels, self.log_density, self.log_z = atlas, levels, log_density, log_z
        self._trainable = True
        super().__init__(
            levels.manifold,
            likelihood=likelihood_of(log_z.error),
            log_z_error=log_z.error,
            validate_args=validate_args,
        )

    def own_atlas(self) -> BaseAtlas:
        """The charts of the quadrature."""
        return self.atlas

    def _log_prob(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        x = x.to(torch.float64)
        log_z = self._log_z_with_gradient()
        covered = (self.atlas.multiplicity(x.detach()) > 0).to(x.device)
        if self.atlas.in_domain is not None:
            covered = covered & self.atlas.in_domain(x.detach())
        return torch.where(covered, evaluate(self.log_density, x) - log_z, -math.inf)

    def _log_z_with_gradient(self) -> Tensor | float:
        """Log Z as a function of the parameters of f, if it has any."""
        if not (self._trainable and torch.is_grad_enabled()):
            return self.log_z.value
        log_z = log_sum(self.levels.fine, evaluate(self.log_density, self.levels.fine.points))
        self._trainable = log_z.requires_grad
        return log_z if self._trainable else self.log_z.value

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        return self.draw(n, generator).points

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Draw n independent points, with the number of proposals and of bounds that were raised.

        Raises:
            UnsupportedError: bounds went on being exceeded, or next to nothing is accepted: f has
                peaks narrower than the cells.
        """
        return self._cells.draw(n, generator)

    @cached_property
    def _cells(self) -> RejectionGrid:
        return RejectionGrid(
            list(self.atlas),
            self.levels.fine,
            self.levels.per_axis,
            self._normalised,
            self.atlas.in_domain,
        )

    def _normalised(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        return evaluate(self.log_density, x) - self.log_z.value
