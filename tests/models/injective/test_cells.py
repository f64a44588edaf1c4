"""Proofs of injectivity: given for embeddings, never for other maps."""

import math

import pytest
import torch

from topogen.manifolds.bases import product, standard
from topogen.models.injective import cells
from topogen.models.injective.cells import prove_injective
from topogen.models.injective.decoder import SpectralDecoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


BASES = {
    "circle": lambda: standard("circle"),
    "torus": lambda: standard("torus"),
    "sphere": lambda: standard("sphere"),
    "3-sphere": lambda: standard("sphere", 3),
    "cylinder": lambda: standard("cylinder"),
    "sphere x interval": lambda: product(standard("sphere"), standard("interval", 1)),
}


@pytest.mark.parametrize("make", BASES.values(), ids=BASES.keys())
def test_cells_cover(make):
    B = make()
    c, rho = cells.cells(B, 3000)
    torch.testing.assert_close(B.retract(c), c)
    b = B.sample(400, generator=seeded())
    gap = torch.stack([B.log(p, c).norm(dim=-1).min() for p in b])
    assert float(gap.max()) <= rho
    assert float(gap.max()) > 0.3 * rho


def test_no_cells_on_a_line():
    with pytest.raises(ValueError, match="got one with a line"):
        cells.cells(standard("euclidean"), 100)


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
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_proved(known, name):
    g = EMBEDDINGS[name](known)
    found = prove_injective(g)
    assert found.proved is True
    # the bound is one: no smaller singular value is found
    J = g.value_and_jacobian(g.base.sample(5000, generator=seeded()))[1]
    assert 0 < found.least <= float(torch.linalg.svdvals(J)[:, -1].min())


@pytest.mark.parametrize("name", ["sphere", "projective"])
def test_third_derivatives_are_bounded_in_mixed_directions_too(name):
    B = standard(name)
    for bandwidth in (2, 4):
        g = SpectralDecoder(B, bandwidth, 3)
        g.coefficients = torch.randn(
            g.spectrum.count, 3, generator=seeded(bandwidth), dtype=torch.float64
        )
        T = cells.third_bound(g)
        b = B.sample(300, generator=seeded(1))
        E, h = B.frame(b), 1e-4
        for i, j in ((0, 0), (0, 1)):
            w, v = E[..., i], E[..., j]
            # v carried along the geodesic in direction w, of which it is no part or all
            ends = []
            for s in (h, -h):
                c = B.move(b, s * w)
                carried = v if i != j else math.cos(s) * w - math.sin(s) * b
                F = B.frame(c)
                u = (F.mT @ carried.unsqueeze(-1)).squeeze(-1)
                ends.append(torch.einsum("ni,nijD,nj->nD", u, g.second_derivatives(c), u))
            third = ((ends[0] - ends[1]) / (2 * h)).norm(dim=-1)
            assert float(third.max()) <= T


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
}


def degree_two(b):
    c, s = b[:, 0], b[:, 1]
    return torch.stack([c * c - s * s, 2 * c * s, b[:, 2], b[:, 3]], -1)


def folded(b):
    return torch.stack([b[:, 0], b[:, 1], b[:, 2] ** 2], -1)


@pytest.mark.parametrize("name", CONTROLS)
def test_maps_that_are_not_injective_are_never_proved(known, name, monkeypatch):
    monkeypatch.setattr(cells, "MOST_CELLS", {1: 20_000, 2: 12_000})
    assert prove_injective(CONTROLS[name](known)).proved is None


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_nor_with_all_cells(known, name):
    assert prove_injective(CONTROLS[name](known)).proved is None


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
