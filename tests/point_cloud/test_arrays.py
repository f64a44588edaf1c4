"""Point clouds at the border: what is read, what is refused, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from topogen.errors import InvalidPoints
from topogen.point_cloud.arrays import as_array, diameter, first_rows
from topogen.point_cloud.tensors import as_tensor, distinct


@pytest.mark.parametrize(
    "points",
    [
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        np.array([[1, 2], [3, 4]], dtype=bool) * np.array([[1, 2], [3, 4]]),
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True),
    ],
)
def test_anything_that_is_a_table_of_numbers(points: object) -> None:
    array = as_array(points)
    assert array.dtype == np.float64
    assert array.shape == (2, 2)
    tensor = as_tensor(points)
    assert tensor.dtype == torch.float64
    assert not tensor.requires_grad


def test_the_result_is_a_copy() -> None:
    points = np.ones((3, 2))
    as_array(points)[0, 0] = 5
    as_tensor(points)[0, 0] = 5
    assert bool((points == 1).all())


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([["a", "b"]], "not numeric"),
        ("text", "not numeric"),
        (None, "finite numbers|expected shape"),
        (np.ones((2, 2)) * 1j, "complex"),
        ([1.0, 2.0], "reshape a curve"),
        (np.ones((2, 2, 2)), "flatten"),
        (np.ones((2, 0)), "at least one column"),
        ([[1.0, np.nan], [1.0, 2.0]], r"1 of 2 rows \(first: row 0\)"),
        ([[1.0, 2.0], [np.inf, 2.0]], "first: row 1"),
        ([[1.0], [2.0, 3.0]], "not numeric"),
    ],
)
def test_what_is_refused(points: object, words: str) -> None:
    with pytest.raises(InvalidPoints, match=words):
        as_array(points)


def test_counts_and_columns() -> None:
    with pytest.raises(InvalidPoints, match="at least 5 points, got 2"):
        as_array(np.ones((2, 2)), minimum=5)
    with pytest.raises(InvalidPoints, match=r"R\^3, got 2 columns"):
        as_array(np.ones((2, 2)), ambient_dim=3)
    with pytest.raises(InvalidPoints, match=r"^cloud: "):
        as_array([1.0], name="cloud")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("D", [1, 2, 3])
def test_first_rows_are_the_first_of_each_kind_in_order(seed: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (rng.integers(1, 40), D)) * rng.choice([1.0, -1.0])  # zeros of a sign
    expected = sorted(np.unique(x, axis=0, return_index=True)[1])
    assert first_rows(x).tolist() == expected
    assert bool((distinct(torch.from_numpy(x)).numpy() == x[expected]).all())


def test_minus_zero_is_zero() -> None:
    assert first_rows(np.array([[0.0, 1.0], [-0.0, 1.0]])).tolist() == [0]


def test_diameter() -> None:
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.stack([np.cos(t), np.sin(t)], 1)
    assert diameter(circle) == pytest.approx(2.0, abs=1e-3)
    assert diameter(np.zeros((4, 3))) == 0.0
    assert diameter(3 * circle + 7) == pytest.approx(6.0, abs=3e-3)
