r"""Perceptrons with SiLU units: one, with derivatives written out, or several side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def silu(h: Tensor) -> Tensor:
    """The product form has derivatives of every order under ``no_grad``; torch's own has not."""
    return h * torch.sigmoid(h)


class MLP(nn.Module):
    r"""f(z) = h_L W_L + b_L, :math:`h_{i+1} = \sigma(h_i W_i + b_i)`, :math:`h_0 = z`.

    :math:`\sigma(a) = a\, s(a)` is the SiLU, s the logistic function, with

    .. math:: \sigma' = s\,(1 + a (1 - s)), \qquad \sigma'' = s (1 - s) (2 + a (1 - 2 s)).

    All weights are 0 until they are drawn.

    Args:
        inputs: dimension of z.
        outputs: dimension of f.
        width: units of a hidden layer.
        depth: hidden layers.
        last: size of the first weights of the last layer; 0 starts at the zero function.
        activation: sigma as it is computed by :meth:`forward`.

    Example:
        >>> net = MLP(2, 1, width=8, depth=3)
        >>> value, J = net.linearize(torch.zeros(5, 2, dtype=torch.float64))
        >>> value.shape, J.shape
        (torch.Size([5, 1]), torch.Size([5, 1, 2]))
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int,
        depth: int,
        last: float = 1.0,
        activation: Callable[[Tensor], Tensor] = silu,
    ) -> None:
        super().__init__()
        self.last, self.activation = last, activation
        sizes = [inputs, *[width] * depth, outputs]
        self.W = nn.ParameterList(torch.zeros(a, b).double() for a, b in pairwise(sizes))
        self.b = nn.ParameterList(torch.zeros(b).double() for b in sizes[1:])

    @property
    def outputs(self) -> int:
        """Dimension of f."""
        return self.b[-1].shape[-1]

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        r"""Normal weights: :math:`1.4 / \sqrt n` for n inputs; at last `last` instead of 1.4."""
        gains = [1.4] * (len(self.W) - 1) + [self.last]
        for W, b, size in zip(self.W, self.b, gains, strict=True):
            gain = size / max(W.shape[0], 1) ** 0.5
            W.copy_(gain * torch.randn(W.shape, generator=generator))
            b.copy_(0.3 * gain * torch.randn(b.shape, generator=generator))

    @torch.no_grad()
    def start_uniform(self, generator: torch.Generator) -> None:
        r"""Weights and offsets uniform in :math:`\pm 1 / \sqrt n`, n the inputs of their layer."""
        for W, b in zip(self.W, self.b, strict=True):
            for p in (W.mT, b):
                u = torch.rand(p.shape, generator=generator, dtype=p.dtype)
                p.copy_((2 * u - 1) / math.sqrt(W.shape[0]))

    def forward(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch q"]:
        """f(z)."""
        *hidden, (W_L, b_L) = zip(self.W, self.b, strict=True)
        for W, b in hidden:
            z = self.activation(z @ W + b)
        return z @ W_L + b_L

    def linearize(
        self, z: Float[Tensor, "*batch m"]
    ) -> tuple[Float[Tensor, "*batch q"], Float[Tensor, "*batch q m"]]:
        """f(z) and Df(z)."""
        *hidden, (W_L, b_L) = zip(self.W, self.b, strict=True)
        layers = []
        for W, b in hidden:
            a = z @ W + b
            s = a.sigmoid()
            z = a * s
            layers.append((W, s * (1 + a * (1 - s))))
        J = W_L.mT.expand(*z.shape[:-1], -1, -1)
        for W, slope in reversed(layers):
            J = (J * slope.unsqueeze(-2)) @ W.mT
        return z @ W_L + b_L, J

    def second(
        self, z: Float[Tensor, "*batch m"]
    ) -> tuple[
        Float[Tensor, "*batch q"], Float[Tensor, "*batch q m"], Float[Tensor, "*batch q m m"]
    ]:
        r"""f(z), Df(z) and the Hessians :math:`\sum_i Da_i^\top \mathrm{diag}(g_i \sigma'') Da_i`.

        a_i are the inputs of the units of layer i, and g_i = df / dh_{i+1}.
        """
        *hidden, (W_L, b_L) = zip(self.W, self.b, strict=True)
        m = z.shape[-1]
        D = torch.eye(m, dtype=z.dtype, device=z.device).expand(*z.shape[:-1], -1, -1)
        layers = []
        for W, b in hidden:
            a, D = z @ W + b, W.mT @ D
            s = a.sigmoid()
            z = a * s
            slope = s * (1 + a * (1 - s))
            layers.append((W, D, slope, s * (1 - s) * (2 + a * (1 - 2 * s))))
            D = slope.unsqueeze(-1) * D
        g = W_L.mT.expand(*z.shape[:-1], -1, -1)
        H = z.new_zeros(())
        for W, Da, slope, bend in reversed(layers):
            Da = Da.unsqueeze(-3)
            H = H + Da.mT @ ((g * bend.unsqueeze(-2)).unsqueeze(-1) * Da)
            g = (g * slope.unsqueeze(-2)) @ W.mT
        return z @ W_L + b_L, g, H

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # the sizes may depend on the points it was fitted to
        for name, own in (("W", self.W), ("b", self.b)):
            for i, p in enumerate(own):
                saved = state_dict.get(f"{prefix}{name}.{i}")
                if saved is not None and saved.shape != p.shape:
                    own[i] = nn.Parameter(torch.empty_like(saved), requires_grad=p.requires_grad)
        super()._load_from_state_dict(state_dict, prefix, *args)


class EnsembleMLP(nn.Module):
    r"""K perceptrons of one shape, side by side; see :class:`MLP`.

    Args:
        count: K.
        inputs: dimension of z; with 0 the outputs are constants, and there are no layers.
        outputs: dimension of each f_k.
        width: units of a hidden layer.
        depth: hidden layers.
        offset: whether the last layer has an offset.

    Example:
        >>> EnsembleMLP(5, 3, 2, width=8, depth=1)(torch.zeros(5, 7, 3).double()).shape
        torch.Size([5, 7, 2])
    """

    def __init__(
        self, count: int, inputs: int, outputs: int, *, width: int, depth: int, offset: bool = True
    ) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth, outputs] if inputs else [0, outputs]
        zeros = torch.zeros(count, 1, 1, dtype=torch.float64)
        self.W = nn.ParameterList(zeros.repeat(1, a, b) for a, b in pairwise(sizes) if inputs)
        ends = sizes[1:] if offset else sizes[1:-1]
        self.b = nn.ParameterList(zeros.repeat(1, 1, b) for b in ends)

    def forward(self, z: Float[Tensor, "K n m"]) -> Float[Tensor, "K rows q"]:
        """The f_k(z_k), shape (K, n, q), or (K, 1, q) where there are no inputs."""
        if not len(self.W):
            return self.b[0]
        for W, b in zip(self.W[:-1], self.b, strict=False):
            z = functional.silu(torch.baddbmm(b, z, W))
        if len(self.b) < len(self.W):
            return z @ self.W[-1]
        return torch.baddbmm(self.b[-1], z, self.W[-1])
