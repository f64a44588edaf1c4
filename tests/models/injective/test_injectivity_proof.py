"""Proofs of injectivity: given for embeddings, never for other maps."""

import pytest
import torch

import topogen as tg
from topogen.models.injective.bases import product, standard
from topogen.models.injective.decoder import SpectralDecoder
from topogen.models.injective.injectivity_proof import mean_stretch, prove_injective


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


EMBEDDINGS = {
    "circle": lambda k: k.decoder("circle", 1, lambda b: b),
    "trefoil": lambda k: k.decoder(
        "circle",
        3,
        k.curve(
            lambda t: t.sin() + 2 * (2 * t).sin(),
            lambda t: t.cos() - 2 * (2 * t).cos(),
            lambda t: -(3 * t).sin(),
        ),
    ),
    "sphere": lambda k: k.decoder("sphere", 1, lambda b: b),
    "projective plane": lambda k: k.decoder("projective", 2, k.veronese),
    "torus": lambda k: k.decoder("torus", 1, lambda b: b),
    "cylinder": lambda k: k.decoder("cylinder", 1, k.cylinder),
    "thin torus": lambda k: k.decoder("torus", 2, lambda b: k.ring(b, 2.0, 0.1)),
    "Klein bottle": lambda k: k.decoder("klein", 4, k.klein),
    "Moebius band": lambda k: k.decoder("mobius", 4, band),
    "flat 3-torus": lambda k: k.decoder(standard("torus", 3), 1, lambda b: b),
    "rotations": lambda k: k.decoder(standard("projective", 3), 2, squares),
    "circle x sphere": lambda k: k.decoder(
        product(standard("circle"), standard("sphere")), 1, lambda b: b
    ),
}


def squares(b):
    """RP^n: all products of two coordinates."""
    return (b.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2)


def band(b, width=0.7, R=2.0):
    """The Moebius band in R^3, wide ones cross themselves."""
    c, s, h = b.unbind(-1)
    rho = R + width * h * c
    return torch.stack([rho * (c * c - s * s), rho * 2 * c * s, width * h * s], -1)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_proved(known, name):
    g = EMBEDDINGS[name](known)
    found = prove_injective(g)
    assert found.proved is True
    # the bound is one: no smaller singular value is found
    J = g.value_and_jacobian(g.base.sample(5000, generator=seeded()))[1]
    assert 0 < found.least <= float(torch.linalg.svdvals(J)[:, -1].min())


SCALES = {
    "sphere": (standard("sphere"), [1.0]),
    "projective": (standard("projective"), [0.5]),
    "sphere x circle": (product(standard("sphere"), standard("circle")), [2.0, 0.5]),
    "sphere x interval": (product(standard("sphere"), standard("interval", 1)), [1.0, 3.0]),
    "klein": (standard("klein"), [1.0, 0.25]),
}


@pytest.mark.parametrize("name", SCALES)
def test_third_derivatives_are_bounded_in_mixed_directions_too(name):
    B, mu = SCALES[name]
    mu = torch.tensor(mu).double()
    generator = seeded(1)
    for bandwidth, lowest in ((2, 0), (4, 0), (4, 12)):
        g = SpectralDecoder(B, bandwidth, 3)
        C = torch.randn(g.spectrum.count, 3, generator=generator, dtype=torch.float64)
        g.coefficients = C * (g.spectrum.frequency >= lowest)[:, None]
        T = g.jets(mu).third_bound()
        found = [third_derivative(g, mu, aligned, generator) for aligned in (True, False)]
        assert max(found) <= T
        assert T < 60 * max(found)


