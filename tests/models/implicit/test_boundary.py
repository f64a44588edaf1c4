"""Where learned zero sets end: boundaries of data, gaps that are bridged, data that M misses."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.models.boundary import boundary_ratio, one_sidedness


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def learned(points, dim, **options):
    M = tg.NeuralImplicit(dim, points.shape[1], **options)
    return M, tg.fit(M, points, progress=False)


def arc(n, length, seed=0):
    t = length * torch.rand(n, generator=generator(seed), dtype=torch.float64)
    return torch.stack([t.cos(), t.sin()], -1)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_ratio_on_a_boundary(d):
    """One half of a ball, seen from the centre: E|u_1|, up to the scatter of 20 000 directions."""
    u = torch.nn.functional.normalize(
        torch.randn(20_000, d, generator=generator(), dtype=torch.float64), dim=-1
    )
    expected = 1.0 if d == 1 else u[:, 0].abs().mean()
    assert math.isclose(boundary_ratio(d), float(expected), abs_tol=0.01)


def test_one_sidedness():
    x = torch.linspace(-1, 0, 50, dtype=torch.float64).unsqueeze(-1) * torch.tensor([1.0, 0.0])
    T = torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(3, -1, -1)
    z = torch.tensor([[-0.5, 0.1], [0.01, 0.0], [0.3, -0.2]], dtype=torch.float64)
    ratio, nearest = one_sidedness(z, T, x)
    assert ratio[0] < 0.5
    assert torch.allclose(ratio[1:], torch.ones(2, dtype=torch.float64))
    assert nearest[2] > nearest[1]


@pytest.mark.slow
def test_an_arc_ends_where_its_data_end():
    M, result = learned(arc(800, 4.0), 1, features=200, width=64)
    assert result.status == "converged"
    assert not M.closed
    whole = arc(20_000, 2 * math.pi, seed=1)
    inside = M.in_domain(whole)
    # the outermost of 800 points are 1/200 from the ends in the mean
    assert math.isclose(2 * math.pi * float(inside.double().mean()), 4.0, abs_tol=0.08)
    assert bool((M.contains(whole) <= inside).all())
    assert math.isclose(math.exp(tg.Uniform(M).log_volume), 4.0, abs_tol=0.08)


@pytest.mark.slow
def test_a_circle_with_a_gap_is_closed():
    """A gap that M bridges is no boundary: von Mises data are sparse at the back."""
    x = tg.VonMises(0.0, 2.0).sample((1000,), generator=generator())
    M, result = learned(x, 1, features=200, width=64)
    assert (result.status, M.closed, M.checks.ends) == ("converged", True, 0)
    assert bool(M.in_domain(arc(2000, 2 * math.pi)).all())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_curves_meet_sparse_data(seed):
    """M goes through every datum, or the fit says that it went wrong: gaps of seed 0 are wide."""
    x = tg.VonMises(0.0, 2.0).sample((1000,), generator=generator(seed))
    side = 2 * torch.randint(2, (1000, 1), generator=generator(seed + 9)) - 1
    points = x + side * torch.tensor([1.8, 0.0], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        M, result = learned(points, 1)
    worst = float((M.project(points).value - points).norm(dim=-1).max())
    assert worst < 2e-3 or (seed == 0 and result.status != "converged" and M.checks.problems)


@pytest.mark.slow
def test_half_a_sphere():
    x = tg.Sphere().sample_uniform(9000, generator=generator())
    x = x[x[:, 2] > 0.2][:4000]
    M, result = learned(x, 2)
    assert result.status == "converged"
    assert not M.closed
    assert bool(M.in_domain(M.project(x).value).all())
    q = tg.Uniform(M)
    # boundaries are known to the spacing of the data, .035, along a circle of length 6.16
    assert math.isclose(math.exp(q.log_volume), 2 * math.pi * 0.8, abs_tol=0.12)
    y = q.sample((2000,), generator=generator(1))
    assert bool(M.in_domain(y).all())
    assert float(y[:, 2].min()) > 0.1
    with pytest.raises(UnsupportedError, match="closed"):
        tg.fit(tg.EnergyModel(M, objective="score"), x, progress=False)


@pytest.mark.slow
def test_noise_does_not_open_a_torus():
    x = tg.Torus(1.0, 0.4).sample_uniform(4000, generator=generator())
    x = x + 0.03 * torch.randn(x.shape, generator=generator(1), dtype=x.dtype)
    M, _ = learned(x, 2)
    assert M.closed
    # the tolerance keeps M apart from the core circle of the tube
    t = 2 * math.pi * torch.rand(500, generator=generator(2), dtype=torch.float64)
    core = torch.stack([t.cos(), t.sin(), 0 * t], -1)
    assert M.tolerance < 0.4
    assert not bool(M.contains(core).any())


@pytest.mark.slow
def test_data_that_are_missed_are_a_problem():
    x = tg.HopfLink().sample_uniform(24, generator=generator())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        M, result = learned(x, 1, features=50, width=32)
    assert result.status != "converged"
    assert M.checks.off > 0.01
    assert any("of the data are farther" in problem for problem in M.checks.problems)
