r"""A SiLU perceptron whose first and second derivatives are written out, layer by layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Perceptron(nn.Module):
    r"""F(z) = W_L h_L + b_L, :math:`h_{i+1} = \sigma(W_i h_i + b_i)`, :math:`h_0 = z`.

    :math:`\sigma(a) = a\, s(a)` is the SiLU, s the logistic function, with

    .. math:: \sigma' = s\,(1 + a (1 - s)), \qquad \sigma'' = s (1 - s) (2 + a (1 - 2 s)).

    The network of the published objective, see :class:`~topogen.models.implicit.Published`; like
    :class:`SineNetwork` it gives DF and the Hessians in closed form.

    Args:
        inputs: dimension of z.
        outputs: dimension of F.
        width: of the hidden layers.
        depth: how many there are.

    Example:
        >>> net = Perceptron(2, 1)
        >>> value, J = net.linearize(torch.zeros(5, 2, dtype=torch.float64))
        >>> value.shape, J.shape
        (torch.Size([5, 1]), torch.Size([5, 1, 2]))
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 8, depth: int = 3) -> None:
        super().__init__()
        self.inputs, self.outputs, self.width, self.depth = inputs, outputs, width, depth
        sizes = [inputs, *[width] * depth, outputs]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.W = nn.ParameterList([_parameter(*shape) for shape in shapes])
        self.b = nn.ParameterList([_parameter(n) for n, _ in shapes])

    def draw(self, generator: torch.Generator) -> None:
        r"""Weights and offsets uniform in :math:`\pm 1 / \sqrt n`, n the inputs of their layer."""
        with torch.no_grad():
            for W, b in zip(self.W, self.b, strict=True):
                for p in (W, b):
                    u = torch.rand(p.shape, generator=generator, dtype=p.dtype)
                    p.copy_((2 * u - 1) / math.sqrt(W.shape[1]))

    def forward(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch q"]:
        """F(z)."""
        *hidden, (W_L, b_L) = zip(self.W, self.b, strict=True)
        for W, b in hidden:
            a = z @ W.mT + b
            z = a * a.sigmoid()  # torch's own silu has no second forward derivative
        return z @ W_L.mT + b_L

    def linearize(
        self, z: Float[Tensor, "*batch m"]
    ) -> tuple[Float[Tensor, "*batch q"], Float[Tensor, "*batch q m"]]:
        """F(z) and DF(z)."""
        *hidden, (W_L, b_L) = zip(self.W, self.b, strict=True)
        layers = []
        for W, b in hidden:
            a = z @ W.mT + b
            s = a.sigmoid()
            z = a * s
            layers.append((W, s * (1 + a * (1 - s))))
        J = W_L.expand(*z.shape[:-1], -1, -1)
        for W, slope in reversed(layers):
            J = (J * slope.unsqueeze(-2)) @ W
        return z @ W_L.mT + b_L, J

    def second(
        self, z: Float[Tensor, "*batch m"]
    ) -> tuple[
        Float[Tensor, "*batch q"], Float[Tensor, "*batch q m"], Float[Tensor, "*batch q m m"]
    ]:
        r"""F(z), DF(z) and the Hessians :math:`\sum_i Da_i^\top \mathrm{diag}(g_i \sigma'') Da_i`.

        a_i are the inputs of the units of layer i, and g_i = dF / dh_{i+1}.
        """
        *hidden, (W_L, b_L) = zip(self.W, self.b, strict=True)
        D = torch.eye(self.inputs, dtype=z.dtype, device=z.device).expand(*z.shape[:-1], -1, -1)
        layers = []
        for W, b in hidden:
            a, D = z @ W.mT + b, W @ D
            s = a.sigmoid()
            z = a * s
            slope = s * (1 + a * (1 - s))
            layers.append((W, D, slope, s * (1 - s) * (2 + a * (1 - 2 * s))))
            D = slope.unsqueeze(-1) * D
        g = W_L.expand(*z.shape[:-1], -1, -1)
        H = z.new_zeros(())
        for W, Da, slope, bend in reversed(layers):
            Da = Da.unsqueeze(-3)
            H = H + Da.mT @ ((g * bend.unsqueeze(-2)).unsqueeze(-1) * Da)
            g = (g * slope.unsqueeze(-2)) @ W
        return z @ W_L.mT + b_L, g, H

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        first = state_dict.get(prefix + "W.0")
        if first is not None:
            # the sizes depend on the points it was fitted to
            last = max(int(k.split(".")[-1]) for k in state_dict if k.startswith(prefix + "W."))
            outputs = state_dict[f"{prefix}W.{last}"].shape[0]
            width, inputs = first.shape
            Perceptron.__init__(self, inputs, outputs, width=width, depth=last)
            self.requires_grad_(False)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, dtype=torch.float64))
