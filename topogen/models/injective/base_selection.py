"""Bases that a cloud may have, by its dimension and homology."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import TrainingError
from ...topology.inference.check import check_topology
from ...topology.inference.report import TopologyReport
from .bases import Base, product, standard


def known(dim: int) -> list[Base]:
    """The bases of a dimension that have seeds, closed ones first.

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


def propose(points: Tensor, dim: int, seed: int) -> tuple[list[Base], TopologyReport]:
    """The bases whose Betti numbers are those of the points, as far as these are determined.

    Raises:
        TrainingError: there are none.
    """
    report = check_topology(points, seed=seed)
    fitting = [base for base in known(dim) if _agrees(base, report)]
    if not fitting:
        raise TrainingError(
            f"expected data with the homology of a known base of dimension {dim}, got Betti "
            f"numbers {report.betti}; use an atlas (tg.AtlasDensity), or name the base"
        )
    return fitting, report


def _agrees(base: Base, report: TopologyReport) -> bool:
    for p, numbers in report.betti.items():
        for k, found in enumerate(numbers):
            if found is not None and found != base.homology.betti_number(k, p):
                return False
    return True


def seed_of(generator: torch.Generator) -> int:
    """A seed for a part that takes a number."""
    return int(torch.randint(2**31, (), generator=generator))
