"""Penalties that keep the Jacobian of F at full rank: on its spectrum, and as published."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def spectrum_penalty(
    J: Float[Tensor, "*batch k D"], least: float, most: float | None = None
) -> Float[Tensor, "*batch"]:
    r""":math:`\sum_i (\eta - s_i)_+^2 + \sum_i (s_i - s_{\max})_+^2` over all s_i of J.

    Args:
        J: Jacobians, k <= D.
        least: eta, the least singular value that costs nothing.
        most: the largest one that costs nothing; None puts no bound.

    Example:
        >>> J = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> float(spectrum_penalty(J, 0.5))
        0.25
    """
    s = torch.linalg.svdvals(J)
    penalty = (least - s).clamp_min(0).square().sum(-1)
    return penalty if most is None else penalty + (s - most).clamp_min(0).square().sum(-1)


def random_direction_penalty(
    J: Float[Tensor, "*batch k D"],
    least: float,
    most: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch"]:
    r""":math:`(\eta - \rho)_+^2`, :math:`\rho = |v^\top J| / |v|`, one Gaussian v per Jacobian.

    The penalty of Ross et al., 2024, "Neural implicit manifold learning for topology-aware density
    estimation" (https://arxiv.org/abs/2206.11267). It sees one null direction among k, all other
    singular values 1, with probability :math:`P(\mathrm{Beta}(\tfrac{k-1}2, \tfrac12) < \eta^2)`,
    3e-6 for k = 6 and eta = 0.1; :func:`spectrum_penalty` always sees it.

    Args:
        J: Jacobians, k <= D.
        least: eta, the least length that costs nothing.
        most: the largest one that costs nothing; None puts no bound.
        generator: source of v.
    """
    v = torch.randn(*J.shape[:-1], 1, generator=generator, dtype=J.dtype)
    rho = (J.mT @ v).squeeze(-1).norm(dim=-1) / v.squeeze(-1).norm(dim=-1)
    penalty = (least - rho).clamp_min(0).square()
    return penalty if most is None else penalty + (rho - most).clamp_min(0).square()
