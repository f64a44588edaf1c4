"""Sign cocycles on graphs whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.point_cloud.orientation import (
    contradicted,
    forest_signs,
    frustration,
    reversing_cycle,
)


def ring(n: int, reversing: int, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The edges of a cycle of n nodes, `reversing` of them negative and of the given strength."""
    i = np.arange(n)
    det = np.ones(n)
    det[:reversing] = -strength
    return i, (i + 1) % n, det


@pytest.mark.parametrize("reversing", [0, 2, 4])
def test_an_even_number_of_reversals_is_a_coboundary(reversing):
    i, j, det = ring(12, reversing, 0.9)
    signs, weakest, against = forest_signs(12, i, j, det)
    assert against == 0 < weakest
    assert contradicted(signs, i, j, det) == 0
    assert frustration(12, i, j, det) == pytest.approx(0, abs=1e-12)
    assert len(reversing_cycle(12, i, j, det, against)[0]) == 0


@pytest.mark.parametrize("reversing", [1, 3])
def test_an_odd_number_is_not_and_the_cycle_shows_it(reversing):
    i, j, det = ring(12, reversing, 0.9)
    signs, _, against = forest_signs(12, i, j, det)
    assert against == pytest.approx(0.9)
    assert contradicted(signs, i, j, det) == pytest.approx(1 / 12)
    assert frustration(12, i, j, det) > 0.1
    cycle, least = reversing_cycle(12, i, j, det, against)
    assert sorted(cycle) == list(range(12))
    assert least == pytest.approx(0.9)


def test_two_edges_of_opposite_sign_are_a_cycle_of_length_two():
    i, j, det = np.array([0, 0]), np.array([1, 1]), np.array([1.0, -1.0])
    _, _, against = forest_signs(2, i, j, det)
    assert against == 1
    assert sorted(reversing_cycle(2, i, j, det, against)[0]) == [0, 1]
