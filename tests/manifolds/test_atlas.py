"""Atlases with known answers: areas, orientability, nerves, cocycles, double counting.

Statistical checks compare about 30 numbers at 5 standard errors: a right library fails by chance
with probability below 2e-5.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from topogen.errors import AtlasError, NotFittedError, UnsupportedError
from topogen.manifolds.atlas import Atlas
from topogen.manifolds.charts import Ball, Box, Chart, FunctionChart
from topogen.manifolds.orientation import orientation
from topogen.manifolds.spaces import (
    Circle,
    FlatTorus,
    HopfLink,
    KleinBottle,
    MobiusBand,
    ProjectivePlane,
    SpecialOrthogonal,
    Sphere,
    Torus,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pole(s: float, radius: float) -> FunctionChart:
    """Stereographic from the pole s."""

    def decode(u: Tensor) -> Tensor:
        r = (u * u).sum(-1, keepdim=True)
        return torch.cat([2 * u, s * (r - 1)], -1) / (1 + r)

    return FunctionChart(
        decode, lambda x: x[..., :2] / (1 - s * x[..., 2:]), domain=Ball(2, radius)
    )


def two_poles(radius: float = 1.5) -> Atlas:
    return Atlas([pole(1.0, radius), pole(-1.0, radius)], Sphere())


def strip(centre: float, half: float) -> Chart:
    """A chart of an open Moebius band about the angle `centre`."""
    c = torch.tensor([centre, 0.0], dtype=torch.float64)
    return MobiusBand(0.6).chart(c, Box([-half, -0.3], [half, 0.3]))


# --- partition of unity -------------------------------------------------------------------------


def test_weights_are_a_partition_of_unity_and_vanish_at_rims() -> None:
    atlas = FlatTorus(2).atlas()
    x = FlatTorus(2).sample_uniform(500, seeded())
    rho = atlas.weights(x)
    torch.testing.assert_close(rho.sum(-1), torch.ones(500, dtype=torch.float64))
    inside = torch.stack([atlas[k].contains(x) for k in range(9)], -1)
    assert bool((rho[~inside] == 0).all())
    assert bool((atlas.multiplicity(x) == inside.sum(-1)).all())
    assert rho.reshape(5, 100, 9).equal(atlas.weights(x.reshape(5, 100, 4)))


def test_rows_that_no_chart_covers_are_nan_and_stay_alone() -> None:
    atlas = Atlas([pole(1.0, 1.0)])
    x = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0], [math.nan, 0.0, 0.0]])
    x.requires_grad_(True)
    rho = atlas.weights(x)
    assert rho[:, 0].isnan().tolist() == [False, True, True]
    (slope,) = torch.autograd.grad(rho[0].sum(), x)
    assert bool(slope[0].isfinite().all())


def test_a_point_covered_only_near_a_rim_has_weight_one_even_in_float32() -> None:
    atlas = Atlas([pole(1.0, 1.0)])
    x = torch.tensor([[1.0, 0.0, -1e-3]])
    x = (x / x.norm(dim=-1, keepdim=True)).requires_grad_(True)
    rho = atlas.weights(x)
    assert float(rho.detach()) == 1.0
    (slope,) = torch.autograd.grad(rho.sum(), x)
    assert bool(slope.isfinite().all())


def test_weights_are_smooth_across_a_rim() -> None:
    # along a meridian through the rim of a chart: differences of order 4 stay small
    t = torch.linspace(-1.3, 1.3, 2001, dtype=torch.float64)
    x = torch.stack([t.cos(), 0 * t, t.sin()], -1)
    rho = two_poles().weights(x)[:, 0]
    step = float(t[1] - t[0])
    for order in range(1, 4):
        assert float(rho.diff(n=order).abs().max()) / step**order < 10.0 ** (order + 1)


# --- integrals ----------------------------------------------------------------------------------


def test_area_of_the_sphere_from_two_charts() -> None:
    area = two_poles().volume(tol=1e-8)
    assert abs(float(area) - 4 * math.pi) < 1e-8 * 4 * math.pi
    assert float(area.error) < 1e-8 * 4 * math.pi


def test_von_mises_fisher_integrates_to_one_with_its_moments() -> None:
    kappa = 10.0

    def f(x: Tensor) -> Tensor:
        p = (kappa * (x[:, 0] - 1)).exp() * kappa / (2 * math.pi * (1 - math.exp(-2 * kappa)))
        return p.unsqueeze(-1) * torch.cat([torch.ones_like(x[:, :1]), x], -1)

    integral = two_poles().integrate(f, tol=1e-6)
    mean = 1 / math.tanh(kappa) - 1 / kappa
    expected = torch.tensor([1.0, mean, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(integral.value, expected, rtol=0, atol=1e-6)
    assert integral.error.shape == (4,)


def test_without_the_partition_the_overlap_is_counted_twice() -> None:
    # charts |u| < 2 hold 0.8 of the sphere each: plain sums give 1.6 times its area
    atlas = two_poles(2.0)
    plain = 0.0
    for chart in atlas:
        z, cell = chart.domain.grid(200)
        plain += float(chart.log_volume(z).exp().sum()) * cell
    assert plain / (4 * math.pi) == pytest.approx(1.6, abs=2e-3)
    assert float(atlas.volume()) / (4 * math.pi) == pytest.approx(1.0, abs=1e-5)


def test_the_error_is_honest() -> None:
    for atlas in (two_poles(), KleinBottle().atlas(), MobiusBand().atlas(), Sphere(3).atlas()):
        M = atlas.manifold
        assert M is not None
        assert M.volume is not None
        volume = atlas.volume()
        assert abs(float(volume) - M.volume) <= float(volume.error) + (M.volume_error or 0.0)


def test_a_cap_on_the_nodes_returns_the_error_that_is_left() -> None:
    cap = 2 * 72**2
    volume = two_poles().integrate(lambda x: x.new_ones(len(x)), tol=1e-12, max_nodes=cap)
    assert 1e-12 < float(volume.error) / (4 * math.pi) < 1e-4
    with pytest.raises(UnsupportedError, match="max_nodes"):
        two_poles().integrate(lambda x: x.new_ones(len(x)), max_nodes=100)
    with pytest.raises(UnsupportedError, match="dimension 6"):
        FlatTorus(6).atlas().volume()


def test_gradients_reach_the_integrand() -> None:
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    integral = two_poles().integrate(lambda x: a * x[:, 2] ** 2)
    (slope,) = torch.autograd.grad(integral.value, a)
    assert float(slope) == pytest.approx(4 * math.pi / 3, rel=1e-6)
    assert not integral.error.requires_grad


def test_bad_integrands() -> None:
    atlas = Circle().atlas()
    with pytest.raises(ValueError, match="expected f to take points"):
        atlas.integrate(lambda x: x.sum())
    with pytest.raises(ValueError, match="expected tol > 0"):
        atlas.volume(tol=0.0)
    nan = atlas.integrate(lambda x: x[:, 0].log(), tol=1e-6)
    assert math.isnan(float(nan))


def test_quadrature_nodes_carry_their_charts() -> None:
    atlas = Torus().atlas()
    q = atlas.quadrature(24)
    assert q.points.shape == (len(q.weights), 3)
    for k in range(9):
        mine = q.chart == k
        torch.testing.assert_close(atlas[k].decode(q.latent[mine]), q.points[mine])
    assert bool((q.weights > 0).all())
    x, w = q.points, q.weights
    # second moment of the ring torus about its axis: 4 pi^2 R r (R^2 + 3 r^2 / 2)
    R, r = 1.0, 0.4
    moment = float(w @ (x[:, :2] ** 2).sum(-1))
    assert moment == pytest.approx(4 * math.pi**2 * R * r * (R**2 + 1.5 * r**2), rel=1e-4)


def test_uniform_samples() -> None:
    n = 20_000
    x = two_poles().sample_uniform(n, seeded(1))
    # Archimedes: every coordinate is uniform on [-1, 1]
    for i in range(3):
        u = (x[:, i].sort().values + 1) / 2
        ecdf = torch.arange(1, n + 1, dtype=torch.float64) / n
        # Kolmogorov: 5 / (2 sqrt(n)) is exceeded with probability 2 exp(-12.5) = 7e-6
        assert float((u - ecdf).abs().max()) < 2.5 / math.sqrt(n)
    torus = Torus().atlas().sample_uniform(n, seeded(2))
    rho2 = (torus[:, :2] ** 2).sum(-1)
    expected = 1 + 1.5 * 0.4**2
    error = abs(float(rho2.mean()) - expected) / (float(rho2.std()) / math.sqrt(n))
    assert error < 5
    assert two_poles().sample_uniform(0).shape == (0, 3)
    again = two_poles().sample_uniform(50, seeded(1)), two_poles().sample_uniform(50, seeded(1))
    assert again[0].equal(again[1])


def test_uniform_samples_in_dimension_four() -> None:
    square = Sphere(4).atlas().sample_uniform(2000, seeded())[:, 0].square()
    assert abs(float(square.mean()) - 1 / 5) < 5 * float(square.std()) / math.sqrt(2000)


def test_an_infinite_area_cannot_be_sampled() -> None:
    blow_up = FunctionChart(
        lambda u: u / (1 - u * u), lambda x: 2 * x / (1 + (1 + 4 * x * x).sqrt()), domain=Ball(1)
    )
    with pytest.raises(UnsupportedError, match="bounded area element"):
        Atlas([blow_up]).sample_uniform(10, seeded())


# --- transitions --------------------------------------------------------------------------------


def test_the_stereographic_transition_is_an_inversion() -> None:
    z = torch.tensor([[0.8, 0.3], [0.1, 0.1], [9.0, 0.0]], dtype=torch.float64)
    w = two_poles().transition(0, 1, z)
    torch.testing.assert_close(w[0], z[0] / (z[0] @ z[0]))
    assert w[1:].isnan().all(-1).tolist() == [True, True]
    torch.testing.assert_close(two_poles().transition(1, 0, w)[0], z[0])


def test_cocycles_of_exact_atlases() -> None:
    for M in (FlatTorus(2), KleinBottle(), ProjectivePlane(), SpecialOrthogonal()):
        error = M.atlas().cocycle_error(M.sample_uniform(400, seeded()))
        known = ~error.isnan()
        assert bool(known.any())
        assert float(error[known].max()) < 1e-10
    assert bool(two_poles().cocycle_error(Sphere().sample_uniform(9)).isnan().all())


def test_a_shifted_chart_breaks_the_cocycle() -> None:
    def arc(k: int, shift: float) -> FunctionChart:
        # the decoder is off by a small turn that the encoder does not undo
        def decode(z: Tensor) -> Tensor:
            t = z + k + shift
            return torch.cat([t.cos(), t.sin()], -1)

        def encode(x: Tensor) -> Tensor:
            t = torch.atan2(x[..., 1:], x[..., :1]) - k
            return torch.remainder(t + math.pi, 2 * math.pi) - math.pi

        return FunctionChart(decode, encode, domain=Box(-2.0, 2.0), atol=0.5)

    x = torch.tensor([[math.cos(1.0), math.sin(1.0)]], dtype=torch.float64)
    good = Atlas([arc(k, 0.0) for k in range(3)]).cocycle_error(x)
    bad = Atlas([arc(k, 0.01 * (k == 1)) for k in range(3)]).cocycle_error(x)
    assert float(good) < 1e-14
    # a chord of 0.01 over the diameter 2
    assert float(bad) == pytest.approx(0.005, rel=1e-2)


# --- orientation --------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
def test_orientability_panel(given: bool) -> None:
    for M in (
        Circle(),
        Sphere(),
        Torus(),
        HopfLink(),
        SpecialOrthogonal(),
        KleinBottle(),
        MobiusBand(),
        ProjectivePlane(),
    ):
        x = M.sample_uniform(3000, seeded()) if given else None
        found = M.atlas().orientation(x)
        assert found.orientable is M.orientable
        assert (found.signs is None) is (not M.orientable)
        assert (found.witness is None) is bool(M.orientable)


def test_signs_orient_the_sphere_although_both_charts_disagree() -> None:
    atlas = two_poles()
    found = atlas.orientation()
    assert found.signs in ((1, -1), (-1, 1))
    z = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    w = atlas.transition(0, 1, z)
    J, L = atlas[0].jacobian(z), atlas[1].jacobian(w)
    assert float(torch.linalg.det(L.mT @ J)) < 0


def test_a_moebius_band_of_two_charts_has_an_odd_cycle_of_two() -> None:
    atlas = Atlas([strip(0.0, 2.0), strip(math.pi, 2.0)])
    found = atlas.orientation()
    assert found.orientable is False
    assert found.witness is not None
    assert sorted(found.witness) == [0, 1]


def test_the_witness_is_a_chain_of_overlaps_with_an_odd_product() -> None:
    atlas = KleinBottle().atlas()
    found = atlas.orientation()
    assert found.witness is not None
    q = atlas.quadrature(24).points
    signs = []
    for k, l in zip(found.witness, (*found.witness[1:], found.witness[0]), strict=True):
        a, b = atlas[k], atlas[l]
        both = q[a.contains(q) & b.contains(q)]
        assert both.shape[0] > 0
        det = torch.linalg.det(b.jacobian(b.encode(both)).mT @ a.jacobian(a.encode(both)))
        signs.append(det.sign().unique().tolist())
    assert any(math.prod(choice) == -1 for choice in itertools.product(*signs))


def test_components_are_judged_one_by_one() -> None:
    shift = torch.tensor([9.0, 0.0, 0.0])

    def moved(chart: FunctionChart) -> FunctionChart:
        return FunctionChart(
            lambda z: chart.psi(z) + shift.to(z),
            lambda x: chart.phi(x - shift.to(x)),
            domain=chart.domain,
        )

    band = [strip(0.0, 2.0), strip(math.pi, 2.0)]
    found = Atlas([*band, moved(pole(1.0, 1.5)), moved(pole(-1.0, 1.5))]).orientation()
    assert found.components == ((0, 1), (2, 3))
    assert found.verdicts == (False, True)
    assert found.orientable is False


def test_too_few_points_are_not_orientable_by_default() -> None:
    x = Sphere().sample_uniform(20, seeded())
    assert two_poles().orientation(x).orientable is None
    assert two_poles().orientation(x[:0]).orientable is None


def test_frames_that_do_not_agree_decide_nothing() -> None:
    # two surfaces that cross at 80 degrees: within the tolerance the points count as shared
    def graph(slope: float) -> FunctionChart:
        return FunctionChart(
            lambda z: torch.cat([z, slope * z[..., :1]], -1),
            lambda x: x[..., :2],
            domain=Ball(2),
            atol=10.0,
        )

    charts = [graph(0.0), graph(math.tan(math.radians(80)))]
    x = charts[0].decode(charts[0].domain.sample(500, generator=seeded()))
    assert orientation(charts, x).orientable is None


# --- errors -------------------------------------------------------------------------------------


def test_bad_atlases() -> None:
    line = FunctionChart(lambda z: torch.cat([z, z, z], -1), lambda x: x[..., :1], domain=Ball(1))
    with pytest.raises(AtlasError, match="at least one chart"):
        Atlas([])
    with pytest.raises(AtlasError, match="of one dimension"):
        Atlas([pole(1.0, 1.5), line])
    with pytest.raises(AtlasError, match="of one dimension"):
        Atlas([pole(1.0, 1.5)], Circle())


def test_bad_indices_and_points() -> None:
    atlas = two_poles()
    with pytest.raises(AtlasError, match="0 <= k < 2, got 2"):
        atlas.transition(0, 2, torch.zeros(1, 2))
    with pytest.raises(AtlasError, match="0 <= k < 2, got -1"):
        atlas.transition(-1, 0, torch.zeros(1, 2))
    with pytest.raises(AtlasError, match=r"shape \(..., 3\)"):
        atlas.weights(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="expected n >= 0"):
        atlas.sample_uniform(-1)
    with pytest.raises(ValueError, match="expected per_axis >= 1"):
        atlas.quadrature(0)


def test_an_atlas_without_charts_is_not_fitted() -> None:
    atlas = two_poles()
    atlas.charts = torch.nn.ModuleList()
    with pytest.raises(NotFittedError, match="no charts yet"):
        atlas.volume()
