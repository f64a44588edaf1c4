"""Contrastive divergence with chains that leave the distribution of the model invariant."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...manifolds.base import Manifold
from ...sampling.mcmc import random_walk
from ...sampling.records import Plan
from ..base import Progress
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
) -> Progress[bool]:
    r"""Adam on :math:`\mathrm{E}_x[E] - \mathrm{E}_y[E]`, y from chains on M that go on.

    The chains follow :math:`e^{-E}` by the tangent random walk, with its Metropolis test, so no
    bias of the chain is learned. A ridge of 1e-3 on their squares keeps energies small. The
    weights are the mean over the second half of the steps.

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
    plan = Plan(chains=chains, start=y, warmup=every, thin=4)
    for t in range(steps):
        walk = random_walk(M, lambda z: -E(z), 1, generator=generator, plan=plan)
        y = walk.samples[:, -1]
        step, warmup = (None, every) if (t + 1) % every == 0 else (walk.step, 0)
        plan = replace(plan, start=y, step=step, warmup=warmup, reach=walk.reach)
        i = torch.randint(x.shape[0], (500,), generator=generator)
        at_data, at_chain = E.each(x[i]), E.each(y)
        gap = (at_data.mean(-1) - at_chain.mean(-1)).mean()
        ridge = (at_data.square().mean(-1) + at_chain.square().mean(-1)).mean()
        adam.step(gap + 1e-3 * ridge)
        # not a loss: the gap of a good fit is noise about 0
        yield {"gap": float(gap.detach()), "acceptance": walk.acceptance}
    adam.load(adam.mean)
    return True
