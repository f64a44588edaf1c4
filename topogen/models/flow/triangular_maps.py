"""Triangular maps of a base space to itself, side by side."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...manifolds.factors import CoordinateFactor
from .conditioner import ConditionedCoordinates, Conditioner

# how many random directions of the poles of a sphere are tried for each map, on so many points
_FRAMES = 30
_SOME = 2000


class Flows(nn.Module):
    r"""K maps T_k: M -> M that take their distributions to the uniform one, and the mean of those.

    T acts on the coordinates u of M one after the other, :math:`v_i = S_i(u_i; x_{<i})`, with
    :math:`x_{<i}` the embedded coordinates before it. These preserve volume: :math:`|\det DT| =
    \prod_i \partial S_i / \partial u_i`. Each map first turns spheres, so that their poles lie
    where there are few points.

    Args:
        factors: of M.
        count: K.
        bins: of every spline.
        width: units of a hidden layer.
        depth: hidden layers.

    Example:
        >>> flows = Flows(tg.Sphere().factors(), 3, bins=4, width=8, depth=1)
        >>> x = tg.Sphere().sample_uniform(5)
        >>> flows.each(flows.locate(x)).shape, flows(x).shape
        (torch.Size([3, 5]), torch.Size([5]))
    """

    frames: Tensor

    def __init__(
        self, factors: list[CoordinateFactor], count: int, *, bins: int, width: int, depth: int
    ) -> None:
        super().__init__()
        self.factors, self.count = factors, count
        nets, before = [], 0
        for f in factors:
            inputs = before
            for c in f.coordinates:
                nets.append(Conditioner(count, c, inputs, bins=bins, width=width, depth=depth))
                inputs += c.size
            before += f.width
        self.nets = nn.ModuleList(nets)
        self.register_buffer("frames", torch.eye(before).double().repeat(count, 1, 1))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return len(self.nets)

    @torch.no_grad()
    def start(self, x: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Draw the first weights, and turn the poles of spheres to where there are few points."""
        for f in self.factors:
            if f.poles:
                for k in range(self.count):
                    self.frames[k, f.columns, f.columns] = _away(f, f.scaled(x), generator)
        for net in self.nets:
            cast("Conditioner", net).start(generator)

    def locate(self, x: Float[Tensor, "n D"]) -> list[ConditionedCoordinates]:
        """The coordinates of points of M, in order, as each map sees them."""
        x = x.expand(self.count, *x.shape)
        found, before = [], x[..., :0]
        for f in self.factors:
            y = f.scaled(x)
            if f.poles:
                y = y @ self.frames[:, f.columns, f.columns].to(x)
            context, gate = before, torch.ones_like(x[..., 0])
            for c, e in zip(f.coordinates, f.split(y), strict=True):
                found.append(ConditionedCoordinates(c.rank(e), context, gate))
                context, gate = _after(e, context, gate)
            before = torch.cat([before, y], -1)
        return found

    def each(self, located: list[ConditionedCoordinates]) -> Float[Tensor, "K n"]:
        """Log |det DT_k| at points that were located."""
        slopes = [net(at)[1] for net, at in zip(self.nets, located, strict=True)]
        return torch.stack(slopes).sum(0)

    def forward(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """The log density at points of M, w.r.t. the uniform distribution of M."""
        return self.each(self.locate(x.to(torch.float64))).logsumexp(0) - math.log(self.count)

    @torch.no_grad()
    def inverse(self, v: Float[Tensor, "K n d"]) -> Float[Tensor, "K n D"]:
        """The points of M that T_k takes to coordinates v."""
        parts, before, i = [], v[..., :0], 0
        for f in self.factors:
            vectors, context, gate = [], before, torch.ones_like(v[..., 0])
            for c in f.coordinates:
                net = cast("Conditioner", self.nets[i])
                e = c.place(net.inverse(ConditionedCoordinates(v[..., i], context, gate)))
                context, gate = _after(e, context, gate)
                vectors.append(e)
                i += 1
            y = f.join(vectors)
            before = torch.cat([before, y], -1)
            if f.poles:
                y = y @ self.frames[:, f.columns, f.columns].mT
            parts.append(f.centre + f.scale * y)
        return torch.cat(parts, -1)


def _after(e: Tensor, context: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Context and gate for the coordinate of a sphere that follows a polar angle."""
    return torch.cat([context, e], -1), gate * e[..., -1]


def _away(
    f: CoordinateFactor, y: Float[Tensor, "n k"], generator: torch.Generator
) -> Float[Tensor, "k k"]:
    """Of some random rotations of a sphere, the one that leaves the fewest points near poles."""
    y, width = y[:_SOME], y.shape[-1]
    g = torch.randn(_FRAMES, width, width, generator=generator, dtype=y.dtype)
    frames = torch.linalg.qr(g)[0]
    sines = torch.stack([e[..., 1] for e in f.split(y @ frames)[:-1]]).prod(0)
    return frames[(1 / (sines + 0.05)).mean(-1).argmin()]
