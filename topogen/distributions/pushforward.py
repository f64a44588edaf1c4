"""Distributions on similar copies of a manifold."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import MeasureError
from ..manifolds.operations import Similarity
from .base import ManifoldDistribution
from .mixture import lives_on


class Pushforward(ManifoldDistribution):
    r"""The distribution of y = cRx + b, x of a given distribution on M, on the copy cRM + b.

    .. math:: \log q(y) = \log p(R^\top (y - b) / c) - d \log c.

    Args:
        distribution: the distribution p on M.
        copy: the copy of M.
        validate_args: raise on points off the copy instead of giving them -inf.

    Raises:
        MeasureError: the copy is one of another manifold.

    Example:
        >>> p = tg.VonMises(0.0, 2.0)
        >>> q = Pushforward(p, Similarity(tg.Circle(), [1.8, 0.0], factor=2.0))
        >>> q.log_prob(torch.tensor([[3.8, 0.0]])) - p.log_prob(torch.tensor([[1.0, 0.0]]))
        tensor([-0.6931])
    """

    def __init__(
        self,
        distribution: ManifoldDistribution,
        copy: Similarity,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not lives_on(distribution, copy.manifold):
            raise MeasureError(
                f"expected a copy of {distribution.manifold}, got one of {copy.manifold}; "
                "pass Similarity(distribution.manifold, shift)"
            )
        self.distribution, self.copy = distribution, copy
        super().__init__(
            copy,
            likelihood=distribution.likelihood,
            log_z_error=distribution.log_z_error,
            validate_args=validate_args,
        )
        self.measure = distribution.measure

    def chart_of(self, x: Float[Tensor, "n D"]) -> Int[Tensor, " n"] | None:
        """That of the points of M that x are copies of."""
        return self.distribution.chart_of(self.copy.back(x))

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        log_factor = math.log(self.copy.factor)
        return self.distribution._log_prob(self.copy.back(x)) - self.dim * log_factor

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        return self.copy.forth(self.distribution._sample(n, generator))
