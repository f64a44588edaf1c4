"""What columns of numbers look like: angles, quaternions, rotations, row numbers, distances."""

from __future__ import annotations

import math

import numpy as np

_LEAST_ROWS = 10  # fewer look like anything

# where a whole turn begins, its length, its unit, how it is called, and the share of it that may
# be missing at the ends: 3.14 is a usual size of numbers, 180 is not
_TURNS = (
    (-180.0, 360.0, "degrees", "-180 to 180", 0.1),
    (0.0, 360.0, "degrees", "0 to 360", 0.1),
    (-math.pi, 2 * math.pi, "radians", "-pi to pi", 0.02),
    (0.0, 2 * math.pi, "radians", "0 to 2 pi", 0.02),
)


def recognise(x: np.ndarray) -> list[str]:
    """What rows (n, D) look like, where they are read as something else, and what to do."""
    if len(x) < _LEAST_ROWS:
        return []
    return [*_angles(x), *_rotations(x), *_row_numbers(x), *_distances(x)]


def _angles(x: np.ndarray) -> list[str]:
    """Columns that fill a whole turn, whose ends are one angle and far apart as numbers."""
    low, high = x.min(axis=0), x.max(axis=0)
    found = []
    for start, turn, unit, name, share in _TURNS:
        missing = np.maximum(low - start, start + turn - high) / turn
        # angles in single precision end a little beyond pi
        within = np.minimum(low - start, start + turn - high) >= -1e-6 * turn
        columns = np.flatnonzero(within & (missing <= share / 2))
        if not columns.size:
            continue
        words = (
            f"{_named(columns)} from {name} and may be angles in {unit}: the two ends are one "
            "angle, but far apart as numbers; put cosine and sine of each angle in its place "
            "(topogen.FlatTorus(k).parametrize does it with k angles in radians)"
        )
        quarter = turn / 4
        upright = np.setdiff1d(np.flatnonzero(np.abs(x).max(axis=0) <= quarter), columns)
        upright = sorted(upright, key=lambda j: low[j] - high[j])  # the widest first
        if x.shape[1] <= 3 and upright:
            words += (
                f"; or, if column {upright[0]} is a latitude and column {columns[0]} a longitude, "
                "unit vectors (cos lat cos lon, cos lat sin lon, sin lat)"
            )
        found.append(words)
    return found


def _named(columns: np.ndarray) -> str:
    names = [str(column) for column in columns]
    if len(names) == 1:
        return f"column {names[0]} runs"
    if len(names) > 6:
        return f"columns {', '.join(names[:5])} and {len(names) - 5} more run"
    return f"columns {', '.join(names[:-1])} and {names[-1]} run"


def _rotations(x: np.ndarray) -> list[str]:
    """Quaternions of one sign, and orthogonal matrices; to three digits, as they are written."""
    n, D = x.shape
    if D == 4 and np.allclose(np.linalg.norm(x, axis=1), 1, rtol=0, atol=2e-3):
        largest = x[np.arange(n), np.abs(x).argmax(axis=1)]
        if ((x >= 0).all(axis=0) | (x <= 0).all(axis=0)).any() or (largest > 0).all():
            return [
                "the rows are unit vectors of length 4 and of one sign, and may be quaternions: "
                "q and -q are one rotation, and the sign tears apart what crosses its border; "
                "give rotation matrices of 9 columns (scipy.spatial.transform.Rotation.from_quat"
                "(x).as_matrix().reshape(-1, 9), with x, y, z, w in this order)"
            ]
    if D == 9:
        R = x.reshape(n, 3, 3)
        if np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), rtol=0, atol=5e-3):
            mirrored = int((np.linalg.det(R) < 0).sum())
            kind = f"orthogonal, {mirrored} of them with reflection" if mirrored else "rotations"
            return [
                f"the rows are 3 x 3 matrices, {kind}; they can stay so: topogen.SpecialOrthogonal"
                "(3) is the space of rotations in these columns"
            ]
    return []


def _row_numbers(x: np.ndarray) -> list[str]:
    """Columns such as 0, 1, 2, ..., an index that is no coordinate."""
    if x.shape[1] == 1:
        return []
    counts = (x == np.round(x[0]) + np.arange(len(x))[:, None]).all(axis=0)
    return [
        f"column {column} counts the rows; leave it out where it is no coordinate"
        for column in np.flatnonzero(counts)
    ]


def _distances(x: np.ndarray) -> list[str]:
    """A symmetric array, which is read as points all the same."""
    n, D = x.shape
    rounding = 1e-6 * float(np.abs(x).max())  # single precision
    if n != D or not np.allclose(x, x.T, rtol=0, atol=rounding):
        return []
    what = "similarities" if np.abs(np.diagonal(x)).max() > rounding else "distances"
    return [
        f"the {n} x {n} array is symmetric and may be a matrix of {what}: its rows are read as "
        f"points of R^{n}; give the points themselves, or coordinates by multidimensional scaling"
    ]
