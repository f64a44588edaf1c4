r"""Distributions on a base from a distribution on its cover."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Progress
from ..flow import SplineFlow
from .base_distributions import BaseDistribution
from .bases import Base


class CoverFlow(BaseDistribution):
    r"""The image on :math:`B = \tilde B / \Gamma` of a spline flow q on the cover.

    .. math:: p(b) = \sum_{\gamma \in \Gamma} q(\gamma b)

    w.r.t. the volume of B. Sharper than an exponential family, and slower to fit.

    Args:
        base: B, a product of circles, spheres and intervals, or a quotient of one.
    """

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base = base
        self.flow = SplineFlow(base.cover)

    def log_prob(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """Log of the sum over the orbit of b."""
        return self.flow().log_prob(self.base.orbit(b)).logsumexp(0)

    def sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n w"]:
        """Points of the distribution on the cover."""
        return self.flow().sample((n,), generator)

    def fit(self, b: Float[Tensor, "n w"], generator: torch.Generator) -> Progress[bool]:
        """Maximum likelihood on the orbits of the base points."""
        ended = True
        for stage in self.flow.stages(self.base.orbit(b).flatten(0, 1)):
            ended = (yield from stage.run(generator)) and ended
        self.log_z_error = self.flow().log_z_error
        self.fitted = True
        return ended
