r"""A spectral decoder with a neural residual, for detail finer than the functions of its base."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..base import Progress
from ..nn.sine import SineNetwork
from ..optimize import Adam, descend
from .bases import Base, Spectrum
from .bases.harmonic_factors import Points
from .decoder import Decoder, Linearization, SpectralDecoder, normal_equations, ridge_solution


class ResidualDecoder(Decoder):
    r"""g: B -> R^D, :math:`g(b) = C \varphi(b) + A\, \psi(\varphi_2(b))`.

    phi are the functions of a :class:`Spectrum`, phi_2 its first ones, psi the features of a
    :class:`SineNetwork`. A starts at 0. All functions of b are invariant under the group of B, so
    g is a map from B, as smooth as the spectral one; its Jacobian is in closed form.

    Args:
        base: B.
        bandwidth: of phi.
        ambient_dim: D.
    """

    def __init__(self, base: Base, bandwidth: int, ambient_dim: int) -> None:
        super().__init__()
        self.base, self.bandwidth, self.ambient_dim = base, bandwidth, ambient_dim
        self.spectral = SpectralDecoder(base, bandwidth, ambient_dim)
        # the functions of bandwidth 2 separate the points of B
        count = Spectrum(base, 2).count
        self.low = SpectralDecoder(base, 2, count)
        self.low.coefficients = torch.eye(count, dtype=torch.float64)
        self.net = SineNetwork(count, ambient_dim, width=64, features=200)
        self.net.requires_grad_(False)

    @staticmethod
    def of(decoder: SpectralDecoder, generator: torch.Generator) -> ResidualDecoder:
        """The same map, A = 0, with random features."""
        K = decoder.spectrum.bandwidth
        result = ResidualDecoder(decoder.base, K, decoder.ambient_dim)
        result.spectral.coefficients = decoder.coefficients.clone()
        # frequencies, in units of the bandwidth, of the fastest random features and of the first
        # layer: what is left is as fast as what the functions of B could still say, and faster
        result.net.draw(generator, float(K))
        with torch.no_grad():
            result.net.W1.mul_(0.07 * K)
            result.net.C.zero_()
        return result

    def forward(self, b: Points) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        return self.spectral(b) + self.net(self.low(b))

    def value_and_jacobian(self, b: Points) -> Linearization:
        """g(b), and J = Dg(b) E(b), by the chain rule."""
        value, J = self.spectral.value_and_jacobian(b)
        z, Dz = self.low.value_and_jacobian(b)
        more, slope = self.net.linearize(z)
        return value + more, J + slope @ Dz

    def in_space(self, V: Float[Tensor, "D m"]) -> ResidualDecoder:
        """The map V g to a space of more dimensions."""
        result = ResidualDecoder(self.base, self.spectral.spectrum.bandwidth, V.shape[0])
        result.spectral = self.spectral.in_space(V)
        state = self.net.state_dict()
        result.net.load_state_dict({**state, "C": V @ state["C"]})
        return result

    def learn(
        self,
        b: Float[Tensor, "n w"],
        x: Float[Tensor, "n D"],
        generator: torch.Generator,
        *,
        steps: int = 1500,
    ) -> Progress[None]:
        """Fit the features of the network to x - C phi(b), by Adam in float32."""
        z = self.low(b).float()
        left = x - self.spectral(b)
        left = (left / left.square().mean().sqrt().clamp_min(1e-300)).float()
        net = copy.deepcopy(self.net).float()
        out = torch.randn(x.shape[1], net.width, generator=generator) / net.width**0.5
        parameters = [nn.Parameter(p) for p in (net.W1, net.b1, net.W2, net.b2, out)]
        net.W1, net.b1, net.W2, net.b2, out = parameters

        def loss(_: int) -> Tensor:
            i = torch.randint(len(z), (512,), generator=generator)
            return (net.trunk(z[i])[1] @ out.mT - left[i]).square().mean()

        adam = Adam(parameters, 5e-3, period=steps, decay=(0.9, 0.99), fused=True)
        yield from descend(adam, loss, steps, every=100)
        with torch.no_grad():
            own = (self.net.W1, self.net.b1, self.net.W2, self.net.b2)
            for p, trained in zip(own, (net.W1, net.b1, net.W2, net.b2), strict=True):
                p.copy_(trained.double())

    def regress(self, b: Float[Tensor, "n w"], x: Float[Tensor, "n D"], ridge: float) -> None:
        r"""Ridge regression of x on phi(b) and psi: C and A at once.

        The penalty is `ridge` times the mean square of these functions, the same for all: high
        frequencies are what the network is there for.
        """
        spectrum = self.spectral.spectrum

        def functions(c: Tensor) -> Tensor:
            return torch.cat([spectrum(c), self.net.phi(self.low(c))], -1)

        gram, right = normal_equations(functions, b, x)
        p, penalty = spectrum.count, ridge * gram.diagonal().mean()
        both = ridge_solution(gram, right, penalty.expand(len(gram)))
        self.spectral.coefficients, A = both[:p].contiguous(), both[p:]
        with torch.no_grad():
            self.net.C.copy_(A.mT)
