"""A spectral decoder and its derivatives at many points, where the factors of B are rescaled."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .bases.harmonic_factors import UnitSphere
from .decoder import ROWS, SpectralDecoder

_STEEPEST = 1e3


def mean_stretch(decoder: SpectralDecoder, c: Float[Tensor, "n w"]) -> Float[Tensor, " k"]:
    r"""How much g stretches each factor, :math:`\mu_f`, in the mean over points c.

    One number for all where the group of B mixes the factors, and nowhere less than 1e-3 of the
    largest.
    """
    base = decoder.base
    dims = [f.dim for f in base.factors]
    J = decoder.value_and_jacobian(c)[1]
    mu = torch.stack([Jf.square().sum(1).mean() for Jf in J.split(dims, -1)]).sqrt()
    unmixed = torch.block_diag(*[torch.ones(f.width, f.width) for f in base.factors])
    if bool((base.group * (1 - unmixed)).any()):
        mu = mu.square().mean().sqrt().expand(len(dims))
    return mu.clamp_min(float(mu.max()) / _STEEPEST).clamp_min(1e-100)


def third_bound(decoder: SpectralDecoder, scale: Float[Tensor, " k"]) -> float:
    r"""A bound T on :math:`\nabla^3 g(u, v, w)`, |u| = |v| = |w| = 1, by the coefficients of g.

    The part of g of degrees :math:`l = (l_f)` in the factors is at most s_l, see
    :meth:`Spectrum.parts`. A derivative in a direction with the parts u_f costs a factor
    :math:`\sum_f l_f |u_f|` at most, along geodesics, so :math:`|\nabla^3 g(u, v, w)| \le \sum_l
    s_l \prod_{u, v, w} \sum_f l_f |u_f|`, of which T is the norm as a form in u and :math:`v
    \otimes w`.

    The same holds in mixed directions. The geodesics of a sphere are orbits of rotations, which
    move tangent vectors along by parallel transport. A harmonic of degree l moved by them is a
    trigonometric polynomial of degree l of the angle, and so are all its derivatives: by
    Bernstein's inequality each covariant derivative multiplies bounds by l at most, in any order.

    Args:
        decoder: g.
        scale: lengths in each factor are multiplied by these.
    """
    k = len(decoder.base.factors)
    form = torch.zeros(k, k * k, dtype=torch.float64)
    for size, degrees in decoder.spectrum.parts(decoder.coefficients):
        speed = torch.tensor(degrees, dtype=torch.float64) / scale
        form += size * speed.unsqueeze(-1) * torch.outer(speed, speed).flatten()
    return float(torch.linalg.matrix_norm(form, 2))


class Jets:
    """g and its first two derivatives, from one table of coefficients.

    Args:
        decoder: g.
        scale: lengths in each factor of B are multiplied by these.
    """

    def __init__(self, decoder: SpectralDecoder, scale: Float[Tensor, " k"]) -> None:
        self.decoder = decoder
        dims = torch.tensor([f.dim for f in decoder.base.factors])
        self.scale = scale.repeat_interleave(dims)
        spectrum, w = decoder.spectrum, decoder.base.width
        raw = spectrum.to_raw(decoder.coefficients)
        first = spectrum.raw_derivatives(raw)
        second = spectrum.raw_derivatives(first.movedim(0, 1))
        i, j = torch.triu_indices(w, w)
        self.place = torch.zeros(w, w, dtype=torch.long)
        self.place[i, j] = self.place[j, i] = torch.arange(len(i))
        bends = second.movedim(2, 1)[i, j]
        self.table = torch.cat([raw.unsqueeze(0), first, bends]).movedim(0, 1)

    def __call__(
        self, c: Float[Tensor, "n w"]
    ) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D d"], Float[Tensor, "n d2 D"]]:
        r"""g, J = Dg E, and :math:`H = \nabla^2 g(E_i, E_j)` along geodesics, at points c.

        As :meth:`SpectralDecoder.second_derivatives`, E the frame of the base over `scale`.
        """
        base = self.decoder.base
        parts = []
        for b in c.split(ROWS):
            jets = torch.einsum("nq,qkD->nkD", self.decoder.spectrum.raw(b), self.table)
            value, slope, bend = jets.split([1, base.width, jets.shape[1] - 1 - base.width], 1)
            E = base.frame(b) / self.scale
            H = torch.einsum("nvi,nvwD,nwj->nijD", E, bend[:, self.place], E)
            splits = (base.split(x) for x in (b, E.mT, slope.mT))
            for f, p, F, s in zip(base.factors, *splits, strict=True):
                if isinstance(f, UnitSphere):
                    inward = torch.einsum("nw,nDw->nD", p, s)
                    H = H - (F @ F.mT).unsqueeze(-1) * inward[:, None, None]
            parts.append((value[:, 0], slope.mT @ E, H.flatten(1, 2)))
        value, J, H = (torch.cat(p) for p in zip(*parts, strict=True))
        return value, J, H
