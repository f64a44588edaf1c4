"""The homology of an image and the loops of a cloud, against those of a base."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch

from ...errors import TrainingError
from ...manifolds.spaces.gluing import rank_mod_p
from ...topology.inference.check import check_topology
from ...topology.inference.report import TopologyReport
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


def extra_loops(base: Base, marks: Landmarks) -> dict[int, int]:
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


def action_on_loops(
    decoder: Decoder, marks: Landmarks, tree: Any
) -> tuple[np.ndarray | None, dict[int, bool | None]]:
    """The winding matrix, and whether g is one to one on H_1 over Z/2 and over Z.

    Args:
        decoder: g.
        marks: landmarks of the neighbour graph of the data.
        tree: a KDTree of the data.
    """
    base = decoder.base
    near = [tree.query(decoder(loop).numpy())[1] for loop in base.loops()]
    steps = [(i, np.roll(i, -1)) for i in near]
    one_to_one: dict[int, bool | None] = {}
    winding = None
    for p in base.homology.fields:
        rank = base.homology.betti_number(1, p)
        if rank == 0:
            continue
        one_to_one[p] = None
        try:
            classes = strongest_classes(marks, rank, *((2,) if p == 2 else ()))
        except TrainingError:
            continue
        if any(classes.undefined(i, j) > 0 for i, j in steps):
            continue
        W = np.stack([classes.along(i, j).sum(axis=1) for i, j in steps], axis=1)
        if p == 2:
            one_to_one[p] = rank_mod_2(W) == rank
        else:
            winding, one_to_one[p] = W, spans_lattice(W)
    return winding, one_to_one


def rank_mod_2(W: np.ndarray) -> int:
    """Rank of an integral matrix over Z/2."""
    return rank_mod_p(W.tolist(), 2)


def spans_lattice(W: np.ndarray) -> bool:
    """Whether the columns span Z^k: the minors of full size have no common divisor."""
    chosen = itertools.combinations(range(W.shape[1]), len(W))
    return math.gcd(*(round(float(np.linalg.det(W[:, list(c)]))) for c in chosen)) == 1
