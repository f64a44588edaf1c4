"""Base points of the right degree to start from, and whether loops are lost in training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import TrainingError
from ...models.injective.base_points import seed
from ...models.injective.bases import Base
from ...models.injective.certificate import on_loops
from ...models.injective.decoder import Decoder
from ...models.injective.integral_classes import Landmarks, landmarks
from ...models.injective.neighbor_graph import Graph, neighbour_graph
from ...point_cloud.tensors import distinct

_LANDMARKS = 150
_LEAST, _MOST = 100, 12_000


@dataclass(frozen=True, eq=False)
class Start:
    """What the data say of a base before any training.

    Attributes:
        words: whether there are base points, and why not.
        points: of the data.
        base_points: of these, from :func:`~..seeds.seed`; None where there is no seed.
        graph: of the points.
        marks: its landmarks.
    """

    words: str
    points: Tensor
    base_points: Tensor | None = None
    graph: Graph | None = None
    marks: Landmarks | None = None

    @staticmethod
    def of(base: Base, y: Tensor) -> Start:
        """The seed of a base for points of mean square 1, if there is one."""
        x = distinct(y)[:_MOST]
        if not math.isfinite(base.volume):
            return Start("from random weights", x)
        if len(x) < _LEAST:
            return Start(f"from random weights, as there are fewer than {_LEAST} points", x)
        try:
            graph = neighbour_graph(x.numpy(), base.dim)
            found = seed(base, graph, count=_LANDMARKS, remap=True)
            marks = landmarks(graph, _LANDMARKS)
        except TrainingError as error:
            return Start(f"from random weights, as there is no seed: {error}", x)
        return Start("from a seed", x, torch.from_numpy(found.points).to(y), graph, marks)

    @property
    def pairs(self) -> tuple[Tensor, Tensor] | None:
        """Points and their base points."""
        return None if self.base_points is None else (self.points, self.base_points)

    def require(self) -> tuple[Tensor, Tensor]:
        """The pairs.

        Raises:
            TrainingError: there are none.
        """
        if self.base_points is None:
            raise TrainingError(f"expected data with a seed, got none: {self.words}")
        return self.points, self.base_points

    def lost(self, decoder: Decoder) -> str | None:
        """Over which fields g is not one to one on H_1; empty where it is, None if not known."""
        from scipy.spatial import KDTree

        if self.graph is None or self.marks is None:
            return None
        _, onto = on_loops(decoder, self.graph, self.marks, KDTree(self.points.numpy()))
        fields = [f"Z/{p}" for p, fine in onto.items() if fine is False]
        if fields:
            return f"loops are lost over {' and '.join(fields)}"
        return "" if onto and all(onto.values()) else None
