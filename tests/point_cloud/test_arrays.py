"""Point clouds at the border: what is read, what is refused, and in which words."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import torch

from topogen.errors import InvalidPoints
from topogen.point_cloud.arrays import as_array, as_table, diameter, first_rows
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


X = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]])  # exact in eight bits, too
T = torch.from_numpy(X)
READ_EXACTLY = {
    "bfloat16": lambda: T.bfloat16(),
    "float16": lambda: T.half(),
    "float8": lambda: T.to(torch.float8_e5m2),
    "a Parameter": lambda: torch.nn.Parameter(T),
    "coordinates of entries": lambda: T.to_sparse(),
    "sparse rows": lambda: T.to_sparse_csr(),
    "sparse bfloat16": lambda: T.bfloat16().to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(T.float(), 0.5, 0, torch.qint8),
    "a negative bit": lambda: torch.complex(T, -T).conj().imag,
    "a conjugate bit": lambda: torch.complex(T, T).conj().real,
    "integers": lambda: (2 * T).to(torch.int8),
    "rows with gradients": lambda: [*torch.nn.Parameter(T)],
    "numbers with gradients": lambda: [list(row) for row in torch.nn.Parameter(T)],
    "rows of bfloat16": lambda: tuple(T.bfloat16()),
    "scipy": lambda: scipy.sparse.csr_matrix(X),
    "scipy array": lambda: scipy.sparse.coo_array(X),
    "nothing masked": lambda: np.ma.masked_equal(X, -9.0),
    "np.matrix": lambda: np.asmatrix(X),
    "longdouble": lambda: X.astype(np.longdouble),
    "fractions": lambda: [[Fraction(value) for value in row] for row in X.tolist()],
    "records": lambda: np.array([*map(tuple, X)], dtype=[("x", "f4"), ("y", "f8")]),
}


@pytest.mark.parametrize("name", READ_EXACTLY)
@pytest.mark.filterwarnings("ignore:.*(quantize|Sparse CSR|deprecated|matrix subclass)")
def test_every_dtype_and_layout_is_read_exactly(name: str) -> None:
    factor = 2 if name == "integers" else 1
    array = as_array(READ_EXACTLY[name]())
    assert (type(array), array.dtype) == (np.ndarray, np.float64)
    assert np.array_equal(array, factor * X)


@pytest.mark.filterwarnings("ignore:.*(prototype|nested|masked)")
def test_masked_and_nested_tensors() -> None:
    mask = torch.tensor([[True, True], [False, True], [True, True]])
    with pytest.raises(InvalidPoints, match=r"1 of 3 rows \(first: row 1\)"):
        as_array(torch.masked.masked_tensor(T, mask))
    assert np.array_equal(as_array(torch.masked.masked_tensor(T, mask | True)), X)
    for layout in (torch.strided, torch.jagged):
        with pytest.raises(InvalidPoints, match="not numeric") as caught:
            as_array(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout))
        assert "\n" not in str(caught.value)


def test_tables_may_be_empty_or_have_gaps() -> None:
    assert as_table(np.empty((0, 3))).shape == (0, 3)
    assert np.isnan(as_table(np.ma.masked_equal([[1, -9]], -9))).tolist() == [[False, True]]
    with pytest.raises(InvalidPoints, match="at least 1 points, got 0"):
        as_array(np.empty((0, 3)))


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
        ([["1.5", "2"]], "not numeric .*text"),
        ([[b"1", b"2"]], "text"),
        (np.array([["1.5", 2.0]], dtype=object), "str '1.5'"),
        (np.array([["2020-01-01"], ["2020-01-02"]], dtype="datetime64[D]"), "dates"),
        (np.array([[np.datetime64("2020-01-01"), 1.0]], dtype=object), "datetime64"),
        (np.ones((2, 2)).astype("timedelta64[s]"), "time differences"),
        (np.array([("a", 1.0)], dtype=[("name", "U4"), ("x", float)]), "text"),
        ([[10**400, 1.0]], "not numeric .*too large"),
        ({"x": [1.0]}, "dict that is not numeric"),
        (np.ones((2, 2)) * 1j, "complex"),
        (torch.ones(2, 2) * 1j, "complex"),
        ((torch.ones(2, 2) * 1j).conj(), "complex"),
        (torch.ones(2, 2, device="meta"), "meta"),
        ([torch.ones(2, device="meta")], "list that is not numeric"),
        (np.ma.masked_equal([[1.0, -9.0], [2.0, 3.0]], -9.0), r"missing values in 1 of 2 rows"),
        (np.ma.masked_equal([[1, 2], [3, -9]], -9), r"missing values in 1 of 2 .*first: row 1"),
        ([np.ma.masked_equal([1.0, -9.0], -9.0), [2.0, 3.0]], "1 of 2 rows"),
        ([[np.ma.masked, 1.0]], "1 of 1 rows"),
        (np.ma.array([["1"]], mask=[[True]]), "not numeric .text"),
        (np.ma.array([[1j]], mask=[[True]]), "complex"),
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
