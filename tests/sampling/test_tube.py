"""Tubes: volumes and uniform distributions in any codimension, against known answers.

Means are compared at 5 standard errors, Kolmogorov-Smirnov statistics at 2.5 / sqrt(n): a right
library fails one of these with probability below 1e-5, and the seeds are fixed.
"""

from __future__ import annotations

import math

import pytest
import torch

import topogen as tg
from topogen.errors import InvalidPoints, UnsupportedError
from topogen.manifolds.operations import Restriction
from topogen.sampling.regions import Cylinders, net
from topogen.sampling.tube import Tube
from topogen.sampling.volume_estimate import VolumeEstimate


def agrees(v: VolumeEstimate, exact: float) -> bool:
    return abs(v.value - exact) < 5 * v.standard_error + v.bias


@pytest.mark.parametrize("region", ["cover", pytest.param("ball", marks=pytest.mark.slow)])
def test_area_and_tube_angle_of_the_torus(known, region: str) -> None:
    tube = Tube(known.torus(), region=region, generator=known.seeded())
    assert abs(tube.reach - 0.5) < 1e-6
    v = tube.volume(4000)
    assert agrees(v, known.TORUS_AREA)
    assert v.bias < 0.01 * v.value
    x = tube.sample(2000)
    assert known.tube_angle_statistic(x) < 2.5
    assert known.z_score(known.cos_phi(x), 0.25) < 5


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "tau", [pytest.param(0.1, marks=SLOW), pytest.param(0.3, marks=SLOW), 0.45]
)
def test_weights_make_up_for_the_bend_of_the_tube(known, tau: float) -> None:
    tube = Tube(tg.Torus(1.0, 0.5), tau, generator=known.seeded())
    assert agrees(tube.volume(4000), known.TORUS_AREA)
    found = tube.cast(10_000)
    c, w = known.cos_phi(found.points), found.weights
    mean = float((w * c).sum() / w.sum())
    error = float((w * (c - mean)).square().sum().sqrt() / w.sum())
    assert abs(mean - 0.25) < 5 * error
    if tau == 0.45:
        # negative control: projections without weights have E cos phi = .319
        assert known.z_score(c, 0.25) > 6
        assert abs(float(c.mean()) - 0.319) < 0.02


@pytest.mark.slow
def test_clifford_torus_in_four_dimensions(known) -> None:
    tube = Tube(known.clifford(), generator=known.seeded())
    assert agrees(tube.volume(6_000), known.CLIFFORD_AREA)
    x = tube.sample(3000)
    for i in (0, 2):
        angle = torch.atan2(x[:, i + 1], x[:, i]).sort().values
        assert known.kolmogorov(angle, (angle + math.pi) / (2 * math.pi)) < 2.5
    assert known.z_score(x[:, 0] * x[:, 2], 0.0) < 5


def test_trefoil_curves_need_no_weight(known) -> None:
    M = tg.TorusKnot(2, 3)
    tube = Tube(M, generator=known.seeded())
    assert M.volume is not None
    assert agrees(tube.volume(4000), M.volume)
    assert float((tube.cast(500).weights - 1).abs().max()) < 1e-12


@pytest.mark.slow
def test_rotations_by_haar(known) -> None:
    tube = Tube(tg.SpecialOrthogonal(), generator=known.seeded())
    v = tube.volume(5000)
    assert agrees(v, known.ROTATIONS_VOLUME)
    trace = tube.sample(2000)[:, [0, 4, 8]].sum(-1)
    t = ((trace - 1) / 2).clamp(-1, 1).acos().sort().values
    assert known.kolmogorov(t, (t - t.sin()) / math.pi) < 2.5
    assert known.z_score(trace**2, 1.0) < 5


@pytest.mark.slow
def test_both_components_of_the_orthogonal_group(known) -> None:
    tube = Tube(known.orthogonal(), generator=known.seeded())
    v = tube.volume(40_000)
    assert agrees(v, 2 * known.ROTATIONS_VOLUME)
    det = torch.linalg.det(tube.cast(4000).points.unflatten(-1, (3, 3)))
    assert known.z_score((det > 0).double(), 0.5) < 5


@pytest.mark.slow
def test_klein_bottle_from_more_equations_than_its_codimension(known) -> None:
    M = tg.KleinBottle()
    E = M.equations(torch.ones(1, 4, dtype=torch.float64))
    assert E.shape[-1] > M.ambient_dim - M.dim
    v = Tube(M, generator=known.seeded()).volume(1500)
    assert M.volume is not None
    assert agrees(v, M.volume)
    assert v.status == "good"


