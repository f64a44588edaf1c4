r"""A sine network whose first and second derivatives are written out, layer by layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SineNetwork(nn.Module):
    r"""F(z) = C phi(z) with features phi = (h_1, h_2, sin(R z + c), z, 1).

    :math:`h_1 = \sin(W_1 z + b_1)`, :math:`h_2 = \sin(W_2 h_1 + b_2)`. The layers carry tangents,
    so DF costs one forward pass and is differentiable. R and c are random and stay fixed; least
    squares finds the best C.

    After Sitzmann et al., 2020, "Implicit neural representations with periodic activation
    functions" (https://arxiv.org/abs/2006.09661) and Rahimi and Recht, 2007, "Random features for
    large-scale kernel machines" (https://papers.nips.cc/paper/3182).

    Args:
        inputs: dimension of z.
        outputs: dimension of F.
        width: of both layers.
        features: how many random sines are beside them.

    Example:
        >>> net = SineNetwork(2, 1, width=8, features=4)
        >>> value, J = net.linearize(torch.zeros(5, 2, dtype=torch.float64))
        >>> value.shape, J.shape
        (torch.Size([5, 1]), torch.Size([5, 1, 2]))
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int = 128, features: int = 600
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.width, self.features = inputs, outputs, width, features
        self.W1, self.b1 = _parameter(width, inputs), _parameter(width)
        self.W2, self.b2 = _parameter(width, width), _parameter(width)
        self.R, self.c = _parameter(features, inputs), _parameter(features)
        self.C = _parameter(outputs, 2 * width + features + inputs + 1)

    def draw(self, generator: torch.Generator, spread: float = 1.0) -> None:
        """Random weights; the random features reach up to `spread` times the base frequency."""
        # in units of 1 / (rms radius of the data)
        h, m, frequency = self.width, self.inputs, 2.0

        def uniform(*shape: int) -> Tensor:
            return 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        with torch.no_grad():
            self.W1.copy_(frequency / math.sqrt(m) * normal(h, m))
            self.b1.copy_(math.pi * uniform(h))
            self.W2.copy_(math.sqrt(6 / h) * uniform(h, h))
            self.b2.copy_(math.pi * uniform(h))
            scale = torch.logspace(0, math.log10(spread), self.features, dtype=torch.float64)
            self.R.copy_(frequency / math.sqrt(m) * scale.unsqueeze(-1) * normal(self.features, m))
            self.c.copy_(math.pi * uniform(self.features))
            self.C.zero_()
            self.C[:, h : 2 * h].copy_(uniform(self.outputs, h) / math.sqrt(h))

    def trunk(self, z: Float[Tensor, "*batch m"]) -> tuple[Tensor, Tensor]:
        """h_1 and h_2."""
        first = torch.sin(z @ self.W1.mT + self.b1)
        return first, torch.sin(first @ self.W2.mT + self.b2)

    def phi(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch p"]:
        """All features."""
        random = torch.sin(z @ self.R.mT + self.c)
        return torch.cat([*self.trunk(z), random, z, torch.ones_like(z[..., :1])], -1)

    def phi_along(
        self, z: Float[Tensor, "*batch m"], v: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch p"]:
        """D phi(z) v."""
        a1 = z @ self.W1.mT + self.b1
        first = a1.cos() * (v @ self.W1.mT)
        second = (a1.sin() @ self.W2.mT + self.b2).cos() * (first @ self.W2.mT)
        random = (z @ self.R.mT + self.c).cos() * (v @ self.R.mT)
        return torch.cat([first, second, random, v, torch.zeros_like(v[..., :1])], -1)

    def forward(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch q"]:
        """F(z)."""
        return self.phi(z) @ self.C.mT

    def linearize(
        self, z: Float[Tensor, "*batch m"]
    ) -> tuple[Float[Tensor, "*batch q"], Float[Tensor, "*batch q m"]]:
        """F(z) and DF(z)."""
        C1, C2, Cr, Cz, c = self._columns()
        a1 = z @ self.W1.mT + self.b1
        first = a1.sin()
        a2 = first @ self.W2.mT + self.b2
        ar = z @ self.R.mT + self.c
        value = first @ C1.mT + a2.sin() @ C2.mT + z @ Cz.mT + c.squeeze(-1) + ar.sin() @ Cr.mT
        inner = (C2 * a2.cos().unsqueeze(-2)) @ self.W2 + C1
        J = (inner * a1.cos().unsqueeze(-2)) @ self.W1 + Cz
        # one product for all rows: C_r diag(cos) R is linear in the cosines
        outer = Cr.mT.unsqueeze(-1) * self.R.unsqueeze(-2)
        return value, J + (ar.cos() @ outer.flatten(-2)).unflatten(-1, outer.shape[1:])

    def second(
        self, z: Float[Tensor, "*batch m"]
    ) -> tuple[
        Float[Tensor, "*batch q"], Float[Tensor, "*batch q m"], Float[Tensor, "*batch q m m"]
    ]:
        """F(z), DF(z) and the Hessians of the components of F."""
        C1, C2, Cr, _, _ = self._columns()
        a1 = z @ self.W1.mT + self.b1
        a2 = a1.sin() @ self.W2.mT + self.b2
        D = (self.W2 @ (a1.cos().unsqueeze(-1) * self.W1)).unsqueeze(-3)
        # d^2 sin(a) = cos(a) d^2 a - sin(a) da da^T, a_1 and the random phases being linear in z
        inner = (C2 * a2.cos().unsqueeze(-2)) @ self.W2 + C1
        ar = z @ self.R.mT + self.c
        H = D.mT @ ((-C2 * a2.sin().unsqueeze(-2)).unsqueeze(-1) * D)
        H = H + _combined(-inner * a1.sin().unsqueeze(-2), self.W1)
        return *self.linearize(z), H + _combined(-Cr * ar.sin().unsqueeze(-2), self.R)

    def _columns(self) -> tuple[Tensor, ...]:
        """The columns of C at h_1, h_2, the random sines, z, and 1."""
        h = self.width
        return self.C.split([h, h, self.features, self.inputs, 1], dim=1)

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        C, W1, R = (state_dict.get(prefix + name) for name in ("C", "W1", "R"))
        if C is not None and W1 is not None and R is not None:
            # the sizes depend on the points it was fitted to
            (width, inputs), features = W1.shape, R.shape[0]
            SineNetwork.__init__(self, inputs, C.shape[0], width=width, features=features)
            self.requires_grad_(False)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, dtype=torch.float64))


def _combined(weight: Tensor, B: Tensor) -> Tensor:
    """B^T diag(w) B for each row w of weights: (..., q, h), (h, m) to (..., q, m, m)."""
    squares = B.unsqueeze(-1) * B.unsqueeze(-2)
    return (weight @ squares.flatten(-2)).unflatten(-1, squares.shape[-2:])
