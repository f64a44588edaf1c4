"""Charts put on one given manifold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..manifolds.atlas import BaseAtlas
from ..manifolds.base import Manifold
from ..manifolds.monge import MongeChart
from ..manifolds.monge_cover import cover
from ..manifolds.monomials import monomial_count
from ..point_cloud.tensors import as_tensor, distinct
from .base import Fittable, Progress, Stage, part_stages
from .units import require_near


class ProjectedAtlas(BaseAtlas, Fittable):
    r"""An atlas of Monge patches on one manifold M, their number chosen from points of M.

    Around candidate centres c (farthest points of the cloud) the sheet through c is followed on
    the neighbour graph as long as :math:`|\det(W^\top Q)| \ge 1/2`, W the tangent basis at c and Q
    at the point; the chart is a large ellipsoid about c, in the tangent plane, that meets no point
    beyond. A greedy set cover picks few charts such that every point lies within 0.8 of the radius
    of one. All share M: transitions are exact, and :class:`AtlasDensity` on them is exact.

    Args:
        manifold: the manifold M; learned or known.
        charts: "auto", or how many charts to use.
        centres: points, shape (m, D), about which charts are put first, in this order; those of
            :meth:`topogen.topology.CircularCoordinates.grid` give charts with known overlaps.

    Attributes:
        fitted: whether the charts have been placed.
    """

    manifold: Manifold  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self, manifold: Manifold, charts: Literal["auto"] | int = "auto", *, centres: Any = None
    ) -> None:
        if charts != "auto" and not (isinstance(charts, int) and charts >= 1):
            raise ValueError(f"expected charts='auto' or a number >= 1, got {charts!r}")
        super().__init__()
        self.manifold = manifold  # pyright: ignore[reportIncompatibleVariableOverride]
        self.charts = nn.ModuleList()
        self.wanted: Literal["auto"] | int = charts
        if centres is not None:
            centres = as_tensor(centres, name="centres", ambient_dim=manifold.ambient_dim)
        self.centres: Tensor | None = centres

    def arguments(self) -> dict[str, Any]:
        """See :class:`~topogen.storable.Storable`: the charts are part of the state."""
        return {"manifold": self.manifold, "charts": self.wanted}

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted manifold, then one that places the charts."""
        yield from part_stages(points, self.manifold)
        if not self.fitted:
            yield Stage("charts", lambda generator: self._fit(points, generator))

    def _fit(self, points: Tensor, generator: torch.Generator) -> Progress[bool]:
        M = self.manifold
        x = as_tensor(points, ambient_dim=M.ambient_dim)
        if x.shape[0] > 10_000:  # enough to choose charts from
            x = x[torch.randperm(x.shape[0], generator=generator)[:10_000]]
        moved = M.project(x)
        require_near(M, x, moved)
        x = distinct(moved.value[moved.converged])
        first: list[int] = []  # rows nearest to the wanted centres, each once
        if self.centres is not None:
            first = list(dict.fromkeys(torch.cdist(self.centres, x).argmin(dim=1).tolist()))
        chosen = yield from cover(M, x, first, self.wanted, generator)
        self.charts = nn.ModuleList(chosen)
        self.fitted = True
        return True

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # the charts exist only in the file: make them before torch descends into the children
        M, charts = self.manifold, nn.ModuleList()
        while f"{prefix}charts.{len(charts)}.c" in state_dict:
            c, W, a, b = (
                torch.empty_like(state_dict[f"{prefix}charts.{len(charts)}.{name}"])
                for name in "cWab"
            )
            degree = min(q for q in range(len(b)) if monomial_count(M.dim, q) >= len(b))
            charts.append(MongeChart(M, c, W, a, b, degree=degree, clearance=0.0))
        self.charts = charts
        super()._load_from_state_dict(state_dict, prefix, *args)
