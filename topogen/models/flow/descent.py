"""Maximum likelihood for several maps side by side, each stopped by data it has not seen."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ..energy.descent import folds, some
from .conditioner import ConditionedCoordinates
from .triangular_maps import Flows

_MAX_STEPS = 1000
_RATE = 3e-2
# share of the old in the running mean of the weights: the mean is what is kept
_MEMORY = 0.98
# steps between looks at the held-out rows, and steps without a gain after which a fit ends
_EVERY = 10
_PATIENCE = 150
_GAIN = 1e-4
# the rate falls to 0 over the steps: a fit that gained less than this in the last quarter is done
_LATE = 2e-3


def descend(
    flows: Flows, x: Float[Tensor, "n D"], generator: torch.Generator
) -> Generator[Mapping[str, float], None, bool]:
    """Adam on all maps at once; each keeps the mean weights that did best on its held-out fold.

    The weights are left in single precision.

    Returns:
        Whether all of them stopped getting better before the steps were used up.
    """
    K, n = flows.count, x.shape[0]
    held = folds(n, K, generator)
    seen = 1 - held
    located = [
        ConditionedCoordinates(*(part.to(torch.float32) for part in at)) for at in flows.locate(x)
    ]
    rows = held.argsort(dim=-1, descending=True, stable=True)[:, : int(held.sum(-1).min())]
    test = [_rows(at, rows) for at in located]
    flows.precision(torch.float32)
    parameters: list[Tensor] = list(flows.parameters())
    mean, kept = ([p.detach().clone() for p in parameters] for _ in range(2))
    best, at, step = torch.full((K,), math.inf), 0, 0
    late = math.inf
    optimiser = torch.optim.Adam(parameters, lr=_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _MAX_STEPS)
    for step in range(_MAX_STEPS + 1):
        if step % _EVERY == 0:
            score = _score(flows, parameters, mean, test)
            gained = score < best - _GAIN
            for p, q in zip(mean, kept, strict=True):
                q[gained] = p[gained]
            best = torch.where(gained, score, best)
            at = step if bool(gained.any()) else at
            yield {"loss": float(score.mean()), "best": float(best.mean())}
            if step - at >= _PATIENCE:
                break
            late = float(best.mean()) if step <= 0.75 * _MAX_STEPS else late
        i = some(n, generator)
        weight = seen[:, i]
        optimiser.zero_grad()
        log_slopes = flows.each(
            [ConditionedCoordinates(p.u[:, i], p.context[:, i], p.gate[:, i]) for p in located]
        )
        (-(log_slopes * weight).sum(-1) / weight.sum(-1)).sum().backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for p, q in zip(parameters, mean, strict=True):
                q.lerp_(p, max(1 - _MEMORY, 1 / (step + 2)))
    with torch.no_grad():
        for p, q in zip(parameters, kept, strict=True):
            p.copy_(q)
    return step < _MAX_STEPS or late - float(best.mean()) < _LATE


@torch.no_grad()
def _score(
    flows: Flows, parameters: list[Tensor], mean: list[Tensor], test: list[ConditionedCoordinates]
) -> Float[Tensor, " K"]:
    """Negative mean log density of the held-out rows, at the mean weights."""
    current = [p.clone() for p in parameters]
    for p, q in zip(parameters, mean, strict=True):
        p.copy_(q)
    score = -flows.each(test).mean(-1)
    for p, q in zip(parameters, current, strict=True):
        p.copy_(q)
    return score


def _rows(at: ConditionedCoordinates, i: Tensor) -> ConditionedCoordinates:
    """Rows i, others for each map."""
    wide = i.unsqueeze(-1).expand(-1, -1, at.context.shape[-1])
    return ConditionedCoordinates(
        at.u.gather(1, i), at.context.gather(1, wide), at.gate.gather(1, i)
    )
