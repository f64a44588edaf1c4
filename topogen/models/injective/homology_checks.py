"""The homology of an image and the loops of a cloud, against those of a base."""

from __future__ import annotations

import numpy as np
import torch

from ...topology.inference.check import check_topology
from ...topology.inference.report import TopologyReport
from ...topology.persistence.cohomology import persistent_classes
from .bases import Base
from .decoder import Decoder
from .image_manifold import ImageManifold
from .integral_classes import EDGES_PER_LANDMARK, Landmarks
from .neighbor_graph import Graph

POINTS = {1: 1500, 2: 2500, 3: 4000}  # of the image, that its homology is found from
# death / birth from which a class of the data is more than noise, which was seen up to 2.1 on
# surfaces and 1.6 in dimension 3
CLEAR = {1: 3.0, 2: 2.5, 3: 1.9}


def image_homology(decoder: Decoder) -> TopologyReport:
    """The homology of uniform points of g(B), against that of B over Z/2 and Z/3.

    Args:
        decoder: g.
    """
    base = decoder.base
    n = POINTS.get(base.dim, 6000)
    cloud = ImageManifold(decoder).sample_uniform(n, torch.Generator().manual_seed(0))
    return check_topology(cloud, expected=base.homology, progress=False)


def spare_loops(base: Base, graph: Graph, marks: Landmarks) -> dict[int, int]:
    """Per field Z/p, how many clear classes of degree 1 the data have beyond those of B.

    Args:
        base: B.
        graph: of the data.
        marks: landmarks of the graph.
    """
    spare = {}
    for p in base.homology.fields:
        ratios = _ratios(graph, marks, p)
        clear = int((ratios > CLEAR.get(base.dim, CLEAR[3])).sum())
        spare[p] = max(0, clear - base.homology.betti_number(1, p))
    return spare


def _ratios(graph: Graph, marks: Landmarks, p: int) -> np.ndarray:
    """Death / birth of the classes of degree 1 of the Rips complex of the landmarks."""
    m = len(marks.nodes)
    if (m, p) not in graph.ratios:
        D = marks.distance[:, marks.nodes]
        D = (D + D.T) / 2
        lengths = np.sort(D[np.triu_indices(m, 1)])
        longest = float(lengths[min(EDGES_PER_LANDMARK * m, len(lengths)) - 1])
        classes = persistent_classes(D, longest, prime=p, least_ratio=1.05)
        graph.ratios[m, p] = np.array([c.death / c.birth for c in classes])
    return graph.ratios[m, p]
