"""Geometry Score: how long a cloud has i loops, averaged over random witness complexes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...point_cloud.cloud import prepare
from .noise_floors import Score, with_floor


def relative_living_times(
    x: np.ndarray,
    rng: np.random.Generator,
    *,
    landmarks: int = 64,
    draws: int = 50,
    gamma: float | None = None,
) -> np.ndarray:
    r"""Mean relative living times of the numbers of loops.

    For random landmarks L of x, the witness complex at :math:`\alpha` has the simplices with a
    w in x for which :math:`|w - l| \le |w - l'| + \alpha` for every vertex l and every landmark l'
    outside. With :math:`\alpha_{\max} = \gamma \max_{w, l} |w - l|`,

    .. math:: \mathrm{RLT}(i) = \frac{1}{\alpha_{\max}}
        |\{\alpha \in [0, \alpha_{\max}] : \beta_1(\alpha) = i\}|, \quad i = 0, \dots, 99,

    and the mean is over the draws of L. Over Z/2.

    Args:
        x: points, shape (n, D).
        rng: draws the landmarks.
        landmarks: their number, at most n / 2.
        draws: number of landmark sets.
        gamma: :math:`\gamma`; by default n / 5000 / 128, as published.

    Returns:
        shape (100,), entries >= 0 with sum at most 1 (less where there are 100 loops or more).
    """
    n = len(x)
    landmarks = min(landmarks, n // 2)
    gamma = n / 5000 / 128 if gamma is None else gamma
    chosen = (x[rng.choice(n, landmarks, replace=False)] for _ in range(draws))
    return sum((_living_times(x, marks, gamma) for marks in chosen), np.zeros(100)) / draws


def _living_times(x: np.ndarray, chosen: np.ndarray, gamma: float) -> np.ndarray:
    from gudhi import WitnessComplex
    from scipy.spatial.distance import cdist

    distance = cdist(x, chosen)
    index = np.argsort(distance, axis=1)
    distance = np.take_along_axis(distance, index, axis=1)
    alpha_max = gamma * float(distance.max())
    # a landmark farther than the third nearest by more than alpha_max is in no witnessed triangle
    reach = np.maximum((distance <= distance[:, 2:3] + alpha_max).sum(axis=1), 3).tolist()
    most = max(reach)
    rows = zip(index[:, :most].tolist(), distance[:, :most].tolist(), reach, strict=True)
    table = [list(zip(i[:r], d[:r], strict=True)) for i, d, r in rows]
    witnessed = WitnessComplex(nearest_landmark_table=table)
    tree = witnessed.create_simplex_tree(max_alpha_square=alpha_max, limit_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    bars = np.minimum(tree.persistence_intervals_in_dimension(1).reshape(-1, 2), alpha_max)
    ends = np.concatenate([[0.0], np.sort(bars, axis=None), [alpha_max]])
    middles, lengths = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    loops = ((bars[:, :1] <= middles) & (middles < bars[:, 1:])).sum(axis=0)
    return np.bincount(loops, weights=lengths, minlength=100)[:100] / alpha_max


def geometry_score(
    a: Any,
    b: Any,
    *,
    size: int = 1000,
    repeats: int = 3,
    landmarks: int = 64,
    draws: int = 50,
    gamma: float | None = None,
    seed: int = 0,
) -> Score:
    r"""Geometry Score, :math:`\sum_i (\mathrm{MRLT}_a(i) - \mathrm{MRLT}_b(i))^2`.

    MRLT are the mean :func:`relative_living_times`. Symmetric in distribution, in [0, 2], the same
    under isometries and scalings of each cloud alone; a and b may lie in different spaces. It sees
    loops only. Follows Khrulkov and Oseledets, 2018 (https://arxiv.org/abs/1802.02664).

    Args:
        a: the data, array-like of shape (n, D).
        b: the samples, array-like of shape (n', D').
        size: points per subsample, see :class:`Score`.
        repeats: number of subsamples.
        landmarks: of each witness complex.
        draws: landmark sets per subsample.
        gamma: the largest relaxation over the largest distance; None as published.
        seed: of everything random.

    Raises:
        InvalidPoints: not finite (n, D) arrays, or too few distinct points.
        ValueError: a number out of range.
    """
    if landmarks < 4 or draws < 1 or (gamma is not None and not gamma > 0):
        raise ValueError(
            f"expected landmarks >= 4, draws >= 1, gamma > 0, got {landmarks}, {draws}, {gamma}"
        )
    x, y = prepare(a, seed=seed, name="a").points, prepare(b, seed=seed, name="b").points

    def statistic(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> float:
        start = int(rng.integers(2**63))  # equal draws: equal clouds score 0

        def mrlt(z: np.ndarray) -> np.ndarray:
            fresh = np.random.default_rng(start)
            return relative_living_times(z, fresh, landmarks=landmarks, draws=draws, gamma=gamma)

        return float(((mrlt(u) - mrlt(v)) ** 2).sum())

    return with_floor("geometry_score", statistic, x, y, size=size, repeats=repeats, seed=seed)
