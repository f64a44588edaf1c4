"""Rational-quadratic splines: increasing, invertible, with the derivative they say."""

import pytest
import torch

from topogen.models.nn.splines import Spline


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def spline(kind, seed, bins=7, rows=50, spread=1.0):
    """Random splines; slopes range over three orders of magnitude."""
    g = seeded(seed)
    sizes = [bins, bins, bins if kind == "circle" else bins + 1]
    raw = [spread * torch.randn(rows, 1, s, generator=g, dtype=torch.float64) for s in sizes]
    return getattr(Spline, kind)(*raw)


def grid(rows=50, n=301):
    return torch.linspace(0, 1, n, dtype=torch.float64).expand(rows, n)


@pytest.mark.parametrize("kind", ["interval", "circle"])
@pytest.mark.parametrize("seed", [0, 1])
class TestSpline:
    def test_is_increasing_from_0_to_1(self, kind, seed):
        y = spline(kind, seed)(grid())
        assert float(y[:, 0].abs().max()) == 0
        assert float((y[:, -1] - 1).abs().max()) < 1e-15
        assert float(y.diff(dim=-1).min()) > 0

    def test_inverse_to_1e_12(self, kind, seed):
        S, x = spline(kind, seed), grid()
        assert float((S.inverse(S(x)) - x).abs().max()) < 1e-12
        assert float((S(S.inverse(x)) - x).abs().max()) < 1e-12

    def test_log_slope_is_that_of_autodiff(self, kind, seed):
        S = spline(kind, seed)
        x = torch.rand(50, 40, generator=seeded(seed), dtype=torch.float64, requires_grad=True)
        y, log_slope = S.value_and_log_slope(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert float((slope.log() - log_slope).detach().abs().max()) < 1e-10

    def test_derivative_is_continuous_at_knots(self, kind, seed):
        S = spline(kind, seed, rows=1)
        knots = S.x[:, 0, 1:-1]
        below = S.value_and_log_slope(knots - 1e-11)[1]
        above = S.value_and_log_slope(knots + 1e-11)[1]
        assert float((above - below).abs().max()) < 1e-6

    def test_gradients_of_the_inverse_are_finite(self, kind, seed):
        raw = torch.zeros(3, 1, 5, dtype=torch.float64, requires_grad=True)
        end = raw[2] if kind == "circle" else torch.cat([raw[2], raw[2, :, :1]], -1)
        S = getattr(Spline, kind)(raw[0], raw[1], end)
        S.inverse(grid(1, 21)).sum().backward()
        assert raw.grad is not None
        assert bool(raw.grad.isfinite().all())


def test_end_slopes_agree_on_a_circle():
    _, log_slope = spline("circle", 3).value_and_log_slope(grid(n=2))
    assert float(log_slope.diff(dim=-1).abs().max()) < 1e-12


def test_end_slopes_are_free_on_an_interval():
    _, log_slope = spline("interval", 3).value_and_log_slope(grid(n=2))
    assert float(log_slope.diff(dim=-1).abs().max()) > 1


def test_zeros_give_the_identity():
    zero = torch.zeros(1, 6, dtype=torch.float64)
    assert float((Spline.circle(zero, zero, zero)(grid(1)) - grid(1)).abs().max()) < 1e-15


def test_shapes_that_do_not_fit_are_told():
    five, six = torch.zeros(5), torch.zeros(6)
    with pytest.raises((ValueError, TypeError), match=r"B \+ 1 slopes|slope"):
        Spline.interval(five, five, five)
    with pytest.raises((ValueError, TypeError), match=r"as many slopes as bins|slope"):
        Spline.circle(five, five, six)
