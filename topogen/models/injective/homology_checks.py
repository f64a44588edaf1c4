"""The homology of an image and the loops of a cloud, against those of a base."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch

from ...errors import TrainingError
from ...topology.inference.check import TopologyReport, check_topology
from .bases import Base
from .decoder import Decoder
from .image_manifold import ImageManifold
from .integral_classes import strongest_classes
from .neighbor_graph import Landmarks


def image_homology(decoder: Decoder) -> TopologyReport:
    """The homology of uniform points of g(B), against that of B over Z/2 and Z/3.

    Args:
        decoder: g.
    """
    base = decoder.base
    n = {1: 1500, 2: 2500, 3: 4000}.get(base.dim, 6000)
    cloud = ImageManifold(decoder).sample_uniform(n, torch.Generator().manual_seed(0))
    return check_topology(cloud, expected=base.homology, progress=False)


def spare_loops(base: Base, marks: Landmarks) -> dict[int, int]:
    """Per field Z/p, how many clear classes of degree 1 the data have beyond those of B.

    Args:
        base: B.
        marks: landmarks of the neighbour graph of the data.
    """
    # death / birth from which a class of the data is more than noise, whose classes were seen up
    # to 2.1 on surfaces and 1.6 in dimension 3
    clear = {1: 3.0, 2: 2.5}.get(base.dim, 1.9)
    return {
        p: max(0, int((marks.ratios(p) > clear).sum()) - base.homology.betti_number(1, p))
        for p in base.homology.fields
    }


def on_loops(
    decoder: Decoder, marks: Landmarks, tree: Any
) -> tuple[np.ndarray | None, dict[int, bool | None]]:
    """The winding matrix, and whether g is one to one on H_1 over Z/2 and over Z.

    Args:
        decoder: g.
        marks: landmarks of the neighbour graph of the data.
        tree: a KDTree of the data.
    """
    base = decoder.base
    loops = base.loops()
    near = [tree.query(decoder(loop).numpy())[1] for loop in loops]
    onto: dict[int, bool | None] = {}
    winding = None
    for p in base.homology.fields:
        rank = base.homology.betti_number(1, p)
        if rank == 0:
            continue
        try:
            classes = strongest_classes(marks, rank, *((2,) if p == 2 else ()))
        except TrainingError:
            onto[p] = None
            continue
        rows = [(i, np.roll(i, -1)) for i in near]
        if max(classes.undefined(i, j) for i, j in rows) > 0:
            onto[p] = None
            continue
        W = np.stack([classes.along(i, j).sum(axis=1) for i, j in rows], axis=1)
        if p == 2:
            onto[p] = rank_mod_2(W) == rank
        else:
            winding = W
            onto[p] = spans_lattice(W)
    return winding, onto


def rank_mod_2(W: np.ndarray) -> int:
    """Rank of an integral matrix over Z/2."""
    work, rank = W % 2, 0
    for column in range(work.shape[1]):
        pivot = np.flatnonzero(work[rank:, column])
        if len(pivot):
            work[[rank, rank + pivot[0]]] = work[[rank + pivot[0], rank]]
            others = np.arange(len(work)) != rank
            work[others] = (work[others] + work[others, column : column + 1] * work[rank]) % 2
            rank += 1
            if rank == len(work):
                break
    return rank


def spans_lattice(W: np.ndarray) -> bool:
    """Whether the columns span Z^k: the minors of full size have no common divisor."""
    k = len(W)
    minors = [
        round(float(np.linalg.det(W[:, list(columns)])))
        for columns in itertools.combinations(range(W.shape[1]), k)
    ]
    return math.gcd(*minors) == 1
