"""SplineFlow: exact distributions on base spaces, continuous across every cut and pole."""

import math

import pytest
import torch

import topogen as tg
from topogen import serialization
from topogen.errors import InvalidPoints, NotFittedError, UnsupportedError
from topogen.models.flow.conditioner import moebius
from topogen.testing import check_distribution

SPACES = {
    "circle": lambda: tg.Circle(2.0),
    "sphere1": lambda: tg.Sphere(1),
    "torus2": lambda: tg.FlatTorus(2),
    "torus3": lambda: tg.FlatTorus(3),
    "interval": lambda: tg.Interval(-1.0, 3.0),
    "sphere": lambda: tg.Sphere(2, 0.5),
    "sphere3": lambda: tg.Sphere(3),
    "sphere4": lambda: tg.Sphere(4),
    "box": lambda: tg.Product(tg.Interval(0.0, 2.0), tg.Interval(-1.0, 1.0)),
    "cylinder": lambda: tg.Product(tg.Circle(0.5), tg.Interval(0.0, 1.0)),
    "circle_x_sphere": lambda: tg.Product(tg.Circle(), tg.Sphere()),
    "sphere_x_circle": lambda: tg.Product(tg.Sphere(), tg.Circle()),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def shaken(M, seed=0, size=0.7, networks=2):
    """A flow with random weights: rougher than any that is fitted."""
    model = tg.SplineFlow(M, bins=5, width=16, networks=networks)
    x, g = M.sample_uniform(200, seeded(seed)), seeded(seed)
    model.flows.start(x, g)
    for net in model.flows.nets:
        for p in (*net.net.W[-1:], net.net.b[-1]):
            scale = size / p.shape[-2] ** 0.5
            p.add_(scale * torch.randn(p.shape, generator=g, dtype=p.dtype))
    model.fitted = True
    return model


def correlated(n, seed):
    """Points of the density exp(3 cos(t1 - pi) + 5 cos(t2 - t1)) / Z on T^2."""
    g = seeded(seed)
    a = tg.VonMises(math.pi, 3.0).sample((n,), g)
    b = tg.VonMises(0.0, 5.0).sample((n,), g)
    t = torch.atan2(a[:, 1], a[:, 0])
    return tg.FlatTorus(2).parametrize(torch.stack([t, t + torch.atan2(b[:, 1], b[:, 0])], -1))


def log_correlated(x):
    a, b = tg.VonMises(math.pi, 3.0), tg.VonMises(0.0, 5.0)
    difference = torch.stack(
        [x[:, 0] * x[:, 2] + x[:, 1] * x[:, 3], x[:, 0] * x[:, 3] - x[:, 1] * x[:, 2]], -1
    )
    return a.log_prob(x[:, :2]) + b.log_prob(difference)


@pytest.fixture(scope="module")
def torus_flow():
    """Trained on 4000 points of the correlated density."""
    model = tg.SplineFlow(tg.FlatTorus(2), networks=2)
    assert tg.fit(model, correlated(4000, 0), seed=0).status == "converged"
    return model


# slow: quadrature of a rough density on products of charts
ROUGH = ("torus2", "cylinder")
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in ROUGH else n for n in SPACES]


@pytest.mark.parametrize("name", SPACES)
class TestBaseSpace:
    def test_coordinates_preserve_volume_and_round_trip(self, name):
        M = SPACES[name]()
        x = M.sample_uniform(4000, seeded(0))
        ranks = []
        for f in M.factors():
            vectors = f.split(f.scaled(x))
            assert float((f.join(vectors) - f.scaled(x)).abs().max()) < 1e-12
            for c, e in zip(f.coordinates, vectors, strict=True):
                u = c.rank(e)
                assert float((c.place(u) - e).abs().max()) < 1e-7
                assert float((c.rank(c.place(u)) - u).abs().max()) < 1e-12
                ranks.append(u)
        u = torch.stack(ranks, -1)
        # uniform and uncorrelated, at 5 standard errors
        assert float((u.mean(0) - 0.5).abs().max()) < 5 * (1 / 12 / 4000) ** 0.5
        assert float((u.mT.cov().reshape(M.dim, M.dim) - torch.eye(M.dim) / 12).abs().max()) < 0.01

    def test_save_and_load(self, name, tmp_path):
        model = shaken(SPACES[name]())
        serialization.write(tmp_path / "flow.safetensors", model)
        other, _ = serialization.read(tmp_path / "flow.safetensors")
        x = model.manifold.sample_uniform(20, seeded(1))
        assert torch.equal(other().log_prob(x), model().log_prob(x))


