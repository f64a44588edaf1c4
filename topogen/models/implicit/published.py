r"""The published objective for F, as a baseline: an energy-based model with the energy |F|."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from .network import SineNetwork
from .rank import random_direction_penalty

_BATCH = 100
_BUFFER, _FROM_BUFFER = 10_000, 0.95
_LANGEVIN_STEPS, _STEP, _NOISE, _CLIP = 20, 10.0, 0.1, 0.03
_RATE = 0.01
_LEAST = 0.1
_RANK_WEIGHT, _NEGATIVE, _SQUARES = 1.0, 0.3, 1.0


def published_steps(
    net: SineNetwork, z: Tensor, box: tuple[Tensor, Tensor], steps: int, generator: torch.Generator
) -> Generator[Mapping[str, float], None, bool]:
    r"""Descent on the objective of Ross et al., 2024, with its settings for small problems.

    .. math:: E_{data} |F(x)| - w\, E_{x'} |F(x')| + \beta\, E_{x'} |F(x')|^2
              + \mu\, E_{data} (\eta - |v^\top J(x)| / |v|)_+^2

    with w = 0.3, beta = mu = 1, eta = 0.1, one Gaussian v per point, and negatives x' from 20
    Langevin steps with clipped gradients, started in a replay buffer (95 %) or uniformly in the
    box. The network is the sine network of this package rather than the published 3 x 8 SiLU.

    "Neural implicit manifold learning for topology-aware density estimation"
    (https://arxiv.org/abs/2206.11267).
    """
    low, high = (side.float() for side in box)
    data, m = z.float(), z.shape[-1]
    small = SineNetwork(m, net.outputs, width=net.width, features=0).float()
    with torch.no_grad():
        for mine, own in zip(small.parameters(), net.parameters(), strict=True):
            if mine.shape == own.shape:
                mine.copy_(own)
        h = net.width
        small.C[:, h : 2 * h].copy_(net.C[:, h : 2 * h])
    optimiser = torch.optim.Adam(small.parameters(), lr=_RATE, fused=True)

    def uniform(n: int) -> Tensor:
        return low + (high - low) * torch.rand(n, m, generator=generator)

    buffer = uniform(_BUFFER)
    value = math.nan
    with torch.enable_grad():
        for step in range(steps):
            rows = torch.randint(_BUFFER, (_BATCH,), generator=generator)
            start = buffer[rows]
            fresh = torch.rand(_BATCH, 1, generator=generator) > _FROM_BUFFER
            negative = torch.where(fresh, uniform(_BATCH), start)
            for _ in range(_LANGEVIN_STEPS):
                F, J = small.linearize(negative)
                F, J = F.detach(), J.detach()
                length = F.norm(dim=-1, keepdim=True).clamp_min(1e-12)
                slope = (J.mT @ (F / length).unsqueeze(-1)).squeeze(-1)
                noise = _NOISE * torch.randn(negative.shape, generator=generator)
                moved = negative + noise - _STEP / 2 * slope.clamp(-_CLIP, _CLIP)
                negative = torch.minimum(torch.maximum(moved, low), high)
            buffer[rows] = negative
            batch = data[torch.randint(data.shape[0], (_BATCH,), generator=generator)]
            F, J = small.linearize(batch)
            energy = small(negative).norm(dim=-1)
            rank = random_direction_penalty(J, _LEAST, generator=generator)
            loss = F.norm(dim=-1).mean() - _NEGATIVE * energy.mean()
            loss = loss + _SQUARES * energy.square().mean() + _RANK_WEIGHT * rank.mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            value = loss.item()
            if step % 50 == 0 or step == steps - 1:
                yield {"loss": value}
    with torch.no_grad():
        for name in ("W1", "b1", "W2", "b2"):
            getattr(net, name).copy_(getattr(small, name).double())
        r = net.features
        net.C.zero_()
        net.C[:, : 2 * h].copy_(small.C[:, : 2 * h])
        net.C[:, 2 * h + r :].copy_(small.C[:, 2 * h :])
    return math.isfinite(value)
