"""An atlas: charts that cover one M. Everything it says is derived from the charts alone."""

from __future__ import annotations

import itertools
import math
from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import AtlasError, NotFittedError
from ..point_cloud.arrays import diameter
from ..storable import Storable
from . import atlas_checks, integration, rejection_sampling
from . import nerve as _nerve
from . import orientation as _orientation
from .base import Manifold
from .charted import ChartedManifold
from .charts import Chart, FunctionChart
from .integration import Integral, Quadrature
from .nerve import Nerve
from .orientation import Orientation


class BaseAtlas(Storable, ABC):
    r"""Charts :math:`\psi_k: U_k \to M` with inverses :math:`\varphi_k` covering an M; abstract.

    The partition of unity is :math:`\rho_k = b_k / \sum_j b_j`, :math:`b_k(x) = \exp(-3/\delta_k)`
    with the depth :math:`\delta_k` of :math:`\varphi_k(x)` in the domain U_k; the transitions are
    :math:`\tau_{kl} = \varphi_l \circ \psi_k`. To implement one, set `charts` and `manifold`.

    Attributes:
        charts: the charts; none before they are found, where an atlas has to find them.
        manifold: the manifold M that they cover.
    """

    charts: nn.ModuleList
    manifold: Manifold

    def describes(self, M: Manifold | None) -> bool:
        """Whether the charts are on a manifold, this M or one beside it, and not alone."""
        own = self.manifold
        return M is None or M is own or not isinstance(own, ChartedManifold)

    def verify(self) -> None:
        """Raise an AtlasError where the charts are found not to be charts that cover `manifold`.

        Charts that were put on their manifold need no check.
        """

    def verify_volume(self, volume: float, error: float) -> None:
        """Raise an AtlasError where the volume found on the charts is not that of `manifold`."""

    def _listed(self) -> list[Chart]:
        if len(self.charts) == 0:
            raise NotFittedError(
                f"this {type(self).__name__} has no charts yet; call topogen.fit on it first"
            )
        return cast("list[Chart]", list(self.charts))

    def __getitem__(self, k: int) -> Chart:
        charts = self._listed()
        if not 0 <= k < len(charts):
            raise AtlasError(f"expected a chart index 0 <= k < {len(charts)}, got {k}")
        return charts[k]

    @property
    def in_domain(self) -> integration.DomainTest | None:
        """That of M, where charts may reach beyond it; None where they do not."""
        return self.manifold.in_domain if self.manifold.needs_domain else None

    def _check(self, x: Tensor) -> None:
        D = self.ambient_dim
        if x.shape[-1:] != (D,) or not x.is_floating_point():
            raise AtlasError(
                f"expected floating-point points of shape (..., {D}), got shape {tuple(x.shape)} "
                f"of {x.dtype}; give a float tensor with one point per row"
            )

    def __len__(self) -> int:
        return len(self.charts)

    def __iter__(self) -> Iterator[Chart]:
        return iter(cast("list[Chart]", list(self.charts)))

    @property
    def dim(self) -> int:
        """Dimension d of the charts' domains."""
        return self[0].dim

    @property
    def ambient_dim(self) -> int:
        """Dimension D of the space around M."""
        return self[0].ambient_dim

    def weights(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch K"]:
        r"""Partition of unity :math:`\rho_k(x)`, C-infinity on M; NaN where no chart covers x."""
        self._check(x)
        log_b = integration.log_bumps(self._listed(), x)
        covered = log_b.isfinite().any(-1, keepdim=True)
        # double where: the softmax of an uncovered row has no derivative
        return torch.where(covered, torch.where(covered, log_b, 0.0).softmax(-1), math.nan)

    def multiplicity(self, x: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch"]:
        """How many charts contain x."""
        self._check(x)
        return torch.stack([c.contains(x) for c in self._listed()], dim=-1).sum(-1)

    def transition(
        self, k: int, l: int, z: Float[Tensor, "*batch d"]
    ) -> Float[Tensor, "*batch d"]:
        r""":math:`\varphi_l(\psi_k(z))`; NaN where z is not in U_k, or its point not in chart l.

        Raises:
            AtlasError: k or l is not the index of a chart.
        """
        first, second = self[k], self[l]
        x = first.decode(z)
        known = ~x.isnan().any(-1, keepdim=True)
        # a chart need not be written for NaN: it is asked about its own centre instead
        centre = second.domain.centre().to(x)
        safe = torch.where(known, x, second.decode(centre.unsqueeze(0)).squeeze(0))
        return torch.where(known, second.encode(safe), math.nan)

    def cocycle_error(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        r"""How far the cocycle :math:`\tau_{mk} \tau_{lm} \tau_{kl} = id` fails at points x of M.

        The largest :math:`|\psi_k(\tau_{mk} \tau_{lm} \tau_{kl} \varphi_k(x)) - x|` over the
        diameter of chart k, among the triples of charts that contain x; NaN where none does, inf
        where a transition fails although all three charts contain x.
        """
        self._check(x)
        charts = self._listed()
        shape, x = x.shape[:-1], x.reshape(-1, x.shape[-1])
        member = torch.stack([c.contains(x) for c in charts], dim=-1)
        worst = x.new_full(x.shape[:1], math.nan)
        together = [row.nonzero().flatten().tolist() for row in member.unique(dim=0)]
        triples = {t for held in together for t in itertools.combinations(held, 3)}
        firsts = sorted({k for k, _, _ in triples})
        sizes = {k: self._chart_diameter(k) for k in firsts}
        for k, l, m in sorted(triples):
            held = member[:, [k, l, m]].all(-1)
            z = charts[k].encode(x[held])
            for i, j in ((k, l), (l, m), (m, k)):
                z = self.transition(i, j, z)
            error = (charts[k].decode(z) - x[held]).norm(dim=-1) / sizes[k]
            error = error.nan_to_num(nan=math.inf, posinf=math.inf)
            worst[held] = torch.fmax(worst[held], error.to(x.dtype))
        return worst.reshape(shape)

    def _chart_diameter(self, k: int) -> float:
        points = _nerve.chart_points([self[k]])
        if points.shape[0] < 2:
            raise AtlasError(f"expected chart {k} to decode its domain, but it gives NaN there")
        return diameter(points.cpu().numpy())

    def orientation(
        self,
        x: Float[Tensor, "n D"] | None = None,
        *,
        tangent: Float[Tensor, "n D d"] | None = None,
    ) -> Orientation:
        r"""Whether the charts can be oriented consistently: signs of the transitions at x.

        "False" needs a chain of overlaps, each with its sign at three points or more, that
        reverses the orientation. "True" speaks of the overlaps that x meets; it needs 40 d points
        in every chart, and frames that span nearly one tangent space (:math:`|\det Q_l^\top Q_k|
        \ge 1/2`) at half the points of every overlap. Otherwise None.

        Args:
            x: points of M, shape (n, D), dense enough to meet every component of every overlap;
                None takes a grid of every chart.
            tangent: orthonormal tangent bases of M at x, where they are at hand already.
        """
        charts, own = self._listed(), x is None
        x = _nerve.chart_points(charts) if x is None else x
        self._check(x)
        M = self.manifold  # charts alone have frames of their own
        if tangent is None and not isinstance(M, ChartedManifold):
            tangent = M.tangent_basis(x)
        return _orientation.orientation(charts, x, complete=own, tangent=tangent)

    def nerve(self, x: Float[Tensor, "n D"] | None = None) -> Nerve:
        """The nerve of the cover, and whether the cover is good.

        Intersections are judged for dimension 1 to 3, on grids of the charts' own domains: a gap
        or hole narrower than two voxels is not seen.

        Args:
            x: points of M, shape (n, D), that find intersections smaller than a cell of the grids.
        """
        charts = self._listed()
        if x is None:
            return _nerve.nerve(charts, None)
        self._check(x)
        found, uncovered = _nerve.nerve(charts, x), int((self.multiplicity(x) == 0).sum())
        if not uncovered:
            return found
        reason = f"{uncovered} of {len(x)} points of M lie in no chart: this is no cover of M"
        return replace(found, good_cover=False, reason=reason)

    def quadrature(self, per_axis: int) -> Quadrature:
        """Nodes and weights of the midpoint rule with `per_axis` nodes per axis of every chart.

        M is what lies in its domain of validity: charts may reach beyond, and cells at its
        boundary are divided. No gradient flows into the charts.
        """
        return integration.quadrature(self._listed(), per_axis, self.in_domain)

    def integrate(
        self,
        f: Callable[[Tensor], Tensor],
        tol: float | None = None,
        *,
        per_axis: int | None = None,
        max_nodes: int = 4_000_000,
    ) -> Integral:
        r""":math:`\int_M f\, dH^d` by partition-of-unity quadrature at two levels.

        Args:
            f: points (n, D) to values (n,), or (n, m) for m integrals at once.
            tol: refine until error <= tol times the integral of \|f\|; None takes two levels.
            per_axis: nodes per axis of every chart on the coarser level, 2/3 of those on the
                finer. None takes 96, 48 or 20 in dimension 1, 2 or 3, and 10 above.
            max_nodes: no level takes more nodes; the error says where `tol` is not reached.

        Raises:
            ValueError: f does not return one value, or one row, per point; or tol <= 0.
            UnsupportedError: the first two levels already need more than max_nodes.
        """
        return integration.integrate(self._listed(), f, tol, per_axis, max_nodes, self.in_domain)

    def volume(self, tol: float | None = None, *, per_axis: int | None = None) -> Integral:
        """H^d(M), the integral of 1; arguments as in :meth:`integrate`."""
        return self.integrate(lambda x: x.new_ones(x.shape[:-1]), tol, per_axis=per_axis)

    def sample_uniform(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n D"]:
        r"""Draw n independent points of H^d / H^d(M), float64 on the CPU, without gradients.

        Exact rejection, under bounds on :math:`\rho_k \sqrt{\det G_k}` in cells; a bound that
        turns out too small is raised and the draw starts again. For many draws take
        :class:`~topogen.Uniform` of the atlas, which retains the grids.

        Raises:
            UnsupportedError: the area element is not bounded.
        """
        if n < 0:
            raise ValueError(f"expected n >= 0, got {n}")
        return rejection_sampling.sample_uniform(self._listed(), n, generator, self.in_domain)

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{len(self.charts)} charts"


class Atlas(BaseAtlas):
    """An atlas of given charts; see :class:`BaseAtlas` for what follows from them.

    Charts of a given manifold are checked: that they decode to points of M, and cover it. They are
    when the atlas is made, or, where M is still to be learned, when a distribution is.

    Args:
        charts: at least one, all of one dimension and in one ambient space.
        manifold: the manifold M that they cover; None takes what they cover, a
            :class:`~topogen.manifolds.charted.ChartedManifold`.
        own: whether the charts are those that the manifold has itself; they are not checked.

    Raises:
        AtlasError: no charts, or charts of different dimensions, or not those of the manifold.

    Example:
        >>> from topogen.manifolds.charts import Ball, FunctionChart
        >>> U = Ball(2, 2.0)
        >>> def pole(s):  # stereographic, from the pole s
        ...     def decode(u):
        ...         r = (u * u).sum(-1, keepdim=True)
        ...         return torch.cat([2 * u, s * (r - 1)], -1) / (1 + r)
        ...     return FunctionChart(decode, lambda x: x[..., :2] / (1 - s * x[..., 2:]), domain=U)
        >>> atlas = Atlas([pole(1.0), pole(-1.0)])
        >>> atlas.weights(torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]))
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
        >>> print(f"{float(atlas.volume(tol=1e-8)):.6f}")
        12.566371
        >>> atlas.orientation().orientable, atlas.nerve().good_cover
        (True, False)
    """

    def __init__(
        self, charts: Iterable[Chart], manifold: Manifold | None = None, *, own: bool = False
    ) -> None:
        super().__init__()
        listed = list(charts)
        if not listed:
            raise AtlasError("expected at least one chart, got none; give a list of Chart objects")
        wrong = [type(c).__name__ for c in listed if not isinstance(c, Chart)]
        if wrong:
            raise AtlasError(f"expected Chart objects, got {wrong[0]}; see FunctionChart")
        shapes = {(c.dim, c.ambient_dim) for c in listed}
        if manifold is not None:
            shapes.add((manifold.dim, manifold.ambient_dim))
        if len(shapes) > 1:
            raise AtlasError(
                "expected charts (and manifold) of one dimension in one ambient space, got (dim, "
                f"ambient_dim) in {sorted(shapes)}; a union of sets of different dimension has no "
                "atlas"
            )
        self.charts, self.own, self._verified = nn.ModuleList(listed), own, own
        self.manifold = ChartedManifold(listed, self) if manifold is None else manifold
        self.verify()

    def arguments(self) -> dict[str, Any]:
        """See :class:`~topogen.storable.Storable`."""
        manifold = None if isinstance(self.manifold, ChartedManifold) else self.manifold
        return {"charts": self.charts, "manifold": manifold, "own": self.own}

    def verify(self) -> None:
        """Raise where the charts do not decode to points of M, do not cover it, or pass by.

        Raises:
            AtlasError: the message names the chart, or the share of M.
        """
        if self._verified:
            return
        charts, M = self._listed(), self.manifold
        if isinstance(M, ChartedManifold):
            atlas_checks.warn_of_near_misses(charts)
            self._verified = True
            return
        try:
            atlas_checks.require_on(charts, M)
            atlas_checks.require_cover(charts, M)
        except NotFittedError:  # M is checked once it is known
            return
        self._verified = True

    def verify_volume(self, volume: float, error: float) -> None:
        """Raise an AtlasError where the volume found on the charts is not that of `manifold`."""
        if not self.own:
            atlas_checks.require_volume(self.manifold, volume, error)

    def __reduce__(self) -> Any:
        # charts of a reference space hold functions, which cannot be pickled: M makes them anew
        M, functions = self.manifold, any(isinstance(c, FunctionChart) for c in self.modules())
        if self.own and functions and M is not None and M.has_atlas:
            return _own_atlas, (M,)
        return super().__reduce__()


def _own_atlas(M: Manifold) -> Any:
    return M.atlas()
