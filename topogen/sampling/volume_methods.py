"""Uniform distributions and volumes without a chain: one front for three independent methods."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..distributions.base import manifold_of
from ..distributions.uniform import Uniform, own_volume
from ..errors import AtlasError, InvalidPoints, UnsupportedError
from ..manifolds.atlas import BaseAtlas
from ..manifolds.base import Manifold
from ..manifolds.default_atlas import charts_of
from .coarea import coarea_volume
from .quadrature import atlas_volume
from .random_lines import Rays
from .tube import Tube
from .volume_estimate import VolumeEstimate

UniformMethod = Literal["auto", "own", "atlas", "rays", "tube"]
VolumeMethod = Literal["auto", "own", "atlas", "rays", "tube", "coarea"]
_ORDER: tuple[VolumeMethod, ...] = ("own", "atlas", "rays", "tube")
_EVERY: tuple[VolumeMethod, ...] = (*_ORDER, "coarea")


def uniform(
    M: Manifold | BaseAtlas,
    n: int,
    method: UniformMethod = "auto",
    *,
    atlas: BaseAtlas | None = None,
    points: Any = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n D"]:
    """N independent points of the uniform distribution on M.

    Args:
        M: the manifold, or an atlas of it.
        n: how many points.
        method: "own" takes the sampler that M itself has; "atlas" draws from charts (d <= 3),
            which are put on manifolds that have none but know where they are, as learned ones do;
            "rays" from random lines (codimension 1, one equation); "tube" from the ambient space
            near M (codimension up to about 6). "auto" takes the first of these that applies.
        atlas: charts of M.
        points: points near M, for example the data. Without them "rays" and "tube" look for M
            about the origin, at distances up to a few times `scale`, unless it knows where it is;
            "atlas", if asked for, puts charts on them where M has none.
        generator: source of randomness; torch's global one when None.

    Raises:
        UnsupportedError: the method does not apply to M; for "auto", the reasons of all.

    Example:
        >>> x = uniform(tg.Sphere(), 500, "rays", generator=torch.Generator().manual_seed(0))
        >>> x.shape, bool(x.mean(0).norm() < 0.1)
        (torch.Size([500, 3]), True)
    """
    M, atlas = _parts(M, atlas)

    def own() -> Tensor:
        own_volume(M)  # says what is missing
        return Uniform(M).sample((n,), generator)

    draw: dict[VolumeMethod, Callable[[], Tensor]] = {
        "own": own,
        "atlas": lambda: Uniform(M, _charts(M, atlas, points, method)).sample((n,), generator),
        "rays": lambda: Rays(M, points, generator=generator).sample(n),
        "tube": lambda: Tube(M, points=points, generator=generator).sample(n),
    }
    return _first(draw, method)


def volume(
    M: Manifold | BaseAtlas,
    method: VolumeMethod = "auto",
    *,
    atlas: BaseAtlas | None = None,
    points: Any = None,
    draws: int | None = None,
    generator: torch.Generator | None = None,
) -> VolumeEstimate:
    """H^d(M) by one method, with its error; arguments as in :func:`uniform`.

    Args:
        M: the manifold, or an atlas of it.
        method: beside those of :func:`uniform`, "coarea": from the level sets about M.
        atlas: charts of M.
        points: points near M.
        draws: lines (50 000 where None) or ambient points (40 000) to take.
        generator: source of randomness.

    Raises:
        InvalidPoints: too few points of M are known, or found.
        UnsupportedError: the method does not apply to M; the message says why.
        ValueError: fewer than 100 draws.

    Example:
        >>> v = volume(tg.Sphere(), "rays", generator=torch.Generator().manual_seed(0))
        >>> abs(v.value - 4 * torch.pi) < v.error, v.status
        (True, 'good')
    """
    M, atlas = _parts(M, atlas)

    def own() -> VolumeEstimate:
        value, error = own_volume(M)
        return VolumeEstimate(value, 0.0, error, "own")

    if draws is not None and draws < 100:
        raise ValueError(f"expected draws >= 100 for an error, got {draws}")
    tube = partial(Tube, M, points=points, generator=generator)
    find: dict[VolumeMethod, Callable[[], VolumeEstimate]] = {
        "own": own,
        "atlas": lambda: atlas_volume(
            _charts(M, atlas, points, method), points, generator=generator
        ),
        "rays": lambda: Rays(M, points, generator=generator).volume(draws or 50_000),
        "tube": lambda: tube().volume(draws or 40_000),
        "coarea": lambda: coarea_volume(tube(), draws or 400_000),
    }
    return _first(find, method)


@dataclass(frozen=True)
class VolumeComparison:
    """What every method says of one volume.

    Attributes:
        estimates: one for each method that applies.
        refused: why the others do not.
    """

    estimates: tuple[VolumeEstimate, ...]
    refused: dict[str, str]

    @property
    def agree(self) -> bool | None:
        """Whether all pairs agree within their errors; None where there is no pair."""
        pairs = list(itertools.combinations(self.estimates, 2))
        return all(a.agrees(b) for a, b in pairs) if pairs else None

    def __str__(self) -> str:
        verdict = {True: "they agree", False: "they DISAGREE", None: "nothing to compare"}
        refused = [f"{name}: not applicable ({why})" for name, why in self.refused.items()]
        return "\n".join([*map(str, self.estimates), *refused, verdict[self.agree]])


def compare_volumes(
    M: Manifold | BaseAtlas,
    *,
    atlas: BaseAtlas | None = None,
    points: Any = None,
    draws: int | None = None,
    generator: torch.Generator | None = None,
) -> VolumeComparison:
    """The volume of M by every method that applies; arguments as in :func:`volume`.

    They share no code but that of M itself: agreement checks its equations, charts and curvature.
    """
    estimates, refused = [], {}
    for method in _EVERY:
        try:
            estimates.append(
                volume(M, method, atlas=atlas, points=points, draws=draws, generator=generator)
            )
        except (UnsupportedError, AtlasError) as error:
            refused[str(method)] = str(error)
    return VolumeComparison(tuple(estimates), refused)


def _charts(M: Manifold, atlas: BaseAtlas | None, points: Any, method: str) -> BaseAtlas:
    """The charts given; else those of M, put on the points where charts are asked for."""
    return charts_of(M, points if method == "atlas" else None) if atlas is None else atlas


def _parts(M: Manifold | BaseAtlas, atlas: BaseAtlas | None) -> tuple[Manifold, BaseAtlas | None]:
    return (manifold_of(M), M) if isinstance(M, BaseAtlas) else (M, atlas)


def _first(find: dict[VolumeMethod, Callable[[], Any]], method: VolumeMethod) -> Any:
    """The result of the method, or of the first that applies."""
    if method != "auto":
        if method not in find:
            raise ValueError(f"expected method 'auto' or one of {sorted(find)}, got {method!r}")
        return find[method]()
    reasons = []
    for name in _ORDER:
        try:
            return find[name]()
        except (UnsupportedError, InvalidPoints, AtlasError) as error:
            reasons.append(f"{name}: {error}")
    raise UnsupportedError(
        f"expected a manifold that some method applies to; {'; '.join(reasons)}"
    )
