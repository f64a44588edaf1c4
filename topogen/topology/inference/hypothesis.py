"""What a cloud is compared with: known homology, a manifold, or another cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from ...homology import Homology
from ...point_cloud.arrays import uniform_sample

Betti = dict[int, tuple[int | None, ...]]


def homology_of(betti: Mapping[int, Sequence[int | None]]) -> Homology | None:
    """The homology with these Betti numbers {p: per degree}; None where one is undetermined."""
    known = {p: tuple(b for b in numbers if b is not None) for p, numbers in betti.items()}
    whole = all(len(known[p]) == len(numbers) for p, numbers in betti.items())
    return Homology(known) if whole else None


@dataclass(frozen=True)
class Claim:
    """The homology expected of a cloud.

    Attributes:
        name: what it is called in sentences.
        homology: the Betti numbers; None for a cloud, whose own are still to be found.
        dim: dimension of the manifold, where the claim is one.
        closed: whether the claim is a manifold without boundary (Poincare duality then holds).
        manifold: the object with `sample_uniform`, where there is one.
        points: the other cloud, where the claim is one.
    """

    name: str
    homology: Homology | None = None
    dim: int | None = None
    closed: bool = False
    manifold: Any = None
    points: Any = None

    def number(self, degree: int, p: int) -> int:
        """The Betti number expected over Z/p."""
        if self.homology is None:
            raise UnsupportedError(f"expected the homology of {self.name} to be known; it is not")
        return self.homology.betti_number(degree, p)

    def sample(self, n: int, seed: int) -> np.ndarray | None:
        """Draw n points of the claimed manifold, uniform by volume; None where it cannot."""
        if not hasattr(self.manifold, "sample_uniform"):
            return None
        try:
            return uniform_sample(self.manifold, n, seed)
        except NotImplementedError:  # UnsupportedError is one: the calibration is optional
            return None


def read_claim(expected: Any, fields: Sequence[int]) -> Claim | None:
    """Understand the `expected` of :func:`~topogen.topology.check_topology`.

    Raises:
        UnsupportedError: a manifold whose homology is not known.
        ValueError: a homology over none of the fields that are tested.
    """
    if expected is None:
        return None
    if isinstance(expected, Homology):
        claim = Claim("the homology given", expected)
    elif isinstance(expected, Mapping) or _is_betti(expected):
        claim = Claim("the homology given", Homology(expected))
    elif hasattr(expected, "homology"):
        name = type(expected).__name__
        if expected.homology is None:
            raise UnsupportedError(
                f"expected a manifold whose homology is known, got {name} with homology None; "
                "give a Homology, or points of it"
            )
        closed = bool(getattr(expected, "closed", False))
        dim = getattr(expected, "dim", None)
        claim = Claim(name, expected.homology, dim, closed and dim is not None, manifold=expected)
    else:
        return Claim("the other cloud", points=expected)
    known = claim.homology
    if known is not None and not set(known.fields) & set(fields):
        raise ValueError(
            f"expected Betti numbers over one of the fields {tuple(fields)}, got {known.fields}; "
            "pass fields= to match"
        )
    return claim


def _is_betti(expected: Any) -> bool:
    return (
        isinstance(expected, tuple | list)
        and len(expected) > 0
        and all(isinstance(b, int) and not isinstance(b, bool) for b in expected)
    )
