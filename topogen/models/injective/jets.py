"""The derivatives of a combination of harmonics at many points, and a bound on the third ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .bases import Spectrum

# points in one block: 2048 x 1000 functions in float64 take 16 MB
ROWS = 2048


class Jets:
    r"""g = C phi and its first two derivatives, from one table of coefficients.

    Args:
        spectrum: phi.
        coefficients: C^T, shape (p, D).
        scale: lengths in each factor of B are multiplied by these; 1 when None.

    Attributes:
        factor_scale: `scale`, shape (k,).
        scale: the same for every direction of the frame of B, shape (d,).
    """

    def __init__(
        self,
        spectrum: Spectrum,
        coefficients: Float[Tensor, "p D"],
        scale: Float[Tensor, " k"] | None = None,
    ) -> None:
        self.spectrum, self.coefficients = spectrum, coefficients
        base, w = spectrum.base, spectrum.base.width
        dims = torch.tensor([f.dim for f in base.factors])
        ones = coefficients.new_ones(len(dims))
        self.factor_scale = ones if scale is None else scale.to(coefficients)
        self.scale = self.factor_scale.repeat_interleave(dims)
        raw = spectrum.to_raw(coefficients)
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

        E is the frame of the base over `scale`. In coordinates around the cover the second
        derivatives are those of the extension of g, less :math:`(v_f \cdot v'_f)\, b_f \cdot
        \nabla_f g` for every sphere among the factors.
        """
        base = self.spectrum.base
        parts = []
        for b in c.split(ROWS):
            jets = torch.einsum("nq,qkD->nkD", self.spectrum.raw(b), self.table)
            value, slope, bend = jets.split([1, base.width, jets.shape[1] - 1 - base.width], 1)
            E = base.frame(b) / self.scale
            H = torch.einsum("nvi,nvwD,nwj->nijD", E, bend[:, self.place], E)
            splits = (base.split(x) for x in (b, E.mT, slope.mT))
            for f, p, F, s in zip(base.factors, *splits, strict=True):
                if f.width > f.dim:  # a sphere, whose geodesics bend
                    inward = torch.einsum("nw,nDw->nD", p, s)
                    H = H - (F @ F.mT).unsqueeze(-1) * inward[:, None, None]
            parts.append((value[:, 0], slope.mT @ E, H.flatten(1, 2)))
        value, J, H = (torch.cat(p) for p in zip(*parts, strict=True))
        return value, J, H

    def third_bound(self) -> float:
        r"""A bound T on :math:`\nabla^3 g(u, v, w)`, |u| = |v| = |w| = 1, by the coefficients.

        The part of g of degrees :math:`l = (l_f)` in the factors is at most s_l, see
        :meth:`Spectrum.parts`. A derivative in a direction with the parts u_f costs a factor
        :math:`\sum_f l_f |u_f|` at most, along geodesics, so :math:`|\nabla^3 g(u, v, w)| \le
        \sum_l s_l \prod_{u, v, w} \sum_f l_f |u_f|`, of which T is the norm as a form in u and
        :math:`v \otimes w`.

        So it is in mixed directions: the geodesics of a sphere are orbits of rotations, which move
        tangent vectors by parallel transport. A harmonic of degree l moved by them is a
        trigonometric polynomial of degree l of the angle, and so are its derivatives: by
        Bernstein's inequality each covariant derivative multiplies bounds by l at most.
        """
        k = len(self.factor_scale)
        form = torch.zeros(k, k * k, dtype=torch.float64)
        for size, degrees in self.spectrum.parts(self.coefficients):
            speed = torch.tensor(degrees, dtype=torch.float64) / self.factor_scale
            form += size * speed.unsqueeze(-1) * torch.outer(speed, speed).flatten()
        return float(torch.linalg.matrix_norm(form, 2))
