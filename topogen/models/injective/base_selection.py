"""Bases that a cloud may have, by its dimension and homology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import TrainingError
from .bases import Base, product, standard


def known_bases(dim: int) -> list[Base]:
    """The bases of a dimension that have initial base points, closed ones first.

    Raises:
        TrainingError: there are none.
    """
    if dim == 1:
        return [standard("circle"), standard("interval", 1)]
    if dim == 2:
        names = ("sphere", "torus", "projective", "klein", "mobius", "cylinder", "interval")
        return [standard(name, 2) for name in names]
    if dim == 3:
        circle = standard("circle")
        return [
            standard("sphere", 3),
            standard("projective", 3),
            product(circle, standard("sphere")),
            standard("torus", 3),
            product(circle, product(standard("interval", 1), standard("interval", 1))),
            product(product(circle, circle), standard("interval", 1)),
            product(standard("sphere"), standard("interval", 1)),
            standard("interval", 3),
        ]
    raise TrainingError(
        f"expected dimension 1, 2 or 3 for a base by itself, got {dim}; name the base"
    )


def bases_with(betti: Mapping[int, Sequence[int | None]], dim: int) -> list[Base]:
    """The bases of a dimension with these Betti numbers, as far as they are determined.

    Args:
        betti: {p: (b_0, b_1, ...)} over Z/p, with None per degree that is undetermined.
        dim: of the bases.

    Raises:
        TrainingError: there are none.
    """
    fitting = [base for base in known_bases(dim) if _agrees(base, betti)]
    if not fitting:
        raise TrainingError(
            f"expected data with the homology of a known base of dimension {dim}, got Betti "
            f"numbers {dict(betti)}; use an atlas (tg.AtlasDensity), or name the base"
        )
    return fitting


def _agrees(base: Base, betti: Mapping[int, Sequence[int | None]]) -> bool:
    return all(
        found is None or found == base.homology.betti_number(k, p)
        for p, numbers in betti.items()
        for k, found in enumerate(numbers)
    )
