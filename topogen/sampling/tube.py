r"""Uniform points and the volume of M from the tube of points within tau of it.

The normal bundle maps onto the tube by (p, v) -> p + v, with Jacobian determinant
:math:`\det(I_d - S_v)`, :math:`S_v = \langle II_p, v\rangle` the shape operator of v (Weyl, "On
the volume of tubes", 1939, https://doi.org/10.2307/2371513). So with p the projection of x

.. math:: \int_{|x - p| < \tau} f(p)\, w(x)\, dx = vol_k(\tau) \int_M f\, dH^d,
          \quad w(x) = \frac{1}{\det(I_d - S_{x - p})}, \quad \tau < reach(M).

The tube contains p - v with p + v, so :math:`2 / (\det(I - S_v) + \det(I + S_v))` serves as w too;
it is used here, since the terms odd in v, the largest ones, cancel in it. It is 1 on curves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import UnsupportedError
from ..manifolds.base import Manifold
from ..manifolds.curvature import reach, shape_operator
from ..manifolds.rejection_sampling import draw_until
from .regions import BallAround, BoundedRegion, Cylinders, known_points, nearest_distance
from .volume_estimate import CHUNK, VolumeEstimate, ball_volume, in_ball, mean_of

_PILOT = 2000  # proposals of a first look
_WIDER = 1.25  # the bound of weights, over the largest one seen


@dataclass(frozen=True)
class TubeSample:
    r"""Points of the tube, by their projections.

    Attributes:
        points: the projections p on M, shape (n, D).
        normal: v = x - p, shape (n, D).
        weights: :math:`2 / (\det(I - S_v) + \det(I + S_v))`; these make the projections uniform.
        draws: uniform points of the region, those outside the tube included.
        failed: solves that did not converge, though they ended near M.
        folded: projections where :math:`\pm S_v` has an eigenvalue >= 1: tau exceeds the reach.
    """

    points: Float[Tensor, "n D"]
    normal: Float[Tensor, "n D"]
    weights: Float[Tensor, " n"]
    draws: int
    failed: int
    folded: int


class Tube:
    r"""The tube of radius tau about M, and the uniform distribution that it gives.

    Proposals are uniform in a ball around M, or in a union of small cylinders about points of M
    that covers the tube; "auto" takes the ball where two fifths of it are in the tube. The cover
    grows along M from known points: components of M without one are not seen. Fibres of the tube
    that leave the region enlarge it until a pilot finds no more.

    Args:
        M: a manifold with `equations`; its codimension k should be at most about 6.
        tau: radius, below the reach of M; None takes half of what a sample of M allows.
        points: points near M, for example the data; None looks for some.
        region: "auto", "cover" or "ball".
        generator: source of randomness.

    Raises:
        UnsupportedError: tau exceeds the reach, or no region covers the tube.

    Attributes:
        tau: the radius.
        known: points of M that were found first, shape (m, D).
        reach: upper bound of the reach, from a sample of M.

    Example:
        >>> tube = Tube(tg.Torus(1.0, 0.5), tau=0.3, generator=torch.Generator().manual_seed(0))
        >>> v = tube.volume(4000)
        >>> abs(v.value - 4 * torch.pi**2 * 0.5) < v.error
        True
    """

    def __init__(
        self,
        M: Manifold,
        tau: float | None = None,
        points: Any = None,
        *,
        region: Literal["auto", "cover", "ball"] = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        if region not in ("auto", "cover", "ball"):
            raise ValueError(f"expected region 'auto', 'cover' or 'ball', got {region!r}")
        if tau is not None and not tau > 0:
            raise ValueError(f"expected tau > 0, got {tau}")
        if M.dim >= M.ambient_dim:
            raise UnsupportedError(
                f"expected a manifold of codimension 1 or more, got dimension {M.dim} in "
                f"R^{M.ambient_dim}: it is its own tube; take uniform points of a box instead"
            )
        self.M, self.generator = M, generator
        self.known = x = known_points(M, points, generator)
        with torch.no_grad():
            # flat manifolds have infinite reach
            self.reach = min(reach(M, x[:1000]).value, BallAround.of(x).radius)
        # a sample of M bounds the reach from above only
        self.tau = 0.5 * self.reach if tau is None else tau
        if not self.tau < self.reach:
            raise UnsupportedError(
                f"expected tau below the reach of {type(M).__name__}, which is at most "
                f"{self.reach:.3g}, got {self.tau:.3g}; take half of that"
            )
        self.region: BoundedRegion = BallAround.of(x, self.tau)
        if region == "cover" or (region == "auto" and not self._fills(self.region)):
            self.region = Cylinders.of(M, x, self.tau, self.reach, generator)
        for _ in range(20):
            found = self.cast(_PILOT)
            out = self._fibres(found)[0]
            if not bool(out.any()):
                return
            self.region = self.region.grown(M, found.points[out])
        raise UnsupportedError(
            "expected a tube that 20 rounds cover, but new parts keep turning up: M "
            "is large or unbounded; pass points= spread over all of it"
        )

    def _fills(self, ball: BallAround) -> bool:
        """Whether much of the ball is in the tube, by a retraction in place of nearest points."""
        x = ball.draw(_PILOT // 4, self.generator)
        with torch.no_grad():
            p = self.M.project(x)
        near = p.converged & ((p.value - x).norm(dim=-1) < self.tau) & self.M.in_domain(p.value)
        return float(near.double().mean()) >= 0.4

    def _fibres(self, found: TubeSample) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
        """Whether a random point of each fibre is out of the region; nearer to another projection.

        The second means that tau exceeds the reach.
        """
        n = found.points.shape[0]
        if n == 0:
            raise UnsupportedError(
                f"expected points of the tube, but none of {found.draws} proposals is within "
                f"{self.tau:.3g} of {type(self.M).__name__}; pass points=, or region='cover'"
            )
        N = self.M.normal_basis(found.points)
        v = self.tau * in_ball(n, N.shape[-1], self.generator)
        x = found.points + (N @ v.unsqueeze(-1)).squeeze(-1)
        others = torch.cat([self.known, found.points[:_PILOT]])
        crossed = nearest_distance(x, others) < (1 - 1e-6) * v.norm(dim=-1)
        return ~self.region.contains(x), crossed

    def cast(self, draws: int) -> TubeSample:
        """The projections of those of so many proposals that lie in the tube."""
        if draws < 1:
            raise ValueError(f"expected draws >= 1, got {draws}")
        sizes = [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]
        parts = [self._cast(self.region.draw(m, self.generator)) for m in sizes]
        return TubeSample(
            torch.cat([part.points for part in parts]),
            torch.cat([part.normal for part in parts]),
            torch.cat([part.weights for part in parts]),
            sum(part.draws for part in parts),
            sum(part.failed for part in parts),
            sum(part.folded for part in parts),
        )

    def _cast(self, x: Tensor) -> TubeSample:
        M = self.M
        with torch.no_grad():
            projection = M.nearest(x, max_steps=30)
            v = x - projection.value
            near = v.norm(dim=-1)
            inside = M.in_domain(projection.value)
            # a solve that failed counts as lost where it ended near the tube
            failed = ~projection.converged & inside & (near < 1.5 * self.tau)
            taken = projection.converged & inside & (near < self.tau)
            p, v = projection.value[taken], v[taken]
            # nearest points on a boundary are no projections; up to rounding of the solver
            along = (M.tangent_basis(p).mT @ v.unsqueeze(-1)).squeeze(-1)
            normal = along.norm(dim=-1) <= 1e-3 * self.tau
            p, v = p[normal], v[normal]
            curvatures = torch.linalg.eigvalsh(shape_operator(M, p, v))
            folded = (curvatures.abs() >= 1).any(-1)
            both = (1 - curvatures).prod(-1) + (1 + curvatures).prod(-1)
            w = torch.where(folded, 0.0, 2 / both)
        return TubeSample(p, v, w, x.shape[0], int(failed.sum()), int(folded.sum()))

    def volume(self, draws: int = 20_000) -> VolumeEstimate:
        r"""The volume of the region times :math:`\sum w / (n\, vol_k(\tau))`, over n points of it.

        The bias counts failed solves, folds, and fibres that leave the region, or meet another.
        """
        return self.measured(self.cast(max(draws, 2)))

    def measured(self, found: TubeSample) -> VolumeEstimate:
        """The volume of M from proposals that were cast, two or more."""
        w = found.weights
        out, crossed = (float(bad.double().mean()) for bad in self._fibres(found))
        k = self.M.ambient_dim - self.M.dim
        mean, error = mean_of(float(w.sum()), float(w.square().sum()), found.draws)
        size, its_error = self.region.refined(error / mean / 3, self.generator)
        value = size * mean / ball_volume(k, self.tau)
        lost = out + crossed + (found.failed + found.folded) / w.shape[0]
        return VolumeEstimate(
            value,
            value * math.hypot(error / mean, its_error / size),
            value * lost,
            "tube",
            draws=found.draws,
            found=w.shape[0],
            failed=found.failed + found.folded,
            remark="tau is above the reach" if found.folded or crossed else "",
        )

    def sample(self, n: int) -> Float[Tensor, "n D"]:
        """N independent uniform points of M: projections, taken with probability w / w_max.

        Raises:
            UnsupportedError: tau exceeds the reach, or hardly any proposal is taken.
        """
        if n < 0:
            raise ValueError(f"expected n >= 0, got {n}")
        pilot = self.cast(_PILOT)
        self._require_no_folds(pilot)
        bound = _WIDER * float(pilot.weights.max())
        share = max(pilot.weights.shape[0], 1) / _PILOT / bound

        def propose(missing: int) -> Tensor | None:
            nonlocal bound
            found = self.cast(int(min(64 + 1.1 * missing / share, 8 * CHUNK)))
            self._require_no_folds(found)
            if found.weights.numel() and float(found.weights.max()) > bound:
                bound = _WIDER * float(found.weights.max())
                return None
            u = torch.rand(found.weights.shape, generator=self.generator, dtype=torch.float64)
            return found.points[u * bound < found.weights]

        return draw_until(n, propose, "the region is mostly empty")

    def _require_no_folds(self, found: TubeSample) -> None:
        crossed = int(self._fibres(found)[1].sum()) if found.points.shape[0] else 0
        if found.folded or crossed:
            raise UnsupportedError(
                f"expected tau below the reach, but the tube of radius {self.tau:.3g} folds over "
                f"itself at {found.folded + crossed} points; take a smaller tau"
            )
