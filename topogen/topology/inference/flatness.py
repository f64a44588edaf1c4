"""Local flatness: how far a cloud leaves its tangent planes within the scale of the landmarks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...point_cloud.cloud import Cloud
from ...point_cloud.frames import spectrum
from ...point_cloud.knn import nearest
from ..local.manifold_test import manifold_test

# deviation from the tangent planes within two covering radii from which handles may hide, by
# intrinsic dimension (4 stands for more): tests/topology/inference/test_flatness.py
MOST_DEVIATION = {1: 0.4, 2: 0.4, 3: 0.58, 4: 0.5}
# random points per landmark that suffice for a covariance in a ball of two scales
POINTS_PER_LANDMARK = {1: 12, 2: 8, 3: 3, 4: 2}


def flatness_deviation(
    x: np.ndarray, landmarks: np.ndarray, scale: float, dim: int, seed: int
) -> float:
    r"""How far the cloud leaves its tangent planes within 2 `scale`, on its most curved patch.

    In each ball :math:`B = \sqrt{(\sum_{i>d} \lambda_i - \sigma^2) / \lambda_d}` with the
    eigenvalues :math:`\lambda_1 \ge \lambda_2 \ge \dots` of the covariance; :math:`\sigma^2`, the
    noise, is the median of the same normal part in balls of radius `scale`. The result is the
    largest root mean square of B over 8 neighbouring landmarks. A handle whose loop is as short as
    the scale, which no diagram shows, has B > 0.4. Homology at a scale is that of the manifold
    when the scale is small against its reach (Niyogi, Smale and Weinberger, 2008,
    https://doi.org/10.1007/s00454-008-9053-2).

    Args:
        x: points, shape (n, D).
        landmarks: farthest points of x, shape (m, D).
        scale: their covering radius.
        dim: intrinsic dimension d.
        seed: of the points and the centres that stand for more.

    Returns:
        B; infinite where no ball contains enough points.
    """
    rng = np.random.default_rng(seed)
    size = min(len(x), len(landmarks) * POINTS_PER_LANDMARK[min(max(dim, 1), 4)])
    sample = x[rng.choice(len(x), size, replace=False)] if size < len(x) else x
    centres = landmarks[rng.permutation(len(landmarks))[:600]]
    normal: dict[float, list[float]] = {1.0: [], 2.0: []}
    tangent, measured = [], []
    for i, (row, near) in enumerate(zip(*nearest(sample, centres, min(80, size)), strict=True)):
        for factor, parts in normal.items():
            y = sample[near[row <= factor * scale]]
            if len(y) < dim + 3:
                continue
            spread = spectrum(y)
            parts.append(float(spread[dim:].sum()) / (len(y) - 1 - dim))
            if factor == 2.0:
                tangent.append(float(spread[dim - 1]) / (len(y) - 1))
                measured.append(i)
    if not measured:
        return math.inf
    noise = float(np.median(normal[1.0])) if normal[1.0] else 0.0
    squares = np.maximum(np.array(normal[2.0]) - noise, 0) / np.maximum(tangent, 1e-300)
    patches = nearest(centres[measured], centres[measured], min(8, len(measured)))[1]
    return math.sqrt(float(squares[patches].mean(axis=1).max()))


def room_below(
    cloud: Cloud,
    landmarks: np.ndarray,
    scale: float,
    dim: int,
    degree: int,
    *,
    least: int = 12,
    most: float = 0.3,
) -> bool:
    r"""Whether a sphere of some degree k smaller than the scale could hide: some ball is not flat.

    It would span more directions than the d of the tangent planes, and k + 1 at least. So in the
    points within 2 `scale` of some landmark :math:`\sum_{i > \max(d, k)} \lambda_i - \sigma^2`
    would be no small part of :math:`\lambda_d`, eigenvalues and noise as in
    :func:`flatness_deviation`, but of all points, and of each ball on its own.

    Args:
        cloud: the points, outliers included.
        landmarks: farthest points of them, shape (m, D).
        scale: their covering radius.
        dim: intrinsic dimension d.
        degree: k, at least 1.
        least: points more than dimensions, below which the deviation of a ball is chance.
        most: deviation of a ball from which a small sphere may hide: below .2 on arcs, discs and
            halves of spheres of 2500 points, .33 by a loop of 24 points.
    """
    from scipy.spatial import KDTree

    x, beyond = cloud.points, max(dim, degree)
    if beyond >= x.shape[1]:
        return False
    normal: dict[float, list[float]] = {1.0: [], 2.0: []}
    tangent = []
    tree = KDTree(x)
    for factor, parts in normal.items():
        for near in tree.query_ball_point(landmarks, factor * scale):
            if len(near) < dim + least:
                continue
            rows = np.array(near)[:: 1 + len(near) // 1000]
            spread = spectrum(x[rows]) / (len(rows) - 1)
            parts.append(float(spread[beyond:].sum()))
            if factor == 2.0:
                tangent.append(max(float(spread[dim - 1]), 1e-300))
    noise = float(np.median(normal[1.0])) if normal[1.0] else 0.0
    squares = (np.array(normal[2.0]) - noise) / np.array(tangent)
    return len(squares) == 0 or float(squares.max()) > most**2


class Creases(NamedTuple):
    """Where a cloud deviates from its tangent planes as two or three of them that meet do.

    Attributes:
        away: which landmarks are farther than 3 scales from there, shape (m,).
        everywhere: whether every place that deviates too much is like that.
        blunt: whether the angles are wide enough that no handle could be taken for a crease.
    """

    away: np.ndarray
    everywhere: bool
    blunt: bool


def find_creases(
    x: np.ndarray, landmarks: np.ndarray, scale: float, dim: int, seed: int
) -> Creases:
    r"""Whether it is creases from which the cloud deviates too much from its tangent planes.

    Where planes meet, B of :func:`flatness_deviation` does not depend on the radius; on a curved
    sheet it is proportional to it; around a handle smaller than the radius it falls. A crease of
    angle :math:`\theta` has :math:`B = 0.53 \cot(\theta/2)`, at any scale: more points change
    nothing.

    Args:
        x: points, shape (n, D).
        landmarks: farthest points of x, shape (m, D).
        scale: their covering radius.
        dim: intrinsic dimension d, 1 to 4.
        seed: of the points that stand for more.
    """
    factors = (2.0, 2.8, 4.0)
    size = min(len(x), 10 * len(landmarks))  # some 25 and 100 points in balls of 2 and 4 scales
    sample = x[np.random.default_rng(seed).permutation(len(x))[:size]]
    distance, index = nearest(sample, landmarks, min(600, size))
    squares = np.zeros((len(landmarks), len(factors)))
    for i, (row, near) in enumerate(zip(distance, index, strict=True)):
        for j, factor in enumerate(factors):
            y = sample[near[row <= factor * scale]]
            spread = spectrum(y) if len(y) > dim + 2 else np.empty(0)
            if len(spread) > dim:
                squares[i, j] = float(spread[dim:].sum()) / max(float(spread[dim - 1]), 1e-300)
    patches = nearest(landmarks, landmarks, min(8, len(landmarks)))[1]
    B = np.sqrt(squares[patches].mean(axis=1))
    bent = B[:, 0] > MOST_DEVIATION[dim]
    if not bent.any():
        return Creases(np.ones(len(landmarks), bool), everywhere=False, blunt=False)
    low, middle, high = np.quantile(B[bent, 2] / B[bent, 0], (0.1, 0.5, 0.9))
    # near creases it is the same at every radius, on thin handles and necks the growth is below .9
    # or above 1.45; B is .62 at 80 degrees, .53 at a right angle, .7 at thin handles
    # (tests/topology/inference/test_flatness.py)
    least, most = 0.95, 1.4
    alike = least <= low and middle <= most
    blunt = alike and high <= most and float(B[bent, :2].max()) <= 0.62
    near = B[:, 0] > 0.6 * MOST_DEVIATION[dim]  # the rest of the crease, too
    away = nearest(landmarks[near], landmarks, 1)[0][:, 0] > 3 * scale
    return Creases(away, bool(alike), bool(blunt))


def away_from_singular(
    cloud: Cloud, landmarks: np.ndarray, scale: float, dim: int, seed: int
) -> np.ndarray | None:
    r"""Which landmarks are farther than 3 `scale` from where sheets meet; None if none do.

    A strand thinner than the scale, whose links are no spheres either, is distinguished by its
    covariance: :math:`\lambda_d \ge 0.42 \lambda_1` where sheets meet (1/2 at right angles), less
    on a thin tube. Arguments as in :func:`flatness_deviation`, for a prepared cloud.

    Returns:
        a mask of the landmarks, shape (m,), or None where no sheets meet.
    """
    test = manifold_test(cloud.alone(), dim=dim, seed=seed)
    if test.is_manifold is not False:
        return None
    x = cloud.points
    singular = x[test.singular]
    ratios = []
    around = nearest(x, singular[:: 1 + len(singular) // 200], min(400, len(x)))
    for row, near in zip(*around, strict=True):
        y = x[near[row <= 2 * scale]]
        spread = spectrum(y)
        ratios.append(spread[dim - 1] / max(spread[0], 1e-300) if len(y) > dim else 0.0)
    if np.median(ratios) < 0.42:
        return None
    return nearest(singular, landmarks, 1)[0][:, 0] > 3 * scale
