"""Training examples of conditional flow matching: times, points on paths, and their velocities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import TrainingError
from ...manifolds.base import Manifold
from .paths import Routes

PAIRINGS = ("transport", "independent")

_LANDMARKS = 800
_ROUNDS = 8  # times that pairs are run through, at new times, before new pairs are made
_RETAINED = 8  # rounds that examples are retained behind a solver, and the pairs throughout


class Examples(NamedTuple):
    """Rows (t, x_t, Q, Q^T u): time, point of M, tangent basis there, velocity in that basis."""

    t: Float[Tensor, " n"]
    x: Float[Tensor, "n D"]
    Q: Float[Tensor, "n D d"]
    u: Float[Tensor, "n d"]

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Examples]:
        """All rows once, in random order, in batches of one size."""
        order = torch.randperm(self.t.shape[0], generator=generator)
        for rows in order.split(size):
            if rows.numel() == size:
                yield Examples(*(part[rows] for part in self))


class Pool:
    r"""Pairs of a base point and a data point, with paths between them on M.

    Blocks of both are paired by optimal transport, :math:`\min_\sigma \sum_i c(x_0^i,
    x_1^{\sigma(i)})` with c the squared distance: any pairing preserves both distributions, this
    one makes paths short and straight. Pairs without a path are dropped, and counted in `lost`.

    A. Tong et al., Improving and generalizing flow-based generative models with minibatch optimal
    transport (2023), https://arxiv.org/abs/2302.00482.

    Args:
        manifold: M.
        draw: n points of the base distribution.
        data: points of M.
        pairing: "transport", or "independent".
        block: points that are paired at once.
        late: power by which times crowd towards 1; 1 is uniform.
        generator: source of randomness.

    Attributes:
        tried: pairs that were made.
        lost: pairs for which no path was found.
    """

    def __init__(
        self,
        manifold: Manifold,
        draw: Callable[[int, torch.Generator], Tensor],
        data: Float[Tensor, "n D"],
        *,
        pairing: str,
        block: int,
        late: float = 1.0,
        generator: torch.Generator,
    ) -> None:
        self.manifold, self.draw, self.data = manifold, draw, data
        self.pairing, self.block, self.late = pairing, block, late
        exact = manifold.exact_geodesics
        self.routes = None if exact else Routes(manifold, draw(_LANDMARKS, generator))
        self.tried = self.lost = 0
        self.ends: tuple[Tensor, Tensor] | None = None
        self.knots: Tensor | None = None

    def pair(self, count: int, generator: torch.Generator) -> None:
        """Make `count` new pairs, up to whole blocks, and their paths."""
        n = max(1, count // self.block) * self.block
        x0 = self.draw(n, generator).to(torch.float64)
        # every data point equally often, up to one
        turns = -(-n // self.data.shape[0])
        rows = [torch.randperm(self.data.shape[0], generator=generator) for _ in range(turns)]
        x1 = self.data[torch.cat(rows)[:n]]
        if self.pairing == "transport":
            parts = zip(x0.split(self.block), x1.split(self.block), strict=True)
            x1 = torch.cat([b[self._match(a, b)] for a, b in parts])
        self.ends, self.knots = (x0, x1), None
        if self.routes is not None:
            self.knots, ok = self.routes.trace(x0, x1)
            self.tried, self.lost = self.tried + n, self.lost + int((~ok).sum())
            self.knots = self.knots[ok]

    def examples(self, generator: torch.Generator) -> Examples:
        """One example for each pair, at a new time."""
        if self.knots is not None and self.routes is not None:
            t = _times(self.knots.shape[0], self.late, generator)
            x, u, ok = self.routes.at(self.knots, t)
        elif self.ends is not None:
            t = _times(self.ends[0].shape[0], self.late, generator)
            x, u, ok = self.manifold.geodesic(*self.ends, t)
            self.tried, self.lost = self.tried + ok.numel(), self.lost + int((~ok).sum())
        else:
            raise RuntimeError("expected pairs to take examples from; call pair() first")
        t, x, u = t[ok], x[ok], u[ok]
        Q = self.manifold.tangent_basis(x)
        v = (Q.mT @ u.unsqueeze(-1)).squeeze(-1)
        return Examples(*(part.to(torch.float32) for part in (t, x, Q, v)))

    def stream(self, batch: int, steps: int, generator: torch.Generator) -> Iterator[Examples]:
        """So many batches of examples, from pairs that are renewed now and then.

        Raises:
            TrainingError: too few pairs have a path between them.
        """
        slow = self.routes is not None and not self.manifold.exact_retraction  # paths take solvers
        # pairs that are made at once
        count = min(2**13 if slow else 2**15, max(batch * steps // _ROUNDS, batch))
        count = max(count, -(-batch // self.block) * self.block)  # a batch in whole blocks
        taken = 0
        while True:
            before = taken
            if taken == 0 or not slow:
                self.pair(count, generator)
            for _ in range(_ROUNDS):
                examples = self.examples(generator)
                for _ in range(_RETAINED if slow else 1):
                    for rows in examples.batches(batch, generator):
                        yield rows
                        taken += 1
                        if taken == steps:
                            return
            if taken == before:
                raise TrainingError(
                    f"expected at least {batch} pairs of points with a path between them, got "
                    f"fewer: {self.lost} of {self.tried} were lost; pass a smaller batch, or "
                    "check that the manifold is connected"
                )

    def _match(self, a: Tensor, b: Tensor) -> Tensor:
        """The permutation of b with the least total cost."""
        from scipy.optimize import linear_sum_assignment

        cost = torch.cdist(a, b).square() if self.routes is None else self.routes.cost(a, b)
        return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def _times(n: int, late: float, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Times 1 - (1 - u)^late, u one in each of n equal parts of [0, 1), in random order."""
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    t = 1 - (1 - (torch.arange(n) + u) / n) ** late
    return t[torch.randperm(n, generator=generator)]
