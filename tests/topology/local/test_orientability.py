"""Orientability of clouds: right or None, never wrong."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.topology import orientability


@pytest.mark.parametrize(
    ("name", "n", "answer"),
    [
        ("circle", 500, True),
        ("hopf", 1000, True),
        ("sphere", 1000, True),
        ("torus", 1500, True),
        ("flat torus", 1500, True),
        ("klein", 1500, False),
        ("rp2", 1000, False),
        ("moebius", 1500, False),
        ("genus 2", 5000, True),
        ("so3", 3000, True),
        ("disc", 500, True),
    ],
)
def test_known_answers(cloud, name, n, answer):
    result = orientability(cloud(name, n), seed=2)
    assert result.orientable is answer, result.reason


@pytest.mark.parametrize(
    ("name", "truth"), [("torus", True), ("klein", False), ("genus 2", True), ("so3", True)]
)
@pytest.mark.parametrize("n", [200, 500, 1000])
def test_few_points_are_never_wrong(cloud, name, truth, n):
    for seed in range(2):
        result = orientability(cloud(name, n, seed), seed=seed)
        assert result.orientable in (truth, None), result.reason


def test_noise(cloud):
    rng = np.random.default_rng(0)
    torus, klein = cloud("torus", 2500), cloud("klein", 2500)
    assert orientability(torus + 0.02 * rng.standard_normal(torus.shape)).orientable is True
    assert orientability(klein + 0.02 * rng.standard_normal(klein.shape)).orientable is False


def test_dim_is_checked(cloud):
    with pytest.raises(ValueError, match="dim >= 1"):
        orientability(cloud("torus", 100), dim=0)


@pytest.mark.parametrize(("name", "n"), [("sphere", 1000), ("torus", 2000), ("hopf", 1000)])
def test_signs_certify_orientability(cloud, name, n):
    o = orientability(cloud(name, n), seed=1)
    i, j = o.edges.T
    strong = np.abs(o.det) > 1 - o.margin
    assert o.margin > 0.7
    assert (o.det * o.signs[i] * o.signs[j] > 0)[strong].all()
    assert len(o.landmarks) == len(o.signs)
    assert len(o.cycle) == 0


@pytest.mark.parametrize("name", ["klein", "rp2", "moebius"])
def test_a_cycle_certifies_the_contrary(cloud, name):
    x = cloud(name, 1500)
    o = orientability(x, seed=1)
    det = {frozenset(e): v for e, v in zip(o.edges.tolist(), o.det, strict=True)}
    steps = zip(o.cycle.tolist(), np.roll(o.cycle, 1).tolist(), strict=True)
    around = np.array([det[frozenset(step)] for step in steps])
    assert len(around) > 4  # no local accident
    assert np.prod(np.sign(around)) == -1
    assert np.abs(around).min() == pytest.approx(o.margin)
    assert o.margin > 0.75
    assert o.landmarks.max() < len(x)


def test_consistency_with_homology(cloud):
    torus, klein = orientability(cloud("torus", 2000)), orientability(cloud("klein", 2000))
    of_torus, of_klein = {2: (1, 2, 1), 3: (1, 2, 1)}, {2: (1, 2, 1), 3: (1, 1, 0)}
    assert torus.consistent_with(of_torus)[0] is True
    assert klein.consistent_with(of_klein)[0] is True
    for signs, betti in ((torus, of_klein), (klein, of_torus)):
        answer, why = signs.consistent_with(betti)
        assert answer is False
        assert "one of the two is not resolved" in why
    for betti, word in (
        ({2: (1, 2, 1)}, "odd prime"),
        ({2: (1, None, None), 3: (1, 2, 1)}, "undetermined"),
        ({2: (1, 1, 0), 3: (1, 1, 0)}, "no closed"),
        ({2: (1,), 3: (1,)}, "undetermined"),
    ):
        answer, why = torus.consistent_with(betti)
        assert answer is None
        assert word in why
    few = orientability(cloud("torus", 200))
    assert few.consistent_with(of_torus)[0] is None
    assert np.isnan(few.margin)


def test_an_open_part_of_space_is_orientable(cloud):
    o = orientability(cloud("disc", 300))
    assert o.orientable is True
    assert len(o.landmarks) == len(o.edges) == 0
