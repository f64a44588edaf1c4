"""SpectralDecoder and its nearest points: derivatives, exact recovery, nearest points."""

import math

import pytest
import torch

import topogen as tg
from topogen import calculus
from topogen.errors import TrainingError
from topogen.models.injective.bases import product, standard
from topogen.models.injective.decoder import Decoder, SpectralDecoder
from topogen.models.injective.decoder_fit import distances
from topogen.models.injective.nearest_points import nearest_points

BASES = {
    "circle": lambda: standard("circle"),
    "torus": lambda: standard("torus"),
    "sphere": lambda: standard("sphere"),
    "3-sphere": lambda: standard("sphere", 3),
    "klein": lambda: standard("klein"),
    "mobius": lambda: standard("mobius"),
    "projective plane": lambda: standard("projective"),
    "sphere x circle": lambda: product(standard("sphere"), standard("circle")),
}
every = pytest.mark.parametrize("make", BASES.values(), ids=BASES.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def random_decoder(base, bandwidth=4, D=5):
    g = SpectralDecoder(base, bandwidth, D)
    g.coefficients = normal(g.spectrum.count, D, seed=1)
    return g


@every
def test_jacobian_without_autodiff_equals_autodiff(make):
    g = random_decoder(make())
    b = g.base.sample(30, generator=seeded(2)).reshape(5, 6, -1)
    value, J = g.value_and_jacobian(b)
    other_value, other_J = Decoder.value_and_jacobian(g, b)
    torch.testing.assert_close(value, other_value, atol=1e-10, rtol=0)
    torch.testing.assert_close(J, other_J, atol=1e-9, rtol=1e-9)


@every
def test_second_derivatives_are_those_along_geodesics(make):
    g = random_decoder(make())
    B, h = g.base, 1e-4
    b = B.sample(30, generator=seeded(3))
    H = g.jets()(b)[2].unflatten(1, (B.dim, B.dim))
    torch.testing.assert_close(H, H.transpose(1, 2), atol=1e-8, rtol=1e-8)
    u = normal(30, B.dim, seed=4)
    v = (B.frame(b) @ u.unsqueeze(-1)).squeeze(-1)
    ends = g(B.move(b, h * v, ends=False)) + g(B.move(b, -h * v, ends=False))
    found = torch.einsum("ni,nijD,nj->nD", u, H, u)
    # errors of differences: h^2 times fourth derivatives, and rounding / h^2
    scale = float(found.abs().max())
    torch.testing.assert_close(found, (ends - 2 * g(b)) / h**2, atol=2e-4 * scale, rtol=0)


def test_a_decoder_may_be_used_first_inside_a_transform():
    b = standard("sphere", 3).sample(4, generator=seeded(5))
    for call in (
        lambda g: torch.func.vmap(g)(b),
        lambda g: calculus.jacobian(g, b),
        lambda g: torch.func.vmap(g.value_and_jacobian)(b)[1],
    ):
        g = random_decoder(standard("sphere", 3), bandwidth=6)
        inside = call(g)
        torch.testing.assert_close(call(g), inside)
        torch.testing.assert_close(
            calculus.jacobian(g, b) @ g.base.frame(b), g.value_and_jacobian(b)[1]
        )


def test_regression_recovers_a_decoder():
    g = random_decoder(standard("klein"))
    b = g.base.sample(800, generator=seeded(6))
    other = SpectralDecoder(g.base, 4, 5)
    other.regress(b, g(b), 1e-14)
    torch.testing.assert_close(other.coefficients, g.coefficients, atol=1e-6, rtol=0)


SETS = {
    "flat torus": ("torus", 2, lambda k: lambda b: b),
    "ring torus": ("torus", 2, lambda k: k.ring),
    "sphere": ("sphere", 2, lambda k: lambda b: b),
    "klein": ("klein", 4, lambda k: k.klein),
    "projective plane": ("projective", 2, lambda k: k.veronese),
}


@pytest.mark.parametrize("name", SETS)
def test_points_of_a_known_image_are_found_exactly(known, name):
    base, bandwidth, formula = SETS[name]
    g = known.decoder(base, bandwidth, formula(known))
    b = g.base.sample(600, generator=seeded(7))
    x = g(g.base.sample(300, generator=seeded(8)))
    assert float(distances(g, b, x).max()) < 1e-7
    # and their base points, up to the group
    c = g.base.sample(300, generator=seeded(9))
    near = g.base.distance(c[:, None], b[None]).argmin(-1)
    projections = nearest_points(g, g(c), b[near], tol=1e-12, max_steps=50)
    assert bool(projections.converged.all())
    assert float(g.base.distance(projections.b, c).max()) < 1e-7


def test_they_are_the_nearest_points_of_the_torus(known):
    M = tg.Torus(R=2.0, r=0.7)
    g = known.decoder("torus", 2, known.ring)
    y = M.sample_uniform(500, generator=seeded(10))
    x = y + 0.1 * normal(500, 3, seed=11)
    anchors = g.base.sample(4000, generator=seeded(12))
    start = anchors[torch.cdist(x, g(anchors)).argmin(-1)]
    projections = nearest_points(g, x, start, tol=1e-10, max_steps=50)
    assert bool(projections.converged.all())
    assert bool((projections.residual <= 1e-10).all())
    torch.testing.assert_close(projections.value, M.project(x).value, atol=1e-8, rtol=0)
    torch.testing.assert_close(projections.value, g(projections.b))
    # rows do not see each other
    alone = nearest_points(g, x[:5], start[:5], tol=1e-10, max_steps=50)
    torch.testing.assert_close(alone.b, projections.b[:5])
    assert torch.equal(alone.steps, projections.steps[:5])


def test_status_says_when_steps_run_out(known):
    g = known.decoder("circle", 1, lambda b: b)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.5]]).double()
    start = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    projections = nearest_points(g, x, start, tol=1e-10, max_steps=2)
    assert projections.converged.tolist() == [True, False]
    assert projections.steps.tolist() == [0, 2]
    assert float(projections.residual[1]) > 0.1
    more = nearest_points(g, x, start, tol=1e-10, max_steps=50)
    assert bool(more.converged.all())
    torch.testing.assert_close(more.b[1], torch.tensor([0.0, 1.0]).double())


