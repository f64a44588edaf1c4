"""Langevin steps without a Metropolis test, as energy-based models are commonly trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def uncorrected_langevin(
    slope: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n D"],
    steps: int,
    *,
    step: float,
    noise: float,
    clip: float,
    generator: torch.Generator,
) -> Float[Tensor, "n D"]:
    r"""A number of steps :math:`x \leftarrow x + \epsilon\xi - \tfrac a2 \mathrm{clip}(\nabla e)`.

    xi is standard normal. No distribution is left invariant; with :math:`a = \epsilon^2`, small,
    and no clip it is nearly :math:`e^{-e}`.

    Args:
        slope: row-wise grad e.
        x: where the chains start, in R^D.
        steps: how many.
        step: a.
        noise: epsilon.
        clip: largest entry of a gradient.
        generator: source of randomness.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> x = uncorrected_langevin(
        ...     lambda x: x, torch.zeros(500, 1), 100, step=0.04, noise=0.2, clip=9.0, generator=g
        ... )
        >>> bool((x.var() - 1).abs() < 0.2)
        True
    """
    for _ in range(steps):
        xi = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = x + noise * xi - step / 2 * slope(x).clamp(-clip, clip)
    return x