def test_half_sphere_feet_outside_the_guard_are_left_out(known) -> None:
    M = Restriction(
        tg.ImplicitManifold(lambda x: x.square().sum(-1, keepdim=True) - 1, 2, 3),
        lambda x: 0.2 - x[..., 2],
    )
    tube = Tube(M, generator=known.seeded())
    v = tube.volume(8000)
    assert agrees(v, 2 * math.pi * 0.8)
    assert v.bias < 0.01 * v.value
    z = tube.sample(3000)[:, 2].sort().values
    assert known.kolmogorov(z, (z - 0.2) / 0.8) < 2.5


def test_a_tube_wider_than_the_reach_is_refused(known) -> None:
    with pytest.raises(UnsupportedError, match="below the reach"):
        Tube(tg.Torus(1.0, 0.5), 0.6)
    with pytest.raises(ValueError, match="tau > 0"):
        Tube(tg.Torus(1.0, 0.5), -0.1)


def test_folds_are_seen_where_the_reach_is_overestimated(known) -> None:
    # two spheres 0.2 apart: the tube of radius .3 of one reaches into that of the other
    c = torch.tensor([0.0, 0.0, 2.2], dtype=torch.float64)
    M = tg.ImplicitManifold(
        lambda x: (
            (x.norm(dim=-1, keepdim=True) - 1) * ((x - c.to(x)).norm(dim=-1, keepdim=True) - 1)
        ),
        2,
        3,
        scale=2.0,
    )
    one = tg.Sphere().sample_uniform(1000, generator=known.seeded())
    one = one[one[:, 2] < 0.9]  # a sample that does not see the bottleneck
    tube = Tube(M, 0.3, one, region="ball", generator=known.seeded())
    assert tube.volume(4000).bias > 0
    with pytest.raises(UnsupportedError, match="folds"):
        tube.sample(4000)


def test_cover_holds_the_tube_and_draws_are_uniform_in_it(known) -> None:
    M = tg.Torus(1.0, 0.5)
    region = Cylinders.of(
        M, M.sample_uniform(20, generator=known.seeded()), 0.2, 0.5, known.seeded()
    )
    x = M.sample_uniform(2000, generator=known.seeded(1))
    v = 0.2 * (2 * torch.rand(2000, 1, generator=known.seeded(2), dtype=torch.float64) - 1)
    assert float(region.contains(x + v * M.normal_basis(x).squeeze(-1)).double().mean()) > 0.998
    y = region.draw(20_000, known.seeded(3))
    volume, error = region.refined(0.002, known.seeded(4))
    # against plain points of a box
    box = 4 * torch.rand(100_000, 3, generator=known.seeded(5), dtype=torch.float64) - 2
    inside = region.contains(box)
    share = inside.double()
    expected = 64 * float(share.mean())
    noise = 64 * float(share.std()) / math.sqrt(100_000)
    assert abs(volume - expected) < 5 * math.hypot(error, noise)
    half = known.z_score(
        (y[:, 0] > 0.5).double(), float((box[inside][:, 0] > 0.5).double().mean())
    )
    assert half < 6


def test_net_covers_the_component_it_starts_on(known) -> None:
    M = tg.HopfLink()
    x = M.sample_uniform(400, generator=known.seeded())
    c = net(M, x[:1], 0.1, known.seeded())
    near = torch.cdist(x, c).amin(-1) < 0.1
    assert 0.4 < float(near.double().mean()) < 0.6


def test_empty_sets_are_refused(known) -> None:
    M = tg.ImplicitManifold(lambda x: x.square().sum(-1, keepdim=True) + 1, 2, 3)
    with pytest.raises(InvalidPoints, match="pass points="):
        Tube(M)


def test_same_seed_same_points(known) -> None:
    a, b, c = (Tube(tg.Sphere(), generator=known.seeded(s)).sample(20) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.slow
def test_nearest_points_on_a_boundary_are_no_projections(known) -> None:
    M = tg.MobiusBand()
    v = Tube(M, generator=known.seeded()).volume(1500)
    assert agrees(v, M.volume)


def test_a_set_of_full_dimension_has_no_tube(known) -> None:
    for M in (tg.Interval(0.0, 1.0), tg.Euclidean(2)):
        with pytest.raises(UnsupportedError, match="codimension 1 or more"):
            Tube(M, generator=known.seeded())
