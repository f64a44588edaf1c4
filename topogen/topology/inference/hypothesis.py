"""What a cloud is compared with: known homology, a manifold, or another cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...errors import UnsupportedError
from ...homology import Homology
from ...point_cloud.arrays import uniform_sample


@runtime_checkable
class HasHomology(Protocol):
    """Anything that states its homology, such as a :class:`topogen.Manifold`."""

    homology: Homology | None


@runtime_checkable
class HasManifold(Protocol):
    """Anything on a manifold, such as an :class:`topogen.Atlas`: no hypothesis by itself."""

    manifold: Any


@runtime_checkable
class UniformSampler(Protocol):
    """Anything that draws points of its own, uniform by volume."""

    def sample_uniform(self, n: int) -> Any:
        """Draw n points."""


@dataclass(frozen=True)
class Hypothesis:
    """The homology expected of a cloud.

    Attributes:
        name: what it is called in sentences.
        homology: the Betti numbers; None for a cloud.
        found: the Betti numbers of a cloud, None where they are undetermined.
        dim: dimension of the manifold, where one is expected.
        manifold: the object with `sample_uniform`, where there is one.
        points: the other cloud, where one is expected.
    """

    name: str
    homology: Homology | None = None
    dim: int | None = None
    manifold: Any = None
    points: Any = None
    found: Mapping[int, Sequence[int | None]] | None = None

    @property
    def fields(self) -> tuple[int, ...]:
        """Primes p over whose Z/p Betti numbers are expected."""
        return self.homology.fields if self.homology is not None else tuple(self.found or ())

    @property
    def top_degree(self) -> int | None:
        """The largest degree in which homology is expected; None where nothing is known."""
        return None if self.homology is None else self.homology.top_degree

    def number(self, degree: int, p: int) -> int | None:
        """The Betti number expected over Z/p; None where that of a cloud is undetermined."""
        if self.found is not None:
            return self.found[p][degree]
        if self.homology is None:
            raise UnsupportedError(f"expected the homology of {self.name} to be known; it is not")
        return self.homology.betti_number(degree, p)

    def sample(self, n: int, seed: int) -> np.ndarray | None:
        """Draw n points of the manifold, uniform by volume; None where it cannot."""
        if not isinstance(self.manifold, UniformSampler):
            return None
        try:
            return uniform_sample(self.manifold, n, seed)
        except NotImplementedError:  # UnsupportedError is one: the calibration is optional
            return None


def read_hypothesis(expected: Any, fields: Sequence[int]) -> Hypothesis | None:
    """Understand the `expected` of :func:`~topogen.topology.check_topology`.

    Raises:
        UnsupportedError: a manifold whose homology is not known.
        ValueError: a homology over none of the fields that are tested, or none of these things.
    """
    if expected is None:
        return None
    if isinstance(expected, str | type):
        given = f"the class {expected.__name__}" if isinstance(expected, type) else repr(expected)
        raise _not_read(given, "pass an object, such as topogen.Torus()")
    if isinstance(expected, Homology | Mapping) or _is_betti(expected):
        known = expected if isinstance(expected, Homology) else Homology(expected)
        hypothesis = Hypothesis("the homology given", known)
    elif isinstance(expected, HasHomology):
        name = type(expected).__name__
        known = expected.homology
        if known is None:
            raise UnsupportedError(
                f"expected a manifold whose homology is known, got {name} with homology None; "
                "give a Homology, or points of it"
            )
        dim = getattr(expected, "dim", None)
        hypothesis = Hypothesis(name, known, dim, manifold=expected)
    elif isinstance(expected, HasManifold):
        raise _not_read(type(expected).__name__, "pass its manifold")
    else:
        return Hypothesis("the other cloud", points=expected)
    if not set(known.fields) & set(fields):
        raise ValueError(
            f"expected Betti numbers over one of the fields {tuple(fields)}, got {known.fields}; "
            "pass fields= to match"
        )
    return hypothesis


def _not_read(given: str, remedy: str) -> ValueError:
    wanted = "a Homology, Betti numbers, a manifold or points"
    return ValueError(f"expected {wanted} as what is expected, got {given}; {remedy}")


def _is_betti(expected: Any) -> bool:
    kinds = {type(b) for b in expected} if isinstance(expected, tuple | list) else set()
    return bool(kinds) and all(issubclass(kind, int) and kind is not bool for kind in kinds)
