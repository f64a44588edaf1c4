"""Polygon words: classification, homology from the cell complex, and the atlases they lead to."""

from __future__ import annotations

import pytest

from topogen.errors import AtlasError, UnsupportedError
from topogen.homology import Homology
from topogen.manifolds.spaces import FlatTorus, KleinBottle, ProjectivePlane, Sphere
from topogen.manifolds.spaces.gluing import surface


@pytest.mark.parametrize(
    ("word", "space"),
    [
        ("a a^-1", Sphere),
        ("a b b^-1 a^-1", Sphere),
        ("a b a^-1 b^-1", FlatTorus),
        ("a b c a^-1 b^-1 c^-1", FlatTorus),
        ("a b a^-1 b", KleinBottle),
        ("a a b b", KleinBottle),
        ("a a", ProjectivePlane),
        ("a b a b", ProjectivePlane),
    ],
)
def test_words_give_their_surface(word: str, space: type) -> None:
    atlas, gluing = surface(word).atlas(), surface(word)
    assert isinstance(atlas.manifold, space)
    assert gluing.homology() == atlas.manifold.homology
    assert gluing.orientable is atlas.manifold.orientable
    assert gluing.euler_characteristic == gluing.homology().euler_characteristic


def test_higher_surfaces() -> None:
    genus2 = surface("a b a^-1 b^-1 c d c^-1 d^-1")
    assert genus2.homology((2, 3, 5)) == Homology(dict.fromkeys((2, 3, 5), (1, 4, 1)))
    assert genus2.reference().homology == genus2.homology()
    three = surface("a a b b c c")
    assert three.homology() == Homology({2: (1, 3, 1), 3: (1, 2)})
    with pytest.raises(UnsupportedError, match="sum of 3 projective planes"):
        three.atlas()


@pytest.mark.parametrize("word", ["", "a", "a b c", "a a a a", "a ! a", "a a^2"])
def test_words_that_are_no_closed_surface(word: str) -> None:
    with pytest.raises(AtlasError, match="expected"):
        surface(word)
