"""Random lines: areas and uniform distributions of hypersurfaces with known answers.

Means are compared at 5 standard errors, Kolmogorov-Smirnov statistics at 2.5 / sqrt(n): a right
library fails one of these with probability below 1e-5, and the seeds are fixed.
"""

from __future__ import annotations

import math

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.manifolds.operations import Restriction
from topogen.sampling.random_lines import Rays, chandrupatla


@pytest.mark.slow
def test_200_000_lines_give_the_area_of_the_torus_within_half_a_percent(known) -> None:
    v = Rays(known.torus(), generator=known.seeded()).volume(200_000)
    assert abs(v.value - known.TORUS_AREA) < 0.005 * known.TORUS_AREA


def test_area_and_tube_angle_of_the_torus(known) -> None:
    rays = Rays(known.torus(), generator=known.seeded())
    v = rays.volume(30_000)
    assert abs(v.value - known.TORUS_AREA) < 5 * v.standard_error + v.bias
    assert v.status == "good"
    found = rays.cast(20_000)
    # two points of a line are dependent: the statistic of all hits is taken per half its size
    assert known.tube_angle_statistic(found.points) < 2.5 * math.sqrt(2)
    assert int(found.hits.sum()) == found.points.shape[0]


def test_projected_box_points_are_not_uniform(known) -> None:
    # negative control: the naive sampler has E cos phi = .396 in this box, not .25
    M = tg.Torus(1.0, 0.5)
    box = 4 * torch.rand(30_000, 3, generator=known.seeded(), dtype=torch.float64) - 2
    x = M.project(box).value
    assert known.z_score(known.cos_phi(x), 0.25) > 20
    assert abs(float(known.cos_phi(x).mean()) - 0.396) < 0.02
    assert known.tube_angle_statistic(x) > 10


@pytest.mark.parametrize(("dim", "radius"), [(1, 2.0), (2, 1.0), (4, 1.0), (7, 3.0)])
def test_spheres(known, dim: int, radius: float) -> None:
    M = tg.Sphere(dim, radius)
    rays = Rays(M, generator=known.seeded())
    v = rays.volume(20_000)
    assert M.volume is not None
    assert abs(v.value - M.volume) < 5 * v.standard_error + v.bias
    x = rays.sample(4000) / radius
    assert known.z_score(x[:, 0] ** 2, 1 / (dim + 1)) < 5
    assert known.z_score(x[:, 0] ** 4, 3 / ((dim + 1) * (dim + 3))) < 5


def test_points_are_independent_within_a_line_too(known) -> None:
    # all hits of a line through a sphere come in pairs; of `sample` no two do. By Archimedes each
    # coordinate is uniform.
    x = Rays(tg.Sphere(), generator=known.seeded()).sample(8000)
    z = x[:, 2].sort().values
    assert known.kolmogorov(z, (z + 1) / 2) < 2.5
    assert known.z_score((x[0::2] * x[1::2]).sum(-1), 0.0) < 5


def test_half_sphere_hits_outside_the_guard_are_left_out(known) -> None:
    M = Restriction(tg.Sphere(), lambda x: 0.2 - x[..., 2])
    rays = Rays(M, generator=known.seeded())
    v = rays.volume(40_000)
    assert abs(v.value - 2 * math.pi * 0.8) < 5 * v.standard_error + v.bias
    z = rays.sample(4000)[:, 2].sort().values
    assert known.kolmogorov(z, (z - 0.2) / 0.8) < 2.5


def test_a_fine_grid_is_needed_for_necks_and_the_estimate_says_so(known) -> None:
    # two spheres of radius 1, 0.01 apart: a coarse grid does not separate their near sides
    def F(x: torch.Tensor) -> torch.Tensor:
        e = torch.tensor([1.005, 0.0, 0.0], dtype=x.dtype)
        return torch.minimum((x - e).norm(dim=-1), (x + e).norm(dim=-1)).unsqueeze(-1) - 1

    M = tg.ImplicitManifold(F, 2, 3, scale=2.0)
    coarse = Rays(M, resolution=32, generator=known.seeded(1)).volume(20_000)
    fine = Rays(M, resolution=256, generator=known.seeded(1)).volume(20_000)
    assert abs(fine.value - 8 * math.pi) < 5 * fine.standard_error + fine.bias
    assert fine.value > coarse.value
    assert fine.bias > 0


def test_spheres_far_from_the_origin_are_found_from_points(known) -> None:
    c = torch.tensor([30.0, 0.0, 0.0], dtype=torch.float64)
    M = tg.ImplicitManifold(lambda x: (x - c.to(x)).square().sum(-1, keepdim=True) - 4, 2, 3)
    x = c + 2 * tg.Sphere().sample_uniform(200, generator=known.seeded())
    v = Rays(M, x, generator=known.seeded()).volume(20_000)
    assert abs(v.value - 16 * math.pi) < 5 * v.standard_error + v.bias


def test_the_ball_grows_until_it_holds_the_set(known) -> None:
    # points of one cap only
    x = tg.Sphere().sample_uniform(2000, generator=known.seeded())
    rays = Rays(
        tg.ImplicitManifold(lambda x: x.norm(dim=-1, keepdim=True) - 1, 2, 3), x[x[:, 2] > 0.8]
    )
    v = rays.volume(40_000)
    assert abs(v.value - 4 * math.pi) < 5 * v.standard_error + v.bias


def test_jumps_are_no_zeros(known) -> None:
    def F(x: torch.Tensor) -> torch.Tensor:
        f = x.square().sum(-1, keepdim=True) - 1
        return torch.where(x[..., :1] > 3, -1.0, f)  # drops from above 8 to -1 at x_1 = 3

    M = tg.ImplicitManifold(F, 2, 3)
    rays = Rays(
        M, tg.Sphere().sample_uniform(500, generator=known.seeded()), generator=known.seeded()
    )
    rays.ball = type(rays.ball)(rays.ball.centre, 4.0)
    found = rays.cast(4000)
    assert found.jumps > 0
    assert float((found.points.norm(dim=-1) - 1).abs().max()) < 1e-9


def test_what_rays_cannot_do_is_refused(known) -> None:
    with pytest.raises(UnsupportedError, match="codimension 2"):
        Rays(tg.ImplicitManifold(lambda x: x[..., :2], 1, 3))
    squared = tg.ImplicitManifold(lambda x: (x.square().sum(-1, keepdim=True) - 1) ** 2, 2, 3)
    with pytest.raises(UnsupportedError, match="changes sign"):
        Rays(squared, tg.Sphere().sample_uniform(500, generator=known.seeded()))
    with pytest.raises(ValueError, match="resolution"):
        Rays(tg.Sphere(), resolution=4)


def test_same_seed_same_points(known) -> None:
    a, b, c = (Rays(tg.Sphere(), generator=known.seeded(s)).sample(50) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_chandrupatla_finds_every_root_alone(known) -> None:
    a = torch.zeros(3, dtype=torch.float64)
    b = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)
    target = torch.tensor([0.3, 2.9, 7.0], dtype=torch.float64)
    power = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)

    def f(t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return t ** power[rows] - target[rows] ** power[rows]

    every = torch.arange(3)
    t, value = chandrupatla(f, a, b, f(a, every), f(b, every))
    torch.testing.assert_close(t, target, rtol=1e-14, atol=0)
    first = chandrupatla(f, a[:1], b[:1], f(a, every)[:1], f(b, every)[:1])[0]
    assert torch.equal(first, t[:1])
    assert float(value.max()) < 1e-6
