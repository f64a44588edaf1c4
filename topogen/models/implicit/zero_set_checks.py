r"""What a learned zero set is measured by: its spectrum, its zeros far from data, its pieces."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...point_cloud.knn import component_labels, nearest
from .normal_orientation import turned
from .tubular_neighborhood import TUBE, TubularNeighborhood, box, nearest_projections

if TYPE_CHECKING:
    from .neural_implicit import NeuralImplicit

_STARTS = 4000
_STEPS = 30
_CONVERGED = 1e-9
# a zero farther from the projections than this share of the tube is none of theirs
_AWAY = 0.25
_MIN_SINGULAR = 0.25
_MAX_GAP = 0.4
_SPURIOUS = 1e-3
_TURNED = 2e-3
_MIN_TOLERANCE = 1e-3
# how often the region is narrowed, and points of it that look for a reason to
_NARROWINGS, _DRAWN = 2, 2048
# share of the data that M need not hold
_OFF = 1e-3


@dataclass(frozen=True)
class ZeroSetChecks:
    r"""Numbers of a learned manifold; lengths are in units of the rms radius of the data.

    Attributes:
        smallest: least singular value of DF of rank k over the projections, at its 0.1 % quantile.
        largest: largest singular value over the projections, at its 99.9 % quantile.
        next: s_{k+1}, at its 99.9 % quantile (residual form; else 0).
        median: of the distance of the projections to M.
        p99: its 99 % quantile.
        worst: its maximum.
        far: share of uniform points of the bounding box (and 15 %) that converge, inside the
            box but outside the domain of validity.
        near: share that converge inside the domain of validity, away from the projections.
        tube: share of random points of the domain of validity that do so.
        off: share of the data that M does not hold: farther than its tolerance, or unguarded.
        turned: share of neighbouring projections between which DF loses rank (regular form; else
            0): it turns the normal space over.
        ends: how many places were found at which M leaves its domain of validity, at edges of the
            data.
        components: connected pieces of M in the domain of validity.
        expected: connected pieces of the data.
        problems: what is wrong, a sentence each.
    """

    smallest: float
    largest: float
    next: float
    median: float
    p99: float
    worst: float
    far: float
    near: float
    tube: float
    off: float
    turned: float
    ends: int
    components: int
    expected: int
    problems: tuple[str, ...]

    def numbers(self) -> dict[str, float]:
        """All but the problems."""
        return {k: float(v) for k, v in asdict(self).items() if k != "problems"}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "problems": list(self.problems)}

    @staticmethod
    def from_dict(state: dict[str, Any]) -> ZeroSetChecks:
        """What :meth:`to_dict` gave."""
        return ZeroSetChecks(**{**state, "problems": tuple(state["problems"])})


def measure(
    M: NeuralImplicit, x: Tensor, geometry: TubularNeighborhood
) -> tuple[float, float, float]:
    """Rms distance of the data to M, the tolerance that they want, and how many exceed it.

    The tolerance is within the region, where M is told from what is not M.
    """
    moved = M.project(x)
    distance = (moved.value - x).norm(dim=-1)
    found = moved.converged & M.in_domain(moved.value)
    near = distance[found] if bool(found.any()) else distance.new_zeros(1)
    least = M.scale * max(geometry.extrapolation(), _MIN_TOLERANCE)
    most = M.scale * float(M.region.nu.median())
    tolerance = min(max(4 * float(near.quantile(0.999)), least), most)
    off = 1 - float((found & (distance <= tolerance)).double().mean())
    return float(near.square().mean().sqrt()), tolerance, off


def inspect_set(
    M: NeuralImplicit, geometry: TubularNeighborhood, off: float, generator: torch.Generator
) -> ZeroSetChecks:
    """Measure a learned manifold against the projections it was fitted to."""
    p, k = geometry.p, M._k
    J = torch.cat([M.net.linearize(z)[1] for z in p.split(4096)])
    spectrum = torch.linalg.svdvals(J)
    least = float(spectrum[:, k - 1].quantile(0.001))
    most = float(spectrum[:, 0].quantile(0.999))
    after = float(spectrum[:, k].quantile(0.999)) if spectrum.shape[1] > k else 0.0
    on = zeros(M, p)
    distance = (on[0] - p).norm(dim=-1)[on[1]]
    turn = turned(geometry, J, generator) if M.form == "regular" else 0.0
    quantiles = distance.quantile(torch.tensor([0.5, 0.99, 1.0], dtype=p.dtype)).tolist()

    around = box(geometry, _STARTS, generator)
    low, high = around.aminmax(dim=0)
    z = _found(M, around)
    near = len(_away(M, geometry, z)) / _STARTS
    z = z[((z >= low) & (z <= high)).all(-1)]
    far = int((~M._inside(z)).sum()) / _STARTS
    tube = len(strays(M, geometry, M.region.draw(_STARTS, generator))) / _STARTS
    pieces, expected = _pieces(on[0][on[1]], geometry.h[on[1]]), _pieces(p, geometry.h)
    problems = []
    if least < _MIN_SINGULAR:
        problems.append(
            f"DF almost loses rank on M (0.1 % quantile of s_{k}: {least:.3f}); give more points "
            "or features, or take constraints='residual'"
        )
    if turn > _TURNED:
        problems.append(
            f"DF loses rank between projections ({100 * turn:.2f} % of neighbours see the normal space "
            "turned over), as it must where the data are not orientable; take "
            "constraints='residual'"
        )
    if after > _MAX_GAP:
        problems.append(
            f"DF has no spectral gap on M (99.9 % quantile of s_{k + 1}: {after:.3f}); give more "
            "points or features"
        )
    if max(near, tube) > _SPURIOUS:
        problems.append(
            f"spurious zeros inside the domain of validity ({100 * near:.2f} % of the box, "
            f"{100 * tube:.2f} % of the domain of validity converge there)"
        )
    if off > _OFF:
        problems.append(
            f"{100 * off:.2f} % of the data are farther than {M.tolerance:.2g} from M, or where M "
            "is not stated; give more points, or look for outliers"
        )
    if pieces != expected:
        problems.append(
            f"M has {pieces} pieces inside the domain of validity, the data have {expected}"
        )
    median, p99, worst = quantiles
    return ZeroSetChecks(
        smallest=least,
        largest=most,
        next=after,
        median=median,
        p99=p99,
        worst=worst,
        far=far,
        near=near,
        tube=tube,
        off=off,
        turned=turn,
        ends=len(M.edges),
        components=pieces,
        expected=expected,
        problems=tuple(problems),
    )


def strays(
    M: NeuralImplicit, geometry: TubularNeighborhood, start: Float[Tensor, "n m"]
) -> Float[Tensor, "s m"]:
    r"""Zeros that steps from the start points end in, inside the domain of validity but away from the projections.

    Away: farther from the tangent plane at the nearest projection than a quarter of the tube and
    :math:`a^2 / (2 r)`, which bounds how far points of M at a distance a bend away, r the reach.
    """
    return _away(M, geometry, _found(M, start))


def end_before_strays(
    M: NeuralImplicit, geometry: TubularNeighborhood, generator: torch.Generator
) -> None:
    """Narrow the region until random points of it lead to no strays, a few times at most."""
    for _ in range(_NARROWINGS):
        wrong = strays(M, geometry, M.region.draw(_DRAWN, generator))
        if len(wrong) == 0:
            return
        M.region.narrow(wrong)


def _found(M: NeuralImplicit, start: Tensor) -> Tensor:
    z, arrived = zeros(M, start)
    return z[arrived]


def _away(M: NeuralImplicit, geometry: TubularNeighborhood, z: Tensor) -> Tensor:
    """Those of the zeros z that are strays, see :func:`strays`."""
    z = z[M._inside(z)]
    j, projection, a = nearest_projections(geometry, z)
    tau = geometry.tau[j]
    return z[(z - projection).norm(dim=-1) > _AWAY * tau + TUBE * a.square() / (2 * tau)]


def zeros(M: NeuralImplicit, z: Tensor) -> tuple[Tensor, Tensor]:
    """Where plain Gauss-Newton steps end, without a domain of validity, and whether they arrive."""
    z = z.clone()
    going = torch.arange(z.shape[0])
    found = torch.zeros(z.shape[0], dtype=torch.bool)
    for _ in range(_STEPS):
        step, r, _ = M._solve(z[going])
        found[going] = r < _CONVERGED
        going, step, r = going[r >= _CONVERGED], step[r >= _CONVERGED], r[r >= _CONVERGED]
        if going.numel() == 0:
            break
        z[going] -= step * (0.3 / r.clamp_min(0.3)).unsqueeze(-1)
    return z, found


def _pieces(p: Tensor, h: Tensor) -> int:
    """Connected pieces of the graph that joins points closer than their spacing."""
    n = p.shape[0]
    if n == 0:
        return 0
    distance, j = nearest(p.numpy(), p.numpy(), min(13, n), exact=True)
    linked = distance <= 1.5 * h.numpy()[:, None]
    return 1 + int(component_labels(n, np.nonzero(linked)[0], j[linked]).max())
