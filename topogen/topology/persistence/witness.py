r"""A cross-check of Vietoris-Rips: the lazy witness complex on landmarks, witnessed by all points.

An edge enters at

.. math:: f(a, b) = \min_{w} \max(|w - a|^2, |w - b|^2) - \min_{l} |w - l|^2,

a simplex with its last edge (the complex with nu = 1 of de Silva and Carlsson, 2004,
https://doi.org/10.2312/SPBG/SPBG04/157-166). Holes for want of witnesses close at a multiple of
the squared covering radius of the landmarks, and real classes live on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...point_cloud.knn import nearest
from .rips import Diagrams, collapsed_graph, rips_diagrams


class WitnessRule(NamedTuple):
    """How witness complexes are made and read, by intrinsic dimension.

    Attributes:
        witnesses: per landmark, at least.
        most_landmarks: their largest number.
        relaxation: (born, alive), in squared covering radii, between which a class must live.
        most_degree: mean degree of the collapsed graph beyond which it is no triangulation (a
            circle has 2, a closed surface 6 - 6 chi/m) and Betti numbers mislead.
    """

    witnesses: int
    most_landmarks: int
    relaxation: tuple[float, float]
    most_degree: float

    def landmark_count(self, n: int) -> int:
        """How many landmarks n points can be witnesses to."""
        return min(self.most_landmarks, n // self.witnesses)


# measured on the spaces of tests/topology/persistence/test_witness.py
WITNESS_RULES = {
    1: WitnessRule(12, 400, (3.0, 4.0), 3.3),
    2: WitnessRule(8, 1600, (3.0, 3.4), 6.3),
    3: WitnessRule(8, 1600, (2.5, 2.9), 30.0),
}


@dataclass(frozen=True)
class WitnessBetti:
    """Betti numbers of a witness complex, or why they were not computed.

    Attributes:
        betti: {p: persistent Betti numbers}, from relaxation `born` to `alive`, None in a degree
            in which classes die shortly before `alive`; None altogether if refused.
        diagrams: {p: [(birth, death) per degree]} in units of scale^2, cut at `alive`.
        edges: their number after the edge collapse.
        reason: why it was refused, else empty.
    """

    betti: dict[int, tuple[int | None, ...]] | None
    diagrams: Diagrams
    edges: int
    reason: str = ""


def witness_betti(
    x: Float[np.ndarray, "n D"],
    landmarks: Float[np.ndarray, "m D"],
    scale: float,
    fields: Sequence[int],
    max_dim: int,
    *,
    relaxation: tuple[float, float] = (3.0, 3.4),
    most_degree: float = 30.0,
) -> WitnessBetti:
    r"""Betti numbers over each field: classes born by r_0 scale^2 and alive at r_1 scale^2.

    Args:
        x: the witnesses, all points.
        landmarks: farthest points of x, as many as :meth:`WitnessRule.landmark_count` says.
        scale: their covering radius.
        fields: primes p; homology is over Z/p.
        max_dim: the largest degree.
        relaxation: (r_0, r_1), see :class:`WitnessRule`.
        most_degree: refuse where the edge collapse leaves a larger mean degree.

    Example:
        >>> t = np.linspace(0, 2 * np.pi, 201)[1:]
        >>> x = np.stack([np.cos(t), np.sin(t)], axis=1)
        >>> witness_betti(x, x[::10], 0.16, (2, 3), 1).betti
        {2: (1, 1), 3: (1, 1)}
    """
    born, alive = relaxation
    f = witness_edges(x, landmarks, alive * scale**2) / scale**2
    graph = collapsed_graph(f, alive, max(max_dim, 1))
    degree = 2 * graph.nnz / len(landmarks)
    if degree > most_degree:
        reason = (
            f"the witness complex retains {degree:.1f} edges at each landmark, that of a resolved "
            f"manifold at most {most_degree:g}; give more points"
        )
        return WitnessBetti(None, {}, graph.nnz, reason)
    diagrams = rips_diagrams(graph, alive, fields, max_dim)
    betti = {p: tuple(_count(b, born, alive) for b in bars) for p, bars in diagrams.items()}
    return WitnessBetti(betti, diagrams, graph.nnz)


def _count(bars: Float[np.ndarray, "c 2"], born: float, alive: float) -> int | None:
    death = bars[bars[:, 0] <= born, 1]
    # where some holes for want of witnesses still close, others will look like classes
    if ((death >= 0.9 * alive) & (death < alive)).any():
        return None
    return int((death >= alive).sum())


def witness_edges(
    x: Float[np.ndarray, "n D"], landmarks: Float[np.ndarray, "m D"], most: float
) -> Float[np.ndarray, "m m"]:
    """The relaxation f(a, b) at which each edge enters, symmetric; inf above `most`."""
    m = len(landmarks)
    k = min(m, 16)
    while True:
        distance, index = nearest(landmarks, x, k)
        late = distance**2 - distance[:, :1] ** 2
        if k == m or late[:, -1].min() > most:
            break
        k = min(m, 2 * k)
    f = np.full((m, m), np.inf)
    for b in range(1, k):
        rows = np.flatnonzero(late[:, b] <= most)
        for a in range(b):
            np.minimum.at(f, (index[rows, a], index[rows, b]), late[rows, b])
    return np.minimum(f, f.T)
