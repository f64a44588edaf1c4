"""The descent of a published objective: warm-up on reconstruction, then the likelihood joins."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from math import isnan, nan

import torch
from torch import Tensor

from ...models.injective.base_distributions import BaseDistribution
from ...models.injective.nearest_points import nearest_points
from ...models.optimize import Adam, descend, weights_in
from ..options import DescentOptions, VolumeOptions
from .autoencoder import Autoencoder
from .base_densities import JointFamily, RankSplineBase
from .checks import check_weight, least_weight
from .objectives import ObjectiveContext, PublishedObjective


@dataclass
class Trainer:
    """Trains a pair on one objective, in float32.

    Attributes:
        pair: g and f.
        distribution: p_B.
        stand_in: whether a small family is trained with the pair in its place; splines are trained
            themselves, other densities stay as they are.
        objective: what is minimised.
        volume: how it finds the log volume.
        descent: steps, batch and rate.
        given_weight: beta; None takes the published one, or the bound from the residuals.
        given_noise: standard deviation of the noise; None takes the published one.
        used_weight: beta as used, after training.
        residual_variance: per normal direction, as measured.
    """

    pair: Autoencoder
    distribution: BaseDistribution
    stand_in: bool
    objective: PublishedObjective
    volume: VolumeOptions
    descent: DescentOptions
    given_weight: float | None
    given_noise: float | None
    used_weight: float = field(default=nan, init=False)
    residual_variance: float = field(default=nan, init=False)

    def run(
        self, y: Tensor, start: tuple[Tensor, Tensor] | None, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        """Adam on the objective; returns whether the loss stayed finite.

        Args:
            y: training points, of mean 0 and mean square 1.
            start: points and base points to regress the pair on first, for the right degree.
            generator: source of randomness.

        Raises:
            TrainingError: the reconstruction weight is too small by an order of magnitude.
        """
        pair, objective, options = self.pair, self.objective, self.descent
        pair.start(generator)
        weights_in(pair, torch.float32, buffers=True)
        along = JointFamily(pair.base) if self.stand_in else self.distribution
        if isinstance(along, RankSplineBase):
            along.start(generator)
            weights_in(along, torch.float32, buffers=True)
        noise = objective.noise if self.given_noise is None else self.given_noise
        s = ObjectiveContext(
            pair,
            along.log_prob,
            generator,
            weight=objective.weight if self.given_weight is None else self.given_weight,
            noise=noise,
            volume=self.volume,
            spread=torch.full((pair.base.dim,), -2.0),
        )
        parameters: list[Tensor] = list(pair.parameters())
        if isinstance(along, JointFamily | RankSplineBase):
            parameters += along.parameters()
        parameters += [s.spread] if objective.learns_spread else []
        for p in parameters:
            p.requires_grad_(True)
        if start is not None:
            yield from self._regress(*start, generator)
        data, steps = y.float(), options.steps
        # the likelihood counts from a third of the steps on, and in full from two thirds
        warm, full = int(1 / 3 * steps), int(2 / 3 * steps)
        every = max((full - warm) // 8, 1)

        def loss(step: int) -> Tensor:
            if objective.joint:
                if warm <= step <= full and (step - warm) % every == 0:
                    self._weigh(s, data)
                s.share = min(1.0, max(0.0, (step + 1 - warm) / max(full - warm, 1)))
            x = data[torch.randint(len(data), (options.batch,), generator=generator)]
            if noise > 0 and not objective.adds_noise:
                x = x + noise * torch.randn(x.shape, generator=generator)
            return objective.loss(s, x)

        adam = Adam(parameters, options.rate, period=steps, clip=10.0, fused=True)
        finite = yield from descend(adam, loss, steps)
        self.used_weight = s.weight
        pair.requires_grad_(False).to(torch.float64)
        if isinstance(along, RankSplineBase):
            along.requires_grad_(False).to(torch.float64)
        return finite

    def _regress(
        self, y: Tensor, b: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, None]:
        """Least squares of y on g(b) and of b on the numbers of the encoder, in float32."""
        pair, options = self.pair, self.descent
        x, c = y.float(), b.float()

        def loss(_: int) -> Tensor:
            i = torch.randint(len(x), (options.batch,), generator=generator)
            off = (x[i] - pair(c[i])).square().sum(-1).mean()
            return off + (pair.raw(x[i]) - c[i]).square().sum(-1).mean()

        adam = Adam(pair.parameters(), options.rate, fused=True)
        yield from descend(adam, loss, int(0.15 * options.steps))

    def run_on_anchors(
        self, y: Tensor, b: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, tuple[bool, Tensor]]:
        r"""Two-phase training without an encoder: :math:`|x_i - g(b_i)|^2` over g and the b_i.

        The b_i start as given, and move by a Gauss-Newton step from time to time. Returns whether
        the loss stayed finite, and b.
        """
        pair, options = self.pair, self.descent
        pair.start(generator)
        data = y.float()

        def loss(step: int) -> Tensor:
            nonlocal b
            if step and step % 25 == 0:
                pair.to(torch.float64).requires_grad_(False)
                b = nearest_points(pair, y, b, tol=1e-9, max_steps=1).b
            weights_in(pair, torch.float32, buffers=True)
            pair.requires_grad_(True)
            i = torch.randint(len(y), (options.batch,), generator=generator)
            return (data[i] - pair(b[i].float())).square().sum(-1).mean()

        adam = Adam(pair.parameters(), options.rate, period=options.steps, fused=True)
        finite = yield from descend(adam, loss, options.steps)
        pair.requires_grad_(False).to(torch.float64)
        return finite, nearest_points(pair, y, b, tol=1e-9, max_steps=20).b

    def _weigh(self, s: ObjectiveContext, data: Tensor) -> None:
        """Measure the residual, while the likelihood comes in; choose, or check, the weight."""
        before = self.residual_variance
        codimension = max(self.pair.ambient_dim - self.pair.base.dim, 1)
        with torch.no_grad():
            x = data[:4096]
            x = x + s.noise * torch.randn(x.shape, generator=s.generator)
            off = (x - s.pair(s.pair.encode(x))).square().sum(-1).mean()
        self.residual_variance = max(float(off) / codimension, s.noise**2)
        if self.given_weight is None:
            s.weight = max(s.weight, least_weight(self.residual_variance))
        elif isnan(before) or s.weight >= least_weight(before):  # what was said is not said again
            check_weight(s.weight, self.residual_variance)
