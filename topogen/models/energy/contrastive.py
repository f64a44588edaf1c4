"""Contrastive divergence with chains that leave the distribution of the model invariant."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ...manifolds.base import Manifold
from ...sampling.mcmc import random_walk
from ...sampling.records import Plan
from ..optimize import Adam
from .network import Energies


def contrast(
    E: Energies,
    x: Float[Tensor, "n D"],
    M: Manifold,
    generator: torch.Generator,
    *,
    steps: int = 300,
    chains: int = 200,
    every: int = 50,
) -> Generator[Mapping[str, float], None, bool]:
    r"""Adam on :math:`\mathrm{E}_x[E] - \mathrm{E}_y[E]`, y from chains on M that go on.

    The chains follow :math:`e^{-E}` by the tangent random walk, with its Metropolis test and its
    way back, so no bias of the chain is learned. Energies stay small by a ridge of 1e-3 on their
    squares. The weights returned are the mean over the second half of the steps.

    Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood
    gradient", 2008, https://doi.org/10.1145/1390156.1390290.

    Args:
        E: one network or several.
        x: data, on M.
        M: the manifold.
        generator: source of randomness.
        steps: of the descent.
        chains: how many; four transitions of each make a step.
        every: so many steps the size of the transitions is adapted again, in as many more.

    Returns:
        True: the number of steps is fixed.
    """
    half = steps // 2
    adam = Adam(
        E.parameters(),
        0.01,
        period=2 * steps,
        decay=(0.9, 0.99),
        average=lambda t: 1 / max(t - half + 1, 1),  # over the second half
    )
    y = x[torch.randint(x.shape[0], (chains,), generator=generator)]
    step: float | None = None
    reach: float | None = None

    def log_density(z: Tensor) -> Tensor:
        return -E(z)

    for t in range(steps):
        walk = random_walk(
            M,
            log_density,
            1,
            generator=generator,
            plan=Plan(
                chains=chains,
                start=y,
                step=None if t % every == 0 else step,
                warmup=every if t % every == 0 else 0,
                thin=4,
                reach=reach,
            ),
        )
        y, step, reach = walk.samples[:, -1], walk.step, walk.reach
        i = torch.randint(x.shape[0], (500,), generator=generator)
        at_data, at_chain = E.each(x[i]), E.each(y)
        gap = (at_data.mean(-1) - at_chain.mean(-1)).mean()
        ridge = (at_data.square().mean(-1) + at_chain.square().mean(-1)).mean()
        adam.step(gap + 1e-3 * ridge)
        # not a loss: the gap of a good fit is noise about 0
        yield {"gap": float(gap.detach()), "acceptance": walk.acceptance}
    adam.load(adam.mean)
    return True
