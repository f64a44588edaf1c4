"""Flows of coupling layers."""

from __future__ import annotations

from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from .mlp import MLP
from .splines import Spline

Kind = Literal["affine", "spline"]

_BINS = 8
_BOX = 4.0  # a spline acts on [-4, 4] and is the identity outside
_STRETCH = 2.0  # largest log factor of an affine layer


class CouplingFlow(nn.Module):
    r"""A diffeomorphism h of R^D by layers that move half of the coordinates given the others.

    :math:`y_b = e^{s(x_a)} x_b + t(x_a)`, |s| < 2, or a rational-quadratic spline on [-4, 4] with
    slope 1 at its ends; a and b are the even and the odd coordinates, then the other way round.

    L. Dinh, J. Sohl-Dickstein, S. Bengio, Density estimation using Real NVP (2017),
    https://arxiv.org/abs/1605.08803; C. Durkan et al., Neural spline flows (2019),
    https://arxiv.org/abs/1906.04032.

    Args:
        dim: D.
        layers: how many.
        width: units of a hidden layer of each conditioner.
        kind: "affine" or "spline".

    Example:
        >>> h = CouplingFlow(3, layers=4, width=16)
        >>> h.start(torch.Generator().manual_seed(0))
        >>> x = torch.randn(5, 3).double()
        >>> y, log_det = h.forward_and_log_det(x)
        >>> bool((h.inverse(y) - x).abs().max() < 1e-9)
        True
    """

    def __init__(self, dim: int, *, layers: int, width: int, kind: Kind = "affine") -> None:
        super().__init__()
        self.dim, self.kind = dim, kind
        self.conditioners = nn.ModuleList()
        for k in range(layers):
            a, b = self._halves(k)
            outputs = len(b) * (2 if kind == "affine" else 3 * _BINS - 1)
            self.conditioners.append(
                MLP(len(a), outputs, width=width, depth=2 if len(a) else 0, last=0.1)
            )

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights; h is near the identity."""
        for net in self.conditioners:
            cast("MLP", net).start(generator)

    def _halves(self, k: int) -> tuple[list[int], list[int]]:
        """The coordinates that stay, and those that move."""
        stay = list(range(k % 2, self.dim, 2)) if self.dim > 1 else []
        return stay, [i for i in range(self.dim) if i not in stay]

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """h(x)."""
        return self.forward_and_log_det(x)[0]

    def forward_and_log_det(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        """h(x) and log |det Dh(x)|."""
        total = x.new_zeros(x.shape[:-1])
        for k in range(len(self.conditioners)):
            x, log_slope = self._layer(k, x)
            total = total + log_slope.sum(-1)
        return x, total

    def inverse(self, y: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """The x with h(x) = y."""
        for k in reversed(range(len(self.conditioners))):
            y = self._layer(k, y, back=True)[0]
        return y

    def _layer(self, k: int, x: Tensor, *, back: bool = False) -> tuple[Tensor, Tensor]:
        """Layer k, or its inverse, and the log of the slopes of the layer."""
        a, b = self._halves(k)
        raw = self.conditioners[k](x[..., a])
        if self.kind == "affine":
            s, t = raw.chunk(2, -1)
            s = _STRETCH * torch.tanh(s / _STRETCH)
            moved = (x[..., b] - t) * (-s).exp() if back else s.exp() * x[..., b] + t
        else:
            moved, s = self._bend(raw, x[..., b], back=back)
        order = torch.tensor([*a, *b]).argsort().to(x.device)
        return torch.cat([x[..., a], moved], -1)[..., order], s

    def _bend(self, raw: Tensor, x: Tensor, *, back: bool) -> tuple[Tensor, Tensor]:
        raw = raw.unflatten(-1, (x.shape[-1], 3 * _BINS - 1))
        w, h, d = raw.split([_BINS, _BINS, _BINS - 1], -1)
        S = Spline.interval(w, h, pad(d, (1, 1)))
        inside = x.abs() < _BOX
        u = ((x / _BOX).clamp(-1, 1) + 1) / 2
        if back:
            return torch.where(inside, (2 * S.inverse(u) - 1) * _BOX, x), torch.zeros_like(x)
        v, log_slope = S.value_and_log_slope(u)
        return torch.where(inside, (2 * v - 1) * _BOX, x), torch.where(inside, log_slope, 0.0)
