"""Domains and charts: bumps are smooth, grids integrate, NaN marks the outside."""

from __future__ import annotations

import math

import pytest
import torch

from topogen import calculus
from topogen.errors import ChartDomainError
from topogen.manifolds.charts import Ball, Box, Domain, FunctionChart, smooth_step

DOMAINS: dict[str, Domain] = {
    "interval": Box(-1.0, 2.0),
    "box": Box([0.0, -1.0], [1.0, 3.0]),
    "disc": Ball(2, 1.5),
    "ball": Ball(3),
}


def paraboloid(radius: float = 2.0) -> FunctionChart:
    return FunctionChart(
        lambda z: torch.cat([z, (z * z).sum(-1, keepdim=True) / 2], -1),
        lambda x: x[..., :2],
        domain=Ball(2, radius),
    )


def test_smooth_step_is_a_step_with_flat_ends() -> None:
    t = torch.linspace(-0.5, 1.5, 201, dtype=torch.float64)
    s = smooth_step(t)
    assert bool((s[t <= 0] == 0).all())
    assert bool((s[t >= 1] == 1).all())
    assert bool((s.diff() >= 0).all())
    torch.testing.assert_close(s + smooth_step(1 - t), torch.ones_like(s))
    for derivative in range(3):
        for end in (1e-3, 1 - 1e-3):
            f = smooth_step
            for _ in range(derivative + 1):
                f = (lambda g: lambda u: calculus.jacobian(g, u[..., None])[..., 0, 0])(
                    lambda v, f=f: f(v[..., 0])[..., None]
                )
            assert abs(float(f(torch.tensor([end], dtype=torch.float64)))) < 1e-12


def test_smooth_step_has_finite_gradients_everywhere() -> None:
    t = torch.tensor([-1.0, 0.0, 1e-30, 0.5, 1.0, 2.0], requires_grad=True)
    smooth_step(t).sum().backward()
    assert t.grad is not None
    assert bool(t.grad.isfinite().all())


@pytest.mark.parametrize("name", DOMAINS)
def test_depth_falls_from_one_at_the_centre_to_zero_at_the_boundary(name: str) -> None:
    U = DOMAINS[name]
    low, high = U.bounding_box()
    centre = U.centre()
    assert float(U.depth(centre)) == pytest.approx(1.0)
    t = torch.linspace(0, 1.5, 301, dtype=torch.float64).unsqueeze(-1)
    direction = torch.zeros(U.dim, dtype=torch.float64)
    direction[0] = (high[0] - low[0]) / 2
    depth = U.depth(centre + t * direction)
    assert bool((depth.diff() < 0).all())
    assert bool(((depth > 0) == (t.squeeze(-1) < 1)).all())
    assert bool((U.bump(centre + t * direction)[t.squeeze(-1) >= 1] == 0).all())


@pytest.mark.parametrize("name", DOMAINS)
def test_samples_are_uniform_in_the_domain(name: str) -> None:
    U = DOMAINS[name]
    z = U.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert bool(U.contains(z).all())
    low, high = U.bounding_box()
    # a mean of 20 000: 5 standard errors of at most (high - low) / sqrt(12 n); false alarm 1e-5
    error = (z.mean(0) - U.centre()).abs() / (high - low)
    assert float(error.max()) < 5 / math.sqrt(12 * 20_000)


@pytest.mark.parametrize(
    ("name", "volume"), [("interval", 3.0), ("box", 4.0), ("disc", math.pi * 2.25), ("ball", None)]
)
def test_the_grid_measures_the_domain(name: str, volume: float | None) -> None:
    U = DOMAINS[name]
    z, cell = U.grid(48)
    assert bool(U.contains(z).all())
    expected = 4 / 3 * math.pi if volume is None else volume
    assert z.shape[0] * cell == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("arguments", [(0, 1.0), (2, 0.0), (2, -1.0), (2, math.nan)])
def test_bad_balls(arguments: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="expected dim >= 1 and radius > 0"):
        Ball(*arguments)


def test_bad_boxes() -> None:
    for lo, hi in (([0.0, 0.0], [1.0]), ([0.0], [0.0]), ([1.0], [0.0]), ([0.0], [math.nan])):
        with pytest.raises(ValueError, match="expected lo < hi"):
            Box(lo, hi)


def test_round_trip_and_outside() -> None:
    chart = paraboloid()
    z = chart.domain.sample(50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(chart.encode(chart.decode(z)), z)
    assert bool(chart.decode(torch.tensor([[3.0, 0.0]])).isnan().all())
    off = torch.tensor([[0.0, 0.0, 1.0], [math.nan, 0.0, 0.0]])
    assert bool(chart.encode(off).isnan().all())
    assert not bool(chart.contains(off).any())


def test_throw_says_how_many() -> None:
    chart = paraboloid()
    with pytest.raises(ChartDomainError, match="1 of 2 latent points"):
        chart.decode(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), throw=True)
    with pytest.raises(ChartDomainError, match="2 of 2 points"):
        chart.encode(torch.full((2, 3), 5.0), throw=True)


def test_jacobian_and_log_volume_in_closed_form() -> None:
    z = torch.tensor([[0.3, -0.4], [1.0, 1.0]], dtype=torch.float64)
    chart = paraboloid()
    J = chart.jacobian(z)
    eye = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    torch.testing.assert_close(J, torch.cat([eye, z.unsqueeze(-2)], -2))
    torch.testing.assert_close(chart.log_volume(z), (1 + (z * z).sum(-1)).log() / 2)
    x, again = chart.value_and_jacobian(z)
    torch.testing.assert_close(x, chart.decode(z))
    torch.testing.assert_close(again, J)


def test_a_decoder_of_the_wrong_shape() -> None:
    with pytest.raises(ValueError, match="expected decode to take"):
        FunctionChart(lambda z: z.sum(-1), lambda x: x, domain=Ball(2))


def test_a_smaller_tolerance_of_membership() -> None:
    near = torch.tensor([[0.5, 0.0, 0.125 + 1e-4]], dtype=torch.float64)
    assert not bool(paraboloid().contains(near))
    loose = FunctionChart(paraboloid().psi, lambda x: x[..., :2], domain=Ball(2, 2.0), atol=1e-3)
    assert bool(loose.contains(near))
