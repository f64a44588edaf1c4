"""Bases that a cloud may have, by its dimension and homology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import TrainingError
from .bases import Base, from_parts


def known_bases(dim: int) -> list[Base]:
    """The bases of a dimension that have initial base points, closed ones first.

    Raises:
        TrainingError: there are none.
    """
    circle, line, sphere = ("circle", 1), ("interval", 1), ("sphere", 2)
    surfaces = ("sphere", "torus", "projective", "klein", "mobius", "cylinder", "interval")
    known = {
        1: [[circle], [line]],
        2: [[(name, 2)] for name in surfaces],
        3: [
            [("sphere", 3)], [("projective", 3)], [circle, sphere], [("torus", 3)],
            [circle, line, line], [circle, circle, line], [sphere, line], [("interval", 3)],
        ],
    }  # fmt: skip
    if dim not in known:
        raise TrainingError(
            f"expected dimension 1, 2 or 3 for a base by itself, got {dim}; name the base"
        )
    return [from_parts(parts) for parts in known[dim]]


def bases_with(betti: Mapping[int, Sequence[int | None]], dim: int) -> list[Base]:
    """The bases of a dimension with these Betti numbers, as far as they are determined.

    Args:
        betti: {p: (b_0, b_1, ...)} over Z/p, with None per degree that is undetermined.
        dim: of the bases.

    Raises:
        TrainingError: there are none.
    """
    stated = [(k, p, b) for p, numbers in betti.items() for k, b in enumerate(numbers)]
    fitting = [
        base
        for base in known_bases(dim)
        if all(b is None or b == base.homology.betti_number(k, p) for k, p, b in stated)
    ]
    if not fitting:
        raise TrainingError(
            f"expected data with the homology of a known base of dimension {dim}, got Betti "
            f"numbers {dict(betti)}; use an atlas (tg.AtlasDensity), or name the base"
        )
    return fitting
