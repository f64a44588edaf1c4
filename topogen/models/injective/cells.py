r"""A cover of a base by small cells, and the proof that a spectral decoder is injective.

The unit sphere S^n is the image of the surface of the cube :math:`[-1, 1]^{n+1}` under x -> x /
|x|, which shortens every path, so a box of half-diagonal rho in a face of the cube is carried into
a geodesic ball of radius rho.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ...manifolds.bases import Base
from ...manifolds.bases.factors import Factor, Line, Round
from .decoder import SpectralDecoder

MOST_CELLS = {1: 20_000, 2: 120_000, 3: 60_000}
_MOST_PAIRS = 10_000_000


def cells(base: Base, count: int) -> tuple[Float[Tensor, "m w"], float]:
    """Centres of about `count` cells that cover the cover of B, and their common radius.

    Raises:
        ValueError: B has a line.
    """
    if any(f == Line() for f in base.factors):
        raise ValueError("expected a compact base for a cover by cells, got one with a line")
    # faces of the cubes: side 2, one dimension each but the factor's own
    faces = math.prod(2 * f.width if isinstance(f, Round) else 1 for f in base.factors)
    per_axis = max(2, round((count / faces) ** (1 / base.dim)))
    parts = [_factor_cells(f, per_axis) for f in base.factors]
    x = parts[0]
    for y in parts[1:]:
        x = torch.cat([x.repeat_interleave(len(y), 0), y.repeat(len(x), 1)], -1)
    return x.to(base.group), math.sqrt(base.dim) / per_axis


def _factor_cells(factor: Factor, per_axis: int) -> Tensor:
    axis = (2 * torch.arange(per_axis, dtype=torch.float64) + 1) / per_axis - 1
    grid = torch.cartesian_prod(*[axis] * factor.dim).reshape(-1, factor.dim)
    if not isinstance(factor, Round):
        return grid
    centres = []
    for k, side in itertools.product(range(factor.width), (-1.0, 1.0)):
        face = torch.full((len(grid), 1), side, dtype=torch.float64)
        centres.append(torch.cat([grid[:, :k], face, grid[:, k:]], 1))
    return factor.retract(torch.cat(centres))


@dataclass(frozen=True)
class Injectivity:
    """What is known of whether a decoder is injective.

    Attributes:
        proved: True: it is an injective immersion, up to rounding; None: the cells were too few
            to tell.
        least: a lower bound on the least singular value of Dg where proved, else the least seen.
        cells: how many.
        radius: of the cells.
    """

    proved: bool | None
    least: float
    cells: int
    radius: float


def prove_injective(decoder: SpectralDecoder) -> Injectivity:
    r"""Try to prove that g is an injective immersion of B.

    Cells of radius rho have centres c. There Dg has the least and largest singular values
    :math:`\sigma_c, s_c`, the second derivatives of g are at most :math:`\lambda_c`, their
    tangential parts at most :math:`\kappa_c`; the third derivatives are at most T everywhere
    (:func:`third_bound`).

    - g is an immersion on the cell if :math:`m_c = \sigma_c - (\lambda_c + T\rho)\rho > 0`.
    - No point of the cell has the image of another closer to it than :math:`r_c`, the root of
      :math:`m_c = (\kappa_c + T\rho)\, r/2 + T r^2/6`: to third order, along a geodesic, in the
      tangent plane at g(c).
    - Cells have disjoint images if, with w the unit vector from g(c) to g(c'), :math:`|g(c) -
      g(c')| > (|J_c^\top w| + |J_{c'}^\top w|) \rho + (\lambda_c + \lambda_{c'} + 2T\rho)
      \rho^2 / 2`.

    g is injective if every two cells are apart in the last sense, or so close that the second
    says so, and each is by itself. Cells are refined until that holds, or there are too many.
    """
    base = decoder.base
    T = third_bound(decoder)
    count, most = 4000, MOST_CELLS.get(base.dim, 0)
    found = Injectivity(None, math.nan, 0, math.nan)
    while count <= most:
        c, rho = cells(base, count)
        value, J = decoder.value_and_jacobian(c)
        sigma = torch.linalg.svdvals(J)
        found = Injectivity(None, float(sigma[:, -1].min()), len(c), rho)
        H = decoder.second_derivatives(c).flatten(1, 2)
        bend = _norm(H) + T * rho
        turn = _norm(H @ calculus.tangent_basis(J)) + T * rho
        m = sigma[:, -1] - bend * rho
        if bool((m > 0).all()):
            near = ((turn**2 / 4 + 2 * T * m / 3).sqrt() - turn / 2) * 3 / T
            reach = sigma[:, 0] * rho + bend * rho**2 / 2
            alone = bool((near > 2 * rho).all())
            if alone and _separated(base, c, rho, value, J, reach, bend, near):
                return Injectivity(True, float(m.min()), len(c), rho)
        count *= 3
    return found


def third_bound(decoder: SpectralDecoder) -> float:
    r"""A bound on :math:`\nabla^3 g(w; v, v)`, |v| = |w| = 1, by the coefficients of g.

    In flat space it is that for w = v. On spheres the order of derivatives matters: exchanging w
    and v adds Dg of the curvature, so the derivative is off the symmetric one by at most
    :math:`\tfrac23 |Dg|`.
    """
    _, first, _, third = decoder.spectrum.bounds(decoder.coefficients)
    curved = any(isinstance(f, Round) and f.n > 1 for f in decoder.base.factors)
    return third + 2 / 3 * first if curved else third


def _norm(H: Tensor) -> Tensor:
    """A bound on |H(v, v)|, |v| = 1, per row: the norm of H on all d^2-vectors."""
    small = H if H.shape[1] <= H.shape[2] else H.mT
    return torch.linalg.eigvalsh(small @ small.mT)[:, -1].clamp_min(0).sqrt()


def _separated(
    base: Base,
    c: Tensor,
    rho: float,
    value: Tensor,
    J: Tensor,
    reach: Tensor,
    bend: Tensor,
    near: Tensor,
) -> bool:
    """Whether the images of all cells are apart, or the cells closer than `near`."""
    from scipy.spatial import KDTree

    tree = KDTree(value.numpy())
    longest = float(reach.max())
    few = value[:: max(1, len(value) // 500)]
    sizes = tree.query_ball_point(few.numpy(), 2 * longest, return_length=True)
    if float(np.mean(sizes)) * len(value) > 2 * _MOST_PAIRS:
        return False
    pairs = torch.from_numpy(tree.query_pairs(2 * longest, output_type="ndarray"))
    for part in pairs.split(200_000):
        i, j = part.T
        chord = value[j] - value[i]
        gap = chord.norm(dim=-1)
        # the ends of the cells towards each other, on the line between their images
        w = (chord / gap.clamp_min(1e-300).unsqueeze(-1)).unsqueeze(-1)
        ends = (J[i].mT @ w).norm(dim=(-2, -1)) + (J[j].mT @ w).norm(dim=(-2, -1))
        meet = gap <= ends * rho + (bend[i] + bend[j]) * rho**2 / 2
        i, j = i[meet], j[meet]
        if bool((base.distance(c[i], c[j]) + 2 * rho >= torch.maximum(near[i], near[j])).any()):
            return False
    return True
