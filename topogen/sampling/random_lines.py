r"""Uniform points and the area of a hypersurface from random lines.

With isotropic random lines through a ball of radius B around a hypersurface M of R^D,

.. math:: H^{D-1}(M) = E[\#(line \cap M)]\, \frac{vol_{D-1}(B)}{E|u_1|},
          \qquad E|u_1| = \frac{\Gamma(D/2)}{\sqrt\pi\, \Gamma((D+1)/2)},

(Cauchy, Crofton), and the intersections, all of them, are uniform on M (Palais, Palais, Karcher,
"Point clouds: distributing points uniformly on a surface", 2016,
https://arxiv.org/abs/1611.04690; Ling, Madan, Sharp, Jacobson, "Uniform sampling of surfaces by
casting rays", 2025, https://arxiv.org/abs/2506.05268).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UnsupportedError
from ..manifolds.base import Manifold
from ..manifolds.rejection_sampling import draw_until
from .regions import BallAround, known_points
from .volume_estimate import CHUNK, VolumeEstimate, ball_volume, in_ball, mean_of

# intervals per line on the coarsest grid; and where slopes outside the domain do not count
_FIRST, _FIRST_GUARDED = 16, 32
_PILOT = 2048  # lines of a first look


@dataclass(frozen=True)
class RaySample:
    """What random lines met.

    Attributes:
        points: on M, shape (n, D).
        line: the line of each point, shape (n,); points of one line are not independent.
        hits: how many points of M each line met, shape (lines,).
        late: share of roots that only the finest grid separated; as many are missed at the most.
        jumps: sign changes of F that are no zeros.
        radius: of the ball.
    """

    points: Float[Tensor, "n D"]
    line: Int[Tensor, " n"]
    hits: Int[Tensor, " lines"]
    late: float
    jumps: int
    radius: float


class Rays:
    r"""Isotropic random lines through a ball around M = {F = 0}, F: R^D -> R, and all their hits.

    F is evaluated at the ends of 16 or 32 intervals of a line. Those that may contain a zero are
    halved, down to `resolution` intervals per line; every sign change is then solved by
    Chandrupatla's method. With L(m) the largest slope of F where :math:`|F| \le m`, a zero is at
    least :math:`|F(a)| / L(|F(a)|)` from a. L is estimated, from random points of the ball and
    points of M, half as large again as it is there. Hits outside `M.in_domain` do not count.

    Args:
        M: a manifold of codimension 1 whose `equations` are one function that changes sign on it.
        points: points near M, for example the data; None looks for some.
        resolution: the finest number of intervals per line.
        generator: source of randomness.

    Raises:
        UnsupportedError: M is not given by one function that changes sign.

    Example:
        >>> rays = Rays(tg.Torus(1.0, 0.5), generator=torch.Generator().manual_seed(0))
        >>> v = rays.volume(20_000)
        >>> abs(v.value - 4 * torch.pi**2 * 0.5) < v.error
        True
    """

    def __init__(
        self,
        M: Manifold,
        points: Any = None,
        *,
        resolution: int = 128,
        generator: torch.Generator | None = None,
    ) -> None:
        if resolution < _FIRST_GUARDED:
            raise ValueError(f"expected resolution >= {_FIRST_GUARDED}, got {resolution}")
        self.M, self.resolution, self.generator = M, resolution, generator
        self.F = signed_equation(M)
        x = known_points(M, points, generator)
        self._require_sign_change(x)
        self.ball = BallAround.of(x)
        for _ in range(12):
            self._measure_slopes(x)
            wider = BallAround(self.ball.centre, 1.3 * self.ball.radius)
            found = self._cast(_PILOT, wider).points
            out = found[~self.ball.contains(found)]
            if out.shape[0] == 0:
                return
            self.ball = self.ball.grown(M, out)
        raise UnsupportedError(
            "expected a bounded manifold, but hits keep turning up to radius "
            f"{self.ball.radius:.1e}; restrict M, or give it a domain of validity"
        )

    def _require_sign_change(self, x: Tensor) -> None:
        n = self.M.normal_basis(x).squeeze(-1)
        h = 1e-3 * self.M.scale
        share = ((self.F(x + h * n) < 0) != (self.F(x - h * n) < 0)).double().mean().item()
        if share < 0.95:
            raise UnsupportedError(
                f"expected a function that changes sign on {type(self.M).__name__}, but it does "
                f"at {share:.0%} of its points only (a distance, or a square?); use "
                "method='tube' or 'atlas'"
            )

    def _measure_slopes(self, x: Tensor) -> None:
        """Tabulate L at the values |F| of points of the ball and of M.

        Only points in the domain of validity are looked at, outside which F may be steep and zeros
        do not count, where it contains every interval that ends at a point of M.
        """
        y = self.ball.draw(2 * _PILOT, self.generator)
        u = torch.randn(x.shape, generator=self.generator, dtype=torch.float64)
        step = 2 * self.ball.radius / _FIRST_GUARDED
        with torch.no_grad():
            inside = self.M.in_domain(y)
            near = self.M.in_domain(x + step * u / u.norm(dim=-1, keepdim=True))
            self.first = _FIRST
            if not bool(inside.all()) and float(near.double().mean()) > 0.999:
                self.first, y = _FIRST_GUARDED, y[inside]
            F, J = self.M.linearize(torch.cat([x, y]))
        slope = J.flatten(-2).norm(dim=-1).nan_to_num(0.0, 0.0, 0.0)
        self._values, order = F.squeeze(-1).abs().nan_to_num(math.inf).sort()
        self._slopes = 1.5 * slope[order].cummax(0).values
        self.slope = float(self._slopes[-1])

    def _clearance(self, f: Tensor) -> Tensor:
        """How far a point with F = f is from a zero at the least."""
        i = torch.searchsorted(self._values, f.abs()).clamp_max(self._values.shape[0] - 1)
        return f.abs() / self._slopes[i]

    @torch.no_grad()
    def _cast(self, lines: int, ball: BallAround) -> RaySample:
        """All points of M on random lines."""
        sizes = [min(CHUNK, lines - start) for start in range(0, lines, CHUNK)]
        parts = [self._cast_chunk(m, ball) for m in sizes]
        found = [sample for sample, _, _ in parts]
        roots = sum(count for _, count, _ in parts)
        return RaySample(
            torch.cat([sample.points for sample in found]),
            torch.cat([sample.line + i * CHUNK for i, sample in enumerate(found)]),
            torch.cat([sample.hits for sample in found]),
            sum(late for _, _, late in parts) / max(roots, 1),
            sum(sample.jumps for sample in found),
            ball.radius,
        )

    def _cast_chunk(self, m: int, ball: BallAround) -> tuple[RaySample, int, int]:
        """What m lines met, without `late`; how many roots there are, and how many late ones."""
        origin, u, half = _lines(m, ball, self.generator)

        def along(t: Tensor, line: Tensor) -> Tensor:
            return self.F(origin[line] + t.unsqueeze(-1) * u[line])

        line, a, b, fa, fb, late = self._brackets(along, half)
        t, residual = chandrupatla(lambda t, rows: along(t, line[rows]), a, b, fa, fb)
        # the slope across a zero is bounded; across a jump the value stays where it was
        zero = residual.abs() <= 1e-6 * self.slope * ball.radius
        x = origin[line] + t.unsqueeze(-1) * u[line]
        hit = zero & self.M.in_domain(x)
        hits = torch.bincount(line[hit], minlength=m)
        sample = RaySample(x[hit], line[hit], hits, math.nan, int((~zero).sum()), ball.radius)
        return sample, line.shape[0], late

    def _brackets(
        self, along: Callable[[Tensor, Tensor], Tensor], half: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]:
        """Intervals of the finest grid with a sign change; how many only the last level saw."""
        m = half.shape[0]
        grid = torch.linspace(-1, 1, self.first + 1, dtype=torch.float64) * half.unsqueeze(-1)
        line = torch.arange(m).unsqueeze(-1).expand_as(grid)
        f = along(grid.reshape(-1), line.reshape(-1)).reshape(grid.shape)
        a, b = grid[:, :-1].reshape(-1), grid[:, 1:].reshape(-1)
        fa, fb = f[:, :-1].reshape(-1), f[:, 1:].reshape(-1)
        line = line[:, :-1].reshape(-1)
        before = 0
        levels = math.ceil(math.log2(self.resolution / self.first))
        for level in range(levels + 1):
            near = self._clearance(fa) + self._clearance(fb) <= b - a
            active = near | ((fa < 0) != (fb < 0))
            a, b, fa, fb, line = (v[active] for v in (a, b, fa, fb, line))
            if level == levels:
                break
            before = int(((fa < 0) != (fb < 0)).sum())
            c = (a + b) / 2
            fc = along(c, line)
            a, b = torch.cat([a, c]), torch.cat([c, b])
            fa, fb, line = torch.cat([fa, fc]), torch.cat([fc, fb]), line.repeat(2)
        change = ((fa < 0) != (fb < 0)) & fa.isfinite() & fb.isfinite()
        late = max(int(change.sum()) - before, 0)
        return line[change], a[change], b[change], fa[change], fb[change], late

    def cast(self, lines: int) -> RaySample:
        """All points of M on so many random lines; uniform on M, dependent within a line."""
        if lines < 1:
            raise ValueError(f"expected lines >= 1, got {lines}")
        return self._cast(lines, self.ball)

    def volume(self, lines: int = 50_000) -> VolumeEstimate:
        """The area of M. The standard error is over lines; the bias is what the grid missed."""
        return self.measured(self.cast(max(lines, 2)))

    def measured(self, found: RaySample) -> VolumeEstimate:
        """The area of M from lines that were cast, two or more."""
        hits = found.hits.double()
        D = self.M.ambient_dim
        # E|u_1| of a uniform unit vector u
        cosine = math.exp(math.lgamma(D / 2) - math.lgamma((D + 1) / 2)) / math.sqrt(math.pi)
        factor = ball_volume(D - 1, found.radius) / cosine
        mean, error = mean_of(float(hits.sum()), float(hits.square().sum()), hits.numel())
        return VolumeEstimate(
            factor * mean,
            factor * error,
            factor * mean * (found.late + found.jumps / max(found.points.shape[0], 1)),
            "rays",
            draws=hits.numel(),
            found=found.points.shape[0],
            failed=found.jumps,
        )

    def sample(self, n: int) -> Float[Tensor, "n D"]:
        """N independent uniform points of M.

        At most one point is taken of each line: the j-th hit, j uniform in 1..J, where there is
        one; J is the largest number of hits seen. A line with more makes the draw start again.
        """
        if n < 0:
            raise ValueError(f"expected n >= 0, got {n}")
        most = int(self.cast(_PILOT).hits.max())
        if most == 0:
            raise UnsupportedError("expected lines that meet the manifold, but none of 2048 did")

        def propose(missing: int) -> Tensor | None:
            nonlocal most
            found = self.cast(min(max(256, most * missing), 8 * CHUNK))
            if int(found.hits.max()) > most:
                most = int(found.hits.max())
                return None
            j = torch.randint(most, (found.hits.shape[0],), generator=self.generator)
            order = found.line.argsort(stable=True)
            first = found.hits.cumsum(0) - found.hits
            return found.points[order[(first + j)[j < found.hits]]]

        return draw_until(n, propose, "the lines seldom meet M")


def signed_equation(M: Manifold) -> Callable[[Tensor], Tensor]:
    """F with M = {F = 0}, as (n, D) to (n,); UnsupportedError where that is not one equation."""
    k, zero = M.ambient_dim - M.dim, torch.zeros(1, M.ambient_dim, dtype=torch.float64)
    with torch.no_grad():
        m = M.equations(zero).shape[-1] if k == 1 else 0
    if k != 1 or m != 1:
        equations = f" with {m} equations" if m else ""
        raise UnsupportedError(
            f"expected a hypersurface given by one function, got {type(M).__name__} of "
            f"codimension {k}{equations}; use method='tube' or 'atlas'"
        )
    return lambda x: torch.cat([M.equations(part).squeeze(-1) for part in x.split(32_768)])


def _lines(m: int, ball: BallAround, generator: torch.Generator | None) -> tuple[Tensor, ...]:
    """Midpoints in the ball, directions, and half-lengths of the chords of m isotropic lines."""
    D = ball.centre.numel()
    u = torch.randn(m, D, generator=generator, dtype=torch.float64)
    u = u / u.norm(dim=-1, keepdim=True)
    e = torch.randn(m, D, generator=generator, dtype=torch.float64)
    e = e - (e * u).sum(-1, keepdim=True) * u
    r = in_ball(m, D - 1, generator).norm(dim=-1, keepdim=True)
    offset = r * e / e.norm(dim=-1, keepdim=True)
    half = ball.radius * (1 - r.squeeze(-1).square()).clamp_min(0).sqrt()
    return ball.centre + ball.radius * offset, u, half


def chandrupatla(
    f: Callable[[Tensor, Tensor], Tensor],
    a: Float[Tensor, " n"],
    b: Float[Tensor, " n"],
    fa: Float[Tensor, " n"],
    fb: Float[Tensor, " n"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Zeros of f between a and b, where its signs differ, and the values there.

    Inverse quadratic interpolation where it is safe, else bisection (Chandrupatla, "A new hybrid
    quadratic/bisection algorithm for finding the zero of a nonlinear function without using
    derivatives", 1997, https://doi.org/10.1016/S0965-9978(96)00051-8). Rows do not couple: f takes
    t and the index of the rows that these belong to, both of shape (m,); fa and fb are f(a), f(b).
    """
    a, b, fa, fb = (v.clone() for v in (a, b, fa, fb))
    rounding = 4 * torch.finfo(a.dtype).eps
    floor = rounding * torch.maximum(a.abs(), b.abs())
    c, fc = a.clone(), fa.clone()
    share = torch.full_like(a, 0.5)
    rows = torch.arange(a.shape[0])
    best, value = torch.where(fa.abs() < fb.abs(), a, b), torch.minimum(fa.abs(), fb.abs())
    for _ in range(80):
        if rows.numel() == 0:
            break
        # b is the newest end, a the one across the zero, c the one before
        t = a[rows] + share[rows] * (b[rows] - a[rows])
        ft = f(t, rows)
        same = (ft < 0) == (fa[rows] < 0)
        A, FA, B, FB = a[rows], fa[rows], b[rows], fb[rows]
        c[rows], fc[rows] = torch.where(same, A, B), torch.where(same, FA, FB)
        b[rows], fb[rows] = torch.where(same, B, A), torch.where(same, FB, FA)
        a[rows], fa[rows] = t, ft
        A, FA, B, FB, C, FC = (v[rows] for v in (a, fa, b, fb, c, fc))
        small = FA.abs() < FB.abs()
        best[rows], value[rows] = torch.where(small, A, B), torch.where(small, FA, FB)
        width = (B - A).abs()
        tol = (rounding * best[rows].abs() + floor[rows]) / width
        done = (tol > 0.5) | (value[rows] == 0)
        xi, phi = (A - B) / (C - B), (FA - FB) / (FC - FB)
        inverse = (phi.square() < xi) & ((1 - phi).square() < 1 - xi)
        step = FA / (FB - FA) * FC / (FB - FC)
        step = step + (C - A) / (B - A) * FA / (FC - FA) * FB / (FC - FB)
        step = torch.where(inverse & step.isfinite(), step, 0.5)
        share[rows] = torch.minimum(torch.maximum(step, tol), 1 - tol).clamp(0, 1)
        rows = rows[~done]
    return best, value
