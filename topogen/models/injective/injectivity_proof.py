r"""The proof, over cells of its base, that a spectral decoder is injective."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .base_cells import Boxes, cover
from .decoder import Decoder
from .jets import ROWS, Jets


@dataclass(frozen=True)
class InjectivityProof:
    """What is known of whether a decoder is injective.

    Attributes:
        proved: True: it is an injective immersion, up to rounding; None: the cells were too few
            to decide.
        least: a lower bound on the least singular value of Dg where proved, else the least seen.
        cells: how many were looked at, of all sizes.
        radius: of the largest cell on which g is proved to be injective, 0 where there is none.
    """

    proved: bool | None
    least: float
    cells: int
    radius: float


def prove_injective(
    decoder: Decoder, *, most_cells: int | None = None, most_pairs: int = 4_000_000
) -> InjectivityProof:
    r"""Try to prove that g is an injective immersion of B.

    Lengths in every factor f of B are first multiplied by :math:`\mu_f`, the mean stretch of g
    along it. That leaves the geodesics as they are.

    A cell is what is within rho of its centre c, and within :math:`\rho_f` in every factor f. At c
    let :math:`J = Dg, H = \nabla^2 g, A = J^+` (so that A J = 1), sigma the least singular value
    of J, :math:`|A H(v, v)| \le \alpha` for |v| = 1; everywhere :math:`|\nabla^3 g| \le T`
    (:meth:`~.jets.Jets.third_bound`), so :math:`|A \nabla^3 g| \le \tau = T / \sigma`. Vectors are
    carried to c along geodesics.

    - In the cell :math:`|A\,Dg(v) - v| \le \alpha\rho + \tau\rho^2/2` for |v| = 1, so, as |A| = 1
      / sigma, no singular value of Dg is less than :math:`\sigma(1 - \alpha\rho -
      \tau\rho^2/2)`, or than :math:`\min_f \mu_f` times this in the lengths of B.
    - x of the cell and y, r from each other, have different images if

      .. math:: \alpha\,(\rho + r/2) + \tau\,(\rho^2/2 + \rho r/2 + r^2/6) < 1:

      with v the direction of the geodesic from x to y, :math:`A(g(y) - g(x))` is :math:`r\,A\,
      Dg_x(v) + r^2/2\,A\,\nabla^2 g_x(v, v)` up to :math:`\tau r^3/6`, of which the first term is
      off r v by what was said, and the second at most :math:`(\alpha + \tau\rho)\,r^2/2`. So it
      is not 0. At :math:`r = 2\rho` this holds for all x, y of the cell; and then the first
      bound is positive.
    - For a unit vector w of R^D, w . g is off w . g(c) in the cell by at most :math:`e(w) =
      \sum_f \rho_f |J_f^\top w| + |w \cdot H|\,\rho^2/2 + T\rho^3/6`. The images of two cells are
      apart if :math:`w \cdot (g(c') - g(c)) > e(w) + e'(w)`, with w along :math:`g(c') - g(c)`.

    Any two points of B lie in one cell or in two, and a shortest geodesic joins them, as intervals
    are convex. So g is an injective immersion if each cell passes the second test with itself, and
    every two cells the third, or the second from either side, :math:`r = d_B(c, c') + \rho +
    \rho'`. A pair that does not is replaced by the pairs of the halves of its two cells, and so on
    until none is left, or there are too many. Nothing is tried in more than three dimensions.

    Args:
        decoder: g.
        most_cells: cells that are looked at, of all sizes; 20 000 on curves, else 120 000 when
            None.
        most_pairs: pairs of cells that are compared.

    Raises:
        UnsupportedError: the derivatives of g have no bounds.
    """
    base = decoder.base
    if base.dim > min(3, decoder.ambient_dim):
        return InjectivityProof(None, math.nan, 0, math.nan)
    if most_cells is None:
        most_cells = 20_000 if base.dim == 1 else 120_000
    first = {1: 300, 2: 1000, 3: 1500}[base.dim]  # those that are too large are halved
    mu = mean_stretch(decoder, cover(base, first, base.group.new_ones(len(base.factors))).centres)
    jets = decoder.jets(mu)
    T = jets.third_bound()
    boxes = cover(base, first, mu)
    cells = _cells(boxes, jets, T)
    pairs = cells.meeting()
    count = tested = 0
    least, seen, radius = math.inf, math.inf, 0.0
    while True:
        count, tested = count + len(cells.c), tested + len(pairs)
        good = cells.separated(pairs)
        alone = pairs[good & (pairs[:, 0] == pairs[:, 1]), 0]
        least = min([least, *(cells.least * mu.min())[alone].tolist()])
        seen = min(seen, float(torch.linalg.svdvals(cells.J * jets.scale)[:, -1].min()))
        radius = max([radius, *(cells.radii / mu).norm(dim=-1)[alone].tolist()])
        left = pairs[~good]
        if len(left) == 0:
            return InjectivityProof(True, least, count, radius)
        rows, place = left.unique(return_inverse=True)
        if (
            count + 2 * len(rows) > most_cells
            or tested + 4 * len(left) > most_pairs
            # the tests of smaller cells would rest on differences near rounding
            or float(cells.rho[rows].min()) < 1e-4 * float(mu.max())
        ):
            return InjectivityProof(None, seen, count, radius)
        boxes, pairs = boxes.halved(rows), _of_halves(place)
        cells = _cells(boxes, jets, T)


def mean_stretch(decoder: Decoder, c: Float[Tensor, "n w"]) -> Float[Tensor, " k"]:
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
    return mu.clamp_min(float(mu.max()) / 1e3).clamp_min(1e-100)


@dataclass(frozen=True)
class _Cells:
    """Cells and what is known of g there, in the letters of :func:`prove_injective`."""

    boxes: Boxes
    c: Float[Tensor, "n w"]
    radii: Float[Tensor, "n k"]
    rho: Float[Tensor, " n"]
    value: Float[Tensor, "n D"]
    J: Float[Tensor, "n D d"]
    H: Float[Tensor, "n d2 D"]
    sigma: Float[Tensor, " n"]
    alpha: Float[Tensor, " n"]
    T: float

    @property
    def least(self) -> Float[Tensor, " n"]:
        """The bound on the singular values of Dg in the cell, without the factor min mu."""
        return self.sigma * (1 - self.alpha * self.rho) - self.T * self.rho**2 / 2

    def meeting(self) -> Int[Tensor, "p 2"]:
        """Pairs i <= j of cells whose images may meet by a bound on e(w) for all w."""
        reach = self._end(slice(None), self.J.square().sum(1), _norm(self.H))
        parts, exact = [], "donot_use_mm_for_euclid_dist"
        for k in range(0, len(reach), ROWS):
            rows = slice(k, k + ROWS)
            gap = torch.cdist(self.value[rows], self.value, compute_mode=exact)
            near = (gap <= reach[rows, None] + reach).triu(k)
            parts.append(near.nonzero() + torch.tensor([k, 0]))
        return torch.cat(parts)

    def separated(self, pairs: Int[Tensor, "p 2"]) -> Bool[Tensor, " p"]:
        """Whether g is proved to be injective on the union of the two cells, or the one."""
        # H of the pairs of one block takes 32 MB
        rows = max(1000, 4_000_000 // (self.H.shape[1] * self.H.shape[2]))
        parts = []
        for p in pairs.split(rows):
            i, j = p.T
            r = self.boxes.base.distance(self.c[i], self.c[j], self.boxes.scale)
            r = r + self.rho[i] + self.rho[j]
            good = self._injective(i, r) | self._injective(j, r)
            good[~good] = self._apart(p[~good])
            parts.append(good)
        return torch.cat(parts)

    def _injective(self, i: Tensor, r: Tensor) -> Tensor:
        rho, sigma = self.rho[i], self.sigma[i]
        first = sigma * self.alpha[i] * (rho + r / 2)
        return first + self.T * (rho**2 / 2 + rho * r / 2 + r**2 / 6) < sigma

    def _apart(self, pairs: Tensor) -> Tensor:
        i, j = pairs.T
        chord = self.value[j] - self.value[i]
        gap = chord.norm(dim=-1)
        w = (chord / gap.clamp_min(1e-300).unsqueeze(-1)).unsqueeze(-1)
        ends = [
            self._end(
                k, (self.J[k].mT @ w).squeeze(-1).square(), (self.H[k] @ w).norm(dim=(-2, -1))
            )
            for k in (i, j)
        ]
        return gap > ends[0] + ends[1]

    def _end(self, k: slice | Tensor, squares: Tensor, bend: Tensor) -> Tensor:
        """The bound e(w) in cells k, from the squares of J^T w by direction, and |w . H|."""
        parts = squares.split([f.dim for f in self.boxes.base.factors], -1)
        slope = torch.stack([part.sum(-1) for part in parts], -1).sqrt()
        rho = self.rho[k]
        return (slope * self.radii[k]).sum(-1) + bend * rho**2 / 2 + self.T * rho**3 / 6


def _cells(boxes: Boxes, jets: Jets, T: float) -> _Cells:
    c, radii = boxes.centres, boxes.radii
    value, J, H = jets(c)
    U, s, _ = torch.linalg.svd(J, full_matrices=False)
    alpha = _norm(H @ U / s.clamp_min(1e-100).unsqueeze(-2))
    sigma = (s[:, -1] - 1e-12 * s[:, 0]).clamp_min(0)  # 0 where it may be rounding
    return _Cells(boxes, c, radii, radii.norm(dim=-1), value, J, H, sigma, alpha, T)


def _norm(H: Tensor) -> Tensor:
    """A bound on |H(v, v)|, |v| = 1, per row: the norm of H on all d^2-vectors."""
    small = H if H.shape[1] <= H.shape[2] else H.mT
    return torch.linalg.eigvalsh(small @ small.mT)[:, -1].clamp_min(0).sqrt()


def _of_halves(pairs: Int[Tensor, "p 2"]) -> Int[Tensor, "r 2"]:
    """The pairs i <= j of the halves 2i, 2i + 1 of the cells of pairs."""
    halves = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    every = (2 * pairs.unsqueeze(1) + halves).flatten(0, 1)
    return every[every[:, 0] <= every[:, 1]]
