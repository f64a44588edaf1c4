"""LocalPolynomials ends where its data end; neighbourhoods suit the noise around every place."""

import math

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.models.local_regression import fit_graphs

HEIGHT = 0.2
AREA = 2 * math.pi * (1 - HEIGHT)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def cap(n, seed):
    """Uniform points of the part z >= .2 of the unit sphere."""
    x = tg.Sphere().sample_uniform(4 * n, generator=seeded(seed))
    return x[x[:, 2] >= HEIGHT][:n]


def noisy(M, n, noise, seed=0):
    x = M.sample_uniform(n, generator=seeded(seed))
    return x + noise * torch.randn(x.shape, generator=seeded(seed + 1), dtype=x.dtype)


@pytest.fixture(scope="module")
def distribution():
    """An atlas distribution on a learned cap."""
    model = tg.AtlasDensity(tg.ProjectedAtlas(tg.LocalPolynomials(2, 3)))
    assert tg.fit(model, cap(2000, 0), progress=False).status == "converged"
    return model


@pytest.mark.slow
def test_a_cap_has_its_boundary_and_its_area(distribution):
    M = distribution.atlas.manifold
    assert not M.closed
    assert M.needs_domain
    # all places are beside the circle z = .2, outside
    at = M.boundary.at * M.unit + M.centre
    assert len(M.boundary) > 20
    assert float(at[:, 2].max()) < HEIGHT
    found = distribution.atlas.volume()
    # half of a spacing sqrt(area / n) along the boundary
    assert float(found.value) == pytest.approx(AREA, abs=math.pi * math.sqrt(AREA / 2000))
    below = tg.Sphere().sample_uniform(2000, generator=seeded(3))
    below = below[(below[:, 2] < 0.1) & (below[:, 2] > -0.2)]
    assert not bool(M.contains(below, 1e-2).any())
    assert bool(M.in_domain(M.project(cap(2000, 0)).value).all())
    inside = cap(2000, 4)
    inside = inside[inside[:, 2] > 0.28]
    assert bool(M.contains(inside, 1e-2).all())


@pytest.mark.slow
def test_a_distribution_with_a_boundary_is_normalised_and_stays_inside(distribution):
    p = distribution()
    assert distribution.mass < 0.99
    assert 0 < p.log_z_error < 0.02
    mass = distribution.atlas.integrate(lambda x: p.log_prob(x).exp(), per_axis=40)
    assert float(mass.value) == pytest.approx(1, abs=float(mass.error) + 2 * p.log_z_error)
    x = p.sample((4000,), seeded(1))
    assert bool(distribution.atlas.manifold.in_domain(x).all())
    assert float((x[:, 2] < HEIGHT - 0.06).double().mean()) == 0
    fresh = distribution.atlas.manifold.project(cap(4000, 9)).value
    gap = -math.log(AREA) - p.log_prob(fresh)
    gap = gap[gap.isfinite()]
    assert len(gap) > 0.98 * len(fresh)
    assert float(gap.mean()) < 0.03


@pytest.mark.slow
def test_boundaries_are_saved(distribution, tmp_path):
    tg.save(distribution, tmp_path / "cap")
    loaded = tg.load(tmp_path / "cap")
    x = cap(500, 5)
    torch.testing.assert_close(loaded().log_prob(x), distribution().log_prob(x))
    assert not loaded.atlas.manifold.closed
    assert loaded.mass == distribution.mass


def test_a_curve_has_two_ends():
    t = 2.5 * torch.rand(300, generator=seeded(), dtype=torch.float64)
    M = tg.LocalPolynomials(1, 2)
    assert tg.fit(M, torch.stack([t.cos(), t.sin()], -1), progress=False).status == "converged"
    s = torch.tensor([-0.03, 0.01, 1.2, 2.49, 2.53], dtype=torch.float64)
    on = M.contains(torch.stack([s.cos(), s.sin()], -1), 1e-3)
    assert on.tolist() == [False, True, True, True, False]
    with pytest.raises(UnsupportedError, match="has a boundary"):
        tg.FlowMatching(M)


@pytest.mark.parametrize(
    ("M", "n", "noise"),
    [
        (tg.Torus(), 2000, 0.0),
        (tg.Torus(), 2000, 0.05),
        (tg.KleinBottle(), 1500, 0.0),
        (tg.Sphere(), 800, 0.03),
        (tg.Circle(), 200, 0.0),
        pytest.param(tg.Circle(), 4000, 0.04, marks=pytest.mark.slow),
        pytest.param(tg.FlatTorus(3), 3000, 0.0, marks=pytest.mark.slow),
    ],
)
def test_closed_manifolds_have_no_boundary(M, n, noise):
    learned = tg.LocalPolynomials(M.dim, M.ambient_dim)
    assert tg.fit(learned, noisy(M, n, noise), progress=False).status == "converged"
    assert learned.closed
    assert learned.step_stays_in_domain


@pytest.mark.parametrize(
    ("M", "n", "noise", "most"),
    [
        (tg.Circle(), 4000, 0.04, 0.3),
        pytest.param(tg.Torus(), 4000, 0.1, 0.4, marks=pytest.mark.slow),
        (tg.Sphere(), 2000, 0.04, 0.4),
    ],
)
def test_noise_is_averaged(M, n, noise, most):
    """M is several times nearer to the truth than the noise, also where that is denser than it."""
    learned = tg.LocalPolynomials(M.dim, M.ambient_dim)
    x = noisy(M, n, noise)
    assert tg.fit(learned, x, progress=False).status == "converged"
    y = learned.project(x).value
    off = (M.project(y).value - y).norm(dim=-1)
    assert float(off.square().mean().sqrt()) < most * noise


def test_sizes_suit_the_place():
    """A curve with noise on one half: wide neighbourhoods there, fine ones on the other."""
    t = 2 * math.pi * torch.rand(2000, generator=seeded(), dtype=torch.float64)
    x = torch.stack([2 * t.cos(), t.sin()], -1)
    rough = x[:, 0] > 0.3
    x = x + 0.05 * rough[:, None] * torch.randn(x.shape, generator=seeded(1), dtype=x.dtype)
    search = fit_graphs(x.numpy(), torch.arange(2000).numpy(), 1, [(3, 24), (3, 48), (2, 120)])
    records = []
    while True:
        try:
            records.append(next(search))
        except StopIteration as stop:
            graphs = stop.value
            break
    assert [record["neighbours"] for record in records] == [24, 48, 120]
    assert graphs.degree == 3
    wide, fine = graphs.r[graphs.c[:, 0] > 0.6], graphs.r[graphs.c[:, 0] < 0]
    assert float(wide.median()) > 2.5 * float(fine.median())
    # graphs of degree 2 have no cubic terms
    assert bool((graphs.b[graphs.r > 0.25][:, 3] == 0).all())
