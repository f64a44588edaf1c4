r"""A zero set learned as published: an energy-based model with the energy |F|."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..models.base import Stage
from ..models.implicit.neural_implicit import LearnedZeroSet
from ..models.implicit.normal_orientation import NormalFrames
from ..models.implicit.penalties import random_direction_penalty
from ..models.implicit.regression import Targets
from ..models.implicit.tubular_neighborhood import TubularNeighborhood
from ..models.nn.mlp import MLP
from ..models.optimize import Adam, descend
from ..storable import Options
from .langevin import uncorrected_langevin
from .options import DescentOptions


@dataclass(frozen=True)
class EnergyOptions(Options):
    """The loss of :class:`EnergyImplicit`, and its negatives.

    Lengths are in the units of the points, which should be of size 1 or so, as published.

    Attributes:
        negative: w.
        beta: weight of the squares.
        mu: weight of the rank.
        s_min: least length of a row of J that costs nothing.
        s_max: largest one that costs nothing; None puts no bound.
        squared: whether e(F) is |F|^2, as for images, else |F|.
        margin: the cube of the negatives is so much wider than the data on every side.
        buffer: how many negatives of earlier steps are retained.
        fresh: share of the negatives that start anywhere in the cube.
        langevin_steps: that lead to the negatives.
    """

    negative: float = 0.3
    beta: float = 1.0
    mu: float = 10.0
    s_min: float = 1.0
    s_max: float | None = None
    squared: bool = False
    margin: float = 0.5
    buffer: int = 10_000
    fresh: float = 0.05
    langevin_steps: int = 20


class EnergyImplicit(LearnedZeroSet):
    r"""The zero set of a perceptron F with SiLU units, trained on the objective of Ross et al.

    .. math:: E_{data} |F(x)| - w\, E_{x'} e(F(x')) + \beta\, E_{x'} e(F(x'))^2
              + \mu\, E_{data} [(s_{\min} - \rho)_+^2 + (\rho - s_{\max})_+^2], \quad
              \rho = |v^\top J(x)| / |v|,

    one Gaussian v per point, and negatives x' from Langevin steps on e with clipped gradients,
    started in a replay buffer or uniformly in a cube. No frames, no least squares, no denoising of
    F, all layers are trained; the rest is that of :class:`NeuralImplicit`, for comparison. The
    defaults are those of the authors' first experiment, 300 epochs of 20 batches.

    B. Ross, G. Loaiza-Ganem, A. Caterini, J. Cresswell, Neural implicit manifold learning for
    topology-aware density estimation (2024), https://arxiv.org/abs/2206.11267.

    Args:
        dim: dimension d of the set.
        ambient_dim: dimension D of the space.
        width: units of a hidden layer of F.
        depth: hidden layers.
        energy: the loss, and its negatives.
        descent: steps, batch and rate; the rate is constant.

    Raises:
        ValueError: not 1 <= d < D, or sizes that make no sense.

    Example:
        >>> x = tg.Circle().sample_uniform(500, torch.Generator().manual_seed(0))
        >>> M = EnergyImplicit(1, 2, descent=DescentOptions(steps=50, batch=50, rate=0.01))
        >>> M.form, [stage.name for stage in M.stages(x)][1]
        ('regular', 'network')
    """

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        *,
        width: int = 8,
        depth: int = 3,
        energy: EnergyOptions = EnergyOptions(),
        descent: DescentOptions = DescentOptions(steps=6000, batch=50, rate=0.01),
    ) -> None:
        super().__init__(dim, ambient_dim)
        if min(width, depth) < 1:
            raise ValueError(f"expected width, depth >= 1, got {width} and {depth}")
        self.width, self.depth, self.energy, self.descent = width, depth, energy, descent
        self.net = self._network(ambient_dim, self.codim)

    def _network(self, inputs: int, outputs: int) -> MLP:
        return MLP(inputs, outputs, width=self.width, depth=self.depth).requires_grad_(False)

    def _frames(self, geometry: TubularNeighborhood, generator: torch.Generator) -> NormalFrames:
        return NormalFrames("regular", "the only one published", None, geometry.N)

    def _draw(self, geometry: TubularNeighborhood, generator: torch.Generator) -> None:
        cast("MLP", self.net).start_uniform(generator)

    def _descent(self, work: dict[str, Any]) -> Stage:
        return Stage("network", lambda g: self._train(work, g), self.descent.steps)

    def _last_layer(
        self, targets: Targets, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, Targets]:
        yield from ()
        return targets

    def _train(
        self, work: dict[str, Any], generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        """Fit all layers to x = unit z, then rescale F to z; whether the loss stayed finite."""
        net, options, energy = cast("MLP", self.net), self.descent, self.energy
        unit: float = work["frame"].unit
        x = unit * work["z"]
        least, most = x.aminmax(dim=0)
        middle, half = (least + most) / 2, float((most - least).max()) / 2 + energy.margin
        low, high = middle - half, middle + half
        size = min(options.batch, len(x))

        def uniform(n: int) -> Tensor:
            u = torch.rand(n, x.shape[1], generator=generator, dtype=x.dtype)
            return low + (high - low) * u

        buffer, oldest = uniform(energy.buffer), 0
        order = torch.empty(0, dtype=torch.long)

        def loss(_: int) -> Tensor:
            nonlocal oldest, order
            rows = torch.randint(energy.buffer, (size,), generator=generator)
            kept = torch.rand(size, 1, generator=generator) < 1 - energy.fresh
            start = torch.where(kept, buffer[rows], uniform(size))
            negatives = self._negatives(net, start, generator).clamp(low, high)
            buffer[(oldest + torch.arange(size)) % energy.buffer] = negatives
            oldest += size
            if order.numel() < size:
                order = torch.randperm(len(x), generator=generator)
            batch, order = x[order[:size]], order[size:]
            return self._loss(net, batch, negatives, generator)

        net.requires_grad_(True)
        adam = Adam(net.parameters(), options.rate, fused=True)
        finite = yield from descend(adam, loss, options.steps, every=50)
        net.requires_grad_(False)
        net.W[0] *= unit
        net.W[-1] /= unit
        net.b[-1] /= unit
        return finite

    def _loss(self, net: MLP, x: Tensor, negatives: Tensor, generator: torch.Generator) -> Tensor:
        """The objective, of a batch."""
        o = self.energy
        F, J = net.linearize(x)
        F_negative = net(negatives)
        e = F_negative.square().sum(-1) if o.squared else F_negative.norm(dim=-1)
        rank = random_direction_penalty(J, o.s_min, o.s_max, generator=generator)
        loss = F.norm(dim=-1).mean() + o.mu * rank.mean()
        return loss - o.negative * e.mean() + o.beta * e.square().mean()

    @torch.no_grad()
    def _negatives(self, net: MLP, x: Tensor, generator: torch.Generator) -> Tensor:
        """Where Langevin steps on e lead, with the authors' step, noise and bound of the slope."""

        def slope(x: Tensor) -> Tensor:
            F, J = net.linearize(x)
            outer = 2 * F if self.energy.squared else torch.nn.functional.normalize(F, dim=-1)
            return (J.mT @ outer.unsqueeze(-1)).squeeze(-1)

        steps = self.energy.langevin_steps
        return uncorrected_langevin(
            slope, x, steps, step=10.0, noise=0.1, clip=0.03, generator=generator
        )
