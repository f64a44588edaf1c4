"""Betti numbers per field: Kuenneth, unions, complexes with known answers."""

from __future__ import annotations

import itertools

import pytest

from topogen.homology import Homology, is_prime

CIRCLE = Homology((1, 1))
SPHERE = Homology((1, 0, 1))
TORUS = Homology({2: (1, 2, 1), 3: (1, 2, 1)})
KLEIN = Homology({2: (1, 2, 1), 3: (1, 1, 0)})
# the six-vertex projective plane
PLANE = [
    (0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5), (0, 1, 5),
    (1, 2, 4), (2, 3, 5), (1, 3, 4), (2, 4, 5), (1, 3, 5),
]  # fmt: skip


def test_products() -> None:
    assert CIRCLE.product(CIRCLE) == TORUS
    assert CIRCLE.product(SPHERE) == Homology((1, 1, 1, 1))
    assert KLEIN.product(CIRCLE) == Homology({2: (1, 3, 3, 1), 3: (1, 2, 1)})
    assert Homology((1,)).product(KLEIN) == KLEIN


def test_unions_and_padding() -> None:
    assert CIRCLE.disjoint_union(SPHERE) == Homology((2, 1, 1))
    assert Homology((1, 0, 0)) == Homology((1,))
    assert hash(Homology((1, 0, 0))) == hash(Homology((1,)))
    assert Homology({2: (1,)}) != Homology({3: (1,)})
    assert Homology((1,)) != (1,)


def test_euler_characteristic() -> None:
    assert (SPHERE.euler_characteristic, TORUS.euler_characteristic) == (2, 0)
    assert KLEIN.euler_characteristic == 0
    with pytest.raises(ValueError, match="no space has that"):
        _ = Homology({2: (1, 1, 1), 3: (1, 1)}).euler_characteristic


@pytest.mark.parametrize("betti", [{4: (1,)}, {1: (1,)}, {2: (1, -1)}, {}])
def test_bad_claims(betti: dict[int, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Homology(betti)


def test_no_common_field() -> None:
    with pytest.raises(ValueError, match="common field"):
        Homology({2: (1,)}).product(Homology({3: (1,)}))


def test_complexes() -> None:
    hollow = [t for t in itertools.combinations(range(4), 3)]
    assert Homology.of_complex(hollow) == SPHERE
    assert Homology.of_complex([(0, 1, 2, 3)]) == Homology((1,))
    assert Homology.of_complex(PLANE, (2, 3)) == Homology({2: (1, 1, 1), 3: (1,)})
    assert Homology.of_complex([(0,), (1, 2)]) == Homology((2,))
    assert Homology.of_complex([]).betti == {2: (0,), 3: (0,)}


def test_reading() -> None:
    assert str(KLEIN) == "Z/2: (1, 2, 1), Z/3: (1, 1, 0)"
    assert (KLEIN.top_degree, Homology((0, 0)).top_degree) == (2, -1)
    assert (KLEIN.betti_number(1, 3), KLEIN.betti_number(7, 3)) == (1, 0)
    assert [p for p in range(20) if is_prime(p)] == [2, 3, 5, 7, 11, 13, 17, 19]
