"""The uniform distribution H^d / H^d(M) of a manifold of finite volume."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AtlasError, UnsupportedError
from ..manifolds.atlas import BaseAtlas
from ..manifolds.base import Manifold
from ..manifolds.default_atlas import charts_of
from .base import ManifoldDistribution, kind_of, likelihood_of, manifold_of
from .energy import EnergyDistribution


class Uniform(ManifoldDistribution):
    r"""The uniform distribution on M: :math:`p(x) = 1 / H^d(M)` w.r.t. H^d.

    On a manifold that knows its volume and has a sampler both are its own. On any other, d <= 3,
    it is the :class:`EnergyDistribution` of a constant on charts: those of an atlas, or Monge
    patches on M where it has `rough_points`, as learned manifolds do
    (:func:`~topogen.manifolds.default_atlas.charts_of`); M is then what they cover. `log_z_error`
    is the relative error of the volume.

    Args:
        manifold: a manifold M, or an atlas of it.
        atlas: charts of M, used in place of what M knows of itself.
        tol: with an atlas, the relative error of the volume at which refinement stops.
        validate_args: raise on points off M instead of giving them -inf.

    Raises:
        UnsupportedError: M has no finite volume, or knows neither itself nor charts, or d > 3.
        AtlasError: an atlas of another manifold, or neither of the two.

    Attributes:
        log_volume: log H^d(M).
        given: the charts that were passed, or None.
        charted: the distribution on the charts; None where M needs none.

    Example:
        >>> from topogen.manifolds.spaces import Sphere
        >>> q = Uniform(Sphere(), validate_args=False)
        >>> q.log_prob(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]]))
        tensor([-2.5310,    -inf])
        >>> q.sample((5,)).shape, round(q.entropy(), 6)
        (torch.Size([5, 3]), 2.531024)
        >>> round(Uniform(Sphere().atlas()).entropy(), 4)
        2.531
    """

    def __init__(
        self,
        manifold: Manifold | BaseAtlas,
        atlas: BaseAtlas | None = None,
        *,
        tol: float = 2e-4,
        validate_args: bool | None = None,
    ) -> None:
        M, atlas = _manifold_and_charts(manifold, atlas)
        self.given = atlas
        if atlas is None and not knows_uniform(M):
            atlas = charts_of(M)
        self.tol = tol
        self.charted = None if atlas is None else EnergyDistribution(atlas, _flat, tol=tol)
        if self.charted is None:
            volume, error = own_volume(M)
            self.log_volume, relative = math.log(volume), error / volume
        else:
            self.log_volume, relative = self.charted.log_z.value, self.charted.log_z_error
            # two levels of a finite volume differ by less
            if self.given is None and not relative <= 0.05:
                raise _infinite(M, f"of which two levels of quadrature differ by {relative:.1%}")
        kind = likelihood_of(relative)
        super().__init__(M, likelihood=kind, log_z_error=relative, validate_args=validate_args)

    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, with which a file makes it again."""
        return {
            "manifold": self.manifold if self.given is None else self.given,
            "tol": self.tol,
            "validate_args": self._validate_args,
        }

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        if self.charted is not None:
            return self.charted._log_prob(x)
        return _flat(x) - self.log_volume

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        if self.charted is not None:
            return self.charted._sample(n, generator)
        return self.manifold.sample_uniform(n, generator)

    def entropy(self) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The entropy log H^d(M), in nats."""
        return self.log_volume


def _flat(x: Tensor) -> Tensor:
    return 0 * x.sum(-1)  # with a derivative, 0


def _manifold_and_charts(
    manifold: Any, atlas: BaseAtlas | None
) -> tuple[Manifold, BaseAtlas | None]:
    """M, and the charts to use in place of what M knows."""
    if not isinstance(manifold, Manifold | BaseAtlas):
        given = kind_of(manifold)
        raise AtlasError(f"expected a manifold or an atlas, got {given}; pass one, as Torus()")
    if not isinstance(manifold, BaseAtlas):
        if atlas is not None and atlas.manifold is not manifold:
            raise AtlasError(
                f"expected an atlas of this {type(manifold).__name__}, got one of "
                f"{atlas.manifold}; pass Uniform(atlas)"
            )
        return manifold, atlas
    if atlas is not None:
        raise AtlasError("expected one atlas, got two; pass Uniform(atlas)")
    return manifold_of(manifold), manifold


def knows_uniform(M: Manifold) -> bool:
    """Whether M has a sampler of its own, and knows its volume, be it infinite."""
    return M.volume == math.inf or (M.volume is not None and M.has_sampler)


def own_volume(M: Manifold) -> tuple[float, float]:
    """The volume that M knows, and its error.

    Raises:
        UnsupportedError: M knows no volume, an infinite one, or has no sampler.
    """
    volume = M.volume
    if not knows_uniform(M) or volume is None:
        raise UnsupportedError(
            "expected a manifold with a volume and an area-uniform sampler of its own, got "
            f"{type(M).__name__}"
        )
    if not 0 < volume < math.inf:
        raise _infinite(M, f"with volume {volume}")
    return volume, M.volume_error or 0.0


def _infinite(M: Manifold, found: str) -> UnsupportedError:
    return UnsupportedError(
        f"expected a manifold of finite volume, got {type(M).__name__}, {found}; restrict it to a "
        "bounded part, for example a product of intervals, or pass an atlas of it"
    )
