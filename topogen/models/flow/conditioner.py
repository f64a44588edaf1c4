"""The spline of one coordinate, given the coordinates before it, by networks side by side."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...manifolds.factors import TAU, Coordinate, angle
from ..nn.mlp import EnsembleMLP
from ..nn.splines import Spline

_FAINT = 0.1  # a shorter vector is not yet a direction, and the spline is near the identity
_FIRST = 2.0  # how fast the first layer turns over the unit circle, at first
_STRONGEST = 0.9  # largest pull of a circle to one point


class ConditionedCoordinates(NamedTuple):
    """One coordinate of n points, as each of K maps sees it."""

    u: Tensor  # the coordinate, in [0, 1], shape (K, n)
    context: Tensor  # embedded coordinates before it, shape (K, n, c)
    gate: Tensor  # 0 where the coordinate is undefined, at most 1, shape (K, n)


class Conditioner(nn.Module):
    r"""K perceptrons that give the map of one coordinate from the coordinates before it.

    On an interval, or for a polar angle, the map is a :class:`~topogen.models.nn.splines.Spline`.
    On a circle the network also gives a vector v: a rotation turns its direction to angle 0, a
    Moebius map spreads the neighbourhood of that angle, and the spline follows,

    .. math:: \tan\tfrac{t'}{2} = \frac{1 + \rho}{1 - \rho} \tan\tfrac t2, \qquad
              \rho = \frac{|v|}{\sqrt{1 + |v|^2}},

    up to a factor .9 in rho. A gate multiplies rho and what goes into the spline; on a circle
    :math:`|v|^2 / (|v|^2 + .01)` multiplies what goes into the spline, too. The map is thus a
    rotation where the gate or v is 0: the density is continuous where a coordinate (at the poles
    of a sphere) or a direction is undefined.

    Args:
        count: K.
        coordinate: what the map acts on.
        inputs: length of the context.
        bins: of the spline.
        width: units of a hidden layer.
        depth: hidden layers; none where there is no context.

    After Rezende et al., 2020, https://arxiv.org/abs/2002.02428.

    Example:
        >>> net = Conditioner(3, Coordinate("circle"), 2, bins=4, width=8, depth=1)
        >>> net.start(torch.Generator().manual_seed(0))
        >>> u = torch.rand(3, 7).double()
        >>> at = ConditionedCoordinates(u, torch.randn(3, 7, 2), torch.ones(3, 7))
        >>> v, log_slope = net(at)
        >>> bool((net.inverse(at._replace(u=v)) - at.u).abs().max() < 1e-12)
        True
    """

    def __init__(
        self, count: int, coordinate: Coordinate, inputs: int, *, bins: int, width: int, depth: int
    ) -> None:
        super().__init__()
        self.circular, self.bins = coordinate.kind == "circle", bins
        outputs = 3 * bins + (2 if self.circular else 1)
        self.net = EnsembleMLP(count, inputs, outputs, width=width, depth=depth)

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights: splines are the identity, vectors have length 1."""

        def normal(p: Tensor) -> Tensor:
            return torch.randn(p.shape, generator=generator, dtype=p.dtype)

        gain = _FIRST
        for W, b in zip(self.net.W[:-1], self.net.b[:-1], strict=True):
            W.copy_(gain / W.shape[-2] ** 0.5 * normal(W))
            b.copy_(gain / 2 * normal(b))
            gain = 1.0
        last = self.net.b[-1]
        for p in (*self.net.W[-1:], last):
            p.zero_()
        if self.circular:
            last[..., -2:] = nn.functional.normalize(normal(last[..., -2:]), dim=-1)

    def forward(
        self, at: ConditionedCoordinates
    ) -> tuple[Float[Tensor, "K n"], Float[Tensor, "K n"]]:
        """The coordinate after the map, and the log of the derivative."""
        S, turn, pull = self._map(at)
        if not self.circular:
            return S.value_and_log_slope(at.u)
        u, spread = moebius(at.u - turn, pull)
        v, log_slope = S.value_and_log_slope(u)
        return v, log_slope + spread

    def inverse(self, at: ConditionedCoordinates) -> Float[Tensor, "K n"]:
        """The coordinate before the map, of at.u after it."""
        S, turn, pull = self._map(at)
        u = S.inverse(at.u)
        return torch.remainder(moebius(u, -pull)[0] + turn, 1.0) if self.circular else u

    def _map(self, at: ConditionedCoordinates) -> tuple[Spline, Tensor, Tensor]:
        """The splines, and the turns and pulls that come before them on a circle."""
        raw = self.net(at.context.to(self.net.b[0].dtype))
        gate = at.gate.to(raw.dtype)
        if not self.circular:
            w, h, d = (gate.unsqueeze(-1) * raw).split([self.bins, self.bins, self.bins + 1], -1)
            return Spline.interval(w, h, d), gate, gate
        raw, v = raw[..., :-2], raw[..., -2:]
        square = (v * v).sum(-1)
        zero = square == 0
        length = torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())
        pull = _STRONGEST * gate * length / (1 + square).sqrt()
        strength = gate * square / (square + _FAINT**2)
        w, h, d = (strength.unsqueeze(-1) * raw).chunk(3, -1)
        return Spline.circle(w, h, d), angle(v) / TAU, pull


def moebius(
    u: Float[Tensor, "*batch"], pull: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""The Moebius map of the circle R / Z that keeps 0 and 1/2, and the log of its derivative.

    :math:`\tan \pi v = \tfrac{1 + \rho}{1 - \rho} \tan \pi u`; the inverse has -rho.

    Args:
        u: places on the circle.
        pull: rho in (-1, 1), with shapes that broadcast.
    """
    c, s = (math.pi * u).cos(), (math.pi * u).sin()
    v = torch.atan2((1 + pull) * s, (1 - pull) * c) / math.pi
    log_slope = torch.log1p(-pull * pull) - ((1 - pull).square() + 4 * pull * s * s).log()
    return torch.remainder(v, 1.0), log_slope
