r"""What F should be near M, and the least squares that bring it there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..base import Progress
from ..nn.sine import SineNetwork
from .normal_frames import SolidAngle
from .tubular_neighborhood import TubularNeighborhood, box, cleared, nearest_projections


@dataclass(frozen=True)
class LeastSquares:
    """Rows of the least squares, and their weights: each group counts by its mean."""

    tube: int = 20_000  # random points of the tube
    slopes: int = 10_000  # random slopes at projections
    box: int = 20_000  # points of the bounding box
    box_rows: int = 6_000  # of these, taken for each solution
    tube_weight: float = 0.5  # of F in the tube
    on_weight: float = 3000.0  # of F on the projections of data
    between_weight: float = 30.0  # of F on the projections between them
    slope_weight: float = 3.0  # of DF
    box_weight: float = 0.1  # of F in the box, a distance, with a kink at the medial axis
    residual_weight: float = 0.002  # there, where F is x - r(x), which jumps at the medial axis
    ridge: float = 1e-12  # of the normal equations, in units of their mean diagonal


@dataclass(frozen=True)
class Targets:
    r"""F(p + a) = A^T a on the tube around M, and A_j^T (x - p'_j) far from it.

    The columns of A(p) are the oriented normal frame of p for k equations (then F is a signed
    distance, and all singular values of DF on M are 1), the identity for the residual form (then
    F = x - r(x), r the projection of x). p'_j is the point below x in the tangent plane at p_j.
    """

    geometry: TubularNeighborhood  # the projections p, and the tube around them
    A: Float[Tensor, "n m q"]
    far: Float[Tensor, "f m"]  # points of the bounding box
    far_value: Float[Tensor, "f q"]  # A_j^T (x - p'_j) there
    options: LeastSquares = LeastSquares()

    @staticmethod
    def of(
        geometry: TubularNeighborhood,
        A: Tensor,
        angle: SolidAngle | None,
        generator: torch.Generator,
    ) -> Targets:
        """Targets, with the points of the box drawn once; fewer where an angle is costly."""
        count = LeastSquares().box
        far = box(geometry, count if angle is None else count // 4, generator)
        j, projection, _ = nearest_projections(geometry, far)
        chord = far - projection
        value = (A[j].mT @ chord.unsqueeze(-1)).squeeze(-1)
        if angle is not None:
            phase = angle(far)
            turn = torch.stack([phase.cos(), phase.sin()], -1)
            value = chord.norm(dim=-1, keepdim=True) * turn
        return Targets(geometry, A, far, value)

    def tube(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points p + a, a normal to M, |a| = tau u^2, u uniform; and A^T a."""
        g = self.geometry
        i = torch.randint(g.p.shape[0], (n,), generator=generator)
        direction = torch.randn(n, g.N.shape[-1], 1, generator=generator, dtype=g.p.dtype)
        length = g.tau[i] * torch.rand(n, generator=generator, dtype=g.p.dtype).square()
        a = (g.N[i] @ nn.functional.normalize(direction, dim=1)).squeeze(-1)
        a = a * length.unsqueeze(-1)
        return g.p[i] + a, (self.A[i].mT @ a.unsqueeze(-1)).squeeze(-1)

    def slopes(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Projections, random directions v there, and what DF v should be: A^T (N N^T v)."""
        g = self.geometry
        i = torch.randint(g.p.shape[0], (n,), generator=generator)
        v = torch.randn(n, g.p.shape[1], generator=generator, dtype=g.p.dtype)
        v = nn.functional.normalize(v, dim=-1)
        normal = g.N[i] @ (g.N[i].mT @ v.unsqueeze(-1))
        return g.p[i], v, (self.A[i].mT @ normal).squeeze(-1)


def solved(net: SineNetwork, targets: Targets, generator: torch.Generator) -> Progress[Targets]:
    """Least squares, and again with the targets that F itself gives; yields the rms of F.

    Slopes and gaps are refined until M is within 1e-4 of all data: once, or up to 8 times on
    curves, where gaps are widest and a round costs little.
    """
    yield {"loss": polish(net, targets, generator)}
    for _ in range(8 if targets.geometry.T.shape[-1] == 1 else 1):
        targets = refined(net, targets, generator)
        yield {"loss": polish(net, targets, generator)}
        if float(net(targets.geometry.p[: targets.geometry.data]).norm(dim=-1).max()) < 1e-4:
            break
    return targets


def refined(net: SineNetwork, targets: Targets, generator: torch.Generator) -> Targets:
    """The same targets with the tangents that F has, and with projections on its zero set.

    Those of data without noise stay. Where data are sparse, a smooth F through them knows slopes
    and gaps better than the fits around them; where they are noisy, projections and tangents of
    single fits are rough, and the tube that these leave room for is too narrow.
    """
    g = targets.geometry
    k = g.N.shape[-1]
    F, J = net.linearize(g.p)
    U, s, Vh = torch.linalg.svd(J, full_matrices=True)
    step = (U[..., :k].mT @ F.unsqueeze(-1)).squeeze(-1) / s[..., :k]
    step = (Vh[..., :k, :].mT @ step.unsqueeze(-1)).squeeze(-1)
    limit = 0.5 * g.tau.unsqueeze(-1) / step.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    p = g.p - step * limit.clamp_max(1)
    if g.noiseless:
        p[: g.data] = g.p[: g.data]
    N = Vh[..., :k, :].mT
    A = targets.A if net.outputs > k else N @ U.mT
    geometry = replace(g, p=p, T=Vh[..., k:, :].mT, N=N)
    if not g.noiseless:
        geometry, retained = cleared(geometry, generator)
        A = A[retained]
    return replace(targets, geometry=geometry, A=A)


def polish(net: SineNetwork, targets: Targets, generator: torch.Generator) -> float:
    """The best C for the given features, by ridge regression; the rms of F on the projections."""
    g, o = targets.geometry, targets.options
    x, y = targets.tube(o.tube, generator)
    projection, v, slope = targets.slopes(o.slopes, generator)
    off = torch.randperm(targets.far.shape[0], generator=generator)[: o.box_rows]
    zero, n = g.p.new_zeros(g.p.shape[0], net.outputs), g.data
    far_weight = o.residual_weight if net.outputs == net.inputs else o.box_weight
    groups = (
        (o.tube_weight, (x,), net.phi, y),
        (o.on_weight, (g.p[:n],), net.phi, zero[:n]),
        (o.between_weight, (g.p[n:],), net.phi, zero[n:]),
        (o.slope_weight, (projection, v), net.phi_along, slope),
        (far_weight, (targets.far[off],), net.phi, targets.far_value[off]),
    )
    p = net.C.shape[1]
    gram, right = g.p.new_zeros(p, p), g.p.new_zeros(p, net.outputs)
    for weight, rows, features, values in groups:
        share = weight / max(values.shape[0], 1)
        for *part, value in zip(*(t.split(4096) for t in (*rows, values)), strict=True):
            phi = features(*part)
            gram.addmm_(phi.mT, phi, alpha=share)
            right.addmm_(phi.mT, value, alpha=share)
    gram += o.ridge * gram.diagonal().mean() * torch.eye(p, dtype=gram.dtype)
    net.C.copy_(torch.cholesky_solve(right, torch.linalg.cholesky(gram)).mT)
    return float(net(g.p).square().sum(-1).mean().sqrt())
