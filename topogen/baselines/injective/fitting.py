"""The descent of a published objective: warm-up on reconstruction, then the likelihood joins."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ...models.injective.nearest_points import nearest_points
from .base_densities import JointFamily, RankSplineBase
from .checks import check_weight, least_weight
from .objectives import OBJECTIVES, ObjectiveContext

if TYPE_CHECKING:
    from .autoencoder import Autoencoder
    from .published_flow import PublishedFlow

# weights and noise that the papers use, for data scaled to mean square 1; see `PublishedFlow`
WEIGHT = {
    "rectangular": 50.0,
    "conformal": 1000.0,
    "free_form": 10.0,
    "normalizing_autoencoder": 5.0,
    "principal": 50.0,
    "canonical": 50.0,
    "relaxed": 50.0,
    "denoising": 100.0,
}
NOISE = {
    "rectangular": 0.05,
    "conformal": 0.0,
    "free_form": 0.05,
    "normalizing_autoencoder": 0.05,
    "principal": 0.05,
    "canonical": 0.05,
    "relaxed": 0.05,
    "denoising": 0.05,
    "spread": 0.05,
}
GUARDED = frozenset(WEIGHT) - {"denoising"}
_WARM, _FULL = 1 / 3, 2 / 3  # the likelihood counts from here on, and in full from there
_SEEDED = 0.15  # so many steps before, in units of the others
_LOOKS = 8  # at the residuals, in between
_CLIP = 10.0
_MOVE_EVERY = 25  # steps between two of the base points that no encoder gives


def descend(
    flow: PublishedFlow, y: Tensor, start: tuple[Tensor, Tensor] | None, generator: torch.Generator
) -> Generator[Mapping[str, float], None, bool]:
    """Adam on the objective of a flow, in float32.

    Args:
        flow: what is trained; its `used_weight` and `residual_variance` are set.
        y: training points, of mean 0 and mean square 1.
        start: points and base points to regress the pair on first, so that its degree is right.
        generator: source of randomness.

    Returns:
        Whether the loss stayed finite.

    Raises:
        TrainingError: the reconstruction weight is too small by an order of magnitude.
    """
    pair, objective = flow.pair, OBJECTIVES[flow.objective]
    pair.start(generator)
    pair.to(torch.float32)
    density, log_prob = _joint_density(flow, generator)
    noise = NOISE.get(flow.objective, 0.0) if flow.noise is None else flow.noise
    own_noise = flow.objective in ("denoising", "spread")
    setting = ObjectiveContext(
        pair,
        log_prob,
        generator,
        noise=noise,
        volume=flow.volume,
        probes=flow.probes,
        strength=flow.strength,
        at=flow.at,
        cg_tolerance=flow.cg_tolerance,
        cg_relative=flow.cg_relative,
        spread=torch.full((pair.base.dim,), -2.0, requires_grad=flow.objective == "spread"),
    )
    given = WEIGHT.get(flow.objective, 1.0) if flow.weight is None else flow.weight
    setting.weight = given
    likely = flow.objective in GUARDED
    parameters = [*pair.parameters(), *density.parameters()]
    parameters += [setting.spread] if flow.objective == "spread" else []
    for p in parameters:
        p.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr=flow.rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, flow.steps)
    if start is not None:
        yield from _regress(pair, *start, flow, generator)
    data, value = y.float(), math.nan
    warm, full = int(_WARM * flow.steps), int(_FULL * flow.steps)
    every = max((full - warm) // _LOOKS, 1)
    for step in range(flow.steps):
        if likely:
            if warm <= step <= full and (step - warm) % every == 0:
                _weigh(flow, setting, data)
            setting.share = min(1.0, max(0.0, (step + 1 - warm) / max(full - warm, 1)))
        x = data[torch.randint(len(data), (flow.batch,), generator=generator)]
        if noise > 0 and not own_noise:
            x = x + noise * torch.randn(x.shape, generator=generator)
        with torch.enable_grad():
            loss = objective(setting, x)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, _CLIP)
        optimiser.step()
        schedule.step()
        value = loss.item()
        yield {"loss": value}
    flow.used_weight = setting.weight
    pair.requires_grad_(False).to(torch.float64)
    density.requires_grad_(False).to(torch.float64)
    return math.isfinite(value)


def _regress(
    pair: Autoencoder, y: Tensor, b: Tensor, flow: PublishedFlow, generator: torch.Generator
) -> Generator[Mapping[str, float], None, None]:
    """Least squares of y on g(b) and of b on the numbers of the encoder, in float32."""
    optimiser = torch.optim.Adam(pair.parameters(), lr=flow.rate, fused=True)
    x, c = y.float(), b.float()
    for _ in range(int(_SEEDED * flow.steps)):
        i = torch.randint(len(x), (flow.batch,), generator=generator)
        with torch.enable_grad():
            loss = (x[i] - pair(c[i])).square().sum(-1).mean()
            loss = loss + (pair.raw(x[i]) - c[i]).square().sum(-1).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
        optimiser.step()
        yield {"loss": loss.item()}


def _weigh(flow: PublishedFlow, s: ObjectiveContext, data: Tensor) -> None:
    """Measure the residual, while the likelihood comes in; choose, or check, the weight."""
    first, before = math.isnan(flow.residual_variance), flow.residual_variance
    codimension = max(flow.ambient_dim - flow.dim, 1)
    with torch.no_grad():
        x = data[:4096]
        x = x + s.noise * torch.randn(x.shape, generator=s.generator)
        off = (x - s.pair(s.pair.encode(x))).square().sum(-1).mean()
    flow.residual_variance = max(float(off) / codimension, s.noise**2)
    if flow.weight is None:
        s.weight = max(s.weight, least_weight(flow.residual_variance))
    elif first or s.weight >= least_weight(before):
        # what was said once is not said again
        check_weight(s.weight, flow.residual_variance)


def _joint_density(
    flow: PublishedFlow, generator: torch.Generator
) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """What is trained of the density along with the set, and its logarithm."""
    if isinstance(flow.distribution, RankSplineBase):
        flow.distribution.start(generator)
        flow.distribution.to(torch.float32)
        return flow.distribution, flow.distribution.log_prob
    if flow.density_kind in ("spectral", "von_mises", "mixture"):
        family = JointFamily(flow.space)
        return family, family
    return nn.Module(), flow.distribution.log_prob


def descend_on_anchors(
    flow: PublishedFlow, y: Tensor, b: Tensor, generator: torch.Generator
) -> Generator[Mapping[str, float], None, Tensor]:
    r"""Two-phase training without an encoder: :math:`|x_i - g(b_i)|^2` over g and the b_i.

    The b_i start at a seed of the right degree, and move by a Gauss-Newton step from time to time.

    Returns:
        b.
    """
    pair = flow.pair
    pair.start(generator)
    optimiser = torch.optim.Adam(pair.parameters(), lr=flow.rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, flow.steps)
    data = y.float()
    for step in range(flow.steps):
        if step and step % _MOVE_EVERY == 0:
            pair.to(torch.float64).requires_grad_(False)
            b = nearest_points(pair, y, b, tol=1e-9, max_steps=1).b
        pair.to(torch.float32).requires_grad_(True)
        rows = torch.randint(len(y), (flow.batch,), generator=generator)
        with torch.enable_grad():
            loss = (data[rows] - pair(b[rows].float())).square().sum(-1).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
        optimiser.step()
        schedule.step()
        yield {"loss": cast("float", loss.item())}
    pair.requires_grad_(False).to(torch.float64)
    return nearest_points(pair, y, b, tol=1e-9, max_steps=20).b
