"""Precision and recall of supports that are estimated with a bootstrap band."""

from __future__ import annotations

from typing import Any

import numpy as np

from .noise_floors import Score, one_frame, with_floor


class Support:
    r"""The set where a kernel density estimate is significantly positive.

    .. math:: \hat p_h(x) = \frac1n \sum_i e^{-|x - X_i|^2 / 2h^2}, \quad
        \widehat{\mathrm{supp}} = \{x : \hat p_h(x) > c\},

    with c the 1 - `level` quantile, over bootstrap samples :math:`X^*` of X, of :math:`\sup_i
    |\hat p_h(X_i) - \hat p^*_h(X_i)|`; h the median distance to the :math:`\sqrt n`-th neighbour.

    Args:
        X: points, shape (n, D).
        rng: draws the bootstrap samples.
        level: of the band.
        resamples: number of bootstrap samples.

    Example:
        >>> X = np.random.default_rng(0).standard_normal((500, 2))
        >>> s = Support(X, np.random.default_rng(1))
        >>> s.contains(np.array([[0.0, 0.0], [9.0, 9.0]])).tolist()
        [True, False]
    """

    def __init__(
        self, X: np.ndarray, rng: np.random.Generator, *, level: float = 0.1, resamples: int = 20
    ) -> None:
        from scipy.spatial.distance import cdist

        self.X, n, D = X, len(X), cdist(X, X)
        k = max(1, round(n**0.5))
        self.h = float(np.median(np.partition(D, k, axis=1)[:, k]))
        K = np.exp(-((D / self.h) ** 2) / 2)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
        gap = np.abs(K @ (counts.T - 1.0)).max(axis=0) / n
        self.c = float(np.quantile(gap, 1 - level))

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Whether each row of x is in the support, shape (m,)."""
        from scipy.spatial.distance import cdist

        K = np.exp(-((cdist(x, self.X) / self.h) ** 2) / 2)
        return K.mean(axis=1) > self.c


def support_precision(
    a: Any,
    b: Any,
    *,
    size: int = 1000,
    repeats: int = 5,
    level: float = 0.1,
    resamples: int = 20,
    seed: int = 0,
) -> Score:
    r"""The share of the samples' support that lies in the data's, in [0, 1]; higher is better.

    .. math:: \mathrm{precision} = \frac{|\{j : b_j \in \widehat{\mathrm{supp}}(a) \cap
        \widehat{\mathrm{supp}}(b)\}|}{|\{j : b_j \in \widehat{\mathrm{supp}}(b)\}|}

    Both supports are a :class:`Support`, so no outliers count. The roles swapped give
    :func:`support_recall`. Invariant under isometries and scalings of both clouds together. After
    Kim et al., 2023 (https://arxiv.org/abs/2306.08013), but for the bandwidth, a Gaussian kernel,
    and that nothing is projected.

    Args:
        a: the data, array-like of shape (n, D).
        b: the samples, array-like of shape (n', D).
        size: points per subsample, see :class:`Score`.
        repeats: number of subsamples.
        level: of the bootstrap band.
        resamples: bootstrap samples.
        seed: of everything random.

    Raises:
        InvalidPoints: not finite (n, D) arrays of the same D, or too few distinct points.
        ValueError: a number out of range.
    """
    return _overlap("support_precision", a, b, size, repeats, level, resamples, seed)


def support_recall(
    a: Any,
    b: Any,
    *,
    size: int = 1000,
    repeats: int = 5,
    level: float = 0.1,
    resamples: int = 20,
    seed: int = 0,
) -> Score:
    """The share of the data's support that lies in the samples', in [0, 1]; higher is better.

    :func:`support_precision` with the roles of the clouds swapped; the floor is again of data
    against data. The arguments, what is raised, and the source are the same.
    """
    return _overlap("support_recall", a, b, size, repeats, level, resamples, seed)


def _overlap(
    name: str, a: Any, b: Any, size: int, repeats: int, level: float, resamples: int, seed: int
) -> Score:
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"expected 0 < level < 1, resamples >= 1, got {level}, {resamples}")
    x, y, _ = one_frame(a, b, seed)

    def statistic(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> float:
        known, asked = (u, v) if name == "support_precision" else (v, u)
        first = Support(known, rng, level=level, resamples=resamples)
        second = Support(asked, rng, level=level, resamples=resamples)
        solid = asked[second.contains(asked)]
        return float(first.contains(solid).mean()) if len(solid) else 0.0

    return with_floor(
        name, statistic, x, y, size=size, repeats=repeats, seed=seed, lower_is_better=False
    )