@pytest.mark.parametrize("name", NAMES)
def test_obeys_the_laws_of_a_distribution(name):
    distribution = shaken(SPACES[name]())()
    if distribution.dim <= 2:
        check_distribution(distribution, seeded(0))
        return
    inverse = (-distribution.log_prob(distribution.sample((20_000,), seeded(0)))).exp()
    sigma = float(inverse.std()) / len(inverse) ** 0.5
    assert abs(float(inverse.mean()) - distribution.manifold.volume) < 5 * sigma  # E[1/p] = H^d(M)


def midpoints(n):
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def test_mass_by_quadrature():
    """The integral of p is 1 to 1e-3 on T^2, S^2, an interval and a cylinder."""
    u, v = torch.cartesian_prod(midpoints(300), midpoints(300)).unbind(-1)
    t, height = 2 * math.pi * u, 2 * v - 1
    circle = torch.stack([t.cos(), t.sin()], -1)
    sphere = torch.cat([(1 - height**2).sqrt().unsqueeze(-1) * circle, height.unsqueeze(-1)], -1)
    points = {
        "torus2": tg.FlatTorus(2).parametrize(2 * math.pi * torch.stack([u, v], -1)),
        "sphere": 0.5 * sphere,
        "interval": 4 * u.unsqueeze(-1) - 1,
        "cylinder": torch.cat([0.5 * circle, v.unsqueeze(-1)], -1),
    }
    for name, x in points.items():
        distribution = shaken(SPACES[name](), seed=3, size=0.3)()
        mass = float(distribution.log_prob(x).exp().mean()) * distribution.manifold.volume
        assert mass == pytest.approx(1, abs=1e-3), name


def test_moebius_map():
    u = torch.linspace(-0.49, 0.49, 99, dtype=torch.float64, requires_grad=True)
    rho = torch.full_like(u, 0.8).detach()
    v, log_slope = moebius(u, rho)
    (slope,) = torch.autograd.grad(v.sum(), u)
    assert float((slope.log() - log_slope).detach().abs().max()) < 1e-12
    back = moebius(v.detach(), -rho)[0]
    u = u.detach()
    assert float(torch.remainder(back - u + 0.5, 1.0).sub(0.5).abs().max()) < 1e-14


def test_walk_over_the_poles():
    """At the poles of its own frame a map has one density, whatever the direction."""
    M = tg.Sphere()
    model = shaken(M, networks=1, size=2.0)
    t = torch.linspace(0, 2 * math.pi, 50, dtype=torch.float64)
    around = torch.stack([t.cos(), t.sin(), torch.zeros_like(t)], -1)
    for sign in (1.0, -1.0):
        pole = torch.tensor([0.0, 0.0, sign], dtype=torch.float64)
        spreads = []
        for r in (0.3, 1e-2, 1e-4, 0.0):
            x = math.sqrt(1 - r * r) * pole + r * around
            values = model().log_prob(x @ model.flows.frames[0].mT)
            spreads.append(float(values.max() - values.min()))
        assert spreads[0] > 0.1  # the density is not flat
        assert spreads[1] < 0.2 * spreads[0]
        assert spreads[2] < 1e-2 * spreads[0]
        assert spreads[3] == 0


def test_walk_across_cuts_and_poles_of_s3():
    """Along great circles of S^3 through its poles steps of 1e-5 change log p by little."""
    model = shaken(tg.Sphere(3), networks=1)
    g = seeded(0)
    for first in torch.eye(4, dtype=torch.float64):
        v = torch.randn(4, generator=g, dtype=torch.float64)
        v = v - (v @ first) * first
        t = torch.linspace(-1, 1, 2001, dtype=torch.float64).unsqueeze(-1)
        x = t.cos() * first + t.sin() * v / v.norm()
        ahead = (t + 1e-5).cos() * first + (t + 1e-5).sin() * v / v.norm()
        frame = model.flows.frames[0].mT
        jump = model().log_prob(ahead @ frame) - model().log_prob(x @ frame)
        assert float(jump.abs().max()) < 5e-3


