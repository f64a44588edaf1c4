"""A volume with what is known of its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# proposals, or lines, at once: some MB for each of a dozen arrays in R^10
CHUNK = 8192


@dataclass(frozen=True)
class VolumeEstimate:
    r"""An estimate of :math:`H^d(M)`.

    Attributes:
        value: the estimate.
        standard_error: its statistical error; 0 for quadrature.
        bias: estimate of its systematic error: what was lost, or the difference of two levels.
        method: how it was found.
        draws: random lines, ambient points or nodes used.
        found: how many of them gave a point of M.
        failed: how many iterations did not converge, and might have given one.
        remark: what was noticed on the way.

    Example:
        >>> a = VolumeEstimate(19.74, standard_error=0.03, bias=0.0, method="rays")
        >>> b = VolumeEstimate(19.60, standard_error=0.02, bias=0.01, method="tube")
        >>> print(a)
        rays: 19.74 +- 0.06
        >>> a.agrees(b)
        True
    """

    value: float
    standard_error: float
    bias: float
    method: str
    draws: int = 0
    found: int = 0
    failed: int = 0
    remark: str = ""

    @property
    def error(self) -> float:
        """Half-width of a 95 % interval, widened by the bias."""
        return 2 * self.standard_error + self.bias

    @property
    def status(self) -> Literal["good", "rough"]:
        """Status "rough": `error` is more than 5 % of the value, or not a number."""
        return "good" if self.error <= 0.05 * self.value else "rough"

    def agrees(self, other: VolumeEstimate, sigmas: float = 4.0) -> bool:
        """Whether two estimates differ by no more than `sigmas` standard errors and the biases.

        Two right estimates fail this with probability 6e-5 at the default, or less.
        """
        noise = sigmas * math.hypot(self.standard_error, other.standard_error)
        return abs(self.value - other.value) <= noise + self.bias + other.bias

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        text = f"{self.method}: {self.value:.6g} +- {self.error:.1g}"
        return f"{text} ({self.remark})" if self.remark else text


def mean_of(total: float, squares: float, n: int) -> tuple[float, float]:
    """Mean of n numbers, and its standard error, from their sum and sum of squares."""
    mean = total / n
    return mean, math.sqrt(max(squares / n - mean**2, 0.0) / max(n - 1, 1))


def ball_volume(k: int, radius: float = 1.0) -> float:
    """Volume of a ball of R^k; 1 for k = 0."""
    return math.exp(k / 2 * math.log(math.pi) - math.lgamma(k / 2 + 1)) * radius**k


def in_ball(n: int, k: int, generator: torch.Generator | None) -> Tensor:
    """N points uniform in the unit ball of R^k, shape (n, k)."""
    g = torch.randn(n, k, generator=generator, dtype=torch.float64)
    r = torch.rand(n, 1, generator=generator, dtype=torch.float64) ** (1 / k)
    return r * g / g.norm(dim=-1, keepdim=True)
