"""Train several energies side by side, each stopped by data of its own that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from .network import Energies
from .objectives import Objective

_MAX_STEPS = 2000
# rows of data, and of reference points, in a step
_BATCH = 1000
# steps between looks at the held-out rows, and steps without a gain after which a fit ends
_EVERY = 10
_PATIENCE = 100
_GAIN = 1e-4


def folds(n: int, count: int, generator: torch.Generator) -> Float[Tensor, "K n"]:
    """1 where row i is held out from network k: other rows for each, a K-th, at most a fifth."""
    label = torch.randperm(n, generator=generator) % max(count, 5)
    return torch.stack([(label == k).to(torch.float32) for k in range(count)])


def descend(
    E: Energies, objective: Objective, generator: torch.Generator
) -> Generator[Mapping[str, float], None, bool]:
    """Adam on all networks at once; each keeps the weights that did best on its held-out fold.

    Returns:
        Whether all of them stopped getting better before the steps were used up.
    """
    K, n = E.W[0].shape[0], objective.rows
    held = folds(n, K, generator)
    seen = _normalised(1 - held)
    held = _normalised(held)
    everything = torch.arange(n), torch.arange(objective.nodes)
    parameters = [*E.parameters(), *objective.parameters()]
    kept = [p.detach().clone() for p in parameters]
    best = torch.full((K,), math.inf)
    at = 0
    optimiser = torch.optim.Adam(parameters, lr=objective.rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _MAX_STEPS)
    step = 0
    for step in range(_MAX_STEPS + 1):
        if step % _EVERY == 0:
            with torch.no_grad():
                score = objective(E, everything[0], held, everything[1]).detach()
                gained = score < best - _GAIN
                for p, q in zip(parameters, kept, strict=True):
                    q[gained] = p[gained]
            best = torch.where(gained, score, best)
            at = step if bool(gained.any()) else at
            yield {"loss": float(score.mean()), "best": float(best.mean())}
            if step - at >= _PATIENCE:
                break
        i = some(n, generator)
        j = some(objective.nodes, generator)
        optimiser.zero_grad()
        objective(E, i, _normalised(seen[:, i]), j).sum().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        for p, q in zip(parameters, kept, strict=True):
            p.copy_(q)
    return step < _MAX_STEPS


def some(n: int, generator: torch.Generator) -> Tensor:
    """All of n rows where they are few, else a batch of them."""
    return torch.arange(n) if n <= _BATCH else torch.randperm(n, generator=generator)[:_BATCH]


def _normalised(w: Tensor) -> Tensor:
    return w / w.sum(-1, keepdim=True)
