"""Point clouds at the border of the library: any array-like in, checked float64 arrays out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..errors import InvalidPoints


def as_array(
    points: Any, *, name: str = "points", minimum: int = 1, ambient_dim: int | None = None
) -> np.ndarray:
    r"""Check a point cloud and return it as a float64 array of shape (n, D).

    Args:
        points: anything that NumPy can read as a real (n, D) array, torch tensors included.
        name: what the message calls the cloud.
        minimum: the least number of rows.
        ambient_dim: the number of columns, where it is known.

    Raises:
        InvalidPoints: text, a wrong rank, NaN or infinite rows, too few rows, wrong columns.
    """
    torch = sys.modules.get("torch")  # where it was not imported, nothing is a tensor
    if torch is not None and isinstance(points, torch.Tensor):
        points = points.detach().cpu().numpy()
    try:
        array = np.asarray(points)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers")
        array = np.array(array, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InvalidPoints(
            f"{name}: expected a real (n, D) array, got {type(points).__name__} that is not "
            f"numeric ({error}); give one row of numbers per point"
        ) from None
    if array.ndim != 2:
        hint = "flatten each point to one row"
        if array.ndim == 1:
            hint = "reshape a curve of scalars to (n, 1)"
        raise InvalidPoints(f"{name}: expected shape (n, D), got {array.shape}; {hint}")
    n, D = array.shape
    if D < 1:
        raise InvalidPoints(f"{name}: expected at least one column, got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise InvalidPoints(
            f"{name}: expected finite numbers, got NaN or infinity in {bad.size} of {n} rows "
            f"(first: row {bad[0]}); drop or repair those rows"
        )
    if n < minimum:
        raise InvalidPoints(
            f"{name}: expected at least {minimum} points, got {n}; give more points"
        )
    if ambient_dim is not None and ambient_dim != D:
        raise InvalidPoints(f"{name}: expected points in R^{ambient_dim}, got {D} columns")
    return array


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
    """Indices of the rows that repeat no earlier row, in order, by a hash of all their bits."""
    seen: dict[int, int] = {}
    for i, row in enumerate(x):
        seen.setdefault(hash((row + 0.0).tobytes()), i)  # -0.0 and 0.0 are the same point
    return np.fromiter(seen.values(), np.int64, len(seen))


def uniform_sample(manifold: Any, n: int, seed: int) -> np.ndarray:
    """Draw n points of a manifold with `sample_uniform`, as a float64 array of shape (n, D)."""
    torch = sys.modules["torch"]  # a manifold draws with its generators, so it is imported
    drawn = manifold.sample_uniform(n, generator=torch.Generator().manual_seed(seed))
    return drawn.detach().cpu().numpy().astype(np.float64).reshape(n, -1)
