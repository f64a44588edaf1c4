r"""Integral classes of degree 1 of a graph, from the Rips complex of its landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import TrainingError
from ...topology.persistence.cohomology import integral_basis
from .neighbor_graph import Landmarks


@dataclass(frozen=True, eq=False)
class Classes:
    """The strongest classes of degree 1 of the Rips complex of the landmarks.

    Attributes:
        cocycles: one per class, over pairs of landmarks, shape (k, m, m); 0 or 1 over Z/2, else
            integers.
        adjacent: the pairs on which they are defined, and each landmark with itself.
        label: the landmark of every node.
    """

    cocycles: np.ndarray
    adjacent: np.ndarray
    label: np.ndarray

    def along(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The cocycles on edges between nodes, shape (k, e)."""
        return self.cocycles[:, self.label[i], self.label[j]]

    def undefined(self, i: np.ndarray, j: np.ndarray) -> float:
        """Share of edges between nodes on which the cocycles are not defined."""
        return float((~self.adjacent[self.label[i], self.label[j]]).mean())


def strongest_classes(marks: Landmarks, count: int, prime: int = 47) -> Classes:
    """The `count` classes of the largest death / birth of the Rips complex of the landmarks.

    Args:
        marks: landmarks of a graph.
        count: how many classes.
        prime: 2 for classes over Z/2; else classes over the integers, by a lift from Z/p, which
            has to be odd and larger than three times the values of the lift.

    Raises:
        TrainingError: there are fewer, they do not live at one scale, or do not lift.
    """
    D = marks.pairwise
    classes = marks.classes(prime)
    best = classes[:count]
    low = max((c.birth for c in best), default=0.0)
    high = min((c.death for c in best), default=0.0)
    if len(best) < count or low >= high:
        ratios = ", ".join(f"{c.death / c.birth:.2f}" for c in classes[: count + 1]) or "none"
        raise TrainingError(
            f"expected {count} loops that live at one scale, got death/birth {ratios} from "
            f"{len(D)} landmarks; the data may not have this base, or give more points"
        )
    adjacent = high * 0.999 >= D
    modular = np.array([c.cocycle * adjacent for c in best], dtype=np.int64)
    if prime == 2:
        return Classes(modular % 2, adjacent, marks.label)
    lift = integral_basis(modular, adjacent & ~np.eye(len(D), dtype=bool), prime)
    if lift is None:
        raise TrainingError(
            f"expected classes over Z/{prime} that lift to the integers, got none; give more "
            "points"
        )
    return Classes(lift, adjacent, marks.label)
