"""What has no meaning, and what a likelihood on a learned manifold is worth."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass

from ...errors import TrainingError, UnsupportedError
from ...models.injective.bases import Base
from ...models.injective.bases.harmonic_factors import RealLine

_WORST = 0.02  # reconstruction error that passes, over the diameter


@dataclass(frozen=True)
class HeldOutScore:
    r"""A likelihood, with what it is a likelihood of; lengths are in the units of the points.

    Points far from M cost no likelihood: a manifold of the wrong shape can have the better NLL.

    Attributes:
        nll: mean of -log p at the nearest points of M, in nats w.r.t. the area of M.
        nll_error: its standard error.
        reconstruction: mean of :math:`|x - g(f(x))|`, f the encoder.
        reconstruction_median, reconstruction_p99: its median and 99 % quantile.
        distance: mean distance to the nearest point of M.
        diameter: largest distance of two points.

    Example:
        >>> print(HeldOutScore(1.27, 0.01, 0.02, 0.02, 0.05, 0.01, 2.0))
        NLL 1.270 +- 0.010 nats at reconstruction 1.00 % (median 1.00, 99 % 2.50) of the diameter
    """

    nll: float
    nll_error: float
    reconstruction: float
    reconstruction_median: float
    reconstruction_p99: float
    distance: float
    diameter: float

    @property
    def trustworthy(self) -> bool:
        """Whether half of the points are reconstructed to 2 % of the diameter."""
        return self.reconstruction_median <= _WORST * self.diameter

    @property
    def faithful(self) -> bool:
        """Whether 99 % of the points are reconstructed to 2 % of the diameter."""
        return self.reconstruction_p99 <= _WORST * self.diameter

    def to_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)

    def __str__(self) -> str:
        errors = (self.reconstruction, self.reconstruction_median, self.reconstruction_p99)
        mean, median, p99 = (100 * e / self.diameter for e in errors)
        return (
            f"NLL {self.nll:.3f} +- {self.nll_error:.3f} nats at reconstruction {mean:.2f} % "
            f"(median {median:.2f}, 99 % {p99:.2f}) of the diameter"
        )

    def warn(self) -> None:
        """Warn where the reconstruction is too bad for the likelihood to mean anything."""
        if not self.trustworthy:
            share = 100 * self.reconstruction_median / self.diameter
            warnings.warn(
                f"expected points reconstructed to {100 * _WORST:.0f} % of the diameter, got "
                f"{share:.1f} % in the median: the NLL of {self.nll:.2f} is that of their "
                "projections onto another manifold; take a base of the right topology, "
                "objective='two_phase', or more steps",
                UserWarning,
                stacklevel=3,
            )


def least_weight(variance: float) -> float:
    r""":math:`1 / (2 \sigma^2)`: with less reconstruction a joint likelihood has a wrong optimum.

    On N(0, diag(s^2, sigma^2)) a line along an axis of variance v has loss
    :math:`\tfrac12 \log v - \beta v` up to constants; the one along sigma is a minimum exactly
    where beta is below this (Sorrenson et al., 2024, https://arxiv.org/abs/2306.01843).

    Args:
        variance: sigma^2, of the residual or of the noise, of data scaled to mean square 1.
    """
    return 1 / (2 * variance) if variance > 0 else math.inf


def check_weight(weight: float, variance: float) -> None:
    """Warn below the least weight; raise TrainingError at a tenth of it."""
    bound = least_weight(variance)
    if weight >= bound:
        return
    message = (
        f"expected a reconstruction weight of at least 1 / (2 sigma^2) = {bound:.3g} for "
        f"residuals of standard deviation {math.sqrt(variance):.2g} (data scaled to mean square "
        f"1), got {weight:.3g}: the likelihood then prefers a wrong manifold of smaller volume; "
        "pass weight=None, or objective='two_phase'"
    )
    if weight < bound / 10:
        raise TrainingError(message)
    warnings.warn(message, UserWarning, stacklevel=2)


def warn_of_fit(score: HeldOutScore, lost: str | None) -> bool:
    """Warn where the learned manifold is not that of the data; returns whether it seems to be.

    Args:
        score: of points that were held out.
        lost: over which fields loops are lost; None where that is not known.
    """
    said = [f"{lost}, in both trainings"] if lost else []
    if not score.faithful:
        share = 100 * score.reconstruction_p99 / score.diameter
        said.append(
            f"1 % of the points are reconstructed worse than {share:.1f} % of the diameter"
        )
    if said:
        warnings.warn(
            f"expected points reconstructed to {100 * _WORST:.0f} % of the diameter and no loops "
            f"lost, got: {'; '.join(said)}; take a base of the right topology, more steps or "
            "points, or, where the data are as noisy as that, leave it",
            UserWarning,
            stacklevel=2,
        )
    return not said


def check_meaning(name: str, B: Base, network: str, noise: float | None) -> None:
    """Raise where an objective has no meaning; free-form surrogates without noise only warn.

    Args:
        name: of the objective.
        B: the base.
        network: kind of it.
        noise: as it was given.

    Raises:
        UnsupportedError: it has none on this base, or not with this network.
        ValueError: it needs noise.
    """
    lines = [f == RealLine() for f in B.factors]
    if any(lines) and not all(lines):
        raise UnsupportedError(
            f"expected a base of finite volume, or R^d, got {B.name}; take an interval instead of "
            "the line (tg.Interval(-1, 1))"
        )
    if len(B.group) > 1 and (name != "two_phase" or network not in ("auto", "free")):
        raise UnsupportedError(
            "expected objective='two_phase' with NetworkOptions('free') on the quotient "
            f"{B.name}, got {name!r} with {network!r}: there is no continuous encoder onto its "
            "cover"
        )
    if name == "canonical" and B.dim == 1:
        raise UnsupportedError(
            "expected dim >= 2 for objective='canonical', got 1: a curve has no off-diagonal "
            "entries; take 'rectangular'"
        )
    if name in ("principal", "canonical") and any(f.dim > 1 for f in B.factors):
        raise UnsupportedError(
            f"expected a base with global coordinates for objective={name!r}, got {B.name}: "
            "its columns depend on the frame; take 'rectangular'"
        )
    if name in ("spread", "denoising") and not all(lines):
        raise UnsupportedError(f"expected base='euclidean' for objective={name!r}, got {B.name}")
    if name == "denoising" and network not in ("auto", "coupling", "splines"):
        raise UnsupportedError(
            "expected NetworkOptions('coupling') or 'splines' for objective='denoising', which "
            f"needs a flow of R^D, got {network!r}"
        )
    if name == "conformal" and network not in ("auto", "conformal"):
        raise UnsupportedError(
            f"expected NetworkOptions('conformal') for objective='conformal', got {network!r}"
        )
    if name in ("denoising", "spread") and noise == 0:
        raise ValueError(f"expected noise > 0 for objective={name!r}, got 0")
    if name in ("free_form", "normalizing_autoencoder") and noise == 0:
        warnings.warn(
            f"expected noise > 0 for objective={name!r}, got 0: without noise across M, where "
            "the data have none, the derivative of the encoder is some left inverse of J, and the "
            "loss has a wrong volume",
            UserWarning,
            stacklevel=3,
        )
