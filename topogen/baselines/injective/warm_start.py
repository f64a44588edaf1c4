"""Base points of the right degree to start from, and whether loops are lost in training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import TrainingError
from ...models.injective.base_points import initial_base_points
from ...models.injective.bases import Base
from ...models.injective.decoder import Decoder
from ...models.injective.homology_checks import action_on_loops
from ...models.injective.neighbor_graph import Landmarks, neighbour_graph
from ...point_cloud.tensors import distinct


@dataclass(frozen=True, eq=False)
class Start:
    """What the data say of a base before any training.

    Attributes:
        words: whether there are base points, and why not.
        points: of the data.
        base_points: of these; None where no initial ones are known.
        marks: landmarks of the neighbour graph of the points.
    """

    words: str
    points: Tensor
    base_points: Tensor | None = None
    marks: Landmarks | None = None

    @staticmethod
    def of(base: Base, y: Tensor) -> Start:
        """The initial base points of points of mean square 1, if there are any."""
        x = distinct(y)[:12_000]
        if not math.isfinite(base.volume):
            return Start("from random weights", x)
        if len(x) < 100:
            return Start("from random weights, as there are fewer than 100 points", x)
        try:
            graph = neighbour_graph(x.numpy(), base.dim)
            b = initial_base_points(base, graph, count=150)
            marks = graph.landmarks(150)
        except TrainingError as error:
            return Start(f"from random weights, as there are no initial base points: {error}", x)
        return Start("from initial base points", x, torch.from_numpy(b).to(y), marks)

    @property
    def pairs(self) -> tuple[Tensor, Tensor] | None:
        """Points and their base points."""
        return None if self.base_points is None else (self.points, self.base_points)

    def require(self) -> tuple[Tensor, Tensor]:
        """The pairs; TrainingError where there are none."""
        if self.pairs is None:
            raise TrainingError(f"expected data with initial base points, got none: {self.words}")
        return self.pairs

    def lost(self, decoder: Decoder) -> str | None:
        """Over which fields g is not one to one on H_1; empty where it is, None if not known."""
        from scipy.spatial import KDTree

        if self.marks is None:
            return None
        _, onto = action_on_loops(decoder, self.marks, KDTree(self.points.numpy()))
        fields = [f"Z/{p}" for p, fine in onto.items() if fine is False]
        if fields:
            return f"loops are lost over {' and '.join(fields)}"
        return "" if onto and all(onto.values()) else None
