"""The descent of flow matching: Adam, a cosine schedule, averaged weights, held-out likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ...errors import TrainingError
from .field import Field
from .pairs import Examples, Pool

_RATE = 2e-3
_CLIP = 1.0
_AVERAGED = 0.995
# how many pairs are made at once, and where a solver is behind every path
_PAIRS, _PAIRS_SLOW = 2**15, 2**13
# the pool is run through this many times, at new times, before new pairs are made
_ROUNDS = 8
# there examples are kept for this many rounds, and the pairs throughout
_KEPT = 8
_WATCH = 8
_WARM = 100
# a last quarter that gains less than this is the end of learning, in nats
_GAIN = 0.02


def descend(
    field: Field,
    pool: Pool,
    score: Callable[[], float] | None,
    *,
    steps: int,
    batch: int,
    generator: torch.Generator,
) -> Generator[Mapping[str, float], None, tuple[bool, float]]:
    """Minimise the flow-matching loss; keeps the averaged weights that score best.

    Args:
        field: the network, in single precision.
        pool: examples.
        score: mean log density of held-out points at the weights of the field; None keeps the
            last weights.
        steps: of the descent.
        batch: examples of a step.
        generator: source of randomness.

    Returns:
        Whether the last quarter gained less than .02 nats, and the best score (NaN without).
    """
    parameters = list(field.parameters())
    optimiser = torch.optim.Adam(parameters, lr=_RATE, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in parameters]
    scores: dict[int, float] = {}
    best, best_score = average, -math.inf
    for step, rows in enumerate(_stream(pool, batch, steps, generator)):
        warm = min(1.0, (step + 1) / _WARM)
        for group in optimiser.param_groups:
            group["lr"] = _RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        f = field(rows.x, rows.t)
        loss = ((rows.Q.mT @ f.unsqueeze(-1)).squeeze(-1) - rows.u).square().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
        optimiser.step()
        with torch.no_grad():
            keep = min(_AVERAGED, (1 + step) / (10 + step))
            for a, p in zip(average, parameters, strict=True):
                a.lerp_(p, 1 - keep)
        record = {"loss": float(loss.detach())}
        if score is not None and (step + 1) % max(1, steps // _WATCH) == 0:
            value = _scored(parameters, average, score)
            scores[step + 1] = value
            record["held_out"] = value
            if value > best_score:
                best, best_score = [a.clone() for a in average], value
        yield record
    with torch.no_grad():
        for p, a in zip(parameters, best if scores else average, strict=True):
            p.copy_(a)
    early = [s for step, s in scores.items() if step <= 0.75 * steps]
    settled = not scores or (bool(early) and best_score - max(early) < _GAIN)
    return settled, best_score if scores else math.nan


def _scored(
    parameters: Sequence[Tensor], average: Sequence[Tensor], score: Callable[[], float]
) -> float:
    """The score at the averaged weights; those of the descent are put back."""
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, a in zip(parameters, average, strict=True):
            p.copy_(a)
    value = score()
    with torch.no_grad():
        for p, k in zip(parameters, kept, strict=True):
            p.copy_(k)
    return value if math.isfinite(value) else -math.inf


def _stream(pool: Pool, batch: int, steps: int, generator: torch.Generator) -> Iterator[Examples]:
    """Batches of examples, from pairs that are renewed now and then."""
    slow = pool.slow
    count = min(_PAIRS_SLOW if slow else _PAIRS, max(batch * steps // _ROUNDS, batch))
    count = max(count, -(-batch // pool.block) * pool.block)  # a batch in whole blocks
    taken = 0
    while True:
        before = taken
        if taken == 0 or not slow:
            pool.pair(count, generator)
        for _ in range(_ROUNDS):
            examples = pool.examples(generator)
            for _ in range(_KEPT if slow else 1):
                for rows in examples.batches(batch, generator):
                    yield rows
                    taken += 1
                    if taken == steps:
                        return
        if taken == before:
            raise TrainingError(
                f"expected at least {batch} pairs of points with a path between them, got fewer: "
                f"{pool.lost} of {pool.tried} were lost; pass a smaller batch, or check that the "
                "set is connected"
            )