def third_derivative(g, mu, aligned, generator, h=1e-4):
    """The largest nabla^3 g(u; v, v) at random points, unit vectors in lengths times mu."""
    B, jets = g.base, g.jets(mu)
    b = B.sample(400, generator=generator)
    at = 0
    for f in B.factors:
        if not f.closed:
            b[:, at] *= 1 - 1e-3
        at += f.width

    def unit():
        v = torch.randn(len(b), B.dim, generator=generator, dtype=torch.float64)
        return (B.frame(b) / jets.scale @ (v / v.norm(dim=-1, keepdim=True)).unsqueeze(-1))[..., 0]

    u, v = unit(), unit()
    v = u if aligned else v
    ends = []
    for s in (h, -h):
        c = B.move(b, s * u)
        F = B.frame(c) * jets.scale
        # v moved along the geodesic in direction u by the rotation of every factor
        carried = torch.cat([rotated(*parts) for parts in zip(
            B.factors, B.split(b), B.split(s * u), B.split(v), strict=True
        )], -1)  # fmt: skip
        a = (F.mT @ carried.unsqueeze(-1))[..., 0]
        H = jets(c)[2].reshape(len(b), B.dim, B.dim, -1)
        ends.append(torch.einsum("ni,nijD,nj->nD", a, H, a))
    return float(((ends[0] - ends[1]) / (2 * h)).norm(dim=-1).max())


def rotated(f, b, u, v):
    """The tangent vector v at b, by parallel transport along exp_b(t u) to t = 1."""
    if not f.closed:
        return v
    t = u.norm(dim=-1, keepdim=True)
    e = u / t
    along = (v * e).sum(-1, keepdim=True)
    return v - along * e + along * (t.cos() * e - t.sin() * b)


def test_bound_of_third_derivatives_is_sharp_for_the_flat_torus(known):
    g = known.decoder(standard("torus", 3), 1, lambda b: b)
    assert g.jets().third_bound() == pytest.approx(1.0)
    stretched = known.decoder("torus", 1, lambda b: b * torch.tensor([2.0, 2, 1, 1]).double())
    mu = mean_stretch(stretched, stretched.base.sample(100, generator=seeded()))
    torch.testing.assert_close(mu, torch.tensor([2.0, 1.0]).double())
    # 2^-3 of 2, and 1
    assert stretched.jets(mu).third_bound() == pytest.approx(1.0)


def test_jets_are_those_of_the_decoder(known):
    g = known.decoder("klein", 4, known.klein)
    mu = torch.tensor([2.0, 0.5]).double()
    c = g.base.sample(50, generator=seeded())
    value, J, H = g.jets(mu)(c)
    torch.testing.assert_close(value, g(c))
    torch.testing.assert_close(J * mu, g.value_and_jacobian(c)[1])
    unscaled = H.unflatten(1, (2, 2)) * torch.outer(mu, mu).unsqueeze(-1)
    torch.testing.assert_close(unscaled, g.jets()(c)[2].unflatten(1, (2, 2)))


CONTROLS = {
    "doubled circle": lambda k: k.decoder(
        "circle", 2, k.curve(lambda t: (2 * t).cos(), lambda t: (2 * t).sin())
    ),
    "figure eight": lambda k: k.decoder(
        "circle", 2, k.curve(lambda t: t.cos(), lambda t: (2 * t).sin())
    ),
    # the arcs around t = pi/2 and -pi/2 touch at 0
    "pinched circle": lambda k: k.decoder(
        "circle", 3, k.curve(lambda t: t.cos(), lambda t: t.sin() * t.cos() ** 2)
    ),
    "cusp": lambda k: k.decoder(
        "circle", 3, k.curve(lambda t: t.cos() ** 3, lambda t: t.sin() ** 3)
    ),
    "degree 2": lambda k: k.decoder("torus", 2, degree_two),
    "antipodes": lambda k: k.decoder("sphere", 2, k.veronese),
    "folded cylinder": lambda k: k.decoder("cylinder", 2, folded),
    "pinched torus": lambda k: k.decoder("torus", 2, lambda b: k.ring(b, 0.7, 0.7)),
    "cover of the Klein bottle": lambda k: k.decoder("torus", 4, k.klein),
    "Klein bottle in R^3": lambda k: k.decoder("klein", 4, lambda b: k.klein(b)[:, :3]),
    "glued Klein bottle": lambda k: glued(k.decoder("klein", 4, k.klein)),
    "wide Moebius band": lambda k: k.decoder("mobius", 4, lambda b: band(b, 2.5, 1.0)),
    "glued Moebius band": lambda k: glued(k.decoder("mobius", 4, band)),
    "crossing torus": lambda k: k.decoder("torus", 3, crossing),
    "nothing": lambda k: k.decoder("interval", 1, lambda b: 0 * b),
    "flat": lambda k: k.decoder("interval", 1, lambda b: (b[:, :1] + 0.3 * b[:, 1:]).repeat(1, 2)),
}
SOLID = {
    "3-torus, one circle twice": lambda k: k.decoder(
        standard("torus", 3), 2, lambda b: torch.cat([degree_two(b[:, :4]), b[:, 4:]], -1)
    ),
    "3-torus without a side": lambda k: k.decoder(standard("torus", 3), 1, lambda b: b[:, :5]),
    "glued 3-torus": lambda k: glued(EMBEDDINGS["flat 3-torus"](k)),
    "glued rotations": lambda k: glued(EMBEDDINGS["rotations"](k)),
}


