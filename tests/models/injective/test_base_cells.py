"""Boxes cover their bases, and their halves cover them."""

import math

import pytest
import torch

from topogen.homology import Homology
from topogen.models.injective.base_cells import Boxes, cover
from topogen.models.injective.bases import Base, product, standard
from topogen.models.injective.bases.harmonic_factors import UnitSphere


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


BASES = {
    "circle": lambda: standard("circle"),
    "torus": lambda: standard("torus"),
    "sphere": lambda: standard("sphere"),
    "3-sphere": lambda: standard("sphere", 3),
    "cylinder": lambda: standard("cylinder"),
    "sphere x interval": lambda: product(standard("sphere"), standard("interval", 1)),
    "klein": lambda: standard("klein"),
    "mobius": lambda: standard("mobius"),
    "projective": lambda: standard("projective"),
    "projective x circle": lambda: product(standard("projective"), standard("circle")),
    "rotated by a third": lambda: rotated_by_a_third(),
}


def rotated_by_a_third():
    """S^1 modulo a rotation that does not permute the boxes."""
    turns = [2 * math.pi * k / 3 for k in range(3)]
    group = torch.tensor(
        [[[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]] for t in turns]
    )
    group = group.double()
    group[0] = torch.eye(2)
    return Base([UnitSphere(1)], group, name="S^1 / 3", homology=Homology((1, 1)))


@pytest.mark.parametrize("last", [1.0, 0.25])
@pytest.mark.parametrize("name", BASES)
def test_boxes_cover(name, last):
    B = BASES[name]()
    mu = torch.linspace(1.0, last, len(B.factors)).double()
    boxes = cover(B, 1500, mu)
    b = B.sample(200, generator=seeded())
    for _ in range(3):
        c, radii = boxes.centres, boxes.radii
        torch.testing.assert_close(B.retract(c), c)
        ratio = within(B, b, c, radii, mu)
        assert 0.3 < float(ratio.max()) <= 1 + 1e-9
        boxes = halved_in_part(boxes)


def halved_in_part(boxes):
    """A third of the boxes halved."""
    rows = torch.arange(0, len(boxes.middle), 3)
    kept = torch.ones(len(boxes.middle), dtype=torch.bool)
    kept[rows] = False
    halves = boxes.halved(rows)
    middle = torch.cat([boxes.middle[kept], halves.middle])
    return Boxes(boxes.base, boxes.scale, middle, torch.cat([boxes.half[kept], halves.half]))


def within(B, b, c, radii, mu):
    """How far points are from the nearest box, in units of its radii, largest over the factors."""
    ratios = []
    for q in B.orbit(b):
        parts = zip(B.factors, B.split(q), B.split(c), strict=True)
        distances = [f.distance(x.unsqueeze(-2), y) for f, x, y in parts]
        ratios.append((torch.stack(distances, -1) * mu / radii).amax(-1).amin(-1))
    return torch.stack(ratios).amin(0)


@pytest.mark.parametrize("name", ["klein", "mobius", "projective", "projective x circle"])
def test_quotients_need_one_box_of_each_orbit(name):
    B = BASES[name]()
    plain = Base(B.factors, name="cover", homology=B.homology)
    mu = torch.ones(len(B.factors)).double()
    assert 2 * len(cover(B, 1000, mu).middle) == len(cover(plain, 1000, mu).middle)


def test_boxes_are_about_cubes_in_the_scaled_lengths():
    mu = torch.tensor([4.0, 1.0]).double()
    boxes = cover(standard("torus"), 1000, mu)
    assert len(boxes.middle) == pytest.approx(1000, rel=0.2)
    a, b = (boxes.half[0] * mu).tolist()
    assert 0.7 < a / b < 1.4


def test_no_boxes_on_a_line():
    with pytest.raises(ValueError, match="got one with a line"):
        cover(standard("euclidean"), 100, torch.ones(2).double())
