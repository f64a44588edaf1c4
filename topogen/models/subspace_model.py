"""Distributions learned in the subspace that their points span."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..distributions.base import ManifoldDistribution
from ..distributions.pushforward import Pushforward
from ..manifolds.operations import Similarity
from ..point_cloud.span import Span
from ..point_cloud.tensors import as_tensor
from .base import LearnedDistribution, Stage, part_stages


class SubspaceModel(LearnedDistribution):
    r"""A distribution on M = b + V N, learned on N in the coordinates z of x = b + V z.

    V has orthonormal columns: distances, volumes and densities are those of N, and nothing costs
    more than linearly in D.

    Args:
        model: the learned distribution on N in R^m.
        ambient_dim: D.
    """

    shift: Tensor
    V: Tensor

    def __init__(self, model: LearnedDistribution, ambient_dim: int) -> None:
        super().__init__()
        self.model, self.ambient_dim = model, ambient_dim
        self.reserve("shift", "V")
        self._copy: tuple[Similarity, ...] = ()  # in a tuple: it is no part of the state

    @staticmethod
    def of(model: LearnedDistribution, span: Span) -> SubspaceModel:
        """The model, not fitted yet, in the subspace that a cloud spans."""
        result = SubspaceModel(model, len(span.centre))
        result.shift, result.V = torch.from_numpy(span.centre), torch.from_numpy(span.V)
        return result

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """Those of the model, of the coordinates of the points."""
        x = as_tensor(points, ambient_dim=self.ambient_dim).numpy()
        z = Span(self.shift.numpy(), self.V.numpy()).inner(x)
        yield from part_stages(torch.from_numpy(z), self.model)
        self.fitted = True

    def forward(self) -> ManifoldDistribution:
        """The distribution at the current parameters."""
        p = self.model()
        if not self._copy or self._copy[0].manifold is not p.manifold:
            self._copy = (Similarity(p.manifold, self.shift, rotation=self.V),)
        return Pushforward(p, self._copy[0], validate_args=p.validates)

    def measurements(self) -> dict[str, float | str]:
        """Those of the model."""
        return self.model.measurements()