def test_a_vanishing_direction_is_no_jump():
    """Where the vector that turns a circle vanishes, p is uniform there, not discontinuous."""
    model = shaken(tg.FlatTorus(2), networks=1)
    net = model.flows.nets[1]
    net.net.W[-1][..., -2:] = 0
    t = torch.linspace(0, 6.28, 50, dtype=torch.float64)
    x = tg.FlatTorus(2).parametrize(torch.stack([torch.zeros_like(t), t], -1))
    for length in (0.0, 1e-9):
        net.net.b[-1][..., -2:] = length
        values = model().log_prob(x)
        assert float(values.max() - values.min()) < 1e-6


@pytest.mark.slow
def test_trained_torus_has_no_cut(torus_flow):
    """Across both cuts log p changes by less than 1e-2 (the notes' T10)."""
    distribution, M = torus_flow(), tg.FlatTorus(2)
    y = torch.linspace(-3.14, 3.14, 2001, dtype=torch.float64)
    for axis in (0, 1):
        sides = []
        for cut in (math.pi - 1e-4, -math.pi + 1e-4):
            pair = [torch.full_like(y, cut), y] if axis == 0 else [y, torch.full_like(y, cut)]
            sides.append(distribution.log_prob(M.parametrize(torch.stack(pair, -1))))
        assert float((sides[0] - sides[1]).abs().max()) < 1e-2


@pytest.mark.slow
def test_trained_torus_is_near_the_truth(torus_flow):
    x = correlated(10_000, 99)
    gap = log_correlated(x) - torus_flow().log_prob(x)
    assert abs(float(gap.mean())) < 0.02


@pytest.mark.slow
def test_trained_distribution_obeys_the_laws(torus_flow):
    check_distribution(torus_flow(), seeded(0))


def test_gradients_reach_points_and_weights():
    model = shaken(tg.Sphere())
    model.requires_grad_()
    x = torch.cat([tg.Sphere().sample_uniform(5, seeded(0)), model.flows.frames[:, :, 2]])
    x = x.requires_grad_()
    model.flows(x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad[:5].isfinite().all())
    for p in model.parameters():
        assert p.grad is not None
        assert bool(p.grad.isfinite().all())


def test_the_same_seed_gives_the_same_fit():
    x = tg.VonMises(0.3, 2.0).sample((300,), seeded(0))
    models = [tg.SplineFlow(tg.Circle(), networks=2) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        tg.fit(model, x, seed=seed, steps=4)
    a, b, c = (model().log_prob(x) for model in models if setattr(model, "fitted", True) is None)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


class TestBadInput:
    def test_another_set(self):
        with pytest.raises(UnsupportedError, match="got Torus"):
            tg.SplineFlow(tg.Torus())
        with pytest.raises(UnsupportedError, match="got KleinBottle"):
            tg.SplineFlow(tg.Product(tg.Circle(), tg.KleinBottle()))

    def test_sizes(self):
        with pytest.raises(ValueError, match="bins >= 2"):
            tg.SplineFlow(tg.Circle(), bins=1)
        with pytest.raises(ValueError, match="networks >= 1"):
            tg.SplineFlow(tg.Circle(), networks=0)

    def test_points(self):
        with pytest.raises(InvalidPoints, match="at least 20 different points"):
            tg.fit(tg.SplineFlow(tg.Circle()), torch.ones(100, 2))
        with pytest.raises(InvalidPoints, match="columns"):
            tg.fit(tg.SplineFlow(tg.Circle()), torch.randn(100, 3))

    def test_before_a_fit(self):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            tg.SplineFlow(tg.Circle())()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gap_of_the_correlated_density(seed):
    model = tg.SplineFlow(tg.FlatTorus(2))
    assert tg.fit(model, correlated(8000, seed), seed=seed).status == "converged"
    x = correlated(40_000, 100 + seed)
    assert abs(float((log_correlated(x) - model().log_prob(x)).mean())) < 0.01


@pytest.mark.slow
def test_gap_of_von_mises_fisher():
    truth = tg.VonMisesFisher([0.0, 0.0, 1.0], 10.0)
    model = tg.SplineFlow(tg.Sphere())
    tg.fit(model, truth.sample((8000,), seeded(0)))
    x = truth.sample((40_000,), seeded(1))
    assert abs(float((truth.log_prob(x) - model().log_prob(x)).mean())) < 0.01
