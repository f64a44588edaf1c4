r"""The volume of a zero set from the level sets around it.

The co-area formula (Federer, "Curvature measures", 1959, https://doi.org/10.2307/1993504) is

.. math:: \int_{R^D} g(x) \sqrt{\det J J^\top}\, dx
          = \int_{R^k} \Big( \int_{F = c} g\, dH^d \Big)\, dc, \qquad J = DF(x).

With a kernel :math:`K_\rho` on R^k of radius rho as g(x) = K_rho(F(x)) it gives H^d(M) up to
O(rho^2). It needs neither a projection nor second derivatives, so it checks methods that do.
"""

from __future__ import annotations

import math

import torch

from ..errors import UnsupportedError
from .tube import Tube
from .volume_estimate import CHUNK, VolumeEstimate, ball_volume, mean_of


def coarea_volume(
    tube: Tube, draws: int = 50_000, *, radius: float | None = None
) -> VolumeEstimate:
    r"""H^d(M) by the co-area formula, extrapolated from kernels of radius rho and rho / sqrt 2.

    With V(rho) = V + a rho^2 + b rho^4 of the kernel :math:`(1 - |F|^2 / \rho^2)_+`, the value is
    2 V(rho / sqrt 2) - V(rho); the bias is half the difference to that of rho / sqrt 2.

    Args:
        tube: a tube about M, where the proposals come from.
        draws: how many.
        radius: rho, in the units of F; None takes what fills 0.6 of the tube.

    Raises:
        UnsupportedError: M has more than D - d equations, hence no regular levels, or DF vanishes.
    """
    M = tube.M
    k = M.ambient_dim - M.dim
    with torch.no_grad():
        J = M.linearize(tube.known)[1]
    if J.shape[-2] != k:
        raise UnsupportedError(
            f"expected D - d = {k} equations, got {J.shape[-2]} for {type(M).__name__}; the "
            "co-area formula needs regular level sets: use method='tube' or 'atlas'"
        )
    if radius is None:
        # at 1 in place of .6 the level sets of the kernel fill the tube
        radius = 0.6 * tube.tau * float(torch.linalg.svdvals(J)[..., -1].min())
    if not radius > 0:
        raise UnsupportedError(f"expected DF of full rank on M and radius > 0, got {radius}")
    radii = radius * torch.tensor([1.0, 0.5**0.5, 0.5], dtype=torch.float64)
    constant = (k + 2) / (2 * ball_volume(k)) / radii**k
    # V at the three radii, the extrapolated values of two of them, and their difference
    mix = torch.tensor([[-1.0, 2.0, 0.0], [1.0, -3.0, 2.0]], dtype=torch.float64)
    values, found = [], 0
    for start in range(0, draws, CHUNK):
        y = tube.region.draw(min(CHUNK, draws - start), tube.generator)
        with torch.no_grad():
            F, J = M.linearize(y)
            s = torch.linalg.svdvals(J)
            near = (F.norm(dim=-1) < radius) & M.in_domain(y)
            ratio = F.square().sum(-1, keepdim=True) / radii.square()
            K = constant * (1 - ratio).clamp_min(0)
            values.append(torch.where(near, s.prod(-1), 0.0).unsqueeze(-1) * (K @ mix.mT))
        found += int(near.sum())
    (value, error), (gap, noise) = (
        mean_of(float(v.sum()), float(v.square().sum()), draws) for v in torch.cat(values).T
    )
    if found < 20:
        raise UnsupportedError(
            f"expected level sets that draws hit, but {found} of {draws} came within {radius:.1e} "
            "of F = 0; DF may vanish on M (a square?), or the codimension is too large: use "
            "method='tube'"
        )
    size, its_error = tube.region.refined(error / max(value, 1e-300) / 3, tube.generator)
    return VolumeEstimate(
        size * value,
        math.hypot(size * error, its_error * value),
        size * max(abs(gap) - 2 * noise, 0.0) / 2 if math.isfinite(gap) else math.inf,
        "coarea",
        draws=draws,
        found=found,
    )
