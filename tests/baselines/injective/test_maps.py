"""Maps of published injective flows, against their formulas."""

import math

import pytest
import torch

from topogen import calculus
from topogen.baselines.injective.autoencoder import CouplingAutoencoder, FreeAutoencoder
from topogen.baselines.injective.conformal import (
    ConformalAutoencoder,
    inverse_stereographic,
    special_conformal,
)
from topogen.baselines.injective.graph_autoencoders import (
    GraphAutoencoder,
    StarAutoencoder,
    star_log_volume,
)
from topogen.baselines.injective.trumpet import TallLinear, TrumpetAutoencoder
from topogen.models.injective.bases import standard
from topogen.models.nn.coupling import CouplingFlow


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def autodiff(pair, b):
    """The log volume from the Jacobian, whatever closed form the class has."""
    return calculus.log_gram(pair.value_and_jacobian(b)[1])


def test_special_conformal_map_is_conformal_with_the_factor_of_the_right_sign():
    x, a = normal(50, 3), torch.tensor([0.3, -0.2, 0.1]).double()
    _, log_scale = special_conformal(x, a)
    J = calculus.jacobian(lambda y: special_conformal(y, a)[0], x)
    D = 1 - 2 * (x @ a) + a @ a * x.square().sum(-1)
    gram = J.mT @ J * D.square()[:, None, None]
    assert (gram - torch.eye(3).double()).abs().max() < 1e-11
    # the map that shrinks has log |det| < 0: the published code has the other sign
    log_det = torch.linalg.slogdet(J)[1]
    assert (log_det - 3 * log_scale).abs().max() < 1e-11
    assert (log_scale + D.log()).abs().max() < 1e-14
    assert log_scale.abs().max() > 0.1


def test_stereographic_volume_is_that_of_the_sphere():
    u = normal(50, 2)
    x, log_scale = inverse_stereographic(u)
    assert (x.norm(dim=-1) - 1).abs().max() < 1e-14
    exact = calculus.log_volume(lambda v: inverse_stereographic(v)[0], u)
    assert (exact - 2 * log_scale).abs().max() < 1e-13
    assert (log_scale - (2 / (1 + u.square().sum(-1))).log()).abs().max() < 1e-14
    # r = tan(theta / 2), theta by Gauss-Legendre
    from scipy.special import roots_legendre

    t, w = (torch.from_numpy(a) for a in roots_legendre(40))
    theta = (t + 1) * math.pi / 2
    r = (theta / 2).tan()
    lv = 2 * inverse_stereographic(torch.stack([r, 0 * r], -1))[1]
    slope = 0.5 / (theta / 2).cos().square()
    total = (w * math.pi / 2 * 2 * math.pi * r * slope * lv.exp()).sum()
    assert abs(float(total) - 4 * math.pi) < 1e-12


def test_star_like_volume_is_the_formula():
    def log_r(n):
        return 0.3 * n[..., 0] * n[..., 2] + 0.2 * n[..., 1]

    n = normal(100, 3)
    n = n / n.norm(dim=-1, keepdim=True)
    E = standard("sphere", 2).frame(n)
    J = calculus.jacobian(
        lambda v: (
            log_r(n + (E @ v[..., None])[..., 0]).exp()[..., None]
            * (n + (E @ v[..., None])[..., 0])
        ),
        torch.zeros(100, 2).double(),
    )
    assert (star_log_volume(log_r, n, E) - calculus.log_gram(J)).abs().max() < 3e-15


def test_length_of_an_ellipse():
    pair = FreeAutoencoder(standard("circle"), 2, width=4, depth=0)
    pair.requires_grad_(False)
    with torch.no_grad():
        # functions 1, sqrt(2) cos, sqrt(2) sin
        pair.decoder.W[0].copy_(
            torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).double() / math.sqrt(2)
        )
    t = torch.arange(400).double() * (2 * math.pi / 400)
    lv = pair.log_volume(torch.stack([t.cos(), t.sin()], -1))
    assert abs(float(lv.exp().mean()) * 2 * math.pi - 9.688448220547675) < 1e-12


def test_linear_volume():
    layer = TallLinear(2, 5)
    with torch.no_grad():
        layer.W.copy_(normal(5, 2))
    expected = 0.5 * torch.logdet(layer.W.mT @ layer.W)
    assert abs(float((layer.log_volume() - expected).detach())) < 1e-14
    measured = calculus.log_volume(layer, normal(7, 2))
    assert (measured - expected).abs().max() < 1e-14


PAIRS = {
    "coupling": lambda: CouplingAutoencoder(standard("euclidean", 2), 3, layers=6, width=16),
    "splines": lambda: CouplingAutoencoder(
        standard("euclidean", 2), 3, layers=4, width=16, kind="spline"
    ),
    "coupling on a circle": lambda: CouplingAutoencoder(standard("circle"), 3, layers=6, width=16),
    "conformal": lambda: ConformalAutoencoder(standard("euclidean", 2), 3, layers=4),
    "conformal on a circle": lambda: ConformalAutoencoder(standard("circle"), 3, layers=4),
    "trumpet": lambda: TrumpetAutoencoder(standard("euclidean", 2), 5, layers=2, width=16),
    "star": lambda: StarAutoencoder(standard("sphere", 2), 3, width=16, depth=2),
    "graph": lambda: GraphAutoencoder(standard("euclidean", 2), 3, width=16, depth=2),
    "graph of two functions": lambda: GraphAutoencoder(
        standard("euclidean", 1), 3, width=16, depth=2
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_encoders_invert_and_volumes_agree_with_autodiff(name):
    pair = PAIRS[name]()
    pair.start(seeded())
    pair.requires_grad_(False)
    b = pair.base.sample(64, generator=seeded(1))
    assert (pair.encode(pair(b)) - b).abs().max() < 1e-8
    assert (pair.log_volume(b) - autodiff(pair, b)).abs().max() < 1e-11


@pytest.mark.parametrize("kind", ["affine", "spline"])
@pytest.mark.parametrize("D", [1, 2, 5])
def test_coupling_flow_log_det(kind, D):
    h = CouplingFlow(D, layers=4, width=16, kind=kind)
    h.start(seeded())
    h.requires_grad_(False)
    x = normal(40, D)
    y, log_det = h.forward_and_log_det(x)
    assert (h.inverse(y) - x).abs().max() < 1e-8
    exact = torch.linalg.slogdet(calculus.jacobian(h, x))[1]
    assert (log_det - exact).abs().max() < 1e-11
