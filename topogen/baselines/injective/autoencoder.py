"""Pairs of a decoder of a base and an encoder onto it: free networks, and padded flows."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from ... import calculus
from ...errors import UnsupportedError
from ...models.injective.bases import Base, Spectrum
from ...models.injective.decoder import Decoder
from ...models.nn.coupling import CouplingFlow, Kind
from ...models.nn.mlp import MLP


class Autoencoder(Decoder):
    r"""A decoder g: B -> R^D with an encoder f: R^D -> B.

    To implement one, write `forward`, `raw` and `start`, all in units in which the data have mean
    0 and mean square 1.
    """

    @abstractmethod
    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """Numbers near the cover of B, which are retracted to it."""

    @abstractmethod
    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights."""

    def encode(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """f(x), a point of the cover."""
        return self.base.retract(self.raw(x))

    def straying(self, raw: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """By how much vectors of circles and spheres are shorter than .3, or leave intervals."""
        total = raw.new_zeros(raw.shape[:-1])
        for f, c in zip(self.base.factors, self.base.split(raw), strict=True):
            if f.width > f.dim:
                length = (c.square().sum(-1) + 1e-12).sqrt()
                total = total + (0.3 - length).clamp_min(0).square()
            elif f.volume < float("inf"):
                total = total + (c.abs() - 1.0).clamp_min(0).square().sum(-1)
        return total

    def log_volume(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        r""":math:`\tfrac12 \log\det J^\top J`, J = Dg E."""
        E, start = self.base.frame(b), b.new_zeros(*b.shape[:-1], self.base.dim)
        return calculus.log_volume(lambda v: self(b + _times(E, v)), start, mode="double")

    def along(
        self, b: Float[Tensor, "*batch w"], v: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"]]:
        """g(b) and J v: one pass in forward mode."""
        return calculus.jvp(self, b, _times(self.base.frame(b), v))

    def against(
        self, b: Float[Tensor, "*batch w"], c: Float[Tensor, "*batch D"]
    ) -> Float[Tensor, "*batch d"]:
        """J^T c: one pass in reverse mode."""
        return _times(self.base.frame(b).mT, calculus.vjp(self, b, c)[1])

    def encoder_against(
        self, x: Float[Tensor, "*batch D"], v: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch w"], Float[Tensor, "*batch D"]]:
        """f(x), and v^T f'(x) in the frame of the base: one pass in reverse mode."""
        with torch.no_grad():
            covector = _times(self.base.frame(self.encode(x)), v)
        return calculus.vjp(self.encode, x, covector)


def _times(A: Tensor, v: Tensor) -> Tensor:
    return (A @ v.unsqueeze(-1)).squeeze(-1)


def require_flat(base: Base, network: str, ambient_dim: int) -> None:
    """Raise UnsupportedError on a quotient, or where the cover needs more than D numbers."""
    if len(base.group) > 1 or base.width > ambient_dim:
        raise UnsupportedError(
            f"expected a base of at most {ambient_dim} numbers and no quotient for "
            f"NetworkOptions({network!r}), got {base.name} with {base.width}; pass "
            "NetworkOptions('free')"
        )


class FreeAutoencoder(Autoencoder):
    r"""Perceptrons both ways: g sees the functions of lowest frequency of B, f gives numbers.

    On R^d these are the coordinates. On a quotient they are the invariants, and there is no f: a
    continuous map from M to the cover of M does not exist.

    Args:
        base: B.
        ambient_dim: D.
        width: units of a hidden layer.
        depth: hidden layers.

    Example:
        >>> from topogen.models.injective.bases import standard
        >>> pair = FreeAutoencoder(standard("circle"), 2, width=8, depth=1)
        >>> pair.start(torch.Generator().manual_seed(0))
        >>> b = pair.encode(torch.randn(5, 2).double())
        >>> b.norm(dim=-1).sub(1).abs().max() < 1e-9, pair.log_volume(b).shape
        (tensor(True), torch.Size([5]))
    """

    def __init__(self, base: Base, ambient_dim: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.base, self.ambient_dim = base, ambient_dim
        self.width, self.depth = width, depth
        self.spectrum = Spectrum(base, 1 if len(base.group) == 1 else 2)
        self.decoder = MLP(self.spectrum.count, ambient_dim, width=width, depth=depth)
        self.encoder = MLP(ambient_dim, base.width, width=width, depth=depth)

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights."""
        self.decoder.start(generator)
        self.encoder.start(generator)

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        return self.decoder(self.spectrum(b))

    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """See :meth:`Autoencoder.raw`; UnsupportedError where the base is a quotient."""
        if len(self.base.group) > 1:
            raise UnsupportedError(
                f"expected a base with a continuous encoder onto its cover, got {self.base.name}; "
                "take the base points of the nearest points of M (objective='two_phase')"
            )
        return self.encoder(x)


class CouplingAutoencoder(Autoencoder):
    r""":math:`g(b) = h([b, 0])`, h a flow of R^D, and :math:`f(x) = h^{-1}(x)` without its tail.

    J. Brehmer and K. Cranmer, Flows for simultaneous manifold learning and density estimation
    (2020), https://arxiv.org/abs/2003.13913. There B = R^d.

    Args:
        base: B, no quotient, in at most D numbers; else UnsupportedError.
        ambient_dim: D.
        layers: of h.
        width: units of a hidden layer of its conditioners.
        kind: of its layers, "affine" or "spline".
    """

    def __init__(
        self, base: Base, ambient_dim: int, *, layers: int, width: int, kind: Kind = "affine"
    ) -> None:
        super().__init__()
        require_flat(base, "coupling", ambient_dim)
        self.base, self.ambient_dim = base, ambient_dim
        self.layers, self.width, self.kind = layers, width, kind
        self.flow = CouplingFlow(ambient_dim, layers=layers, width=width, kind=kind)

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights."""
        self.flow.start(generator)

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        return self.flow(pad(b, (0, self.ambient_dim - b.shape[-1])))

    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """The first numbers of the inverse of h."""
        return self.flow.inverse(x)[..., : self.base.width]
