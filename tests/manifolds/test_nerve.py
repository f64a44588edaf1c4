"""Nerves: homology of good covers, and covers that are not good."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from topogen.homology import Homology
from topogen.manifolds.atlas import Atlas
from topogen.manifolds.charts import Ball, Box, FunctionChart
from topogen.manifolds.nerve import picture_betti
from topogen.manifolds.spaces import (
    Circle,
    FlatTorus,
    HopfLink,
    KleinBottle,
    MobiusBand,
    ProjectivePlane,
    ReferenceSpace,
    SpecialOrthogonal,
    Sphere,
)


def disc(x: float, y: float, radius: float) -> FunctionChart:
    """A disc of the plane."""
    c = torch.tensor([x, y], dtype=torch.float64)
    return FunctionChart(lambda z: z + c.to(z), lambda p: p - c.to(p), domain=Ball(2, radius))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_nerves_of_good_covers_have_the_homology_of_the_manifold() -> None:
    for M in (Circle(), FlatTorus(2), KleinBottle(), ProjectivePlane(), MobiusBand(), HopfLink()):
        for x in (None, M.sample_uniform(6000, seeded())):
            found = M.atlas().nerve(x)
            assert found.good_cover is True
            assert found.homology() == M.homology


def test_nerve_of_the_torus_has_the_known_face_numbers() -> None:
    simplices = FlatTorus(2).atlas().nerve().simplices
    assert [sum(len(s) == k for s in simplices) for k in (1, 2, 3, 4)] == [9, 36, 36, 9]


@pytest.mark.parametrize("M", [Sphere(), Sphere(3), SpecialOrthogonal()])
def test_bad_covers_are_called_bad(M: ReferenceSpace) -> None:
    found = M.atlas().nerve()
    assert found.good_cover is False
    assert "U_0 n U_1" in found.reason


def test_a_moebius_band_of_two_charts_is_no_good_cover() -> None:
    centres = [torch.tensor([c, 0.0], dtype=torch.float64) for c in (0.0, math.pi)]
    charts = [MobiusBand().chart(c, Box([-2.0, -0.3], [2.0, 0.3])) for c in centres]
    found = Atlas(charts).nerve()
    assert found.good_cover is False
    assert found.homology() == Homology((1, 0))


def test_points_find_an_intersection_between_the_nodes() -> None:
    # two discs meet in a lens of half-width 3e-4
    spot = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    atlas = Atlas([disc(-1.0, 0.0, 1.0003), disc(1.0, 0.0, 1.0003)])
    assert atlas.nerve().homology() == Homology((2,))
    found = atlas.nerve(spot)
    assert found.homology() == Homology((1,))
    assert found.good_cover is not False


def test_betti_numbers_of_pictures() -> None:
    disc = np.hypot(*np.mgrid[-1:1:41j, -1:1:41j])
    assert picture_betti(disc < 0.9) == (1, 0)
    assert picture_betti((disc < 0.9) & (disc > 0.4)) == (1, 1)
    a, b, c = np.mgrid[-1:1:25j, -1:1:25j, -1:1:25j]
    radius = np.sqrt(a**2 + b**2 + c**2)
    assert picture_betti(radius < 0.8) == (1, 0, 0)
    assert picture_betti((radius < 0.9) & (radius > 0.5)) == (1, 0, 1)
    ring = (np.hypot(a, b) - 0.6) ** 2 + c**2 < 0.25**2
    assert picture_betti(ring) == (1, 1, 0)
    assert picture_betti(ring | ((np.abs(a) < 0.1) & (np.hypot(b, c) < 0.6))) == (1, 2, 0)
    assert picture_betti(np.array([1, 0, 1, 1], dtype=bool)) == (2,)


def test_an_intersection_that_only_a_third_chart_sees() -> None:
    # two thin charts meet in a spot between the nodes of their own grids
    charts = [disc(-1.0, 0.0, 1.001), disc(1.0, 0.0, 1.001), disc(0.0, 0.0, 0.02)]
    found = Atlas(charts).nerve()
    assert found.good_cover is not False
    assert (0, 1) in found.simplices


def test_dimension_four_is_not_judged() -> None:
    found = FlatTorus(4).atlas().nerve(FlatTorus(4).sample_uniform(50, seeded()))
    assert found.good_cover is None
    assert "dimension 1 to 3" in found.reason
