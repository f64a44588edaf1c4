r"""The published objective for F, as a baseline: an energy-based model with the energy |F|."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.implicit.penalties import random_direction_penalty
from ..models.nn.mlp import Perceptron

_BUFFER, _FROM_BUFFER = 10_000, 0.95
_LANGEVIN_STEPS, _NOISE, _STEP, _CLIP = 20, 0.1, 10.0, 0.03
# the box of the negatives is a cube, and so much wider than the data on every side
_MARGIN = 0.5


@dataclass(frozen=True)
class Published:
    r"""The objective of Ross et al., 2024, with its settings for problems in the plane and space.

    .. math:: E_{data} |F(x)| - w\, E_{x'} e(F(x')) + \beta\, E_{x'} e(F(x'))^2
              + \mu\, E_{data} [(s_{\min} - \rho)_+^2 + (\rho - s_{\max})_+^2], \quad
              \rho = |v^\top J(x)| / |v|,

    one Gaussian v per point, and negatives x' from 20 Langevin steps on e with clipped
    gradients, started in a replay buffer (95 %) or uniformly in a cube. The defaults are those of
    the authors' first experiment, 300 epochs of 20 batches. Lengths among them are in the units of
    the points, as published: these should be of size 1 or so.

    "Neural implicit manifold learning for topology-aware density estimation"
    (https://arxiv.org/abs/2206.11267).

    Attributes:
        steps: of Adam.
        batch: points in each, and negatives.
        rate: of Adam.
        depth: hidden layers of F, a perceptron with SiLU.
        negative: w.
        beta: weight of the squares.
        mu: weight of the rank.
        s_min: least length of a row of J that costs nothing.
        s_max: largest one that costs nothing; None puts no bound.
        squared: whether e(F) is :math:`|F|^2`, as for images, else |F|.
    """

    steps: int = 6000
    batch: int = 50
    rate: float = 0.01
    depth: int = 3
    negative: float = 0.3
    beta: float = 1.0
    mu: float = 10.0
    s_min: float = 1.0
    s_max: float | None = None
    squared: bool = False

    @staticmethod
    def of(settings: Mapping[str, Any] | None, objective: str, constraints: object) -> Published:
        """The defaults, but for these.

        Raises:
            ValueError: settings of another objective, unknown ones, fewer than one step or point,
                or constraints that this objective does not know.
        """
        wanted = objective == "published"
        if objective != "distance" and not (wanted and constraints != "residual"):
            raise ValueError(
                "expected objective 'distance' or 'published', which has the regular form only, "
                f"got {objective!r} with constraints={constraints!r}"
            )
        if settings and not wanted:
            raise ValueError(
                "expected settings with objective 'published' only: the last layer of the other "
                f"one is solved for; got {settings!r}"
            )
        known = Published.__dataclass_fields__
        unknown = [name for name in settings or {} if name not in known]
        if unknown:
            raise ValueError(f"expected settings among {', '.join(known)}, got {unknown}")
        made = Published(**(settings or {}))
        if min(made.steps, made.batch, made.depth) < 1:
            raise ValueError(
                "expected at least 1 step, 1 point in a batch and 1 hidden layer, got steps="
                f"{made.steps}, batch={made.batch}, depth={made.depth}"
            )
        return made

    def descend(
        self, net: Perceptron, z: Float[Tensor, "n m"], unit: float, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        """Fit all layers of a network to x = unit z, then make it F(unit z) / unit, of z.

        Returns whether the loss stayed finite.
        """
        x = unit * z
        least, most = x.aminmax(dim=0)
        middle, half = (least + most) / 2, float((most - least).max()) / 2 + _MARGIN
        low, high = middle - half, middle + half
        n, size = x.shape[0], min(self.batch, x.shape[0])

        def uniform(n: int) -> Tensor:
            u = torch.rand(n, x.shape[1], generator=generator, dtype=x.dtype)
            return low + (high - low) * u

        buffer, oldest = uniform(_BUFFER), 0
        net.requires_grad_(True)
        optimiser = torch.optim.Adam(net.parameters(), lr=self.rate, fused=True)
        order = torch.empty(0, dtype=torch.long)
        value = math.nan
        for step in range(self.steps):
            rows = torch.randint(_BUFFER, (size,), generator=generator)
            kept = torch.rand(size, 1, generator=generator) < _FROM_BUFFER
            start = torch.where(kept, buffer[rows], uniform(size))
            negatives = self.langevin(net, start, generator).clamp(low, high)
            buffer[(oldest + torch.arange(size)) % _BUFFER] = negatives
            oldest += size
            if order.numel() < size:
                order = torch.randperm(n, generator=generator)
            batch, order = x[order[:size]], order[size:]
            with torch.enable_grad():
                loss = self.loss(net, batch, negatives, generator)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            value = loss.item()
            if step % 50 == 0 or step == self.steps - 1:
                yield {"loss": value}
        net.requires_grad_(False)
        net.W[0] *= unit
        net.W[-1] /= unit
        net.b[-1] /= unit
        return math.isfinite(value)

    def loss(
        self, net: Perceptron, x: Tensor, negatives: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The objective, of a batch."""
        F, J = net.linearize(x)
        e = self.energy(net(negatives))
        rank = random_direction_penalty(J, self.s_min, self.s_max, generator=generator)
        loss = F.norm(dim=-1).mean() + self.mu * rank.mean()
        return loss - self.negative * e.mean() + self.beta * e.square().mean()

    def energy(self, F: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """e(F)."""
        return F.square().sum(-1) if self.squared else F.norm(dim=-1)

    @torch.no_grad()
    def langevin(
        self, net: Perceptron, x: Float[Tensor, "n m"], generator: torch.Generator
    ) -> Float[Tensor, "n m"]:
        r""":math:`x + \epsilon \xi - \tfrac a2 \mathrm{clip}(\nabla e)`, so many times.

        a and epsilon are chosen apart, so that this has no distribution that it leaves invariant.
        """
        for _ in range(_LANGEVIN_STEPS):
            F, J = net.linearize(x)
            outer = 2 * F if self.squared else torch.nn.functional.normalize(F, dim=-1)
            slope = (J.mT @ outer.unsqueeze(-1)).squeeze(-1)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + _NOISE * noise - _STEP / 2 * slope.clamp(-_CLIP, _CLIP)
        return x