def test_far_points_go_to_the_nearest_though_slowly(known):
    M = tg.Torus(R=2.0, r=0.7)
    g = known.decoder("torus", 2, known.ring)
    u = normal(40, 3, seed=13)
    x = 20 * u / u.norm(dim=-1, keepdim=True)
    anchors = g.base.sample(4000, generator=seeded(12))
    start = anchors[torch.cdist(x, g(anchors)).argmin(-1)]
    projections = nearest_points(g, x, start, tol=1e-10, max_steps=60)
    # Gauss-Newton overshoots beyond the radius of curvature; distances resolve sqrt(eps)
    torch.testing.assert_close(projections.value, M.project(x).value, atol=1e-4, rtol=0)
    assert torch.equal(projections.converged, projections.residual <= 1e-10)


def test_points_beyond_the_edge_of_a_band_end_on_the_edge(known):
    g = known.decoder("cylinder", 1, known.cylinder)
    t = torch.linspace(0, 6, 40).double()
    x = torch.stack([1.2 * t.cos(), 1.2 * t.sin(), torch.linspace(1, 3, 40).double()], -1)
    x[20:, 2] *= -1
    start = g.base.sample(40, generator=seeded(14))
    start[:, :2] = torch.stack([(t + 0.5).cos(), (t + 0.5).sin()], -1)
    projections = nearest_points(g, x, start, tol=1e-10, max_steps=100)
    assert bool(projections.converged.all())
    expected = torch.stack([t.cos(), t.sin(), x[:, 2].sign()], -1)
    torch.testing.assert_close(projections.value, expected, atol=1e-9, rtol=0)
    # continued beyond the ends where that is asked for
    free = nearest_points(g, x, start, tol=1e-10, max_steps=100, ends=False)
    torch.testing.assert_close(free.value[:, 2], x[:, 2], atol=1e-9, rtol=0)


def test_points_between_stay_inside_a_band(known):
    g = known.decoder("mobius", 4, mobius)
    c = g.base.sample(200, generator=seeded(15))
    start = g.base.move(c, 0.1 * (g.base.frame(c) @ normal(200, 2, 1, seed=16)).squeeze(-1))
    projections = nearest_points(g, g(c), start, tol=1e-11, max_steps=50)
    assert bool(projections.converged.all())
    assert float(g.base.distance(projections.b, c).max()) < 1e-8


def mobius(b, width=0.6):
    """The standard Moebius band: its angle is twice that of the cover."""
    c, s, h = b[:, 0], b[:, 1], b[:, 2]
    rho = 1 + 0.5 * width * h * c
    u, v = c * c - s * s, 2 * c * s
    return torch.stack([rho * u, rho * v, 0.5 * width * h * s], -1)


def test_ellipse_length_by_quadrature(known):
    g = known.decoder("circle", 1, lambda b: b * torch.tensor([2.0, 1.0]).double())
    b, w = g.base.nodes(60)
    length = 2 * math.pi * float(w @ calculus.log_gram(g.value_and_jacobian(b)[1]).exp())
    assert length == pytest.approx(9.688448220547675, rel=1e-12)


def test_latent_points_in_one_place_are_refused():
    decoder = SpectralDecoder(standard("circle"), 4, 2)
    b = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(50, 1)
    with pytest.raises(TrainingError, match="spread over the base"):
        decoder.regress(b, torch.zeros(50, 2, dtype=torch.float64), 0.0)
