"""Paths between two points of M, and pairs of points."""

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.models.matching.pairs import Pool
from topogen.models.matching.paths import Routes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.Circle(2.0),
        lambda: tg.Sphere(3, 0.5),
        tg.FlatTorus,
        tg.SpecialOrthogonal,
        tg.ProjectivePlane,
        lambda: tg.Product(tg.Circle(2.0), tg.Sphere()),
    ],
)
def test_closed_forms_are_geodesics(make):
    M = make()
    a, b = M.sample_uniform(30, seeded(1)), M.sample_uniform(30, seeded(2))
    t = torch.rand(30, generator=seeded(3), dtype=torch.float64)
    x, u, ok = M.geodesic(a, b, t)
    assert bool(ok.all())
    assert float(M.residual(x).max()) < 1e-12
    assert float((M.geodesic(a, b, 0 * t)[0] - a).abs().max()) < 1e-12
    assert float((M.geodesic(a, b, 0 * t + 1)[0] - b).abs().max()) < 1e-9
    difference = (M.geodesic(a, b, t + 1e-5)[0] - M.geodesic(a, b, t - 1e-5)[0]) / 2e-5
    torch.testing.assert_close(u, difference, atol=1e-6, rtol=1e-6)
    # the end of the library's own geodesic
    if M.dim == 2:
        g = M.exp(a[:2], M.geodesic(a, b, 0 * t)[1][:2])
        torch.testing.assert_close(g.end, b[:2], atol=1e-5, rtol=0.0)


def test_geodesics_at_their_limits():
    """Equal points stay; opposite ones have no shortest arc, and say so."""
    e = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    half = torch.tensor([0.5], dtype=torch.float64)
    x, u, ok = tg.Sphere().geodesic(e, e, half)
    assert torch.equal(x, e)
    assert bool(ok)
    assert float(u.abs().max()) == 0
    assert not bool(tg.Sphere().geodesic(e, -e, half)[2])
    eye = torch.eye(3, dtype=torch.float64).reshape(1, 9)
    x, u, ok = tg.SpecialOrthogonal().geodesic(eye, eye, half)
    assert torch.equal(x, eye)
    assert bool(u.isfinite().all() & ok.all())
    assert not tg.Torus().exact_geodesics
    with pytest.raises(UnsupportedError, match="closed form"):
        tg.Torus().geodesic(e, e, half)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tg.Torus, tg.KleinBottle])
def test_routes_are_continuous_paths_on_m(make):
    """Also where the chord crosses the hole: there it goes round."""
    M = make()
    routes = Routes(M, M.sample_uniform(600, seeded()))
    a, b = M.sample_uniform(300, seeded(1)), M.sample_uniform(300, seeded(2))
    knots, ok = routes.trace(a, b)
    assert float(ok.double().mean()) > 0.99
    knots = knots[ok]
    times = torch.linspace(0, 1, 200, dtype=torch.float64)
    path = torch.stack([routes.at(knots, t.expand(knots.shape[0]))[0] for t in times])
    assert float(M.residual(path).max()) < 1e-10
    assert float((path[0] - a[ok]).abs().max()) < 1e-10
    assert float((path[-1] - b[ok]).abs().max()) < 1e-10
    steps = path.diff(dim=0).norm(dim=-1)
    assert float((steps.amax(0) / steps.sum(0)).max()) * 199 < 6
    t = torch.rand(knots.shape[0], generator=seeded(4), dtype=torch.float64)
    x, u, _ = routes.at(knots, t)
    Q = M.tangent_basis(x)
    normal = u - (Q @ (Q.mT @ u.unsqueeze(-1))).squeeze(-1)
    assert float((normal.norm(dim=-1) / u.norm(dim=-1)).median()) < 1e-3


def test_a_set_in_pieces_is_refused():
    M = tg.HopfLink()
    with pytest.raises(UnsupportedError, match=r"connected set.*tg\.Mixture"):
        Routes(M, M.sample_uniform(300, seeded()))


def test_transport_shortens_paths_and_keeps_the_data():
    M = tg.Sphere()
    data = M.sample_uniform(256, seeded(5))
    speeds = {}
    for pairing in ("transport", "independent"):
        pool = Pool(M, M.sample_uniform, data, pairing=pairing, block=64, generator=seeded())
        pool.pair(256, seeded(1))
        assert torch.equal(pool.ends[1].sort(0).values, data.sort(0).values)
        rows = pool.examples(seeded(2))
        speeds[pairing] = float(rows.u.square().sum(-1).mean())
        assert rows.x.dtype == torch.float32
        assert pool.lost == 0
    assert speeds["transport"] < speeds["independent"] / 4
