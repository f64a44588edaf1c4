"""Orientable surfaces of any genus >= 1 in R^3: the smooth union of ring tori."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional

from ... import calculus
from ...calculus import RowMap
from ...homology import Homology
from ...point_cloud.tensors import nearest_row
from ..atlas import Atlas
from ..base import iterate
from .base import Nearest, ReferenceSpace, sphere_tangents, uniform_box, unit
from .implicit_charts import GraphChart, graph_cover, tube_graph
from .tori import ring_torus

_R, _r = 1.0, 0.5  # radii of each torus
_SPACING = 2.2  # between neighbouring centres: the tubes overlap, the holes stay apart
_BLEND = 4.0  # sharpness of the smooth minimum
_POWER = 12  # weights n_i^12 / sum_j n_j^12 of the three axes, n the normal
_LARGEST = 1.4  # exceeds every value of weight_i / |n_i|


class GenusSurface(ReferenceSpace):
    r"""A surface of genus g >= 1 in R^3: F = 0, a smooth minimum over g ring tori.

    .. math:: F(x) = -\tfrac1\beta \log \sum_{i=1}^g e^{-\beta f_i(x)}, \; y = x - a_i e_1, \;
              f_i = \frac{(|y|^2 + R^2 - r^2)^2 - 4 R^2 (y_1^2 + y_2^2)}{8 R^2 r}

    with R = 1, r = 1/2, beta = 4 and centres 2.2 apart on the first axis; radii of curvature stay
    above 0.34. Betti numbers are (1, 2g, 1) over every field.

    Sampling and `volume` cut the surface with lines parallel to the axes (Cauchy-Crofton): with
    weights :math:`\sum_i w_i = 1` on M that vanish where a line of direction i touches M,
    :math:`\int_M f\,dA = \sum_i \int dx_j dx_k \sum_{crossings} f\, w_i / |n_i|`. `volume_error`
    is the change from the next coarser grid. Both are computed when first asked for.

    Example:
        >>> M = GenusSurface(2)
        >>> str(M.homology), M.homology.euler_characteristic
        ('Z/2: (1, 4, 1), Z/3: (1, 4, 1)', -2)
        >>> M.contains(M.sample_uniform(100)).all()
        tensor(True)
    """

    dim = 2
    ambient_dim = 3
    orientable = True

    def __init__(self, genus: int = 2) -> None:
        super().__init__()
        if genus < 1:
            raise ValueError(f"expected genus >= 1, got {genus}; tg.Sphere() has genus 0")
        self.genus = genus
        self.homology = Homology((1, 2 * genus, 1))
        half = _SPACING * (genus - 1) / 2 + _R + _r
        self.scale = half
        self._half_box = torch.tensor([half, _R + _r, _r], dtype=torch.float64) + 0.2
        tori = [ring_torus(_R, _r, _SPACING * (i - (genus - 1) / 2)) for i in range(genus)]

        def F(x: Tensor) -> Tensor:
            f = torch.cat([f(x) for f in tori], -1)
            return -torch.logsumexp(-_BLEND * f, -1, keepdim=True) / _BLEND

        self._F = F

    @property
    def defining(self) -> RowMap:
        """F."""
        return self._F

    def gradient(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """DF(x), outward on M."""
        return calculus.jacobian(self._F, x, mode="reverse").squeeze(-2)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the complement of DF(x), at points x of M."""
        self.check_points(x)
        return sphere_tangents(unit(self.gradient(x)))

    @cached_property
    def _start(self) -> Float[Tensor, "m 3"]:
        """Points all over M, from which the nearest one is sought."""
        return self.sample_uniform(3000 * self.genus, Generator().manual_seed(0))

    def _nearest(self, x: Float[Tensor, "n D"], tol: float, max_steps: int) -> Nearest:
        r"""Newton on y - x + lambda DF(y) = 0, F(y) = 0, from the nearest of many points."""
        with torch.no_grad():
            target, points = x.detach(), self._start.to(x.device)
            start = points[nearest_row(points, target)]

            def evaluate(state: Tensor) -> tuple[Tensor, Tensor]:
                y, x = state.split(3, -1)
                return self._stationarity(y, x), torch.cat([self._newton(y, x, x), x], -1)

            state = torch.cat([start, target], -1)
            found = iterate(evaluate, state, tol=tol, max_steps=max_steps)
            y = found.value[:, :3]
            # a stationary point that is farther than a known point of M is not the nearest one
            before, after = (start - target).norm(dim=-1), (y - target).norm(dim=-1)
            nearer = after <= before * (1 + 1e-9) + tol
        # one more step, the only one that is differentiated
        last = self._newton(y, x, target)
        return last, torch.where(nearer, found.residual, torch.inf), found.steps

    def _newton(self, y: Tensor, x: Tensor, fixed: Tensor) -> Tensor:
        """One step for the nearest point to x; `fixed` is x as it enters the matrix."""
        g, H = calculus.value_and_jacobian(self.gradient, y)
        lam = ((fixed - y) * g).sum(-1, keepdim=True) / (g * g).sum(-1, keepdim=True)
        A = torch.eye(3, dtype=y.dtype, device=y.device) + lam.unsqueeze(-1) * H
        column = g.unsqueeze(-1)
        K = torch.cat([torch.cat([A, column], -1), functional.pad(column.mT, (0, 1))], -2)
        G = torch.cat([y - x + lam * g, self._F(y)], -1)
        move = torch.linalg.solve_ex(K, G.unsqueeze(-1))[0].squeeze(-1)[:, :3]
        return y - move * (0.2 / move.detach().norm(dim=-1, keepdim=True).clamp_min(0.2))

    def _stationarity(self, y: Tensor, x: Tensor) -> Tensor:
        """How far y is from M, and x - y from the normal at y."""
        g = self.gradient(y)
        length = g.norm(dim=-1)
        n, v = g / length.unsqueeze(-1), x - y
        tangential = v - (v * n).sum(-1, keepdim=True) * n
        return torch.hypot(tangential.norm(dim=-1), self._F(y).squeeze(-1) / length)

    def _crossings(
        self, axis: int, lines: Float[Tensor, "m 2"]
    ) -> tuple[Tensor, Float[Tensor, "c 3"], Float[Tensor, "c 3"]]:
        """Crossings of M by lines parallel to an axis: number of the line, point, normal."""
        high = self._half_box[axis]
        s = torch.linspace(-float(high), float(high), int(high / 0.02), dtype=torch.float64)

        def at(rows: Tensor, s: Tensor) -> Tensor:
            others = rows.unbind(-1)
            return torch.stack([*others[:axis], s, *others[axis:]], -1)

        wide = lines.unsqueeze(1).expand(-1, s.numel(), -1)
        inside = self._F(at(wide, s.expand(lines.shape[0], -1))).squeeze(-1) < 0
        number, k = (inside[:, 1:] != inside[:, :-1]).nonzero().unbind(-1)
        rows, low, up = lines[number], s[k], s[k + 1]
        first = inside[number, k]
        for _ in range(6):
            middle = (low + up) / 2
            same = (self._F(at(rows, middle)).squeeze(-1) < 0) == first
            low, up = torch.where(same, middle, low), torch.where(same, up, middle)
        t = (low + up) / 2
        for _ in range(4):
            x = at(rows, t)
            f, g = self._F(x).squeeze(-1), self.gradient(x)[:, axis]
            t = (t - f / torch.where(g.abs() > 1e-9, g, 1e-9)).clamp(low, up)
        x = at(rows, t)
        return number, x, unit(self.gradient(x))

    @staticmethod
    def _weight(axis: int, n: Tensor) -> Tensor:
        """weight_i / |n_i|."""
        return n[:, axis].abs() ** (_POWER - 1) / (n**_POWER).sum(-1)

    def _area(self, step: float) -> float:
        """The midpoint rule on lines `step` apart; M is symmetric, so one quadrant is enough."""
        total = 0.0
        for axis in range(3):
            others = [float(h) for i, h in enumerate(self._half_box) if i != axis]
            ticks = [step * (torch.arange(int(h / step)).double() + 0.5) for h in others]
            for lines in torch.cartesian_prod(*ticks).split(4096):
                _, _, n = self._crossings(axis, lines)
                total += 4 * float(self._weight(axis, n).sum()) * step**2
        return total

    @cached_property
    def _volume(self) -> tuple[float, float]:
        coarse, fine = self._area(1 / 75), self._area(0.01)
        return fine, abs(fine - coarse)

    @property
    def volume(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The area."""
        return self._volume[0]

    @property
    def volume_error(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Estimate of the error of `volume`."""
        return self._volume[1]

    def sample_uniform(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """Crossings of random lines, kept with probability weight_i / |n_i| over its bound.

        A line of direction i cuts M with density |n_i| per unit of area, so what is kept has a
        density proportional to the sum of the weights, which is 1.
        """
        most = [4 * self.genus, 6, 4]  # crossings of one line
        faces = [float(8 * self._half_box.prod() / (2 * h)) for h in self._half_box]
        choose = torch.tensor([a * k for a, k in zip(faces, most, strict=True)]).double()
        choose /= choose.sum()
        parts = [torch.zeros(0, 3, dtype=torch.float64)]
        while sum(map(len, parts)) < n:
            axes = torch.multinomial(choose, 4096, replacement=True, generator=generator)
            batch: list[Tensor] = []
            for axis in range(3):
                m = int((axes == axis).sum())
                high = torch.stack([h for i, h in enumerate(self._half_box) if i != axis])
                number, x, normal = self._crossings(axis, uniform_box(m, -high, high, generator))
                # the crossings of one line depend on one another: at most one is used
                rank = torch.arange(number.numel()) - torch.searchsorted(number, number)
                pick = torch.randint(most[axis], (m,), generator=generator)
                u = torch.rand(number.numel(), generator=generator, dtype=torch.float64)
                kept = (rank == pick[number]) & (u * _LARGEST < self._weight(axis, normal))
                batch.append(x[kept])
            # the axes in random order: no cut at n favours one of them
            x = torch.cat(batch)
            parts.append(x[torch.randperm(x.shape[0], generator=generator)])
        return torch.cat(parts)[:n]

    def atlas(self) -> Atlas:
        """Graphs over boxes of the tori, and over discs of tangent planes where two tori join.

        Not a good cover: two boxes of one torus meet on both sides of the tube.
        """
        points = self.sample_uniform(8000 * self.genus, Generator().manual_seed(1))
        charts = graph_cover(self._F, points, self._tubes(), radius=0.45, reach=0.45)
        return Atlas(charts, self, own=True)

    def _tubes(self) -> list[GraphChart]:
        """Graphs over each torus: its inner half, and its outer half away from the joints."""
        charts: list[GraphChart] = []
        for i in range(self.genus):
            right, left = i < self.genus - 1, i > 0
            boxes = [((u, 180.0), (100.0, 135.0)) for u in (0.0, 120.0, 240.0)]
            if not (right or left):
                boxes += [((u, 0.0), (100.0, 135.0)) for u in (0.0, 120.0, 240.0)]
            elif right and left:
                boxes += [((u, 0.0), (44.0, 135.0)) for u in (90.0, 270.0)]
            else:
                middle = 180.0 if right else 0.0
                boxes += [((middle + u, 0.0), (63.0, 135.0)) for u in (-70.0, 0.0, 70.0)]
            centre = _SPACING * (i - (self.genus - 1) / 2)
            charts += [
                tube_graph(self._F, R=_R, r=_r, centre=centre, angles=a, half=h, reach=0.45)
                for a, h in boxes
            ]
        return charts

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.genus}"
