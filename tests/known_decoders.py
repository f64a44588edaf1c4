"""Decoders that are known exactly, by projecting a map on the functions of its base."""

import math

import torch

from topogen.models.injective.bases import standard
from topogen.models.injective.decoder import SpectralDecoder


class Known:
    """Maps of bases by their formulas, as spectral decoders."""

    @staticmethod
    def decoder(base, bandwidth, formula):
        """The decoder of a map of the span of the functions up to a bandwidth, exactly."""
        B = standard(base) if isinstance(base, str) else base
        b, w = B.nodes(2 * bandwidth)
        value = formula(b)
        g = SpectralDecoder(B, bandwidth, value.shape[1])
        phi = g.spectrum(b)
        g.coefficients = phi.mT @ (w[:, None] * value)
        torch.testing.assert_close(phi @ g.coefficients, value, atol=1e-12, rtol=0)
        return g

    @staticmethod
    def curve(*modes):
        """A closed curve: columns of functions of the angle t."""
        return lambda b: torch.stack([f(torch.atan2(b[:, 1], b[:, 0])) for f in modes], -1)

    @staticmethod
    def ring(b, R=2.0, r=0.7):
        """The ring torus on T^2."""
        rho = R + r * b[:, 2]
        return torch.stack([rho * b[:, 0], rho * b[:, 1], r * b[:, 3]], -1)

    @staticmethod
    def klein(b, R=2.0, r=0.7):
        """The Klein bottle in R^4: u = 2t in ((R + r cos v) e^iu, r sin v e^(iu/2)), v = s."""
        c, s, rho = b[:, 0], b[:, 1], R + r * b[:, 2]
        return torch.stack(
            [rho * (c * c - s * s), rho * 2 * c * s, r * b[:, 3] * c, r * b[:, 3] * s], -1
        )

    @staticmethod
    def veronese(b):
        """RP^2 in R^6, of S^2 two to one."""
        x, y, z = b.unbind(-1)
        root = math.sqrt(2)
        return torch.stack([x * x, y * y, z * z, root * x * y, root * y * z, root * z * x], -1)

    @staticmethod
    def cylinder(b):
        """A straight cylinder of height 2."""
        return b
