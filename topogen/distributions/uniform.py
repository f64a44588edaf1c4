"""The uniform law H^d / H^d(M) of a set of finite volume."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AtlasError, UnsupportedError
from ..manifolds.atlas import Atlas
from ..manifolds.base import Manifold
from .base import ManifoldDistribution

# log volume is known to this, in nats, where a law from charts is called exact
_EXACT = 1e-3
_MOST_DIM = 3


class Uniform(ManifoldDistribution):
    r"""The uniform law on M: :math:`p(x) = 1 / H^d(M)` w.r.t. H^d.

    On a set that knows its volume and a sampler both are its own. On any other set of dimension d
    <= 3 they come from charts: the volume by partition-of-unity quadrature at two levels, the
    points by rejection. `log_z_error` is the relative error of the volume; from charts, the
    likelihood is "exact" where it is at most 1e-3, else "estimated".

    Args:
        manifold: a set M, or an atlas of it.
        atlas: charts of M, used in place of what M knows of itself.
        validate_args: raise on points off M instead of giving them -inf.

    Raises:
        UnsupportedError: M has no known finite volume, or no exact sampler, and no atlas is given.
        AtlasError: an atlas without a manifold, or of another one.

    Example:
        >>> from topogen.manifolds.library import Sphere
        >>> q = Uniform(Sphere(), validate_args=False)
        >>> q.log_prob(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]]))
        tensor([-2.5310,    -inf])
        >>> q.sample((5,)).shape, round(q.entropy(), 6)
        (torch.Size([5, 3]), 2.531024)
        >>> round(Uniform(Sphere().atlas()).entropy(), 6)
        2.531024
    """

    def __init__(
        self,
        manifold: Manifold | Atlas,
        atlas: Atlas | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if isinstance(manifold, Atlas):
            if atlas is not None:
                raise AtlasError("expected one atlas, got two; pass Uniform(atlas)")
            atlas = manifold
            if atlas.manifold is None:
                raise AtlasError(
                    "expected an atlas with a manifold, got charts alone; "
                    "pass Atlas(charts, manifold=M)"
                )
            manifold = atlas.manifold
        if atlas is None:
            volume, error = _own_volume(manifold)
            self.log_volume, relative = math.log(volume), error / volume
        else:
            self.log_volume, relative = _volume_by_charts(manifold, atlas)
        self.sampler: Any = manifold if atlas is None else atlas
        super().__init__(
            manifold,
            likelihood="exact" if atlas is None or relative <= _EXACT else "estimated",
            log_z_error=relative,
            validate_args=validate_args,
        )

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        return x.new_full(x.shape[:-1], -self.log_volume)

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        return self.sampler.sample_uniform(n, generator)

    def entropy(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The entropy log H^d(M), in nats."""
        return self.log_volume


def _own_volume(manifold: Manifold) -> tuple[float, float]:
    """The volume that M knows, and its error."""
    name = type(manifold).__name__
    if not callable(getattr(manifold, "sample_uniform", None)):
        raise UnsupportedError(
            f"expected a set with an area-uniform sampler of its own, or an atlas, got {name}; in "
            "dimension 1 to 3 put charts on it: atlas = tg.ProjectedAtlas(M), tg.fit(atlas, "
            "points), tg.Uniform(atlas); else draw by tg.sampling.uniform(M, n)"
        )
    volume = manifold.volume
    if volume is None or not 0 < volume < math.inf:
        raise UnsupportedError(
            f"expected a set of known finite volume, got {name} with volume {volume}; restrict it "
            "to a bounded part, for example a product of intervals, or pass an atlas of it"
        )
    return volume, manifold.volume_error or 0.0


def _volume_by_charts(manifold: Manifold, atlas: Atlas) -> tuple[float, float]:
    """Log volume by quadrature, and its error."""
    if atlas.manifold is not None and atlas.manifold is not manifold:
        raise AtlasError(
            f"expected an atlas of this {type(manifold).__name__}, got one of "
            f"{atlas.manifold}; pass Uniform(atlas)"
        )
    if atlas.dim > _MOST_DIM:
        raise UnsupportedError(
            f"expected dimension 1, 2 or 3 for quadrature, got {atlas.dim}; draw by "
            "tg.sampling.uniform(M, n, method='rays' or 'tube')"
        )
    integral = atlas.volume(_EXACT)
    volume = float(integral)
    if not 0 < volume < math.inf:
        raise UnsupportedError(f"expected a finite volume > 0, got {volume} from the charts")
    return math.log(volume), float(integral.error) / volume
