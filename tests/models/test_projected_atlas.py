"""ProjectedAtlas: Monge patches on one M, learned or known."""

import pytest
import torch

import topogen as tg
from topogen.errors import AtlasError, InvalidPoints

pytestmark = pytest.mark.xdist_group("torus")  # the fits of tests/catalogue.py


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_charts_of_a_known_sphere_obey_the_laws():
    M = tg.Sphere()
    atlas = tg.ProjectedAtlas(M)
    x = uniform(M, 800, 0)
    assert tg.fit(atlas, x).status == "converged"
    for chart in list(atlas.charts)[:2]:
        tg.testing.check_chart(chart, generator=torch.Generator().manual_seed(0))
    fresh = uniform(M, 300, 1)
    weights = atlas.weights(fresh)
    torch.testing.assert_close(weights.sum(-1), torch.ones(300, dtype=torch.float64))
    assert float(atlas.quadrature(24).weights.sum()) == pytest.approx(4 * torch.pi, rel=1e-3)


@pytest.mark.slow
def test_circular_coordinates_seed_charts_that_cover_in_known_order():
    M = tg.Circle()
    x = uniform(M, 1500, 0)
    angle = tg.topology.circular_coordinates(x.numpy())
    rows = angle.grid(6)
    atlas = tg.ProjectedAtlas(M, centres=x[rows])
    assert tg.fit(atlas, x).status == "converged"
    found = torch.stack([chart.c for chart in atlas.charts])
    torch.testing.assert_close(found[: len(rows)], x[rows])
    assert len(atlas) == 6
    assert int(atlas.multiplicity(uniform(M, 500, 1)).min()) >= 1
    # six charts in a ring: neighbours meet, others do not
    assert atlas.nerve(x).homology((2, 3)) == M.homology
    with pytest.raises(InvalidPoints, match="centres"):
        tg.ProjectedAtlas(M, centres=torch.zeros(3, 5))


@pytest.mark.slow
def test_every_fresh_point_of_the_klein_bottle_is_in_a_chart(klein_atlas):
    atlas, _, M = klein_atlas
    fresh = atlas.manifold.project(uniform(M, 1000, 1))
    assert bool(fresh.converged.all())
    assert int(atlas.multiplicity(fresh.value).min()) >= 1


@pytest.mark.slow
def test_transitions_on_a_learned_klein_bottle_are_exact(klein_atlas):
    atlas, _, M = klein_atlas
    x = atlas.manifold.project(uniform(M, 12, 2)).value
    error = atlas.cocycle_error(x)
    known = ~error.isnan()
    assert int(known.sum()) > 4
    assert float(error[known].max()) < 1e-9


@pytest.mark.slow
def test_a_learned_klein_bottle_is_not_orientable_and_a_torus_is(klein_atlas, torus_distribution):
    atlas, x, _ = klein_atlas
    assert atlas.orientation(atlas.manifold.project(x).value).orientable is False
    distribution, _, M = torus_distribution
    points = distribution.atlas.manifold.project(uniform(M, 8000, 1)).value
    assert distribution.atlas.orientation(points).orientable is True


@pytest.mark.slow
def test_decode_is_newton_on_the_right_sheet(klein_atlas):
    atlas, _, _ = klein_atlas
    for chart in list(atlas.charts)[:5]:
        z = chart.domain.sample(50, generator=torch.Generator().manual_seed(3))
        found = chart.solve(z)
        x = found.value[found.converged]
        assert float(found.converged.double().mean()) > 0.99
        assert float(atlas.manifold.residual(x).max()) < 1e-9
        torch.testing.assert_close(chart.encode(x), z[found.converged], atol=1e-12, rtol=0)


def test_jacobian_in_closed_form_equals_differences(klein_atlas):
    atlas, _, _ = klein_atlas
    chart = atlas.charts[0]
    z = 0.5 * chart.domain.sample(20, generator=torch.Generator().manual_seed(4))
    J, h = chart.jacobian(z), 1e-5
    for j in range(2):
        e = h * torch.eye(2, dtype=torch.float64)[j]
        difference = (chart.decode(z + e) - chart.decode(z - e)) / (2 * h)
        torch.testing.assert_close(J[..., j], difference, atol=1e-6, rtol=1e-5)


def test_number_of_charts_is_kept_or_refused():
    M = tg.Circle()
    x = uniform(M, 150, 0)
    atlas = tg.ProjectedAtlas(M, charts=9)
    tg.fit(atlas, x)
    assert len(atlas) == 9
    with pytest.raises(AtlasError, match="are needed to keep every chart a graph"):
        tg.fit(tg.ProjectedAtlas(M, charts=2), x)
    with pytest.raises(ValueError, match="charts='auto'"):
        tg.ProjectedAtlas(M, charts=0)


@pytest.mark.slow
def test_two_components_get_charts_of_their_own():
    M = tg.HopfLink()
    atlas = tg.ProjectedAtlas(M)
    tg.fit(atlas, uniform(M, 800, 0))
    assert int(atlas.multiplicity(uniform(M, 500, 1)).min()) >= 1
    assert float(atlas.volume()) == pytest.approx(M.volume, rel=1e-5)


def test_too_few_points_are_refused():
    with pytest.raises(InvalidPoints, match="more than 24 different points"):
        tg.fit(tg.ProjectedAtlas(tg.Sphere()), uniform(tg.Sphere(), 10, 0))
