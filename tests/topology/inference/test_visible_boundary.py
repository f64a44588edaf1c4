"""The boundary of a cloud: sharp where the space ends, thin where only the density falls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import topogen as tg
from topogen.point_cloud.cloud import prepare
from topogen.topology.inference.visible_boundary import visible_boundary


def seen(x, dim):
    return visible_boundary(prepare(x), dim, 0)


@pytest.mark.slow
def test_ends_of_an_arc_and_rim_of_a_disc_are_sharp(cloud):
    t = np.random.default_rng(0).random(1500) * 4
    assert seen(np.c_[np.cos(t), np.sin(t)], 1).sharp
    assert seen(cloud("disc", 1500), 2).sharp


@pytest.mark.parametrize(("name", "dim"), [("circle", 1), ("sphere", 2), ("rp2", 2)])
def test_closed_manifolds_show_none(cloud, name, dim):
    assert seen(cloud(name, 1500), dim) == (False, False)


@pytest.mark.parametrize("concentration", [4.0, 8.0])
def test_the_tail_of_a_density_is_thin(concentration):
    t = np.random.default_rng(0).vonmises(0.0, concentration, 2500)
    assert seen(np.c_[np.cos(t), np.sin(t)], 1) == (False, True)


def test_a_normal_density_on_a_plane_is_thin(cloud):
    assert seen(np.pad(cloud("gauss", 2500), ((0, 0), (0, 1))), 2) == (False, True)


def test_few_points_show_nothing(cloud):
    assert seen(cloud("disc", 100), 2) == (False, False)


@pytest.mark.parametrize(("lowest", "sharp"), [(-0.3, True), (-1.0, False)])
def test_an_edge_among_sparse_points_is_sharp(lowest, sharp):
    # a von Mises-Fisher density on the sphere, cut off at a height; whole, it has a tail
    x = tg.VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]).double(), 2.0 if sharp else 6.0)
    points = x.sample((9000,), generator=torch.Generator().manual_seed(0)).numpy()
    assert seen(points[points[:, 2] > lowest], 2).sharp == sharp
