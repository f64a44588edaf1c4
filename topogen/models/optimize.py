"""The trainer of every network: Adam, its schedule, averaged weights, and held-out stops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .base import Progress


class Adam:
    r"""Adam with a schedule, a bound on gradients, and a running mean of the weights.

    The rate of step t = 0, 1, ... is

    .. math:: r_t = r\, \min(1, \tfrac{t + 1}{w})\, \tfrac12 (1 + \cos(\pi t / T));

    the mean m of the weights p moves to :math:`m + a_t (p - m)` after it.

    D. Kingma, J. Ba, Adam: a method for stochastic optimization (2015),
    https://arxiv.org/abs/1412.6980.

    Args:
        parameters: what is trained.
        rate: r.
        period: T; None keeps the rate.
        warm_up: w.
        decay: memory of the gradients and of their squares.
        clip: longest gradient; longer ones are scaled down.
        average: a_t from t; None keeps no mean.
        fused: one kernel for the whole step, faster for many small tensors.

    Attributes:
        rate: of the last step, but for the warm-up.
        taken: how many steps have been taken.
        mean: m; the parameters themselves where no mean is kept.

    Example:
        >>> p = torch.ones(2, requires_grad=True)
        >>> adam = Adam([p], 0.1, period=100)
        >>> for _ in range(100):
        ...     value = adam.step(p.square().sum())
        >>> value < 1e-3
        True
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float,
        *,
        period: int | None = None,
        warm_up: int = 1,
        decay: tuple[float, float] = (0.9, 0.999),
        clip: float | None = None,
        average: Callable[[int], float] | None = None,
        fused: bool = False,
    ) -> None:
        self.parameters = list(parameters)
        self.rate, self.period, self.warm_up, self.clip = rate, period, warm_up, clip
        self.average, self.taken = average, 0
        self.mean = self.parameters if average is None else _copies(self.parameters)
        self.optimiser = torch.optim.Adam(self.parameters, lr=rate, betas=decay, fused=fused)

    def step(self, loss: Float[Tensor, ""]) -> float:
        """Take one down the gradient of a loss, and return the loss."""
        t, T = self.taken, self.period
        if t and T is not None:
            # one rate from the one before, as torch's schedule does it
            self.rate *= (1 + math.cos(math.pi * t / T)) / (1 + math.cos(math.pi * (t - 1) / T))
        self.optimiser.param_groups[0]["lr"] = self.rate * min(1.0, (t + 1) / self.warm_up)
        self.optimiser.zero_grad()
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        self.taken += 1
        if self.average is not None:
            with torch.no_grad():
                for m, p in zip(self.mean, self.parameters, strict=True):
                    m.lerp_(p, self.average(t))
        return loss.item()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, without gradients, the weights are their mean."""
        current = _copies(self.parameters)
        with torch.no_grad():
            self.load(self.mean)
            try:
                yield
            finally:
                self.load(current)

    @torch.no_grad()
    def load(self, values: Sequence[Tensor]) -> None:
        """Set the weights."""
        for p, q in zip(self.parameters, values, strict=True):
            p.copy_(q)


class Best:
    """The weights with the least score so far, for each of K networks side by side.

    Args:
        weights: as they are now; leading axis K, unless there is one network.
        networks: K; None for a single one, whose score is a number.
        gain: a score counts where it is lower by more than this.

    Attributes:
        score: the least ones; infinite before the first look.
        at: the step of the last gain.
        late: mean of the least scores at the last look before the last quarter of the steps.
    """

    def __init__(
        self, weights: Sequence[Tensor], networks: int | None = None, *, gain: float = 0.0
    ) -> None:
        self.weights, self.gain, self.at, self.late = _copies(weights), gain, 0, math.inf
        self.score = torch.full(() if networks is None else (networks,), math.inf)

    @torch.no_grad()
    def look(self, step: int, steps: int, score: Tensor, weights: Sequence[Tensor]) -> None:
        """Keep these weights where they score better than all before."""
        gained = score < self.score - self.gain
        for kept, p in zip(self.weights, weights, strict=True):
            kept[gained] = p[gained].detach()
        self.score = torch.where(gained, score, self.score)
        self.at = step if bool(gained.any()) else self.at
        if step <= 0.75 * steps:
            self.late = float(self.score.mean())


def descend(
    adam: Adam, loss: Callable[[int], Tensor], steps: int, *, every: int = 1
) -> Progress[bool]:
    """A fixed number of steps.

    Args:
        adam: what takes them.
        loss: of a step, from its number; called once for each, in order.
        steps: how many.
        every: so many steps make one record; the last one always does.

    Returns:
        Whether the loss stayed finite.
    """
    value = math.nan
    for step in range(steps):
        with torch.enable_grad():
            value = adam.step(loss(step))
        if step % every == 0 or step == steps - 1:
            yield {"loss": value}
    return math.isfinite(value)


def descend_held_out(
    adam: Adam,
    loss: Callable[[], Tensor],
    score: Callable[[], Tensor],
    *,
    steps: int,
    every: int,
    networks: int | None = None,
    patience: int | None = None,
    gain: float = 0.0,
    late: float = 0.0,
) -> Progress[bool]:
    """Steps until held-out rows get no better; the weights that did best on them are kept.

    Args:
        adam: what takes the steps; the score is that of its mean, if it has one.
        loss: of a step.
        score: of held-out rows, without gradients; one number, or one for each network.
        steps: how many at most.
        every: so many steps are between two looks at the score.
        networks: trained side by side; every one keeps its own best weights.
        patience: steps without a gain after which it ends; None never ends it early.
        gain: that counts.
        late: a mean gain in the last quarter of all steps that is less also counts as an end.

    Returns:
        Whether it ended.
    """
    best = Best(adam.mean, networks, gain=gain)
    for step in range(steps + 1):
        if step % every == 0:
            with adam.averaged():
                now = score().detach()
            best.look(step, steps, now, adam.mean)
            yield {"loss": float(now.mean()), "best": float(best.score.mean())}
            if patience is not None and step - best.at >= patience:
                break
        with torch.enable_grad():
            adam.step(loss())
    adam.load(best.weights)
    stopped = step < steps  # pyright: ignore[reportPossiblyUnboundVariable]
    return stopped or best.late - float(best.score.mean()) < late


def folds(n: int, count: int, generator: torch.Generator) -> Float[Tensor, "K n"]:
    """1 where row i is held out from network k: other rows for each, a K-th, at most a fifth."""
    label = torch.randperm(n, generator=generator) % max(count, 5)
    return torch.stack([(label == k).to(torch.float32) for k in range(count)])


def some(n: int, generator: torch.Generator, *, batch: int = 1000) -> Tensor:
    """All of n rows where they are few, else a batch of them."""
    return torch.arange(n) if n <= batch else torch.randperm(n, generator=generator)[:batch]


def weights_in(module: nn.Module, dtype: torch.dtype, *, buffers: bool = False) -> None:
    """Keep the weights in another precision: single is enough, and faster, for a descent."""
    for t in (*module.parameters(), *(module.buffers() if buffers else ())):
        t.data = t.data.to(dtype) if t.is_floating_point() else t.data


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [p.detach().clone() for p in tensors]
