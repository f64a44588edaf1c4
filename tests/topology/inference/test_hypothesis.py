"""What may be expected of a cloud, and how it is read."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.topology.inference.hypothesis import Hypothesis, read_hypothesis
from topogen.topology.inference.report import homology_of

TORUS = tg.Homology((1, 2, 1))


@pytest.mark.parametrize("expected", [TORUS, (1, 2, 1), [1, 2, 1], {2: (1, 2, 1), 3: (1, 2, 1)}])
def test_homology_in_every_form(expected):
    hypothesis = read_hypothesis(expected, (2, 3))
    assert hypothesis.homology == TORUS
    assert hypothesis.number(1, 3) == 2
    assert hypothesis.number(7, 2) == 0
    assert hypothesis.sample(10, 0) is None


def test_a_manifold_brings_its_dimension_and_a_sample():
    hypothesis = read_hypothesis(tg.Torus(), (2, 3))
    assert (hypothesis.name, hypothesis.dim) == ("Torus", 2)
    assert hypothesis.sample(10, 0).shape == (10, 3)
    assert hypothesis.sample(10, 0).tolist() == hypothesis.sample(10, 0).tolist()


def test_anything_with_a_homology_is_a_hypothesis():
    hypothesis = read_hypothesis(SimpleNamespace(homology=TORUS), (2,))
    assert (hypothesis.homology, hypothesis.dim) == (TORUS, None)


def test_other_points_are_a_cloud():
    points = np.zeros((4, 2))
    hypothesis = read_hypothesis(points, (2,))
    assert hypothesis.points is points
    assert hypothesis.homology is None
    with pytest.raises(UnsupportedError, match="homology of the other cloud"):
        hypothesis.number(0, 2)


def test_nothing_expected_is_no_hypothesis():
    assert read_hypothesis(None, (2, 3)) is None


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UnsupportedError, match="SimpleNamespace with homology None"):
        read_hypothesis(SimpleNamespace(homology=None), (2, 3))
    with pytest.raises(ValueError, match="over one of the fields"):
        read_hypothesis({5: (1, 1)}, (2, 3))


def test_a_space_without_a_sampler_gives_no_sample():
    def refuse(n, generator):
        raise UnsupportedError("no sampler")

    space = SimpleNamespace(sample_uniform=refuse)
    assert Hypothesis("space", TORUS, manifold=space).sample(10, 0) is None


def test_homology_needs_every_degree():
    assert homology_of({2: [1, 2, 1], 3: [1, 2, 1]}) == TORUS
    assert homology_of({2: [1, 2, 1], 3: [1, None, 1]}) is None


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (tg.Torus, r"got the class Torus; pass an object, such as topogen.Torus\(\)"),
        ("torus", r"got 'torus'; pass an object, such as topogen.Torus\(\)"),
        (tg.Circle().atlas(), "got Atlas; pass its manifold"),
        (tg.Uniform(tg.Circle()), "got Uniform; pass its manifold"),
    ],
)
def test_what_is_no_hypothesis_is_named(expected, words):
    with pytest.raises(
        ValueError, match="a Homology, Betti numbers, a manifold or points.*" + words
    ):
        read_hypothesis(expected, (2, 3))


def test_a_manifold_made_of_another_is_one():
    moved = tg.Similarity(tg.Torus(), [1.0, 0.0, 0.0])
    assert read_hypothesis(moved, (2, 3)).homology == TORUS
