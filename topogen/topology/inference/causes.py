"""What a number is undetermined by, and what to do about each cause."""

from __future__ import annotations

import numpy as np

from ...point_cloud.cloud import Cloud
from ...point_cloud.knn import neighbour_distance
from ..local.dimension import noise_level
from .evidence import Cause, Evidence

ADVICE: dict[Cause, str] = {
    "few points": "give more points",
    "noise": "give points with less noise, or try metric='diffusion'; more points alone do little",
    "uneven density": "give more points where they are sparse, or draw them evenly",
    "outliers": "look at the points left out or far off, and remove them or set trim",
    "creases": "more points do not help: round the creases off, or check the faces one by one",
    "not a manifold": "more points do not help: look at manifold_test, and check the parts",
    "limits": "allow more time or memory",
}


def cause_of(cloud: Cloud, evidence: Evidence, dim: int, seed: int) -> Cause:
    """What the lowest undetermined degree comes from, as far as the cloud shows it.

    Args:
        cloud: the points that the evidence is of.
        evidence: where it knows the cause, that is the answer.
        dim: dimension of the cloud.
        seed: of the neighbourhoods that are looked at.
    """
    if evidence.first_cause is not None:
        return evidence.first_cause
    if any("limit" in remark for remark in evidence.remarks):
        return "limits"
    spacing = neighbour_distance(cloud.points, min(15, len(cloud.points) - 1))
    middle, wide = np.quantile(spacing, (0.5, 0.95))
    # the 95 % quantile of volumes over their median is 1.5 in uniform samples, and below 3 with
    # their boundaries (tests/topology/inference/test_causes.py)
    if wide ** max(dim, 1) > 4 * middle ** max(dim, 1):
        return "uneven density"
    if evidence.suspects:
        return "outliers"
    if noise_level(cloud.alone(), seed=seed) > evidence.scale / 4:  # no longer thin
        return "noise"
    return "few points"
