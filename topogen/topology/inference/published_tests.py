"""Other published tests of persistence, as extra numbers beside the verdict; none decides it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...point_cloud.knn import nearest
from ..persistence.landmark_rips import Run


def universal_p_values(diagram: np.ndarray, *, A: float = 1.0) -> np.ndarray:
    r"""P-value of each bar of one degree, by the conjectured universal distribution of noise.

    With :math:`\pi = \mathrm{death}/\mathrm{birth}`, :math:`\lambda` Euler's constant and the mean
    over the diagram,

    .. math:: \ell = A \ln\ln\pi + B, \quad B = -\lambda - A\,\overline{\ln\ln\pi}, \quad
        p = \exp(-e^{\ell}).

    Bobrowski and Skraba, 2023, https://doi.org/10.1038/s41598-023-37842-2. For random samples:
    landmarks are more regular, so these are no calibrated error rates.

    Args:
        diagram: (birth, death), shape (b, 2), of a degree k >= 1; births of 0 get p = 1.
        A: 1 for Rips, 1/2 for Cech and alpha filtrations.

    Returns:
        shape (b,).
    """
    birth, death = np.asarray(diagram, dtype=float).reshape(-1, 2).T
    p = np.ones(len(birth))
    usable = (birth > 0) & (death > birth)
    if not usable.any():
        return p
    level = np.log(np.log(death[usable] / birth[usable]))
    B = -np.euler_gamma - A * level.mean()
    p[usable] = np.exp(-np.exp(A * level + B))
    return p


def hausdorff_band(
    x: np.ndarray, alpha: float, seed: int, *, subsamples: int = 40, most: int = 10_000
) -> float:
    r"""Radius c within which a subsample is Hausdorff-close to the cloud, at confidence 1 - alpha.

    The (1 - alpha) quantile, over subsamples of size n / ln n, of the distance from the cloud to
    them. Bars of a Rips diagram longer than 4 c are significant (2 c in radii). After Fasy et al.,
    2014, https://arxiv.org/abs/1303.7117.

    Args:
        x: points, shape (n, D).
        alpha: of the band.
        seed: of the subsamples.
        subsamples: their number.
        most: a random part of that many points stands for more.
    """
    rng = np.random.default_rng(seed)
    if len(x) > most:
        x = x[rng.choice(len(x), most, replace=False)]
    size = max(2, int(len(x) / math.log(len(x))))
    parts = (x[rng.choice(len(x), size, replace=False)] for _ in range(subsamples))
    return float(np.quantile([nearest(part, x, 1)[0].max() for part in parts], 1 - alpha))


def published_numbers(
    x: np.ndarray, runs: Sequence[Run], alpha: float, seed: int
) -> dict[str, Any]:
    """Classes per field and degree by both tests, from the first diagrams; degree 0 by Fasy only.

    Returns:
        {"bobrowski_skraba": {p: [in degree 1, ...]}, "fasy": {p: [in degree 0, ...]}}, fields as
        strings; None where a bar that the truncation cut could be longer than the band.
    """
    if not runs:
        return {}
    run = runs[0]
    band = 4 * hausdorff_band(x, alpha, seed)
    components = 1 + int((run.merges[:, 0] > band).sum())
    universal: dict[str, list[int]] = {}
    fasy: dict[str, list[int | None]] = {}
    for p, bars in run.diagrams.items():
        significant = (universal_p_values(b) * max(len(b), 1) < alpha for b in bars[1:])
        universal[str(p)] = [int(s.sum()) for s in significant]
        fasy[str(p)] = [components, *(_longer(b, band, run.threshold) for b in bars[1:])]
    return {"bobrowski_skraba": universal, "fasy": fasy}


def _longer(diagram: np.ndarray, band: float, threshold: float) -> int | None:
    """How many bars are longer than the band; None where one that was cut might be."""
    longer = diagram[:, 1] - diagram[:, 0] > band
    cut = diagram[:, 1] >= threshold
    return None if (cut & ~longer).any() else int(longer.sum())
