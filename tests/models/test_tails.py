"""Where data thin out a learned manifold goes on; at an edge it ends."""

import math

import pytest
import torch

import topogen as tg
from topogen.manifolds.operations import Similarity
from topogen.models.boundary import thinning


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n, d, seed):
    """A normal distribution in the parameter plane of a graph over R^d."""
    u = torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)
    return torch.cat([u, 0.1 * u[:, :1].square()], -1)


def box(n, d, seed):
    """The same graph over the unit cube: edges and corners."""
    u = torch.rand(n, d, generator=seeded(seed), dtype=torch.float64)
    return torch.cat([u, 0.1 * u[:, :1].square()], -1)


def fitted(x, d):
    M = tg.LocalPolynomials(d, x.shape[1])
    assert tg.fit(M, x, progress=False).status == "converged"
    return M


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_the_slope_at_the_end_of_a_density(power):
    # p(t) ~ t^power on [0, 1]: a = power / (power + 1), compared with .35
    t = torch.rand(4000, 1, generator=seeded(1), dtype=torch.float64).pow(1 / (power + 1))
    x = torch.cat([t, 0 * t], -1)
    at = torch.tensor([[-0.01, 0.0]]).double()
    thin = thinning(at, torch.tensor([0.1]).double(), x, 1)
    assert thin.tolist() == [power / (power + 1) > 0.35]


@pytest.mark.parametrize("d", [1, 2])
def test_fresh_points_of_a_tail_are_on_the_manifold(d):
    n = 2000
    M = fitted(normal(n, d, 0), d)
    assert not M.closed
    assert bool(M.boundary.thin.all())
    fresh = normal(20_000, d, 1)
    assert float((~M.contains(fresh)).sum()) <= 20_000 / n
    # the rest of the plane is not M
    far = torch.cat([12 * torch.nn.functional.normalize(fresh[:, :d], dim=-1), fresh[:, d:]], -1)
    assert not bool(M.contains(far).any())


@pytest.mark.parametrize("d", [1, 2])
def test_edges_stay_edges(d):
    M = fitted(box(2000, d, 0), d)
    assert len(M.boundary) > 0
    assert not bool(M.boundary.thin.any())
    # beyond the edge, farther than two spacings
    beyond = box(2000, d, 1)
    beyond[:, 0] = 1 + 2 * 2000 ** (-1 / d) + 0.1 * beyond[:, 0]
    beyond[:, -1] = 0.1 * beyond[:, 0].square()
    assert not bool(M.contains(beyond).any())
    # where there is a boundary, it alone ends M there: the graphs reach as far
    M.boundary.thin[:] = True
    assert bool(M.contains(beyond).any())


def test_what_is_lost_is_estimated_on_points_held_out():
    tail, edge = fitted(normal(1000, 2, 0), 2), fitted(box(1000, 2, 0), 2)
    for M, draw in ((tail, normal), (edge, box)):
        lost = float((~M.contains(draw(20_000, 2, 1))).double().mean())
        # 100 points are held out; five standard deviations of their number
        assert M.lost == pytest.approx(lost, abs=0.01 + 5 * math.sqrt(lost / 100))
    assert edge.lost > tail.lost
    assert math.isnan(fitted(tg.Circle().sample_uniform(400, generator=seeded()), 1).lost)


def test_the_tolerance_follows_the_errors_of_the_graphs():
    M = fitted(normal(2000, 2, 0), 2)
    middle, end = torch.zeros(1, 3).double(), M.boundary.at[:1] * M.unit + M.centre
    assert float(M.tolerance_at(middle)) == M.atol(torch.float64)
    assert float(M.tolerance_at(end)) > 5 * M.atol(torch.float64)
    # and so for what is made of M: a copy, a part, a product and a union
    there, zero = M.tolerance_at(end), torch.zeros(3).double()
    twice = Similarity(M, zero, factor=2.0)
    assert torch.allclose(twice.tolerance_at(2 * end), 2 * there)
    part = tg.Restriction(M, lambda x: x[..., :1] - 100)
    assert torch.equal(part.tolerance_at(end), there)
    assert torch.equal(tg.Union(M, Similarity(M, zero + 50)).tolerance_at(end), there)
    pair = tg.Product(M, M).tolerance_at(torch.cat([end, end], -1))
    assert torch.allclose(pair, math.sqrt(2) * there)
    # a point that is allowed has a density, whole and in part
    x = end + 0.5 * there * torch.tensor([0.0, 0.0, 1.0])
    for set_ in (M, part):
        assert bool(set_.contains(x))
        moved = set_.project(x).value
        assert bool((moved - x).norm(dim=-1) <= set_.tolerance_at(moved))


@pytest.mark.slow
def test_sharp_modes_lose_no_fresh_points():
    # three von Mises-Fisher modes; one fresh point in 2000 may be lost
    means = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.96, 0.28]]).double()
    true = tg.Mixture(
        torch.full((3,), 1 / 3).double(),
        [tg.VonMisesFisher(m, k) for m, k in zip(means, (8.0, 15.0, 30.0), strict=True)],
    )
    model = tg.AtlasDensity(tg.ProjectedAtlas(tg.LocalPolynomials(2, 3)))
    assert tg.fit(model, true.sample((8000,), seeded(0)), progress=False).status == "converged"
    fresh = true.sample((20_000,), seeded(1))
    gap = true.log_prob(fresh) - model().log_prob(fresh)
    assert int((~gap.isfinite()).sum()) <= 10
    assert float(gap[gap.isfinite()].mean()) < 0.02
