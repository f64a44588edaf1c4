"""Points that are far from the manifold they are said to lie on, and their likely units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InvalidPoints
from ..manifolds.base import Manifold
from ..manifolds.types import Projection

# Farther from M than this share of its size, a point is no noisy point of it: the nearest point
# says little about it.
_FAR = 0.15
# factors that have a name
_UNITS = {
    6371.0: "kilometres, on the Earth",
    6.371e6: "metres, on the Earth",
    3958.8: "miles, on the Earth",
    57.29578: "degrees",
    0.01745329: "radians",
    10.0: "angstroms for nanometres",
    0.1: "nanometres for angstroms",
    100.0: "per cent, or centimetres for metres",
    0.01: "metres for centimetres",
    1000.0: "millimetres for metres",
    0.001: "metres for millimetres",
    255.0: "8-bit integers",
}


def require_near(M: Manifold, x: Float[Tensor, "n D"], p: Projection) -> float:
    """The largest distance of points to their projections p on a known M; 0 within its tolerance.

    Raises:
        InvalidPoints: a point is farther away than .15 of the size of M.
    """
    if M.tolerance is not None or not bool(p.converged.any()):
        return 0.0
    distance = (p.value - x).norm(dim=-1)[p.converged]
    far, most = int((distance > _FAR * M.scale).sum()), float(distance.max())
    if far:
        raise InvalidPoints(
            f"expected points on {type(M).__name__}({M.extra_repr()}), got {far} of {len(x)} that "
            f"are farther from it than {_FAR * M.scale:.2g} (median distance "
            f"{float(distance.median()):.4g}, largest {most:.4g}); {_advice(M, x)}"
        )
    return most if most > M.atol(torch.float64) else 0.0


def allowed(moved: float) -> float | None:
    """How far from M points are that were moved so far: twice as far; None for M's tolerance."""
    return 2 * moved or None


def _advice(M: Manifold, x: Tensor) -> str:
    """In which unit, or about which centre, most points would lie on M."""
    found = _factor(M, x)
    if found is not None:
        named = [f" ({name}?)" for unit, name in _UNITS.items() if abs(found / unit - 1) < 0.01]
        return f"divide them by {found:.4g}{''.join(named[:1])}"
    centre = x.mean(0)
    found = _factor(M, x - centre)
    if found is not None:
        at = ", ".join(f"{c:.3g}" for c in centre[:4].tolist())
        return f"subtract their centre ({at}{', ...' if len(centre) > 4 else ''})" + (
            "" if abs(found - 1) < 0.01 else f", and divide them by {found:.4g}"
        )
    return "drop these points, check their units and their centre, or learn M: tg.learn(points)"


def _factor(M: Manifold, x: Tensor, near: float = 1e-2) -> float | None:
    """The factor that brings half of the points so near to M, in sizes of M; None without one."""
    y = M.rough_points(200, torch.Generator().manual_seed(0))
    if y is None or not len(y):
        return None
    some = x[:: max(1, len(x) // 500)]
    size = some.norm(dim=-1).median() / y.norm(dim=-1).median()
    mean = some.square().sum(-1).mean().sqrt() / y.square().sum(-1).mean().sqrt()
    best, least = None, near * M.scale
    for factor in (1.0, float(size), float(mean), *_UNITS):
        if not factor > 0:
            continue
        z = some / factor
        off = (M.project(z).value - z).norm(dim=-1)
        middle = float(off.nan_to_num(nan=torch.inf).median())
        if middle < least:
            best, least = factor, middle
    return best
