"""Charts that reach beyond M: volumes, distributions and samples stay in its domain."""

import math

import pytest
import torch

import topogen as tg
from topogen.distributions.energy import EnergyDistribution
from topogen.manifolds import boundary_cells, integration
from topogen.manifolds.operations import Restriction

TAU = 2 * math.pi
AREA = TAU * 0.8  # of the half sphere z >= 0.2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def above(x):
    return 0.2 - x[..., 2]


def half_sphere():
    return Restriction(tg.Sphere(), above)


def on_charts_of(M, *inequalities):
    """The charts of M, as an atlas of a part of it."""
    return tg.Atlas(list(M.atlas()), Restriction(M, *inequalities))


@pytest.fixture(scope="module")
def projected():
    """Monge patches on the half sphere; some hold points below its edge."""
    R = half_sphere()
    atlas = tg.ProjectedAtlas(R)
    tg.fit(atlas, R.sample_uniform(2000, seeded()))
    return atlas


@pytest.mark.slow
def test_volume_and_uniform_distribution_of_a_half_sphere(projected):
    R = projected.manifold
    volume = projected.volume(per_axis=24)
    assert abs(float(volume) - AREA) <= float(volume.error) < 0.02 * AREA
    for atlas in (projected, on_charts_of(tg.Sphere(), above)):
        q = tg.Uniform(atlas, validate_args=False)
        assert abs(q.log_volume - math.log(AREA)) <= q.log_z_error
        assert q.likelihood == "exact"
        x = q.sample((20_000,), generator=seeded(1))
        assert bool(R.in_domain(x).all())
        # z is uniform on [.2, 1]; false alarm .003, seed fixed
        assert float(x[:, 2].mean()) == pytest.approx(0.6, abs=3 * 0.231 / math.sqrt(20_000))
        assert bool(R.in_domain(atlas.sample_uniform(500, seeded())).all())
        below = torch.tensor([[0.6, 0.0, -0.8], [0.0, 0.6, 0.8]], dtype=torch.float64)
        assert q.log_prob(below).isfinite().tolist() == [False, True]
        assert q._log_prob(below).isfinite().tolist() == [False, True]


@pytest.mark.slow
def test_monge_patches_decode_no_point_beyond_the_edge(projected):
    for chart in projected:
        x = chart.decode(chart.domain.grid(20)[0])
        x = x[~x.isnan().any(-1)]
        assert bool((x[:, 2] >= 0.2).all())


def test_negative_control_without_the_guard_the_area_is_that_of_the_charts():
    atlas = on_charts_of(tg.Sphere(), above)
    blind = integration.quadrature(list(atlas), 24)
    assert float(blind.weights.sum()) == pytest.approx(2 * TAU, rel=1e-3)
    assert float(blind.spread.max()) == 0


@pytest.mark.slow
def test_stated_errors_are_honest():
    """Edges along the grid (angles on the torus) and across it; at a fixed coarse level."""
    ratios, errors = [], []
    for c in torch.linspace(-0.5, 0.4, 6).tolist():
        torus = on_charts_of(tg.Torus(), lambda x, c=c: c - torch.atan2(x[..., 1], x[..., 0]))
        sphere = on_charts_of(tg.Sphere(), lambda x, c=c: c - x[..., 0])
        areas = (tg.Torus().volume * (math.pi - c) / TAU, TAU * (1 - c))
        for atlas, area in zip((torus, sphere), areas, strict=True):
            q = tg.Uniform(atlas, tol=0.5)
            ratios.append((q.log_volume - math.log(area)) / q.log_z_error)
            errors.append(q.log_z_error)
            assert q.likelihood == ("exact" if q.log_z_error <= 1e-3 else "estimated")
    assert max(map(abs, ratios)) < 1
    assert min(errors) > 1e-4
    assert max(errors) < 5e-3


@pytest.mark.parametrize(
    ("M", "g", "volume"),
    [
        (tg.Circle(), lambda x: 0.3 - x[..., 1], math.pi - 2 * math.asin(0.3)),
        (tg.Sphere(3), lambda x: 0.1 * x[..., 0] - x[..., 3], math.pi**2),
    ],
    ids=["arc", "half of the 3-sphere"],
)
def test_curves_and_solids(M, g, volume):
    atlas = on_charts_of(M, g)
    q = tg.Uniform(atlas)
    assert abs(q.log_volume - math.log(volume)) <= q.log_z_error < 5e-3
    assert bool(atlas.manifold.in_domain(q.sample((1000,), generator=seeded())).all())


def test_integrals_and_energies_on_a_part():
    """The integral of z over z >= .2 is pi (1 - .04); that of e^{5 z} has a closed form."""
    atlas = on_charts_of(tg.Sphere(), above)
    first = atlas.integrate(lambda x: x[:, 2])
    assert abs(float(first) - math.pi * 0.96) <= float(first.error) < 0.02
    q = EnergyDistribution(atlas, lambda x: 5 * x[..., 2])
    exact = math.log(TAU * (math.exp(5) - math.exp(1)) / 5)
    assert abs(float(q.log_z) - exact) <= max(q.log_z_error, 1e-6) < 1e-3


@pytest.mark.slow
def test_a_learned_density_draws_inside(projected):
    R = projected.manifold
    model = tg.AtlasDensity(projected)
    tg.fit(model, R.sample_uniform(1000, seeded(2)))
    distribution = model()
    assert bool(R.in_domain(distribution.sample((2000,), generator=seeded(3))).all())
    # mass of the bumps beyond the edge is missing, and said to be
    assert distribution.likelihood == "estimated"


def test_a_trivial_guard_is_not_asked(monkeypatch):
    M = tg.Sphere()
    atlas = M.atlas()
    assert atlas.in_domain is None
    monkeypatch.setattr(boundary_cells, "divide", None)
    assert float(atlas.volume()) == pytest.approx(2 * TAU, rel=1e-6)
    assert tg.Atlas(list(atlas), half_sphere()).in_domain is not None


def test_cut_cells_lie_along_the_edge():
    domain = tg.Box([0.0, 0.0], [1.0, 1.0])
    z, _ = domain.grid(10)
    cut = boundary_cells.cut_cells(domain, z, z[:, 0] > 0.42, 10)
    assert sorted(set(z[cut, 0].mul(100).round().tolist())) == [35.0, 45.0]
    assert int(cut.sum()) == 20
    for inside in (z[:, 0] > 2, z[:, 0] < 2):
        assert not bool(boundary_cells.cut_cells(domain, z, inside, 10).any())
