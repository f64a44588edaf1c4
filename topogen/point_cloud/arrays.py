"""Point clouds at the border of the library: any array-like in, checked float64 arrays out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..errors import InvalidPoints
from .conventions import recognise


def as_array(
    points: Any, *, name: str = "points", minimum: int = 1, ambient_dim: int | None = None
) -> np.ndarray:
    r"""Check a point cloud and return it as a float64 array of shape (n, D).

    Args:
        points: a real (n, D) array of NumPy, torch, pandas or scipy.sparse, whatever its dtype and
            layout; or a list of rows.
        name: what the message calls the cloud.
        minimum: the least number of rows.
        ambient_dim: the number of columns, where it is known.

    Raises:
        InvalidPoints: text, dates or complex numbers, a wrong rank, masked, NaN or infinite
            entries, too few rows, wrong columns.
    """
    array = as_table(points, name=name, ambient_dim=ambient_dim)
    n = len(array)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        masked = isinstance(points, np.ma.MaskedArray)
        what = "missing values" if masked else "NaN or infinity"
        raise InvalidPoints(
            f"{name}: expected finite numbers, got {what} in {bad.size} of {n} rows "
            f"(first: row {bad[0]}); drop or repair those rows"
        )
    if n < minimum:
        raise InvalidPoints(
            f"{name}: expected at least {minimum} points, got {n}; give more points"
        )
    return array


def as_table(points: Any, *, name: str = "points", ambient_dim: int | None = None) -> np.ndarray:
    """Rows of real numbers as a float64 array (n, D), n >= 0; masked entries are NaN.

    Raises:
        InvalidPoints: as :func:`as_array`, which refuses NaN and infinity too.
    """
    try:
        array = _floats(np.asarray(_readable(points)))
    except (TypeError, ValueError, RuntimeError, OverflowError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InvalidPoints(
            f"{name}: expected a real (n, D) array, got {type(points).__name__} that is not "
            f"numeric ({reason}); give one row of numbers per point"
        ) from None
    if array.ndim != 2:
        hint = "flatten each point to one row"
        if array.ndim == 1:
            hint = "reshape a curve of scalars to (n, 1)"
        raise InvalidPoints(f"{name}: expected shape (n, D), got {array.shape}; {hint}")
    D = array.shape[1]
    if D < 1:
        raise InvalidPoints(f"{name}: expected at least one column, got shape {array.shape}")
    if ambient_dim is not None and ambient_dim != D:
        expected = f"{name}: expected points in R^{ambient_dim}, got {D} columns"
        raise InvalidPoints("; ".join([expected, *recognise(array)]))
    return array


def _readable(value: Any) -> Any:
    """What NumPy reads: tensors, sparse and masked arrays as dense ones, in lists of rows too."""
    torch = sys.modules.get("torch")  # where it was not imported, nothing is a tensor
    if torch is not None and isinstance(value, torch.Tensor):
        return _dense(value, torch)
    if isinstance(value, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(value), np.nan, _floats(value.data))
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(value):
        return value.toarray()
    if isinstance(value, list | tuple) and not {type(v) for v in value} <= {int, float}:
        return [_readable(v) for v in value]
    return value


def _dense(x: Any, torch: Any) -> np.ndarray:
    """The numbers of a tensor of any dtype and layout; masked ones are NaN."""
    if isinstance(x, torch.masked.MaskedTensor):
        data = x.get_data().detach().to(torch.float64)
        x = torch.where(x.get_mask(), data, torch.nan)
    x = x.detach().cpu()
    if x.is_complex():
        raise TypeError("complex numbers")
    if x.is_quantized:
        x = x.dequantize()
    if x.layout is not torch.strided:
        x = x.to_dense()
    return x.resolve_neg().to(torch.float64).numpy()


# what has another letter than b, i, u or f for its kind of dtype
_NOT_NUMBERS = {"U": "text", "S": "text", "T": "text", "c": "complex numbers"}
_NOT_NUMBERS |= {"M": "dates", "m": "time differences"}


def _floats(array: np.ndarray) -> np.ndarray:
    """A copy in float64; TypeError for what NumPy would take for numbers, but is none."""
    if array.dtype.names:
        from numpy.lib.recfunctions import structured_to_unstructured

        array = structured_to_unstructured(array)
    if array.dtype.kind in _NOT_NUMBERS:
        raise TypeError(_NOT_NUMBERS[array.dtype.kind])
    if array.dtype.kind == "O":
        no_numbers = (str, bytes, bytearray, np.datetime64, np.timedelta64)
        bad = next((v for v in array.flat if isinstance(v, no_numbers)), None)
        if bad is not None:
            raise TypeError(f"{type(bad).__name__} {bad!r}")
    return np.array(array, dtype=np.float64, order="C")


def diameter(points: np.ndarray) -> float:
    """The largest pairwise distance, estimated from below by two farthest-point sweeps."""
    start = points[np.argmax(_squares_from(points, points.mean(axis=0)))]
    largest = 0.0
    for _ in range(2):
        squares = _squares_from(points, start)
        start, largest = points[np.argmax(squares)], float(np.sqrt(squares.max()))
    return largest


def _squares_from(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Squared distances from a point, without a second copy of a large cloud."""
    rows = max(1, 2**20 // points.shape[1])
    parts = (points[i : i + rows] - centre for i in range(0, len(points), rows))
    return np.concatenate([np.einsum("ij,ij->i", part, part) for part in parts])


def first_rows(x: np.ndarray) -> np.ndarray:
    """Indices of the rows that repeat no earlier row, in order."""
    return firsts(row_bits(x))


def row_bits(x: np.ndarray) -> np.ndarray:
    """A hash of all bits of each row; -0.0 and 0.0 are the same number."""
    return np.fromiter((hash((row + 0.0).tobytes()) for row in x), np.int64, len(x))


def firsts(labels: np.ndarray) -> np.ndarray:
    """Where each label stands first, in order."""
    return np.sort(np.unique(labels, return_index=True)[1])


def uniform_sample(manifold: Any, n: int, seed: int) -> np.ndarray:
    """Draw n points of a manifold with `sample_uniform`, as a float64 array of shape (n, D)."""
    torch = sys.modules["torch"]  # a manifold draws with its generators, so it is imported
    drawn = manifold.sample_uniform(n, generator=torch.Generator().manual_seed(seed))
    return drawn.detach().cpu().numpy().astype(np.float64).reshape(n, -1)
