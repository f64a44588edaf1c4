"""The uniform law H^d / H^d(M) of a set of finite volume."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UnsupportedError
from ..manifolds.base import Manifold
from ..manifolds.library.base import ReferenceSpace
from .base import ManifoldDistribution


class Uniform(ManifoldDistribution):
    r"""The uniform law on a reference space M: :math:`p(x) = 1 / H^d(M)` w.r.t. H^d.

    `log_z_error` is the relative error of the volume.

    Args:
        manifold: a set with a known volume and an area-uniform sampler.
        validate_args: raise on points off M instead of giving them -inf.

    Raises:
        UnsupportedError: M has no known finite volume, or no exact sampler.

    Example:
        >>> from topogen.manifolds.library import Sphere
        >>> q = Uniform(Sphere(), validate_args=False)
        >>> q.log_prob(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]]))
        tensor([-2.5310,    -inf])
        >>> q.sample((5,)).shape, round(q.entropy(), 6)
        (torch.Size([5, 3]), 2.531024)
    """

    def __init__(self, manifold: Manifold, *, validate_args: bool | None = None) -> None:
        name = type(manifold).__name__
        if not isinstance(manifold, ReferenceSpace):
            raise UnsupportedError(
                f"expected a reference space, with an exact area-uniform sampler, got {name}; "
                "for another set put charts on it and take EnergyOn(atlas, log_density) "
                "with a constant log density"
            )
        volume = manifold.volume
        if volume is None or not 0 < volume < math.inf:
            raise UnsupportedError(
                f"expected a set of known finite volume, got {name} with volume {volume}; "
                "restrict it to a bounded part, for example a product of intervals"
            )
        self.space = manifold
        self.log_volume = math.log(volume)
        super().__init__(
            manifold,
            log_z_error=(manifold.volume_error or 0.0) / volume,
            validate_args=validate_args,
        )

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        return x.new_full(x.shape[:-1], -self.log_volume)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        return self.space.sample_uniform(n, generator)

    def entropy(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The entropy log H^d(M), in nats."""
        return self.log_volume
