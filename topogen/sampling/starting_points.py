"""Where chains start: on M, inside its domain of validity, and spread as its components weigh."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import InvalidPoints, ProjectionError, UnsupportedError
from ..manifolds.base import Manifold
from ..manifolds.rejection_sampling import draw_until
from ..point_cloud.tensors import as_tensor
from .records import Plan, Starts
from .regions import known_points


def starting_points(M: Manifold, plan: Plan, generator: torch.Generator | None) -> Starts:
    """Points of M to start from."""
    chains, weights, components = plan.chains, plan.weights, plan.components
    if plan.start is None:
        if weights is not None or components is not None:
            raise ValueError("expected start with weights or components, got none; give start")
        return _found(M, chains, generator)
    x = _on(M, as_tensor(plan.start, name="start", ambient_dim=M.ambient_dim))
    m = x.shape[0]
    labels = None
    if components is not None:
        labels = torch.as_tensor(components).reshape(-1)
        if labels.shape[0] != m or labels.is_floating_point():
            raise ValueError(
                f"expected components to be {m} whole numbers, one for each start, got "
                f"{tuple(labels.shape)} of {labels.dtype}"
            )
        labels = labels.unique(return_inverse=True)[1]
    if weights is None:
        index = _spread(m, chains, generator)
        return Starts(x[index], False, True, False, None if labels is None else labels[index])
    w = torch.as_tensor(weights, dtype=torch.float64).reshape(-1)
    count = m if labels is None else int(labels.max()) + 1
    if w.shape[0] != count or not bool((w >= 0).all()) or not 0 < float(w.sum()) < torch.inf:
        unit = "start" if labels is None else "component"
        raise ValueError(
            f"expected {count} weights >= 0 that do not all vanish, one for each {unit}, "
            f"got shape {tuple(w.shape)}"
        )
    if labels is not None:
        # the mass of a component is shared by its starts
        w = w[labels] / torch.bincount(labels)[labels]
    index = systematic(w, chains, generator)
    if labels is None:
        return Starts(x[index], True, True)
    return Starts(x[index], False, True, True, labels[index])


def systematic(
    weights: Float[Tensor, " m"], n: int, generator: torch.Generator | None
) -> Int[Tensor, " n"]:
    """Indices drawn in proportion to their weights, each within one of its expected count."""
    u = torch.rand(1, generator=generator, dtype=torch.float64)
    ends = weights.cumsum(0) / weights.sum()
    places = (torch.arange(n, dtype=torch.float64) + u) / n
    return torch.searchsorted(ends, places).clamp_max(weights.shape[0] - 1)


def _spread(m: int, n: int, generator: torch.Generator | None) -> Tensor:
    """Indices of n of m rows: all of them where n = m, else each as often as another."""
    order = torch.arange(n) if m == n else torch.randperm(m, generator=generator)
    return order.repeat(-(-n // m))[:n]


def _on(M: Manifold, x: Tensor) -> Tensor:
    """The projections of x onto M, all of which must converge in its domain of validity."""
    with torch.no_grad():
        p = M.project(x)
        inside = M.in_domain(p.value)
    if not bool(p.converged.all()):
        raise ProjectionError(
            f"{int((~p.converged).sum())} of {x.shape[0]} starting points do not project onto "
            f"{type(M).__name__}; give points near it, and check that it is computed in float64"
        )
    if not bool(inside.all()):
        raise InvalidPoints(
            f"expected starting points in the domain of validity of {type(M).__name__}, got "
            f"{int((~inside).sum())} of {x.shape[0]} outside; leave them out"
        )
    return p.value


def _found(M: Manifold, chains: int, generator: torch.Generator | None) -> Starts:
    """Draws of an exact sampler where M has one, else points that are found by projection."""
    if M.has_sampler:

        def propose(_: int) -> Tensor:
            x = M.sample_uniform(chains, generator)
            return x[M.in_domain(x)]

        try:
            x = draw_until(chains, propose, "few are in the domain of validity", rounds=50)
        except UnsupportedError:
            pass
        else:
            return Starts(_on(M, x), True, False)
    x = known_points(M, generator=generator)
    return Starts(x[_spread(x.shape[0], chains, generator)], False, False)