def glued(g):
    """With multiples of one function added, so that two random points have one image."""
    b = g.base.sample(2, generator=seeded(3))
    phi, value = g.spectrum(b), g(b)
    apart = phi[0] - phi[1]
    k = int(apart.abs().masked_fill(g.spectrum.frequency > 4, 0).argmax())
    C = g.coefficients.clone()
    C[k] += (value[1] - value[0]) / apart[k]
    g.coefficients = C
    torch.testing.assert_close(g(b[:1]), g(b[1:]))
    return g


def crossing(b):
    """The surface of a figure eight turned about an axis, immersed."""
    rho = 2 + 0.7 * b[:, 2]
    return torch.stack([rho * b[:, 0], rho * b[:, 1], 1.4 * b[:, 2] * b[:, 3]], -1)


def degree_two(b):
    c, s = b[:, 0], b[:, 1]
    return torch.stack([c * c - s * s, 2 * c * s, b[:, 2], b[:, 3]], -1)


def folded(b):
    return torch.stack([b[:, 0], b[:, 1], b[:, 2] ** 2], -1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONTROLS, *SOLID])
def test_maps_that_are_not_injective_are_never_proved(known, name):
    g = {**CONTROLS, **SOLID}[name](known)
    most = {1: 20_000, 2: 12_000, 3: 6000}[g.base.dim]
    assert prove_injective(g, most_cells=most).proved is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONTROLS, *SOLID])
def test_nor_with_all_cells(known, name):
    assert prove_injective({**CONTROLS, **SOLID}[name](known)).proved is None


def test_nothing_is_tried_without_cells_of_the_dimension(known):
    for base in (standard("interval", 4), standard("interval", 2)):
        g = known.decoder(base, 1, lambda b: b[:, :1])
        found = prove_injective(g)
        assert found.proved is None
        assert found.cells == 0


FITS = {
    "klein": (tg.KleinBottle, "klein", 8000),
    "mobius": (tg.MobiusBand, "mobius", 6000),
    "flat 3-torus": (lambda: tg.FlatTorus(3), "torus", 10_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
def test_fitted_decoders_are_proved(name):
    make, base, n = FITS[name]
    M = make()
    flow = tg.InjectiveFlow(M.dim, M.ambient_dim, base=base)
    tg.fit(flow, M.sample_uniform(n, generator=seeded()), progress=False)
    found = flow.certificate.injectivity
    assert found.proved is True
    J = flow.image.decoder.value_and_jacobian(flow.image.base.sample(5000, generator=seeded()))[1]
    assert 0 < found.least <= float(torch.linalg.svdvals(J)[:, -1].min())


def test_nearly_touching_arcs_are_told_from_touching_ones(known):
    # the waist of the curve is 2 a; at a = 0 the arcs meet
    def waist(a):
        return known.decoder(
            "circle",
            3,
            known.curve(lambda t: t.cos(), lambda t: t.sin() * (t.cos() ** 2 + a)),
        )

    assert prove_injective(waist(0.05)).proved is True
    assert prove_injective(waist(0.0)).proved is None
