"""What can be fitted: the stages of a fit, the state that it leaves, learned distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..distributions.base import ManifoldDistribution
from ..errors import InvalidPoints, NotFittedError, UnsupportedError
from ..manifolds.base import Manifold
from ..point_cloud.tensors import as_tensor, distinct
from ..storable import Storable
from .units import allowed, require_near

Result = TypeVar("Result")
Progress = Generator[Mapping[str, float], None, Result]
"""Records of a fit, plain numbers by name, and what it returns at the end."""


@dataclass(frozen=True)
class Stage:
    """A named objective over its own parameters, as a generator of progress records.

    Attributes:
        name: shown in the progress bar and in the history.
        run: takes a seeded generator, yields plain numbers for each step (a "loss" among them
            where there is one), and returns whether it converged.
        steps: how many steps it will take at most, where known.
    """

    name: str
    run: Callable[[torch.Generator], Progress[bool]]
    steps: int | None = None


class Fittable(Storable, ABC):
    r"""What :func:`topogen.fit` can fit, or a part of it: a module with a state of its own.

    Its buffers get their shapes when it is fitted, or loaded. A subclass names in `_numbers` the
    attributes (or properties with a setter) that are saved beside the buffers: plain data, for
    JSON. A composite yields the stages of its parts first, see :func:`part_stages`.

    Attributes:
        fitted: whether the module can be used.
    """

    fitted: bool
    _numbers: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.fitted = False

    def reserve(self, *names: str) -> None:
        """Register buffers of float64 that get their shapes later."""
        for name in names:
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))

    def stages(self, points: Float[Tensor, "n D"]) -> Iterator[Stage]:
        """What is still to be fitted, parts first; parts that are fitted are skipped.

        Raises:
            UnsupportedError: a part that is fitted together with its whole only.
        """
        if not self.fitted:
            raise UnsupportedError(
                f"a {type(self).__name__} is fitted together with the model that it is a part of; "
                "fit that"
            )
        return iter(())

    def require_fitted(self) -> None:
        """Raise unless fitted.

        Raises:
            NotFittedError: the module has not been fitted.
        """
        if not self.fitted:
            name = type(self).__name__
            raise NotFittedError(
                f"this {name} is not fitted yet; call topogen.fit({name.lower()}, points) first"
            )

    def get_extra_state(self) -> dict[str, Any]:
        """Plain data beside the buffers: whether the module is fitted, numbers of the fit."""
        return {"fitted": self.fitted, **{name: getattr(self, name) for name in self._numbers}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        self.fitted = bool(state["fitted"])
        for name in self._numbers:
            if name not in state:  # of an older version
                continue
            # JSON has lists only
            again = tuple if isinstance(getattr(self, name), tuple) else lambda value: value
            setattr(self, name, again(state[name]))

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # a buffer of an unfitted module has no shape yet: take the shape that was saved
        for name, buffer in list(self._buffers.items()):
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and (buffer is None or buffer.shape != saved.shape):
                setattr(self, name, torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)


class LearnedDistribution(Fittable):
    """A learned distribution: calling it returns one of torch, at the current parameters."""

    @abstractmethod
    def forward(self) -> ManifoldDistribution:
        """The distribution at the current parameters.

        Raises:
            NotFittedError: the model has not been fitted.
        """

    def measurements(self) -> dict[str, float | str]:
        """What the fit measured of the model, by name, for tables."""
        return {}


def part_stages(points: Float[Tensor, "n D"], *parts: nn.Module | None) -> Iterator[Stage]:
    """The stages of those parts that can be fitted, in this order."""
    for part in parts:
        if isinstance(part, Fittable):
            yield from part.stages(points)


class Projections(NamedTuple):
    """Points that a distribution on M is fitted to.

    Attributes:
        on: their projections onto M that stay in its domain, shape (m, D).
        points: the points themselves, shape (m, D).
        lost: share of the other points.
        moved: the largest distance, where it is more than a known M allows; else 0.
    """

    on: Float[Tensor, "m D"]
    points: Float[Tensor, "m D"]
    lost: float
    moved: float

    @property
    def atol(self) -> float | None:
        """How far points like these are from M; None for the tolerance of M."""
        return allowed(self.moved)


def projections(M: Manifold, points: Float[Tensor, "n D"], least: int = 20) -> Projections:
    """Project points onto M.

    Raises:
        InvalidPoints: points are far from a known M, or fewer than `least` have different
            projections.
    """
    x = as_tensor(points, ambient_dim=M.ambient_dim)
    moved = M.project(x)
    valid = moved.converged & M.in_domain(moved.value)
    on = moved.value[valid]
    if distinct(on).shape[0] < least:
        raise InvalidPoints(
            f"expected at least {least} different points on the manifold, got "
            f"{distinct(on).shape[0]} that project onto it; give more points"
        )
    farthest = require_near(M, x, moved)
    return Projections(on, x[valid], float((~valid).double().mean()), farthest)
