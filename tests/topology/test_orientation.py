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
