r"""Coordinates of intervals, stretched so that the cloud fills them up to their ends."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import TrainingError
from .bases import Base, Spectrum
from .bases.harmonic_factors import UnitInterval


def stretch(base: Base, b: Float[Tensor, "n w"], *, bandwidth: int = 5) -> Float[Tensor, "n w"]:
    r"""Base points with every interval coordinate h replaced by (2h - u - l) / (u - l).

    u >= l are the functions of the other factors, of small bandwidth, with the least mean of u - l
    among those with l <= h <= u on all points (of a quotient: on all their images), found by
    linear programming. The boundary of M then follows that of the cloud.

    Args:
        base: B.
        b: base points.
        bandwidth: of u and l.
    """
    at = 0
    for k, f in enumerate(base.factors):
        if f == UnitInterval():
            b = _stretched(base, b, k, at, bandwidth)
        at += f.width
    return b


def _stretched(base: Base, b: Tensor, k: int, at: int, bandwidth: int) -> Tensor:
    """One interval, the k-th factor, whose coordinate is in column `at`."""
    others = [f for i, f in enumerate(base.factors) if i != k]
    cloud = base.orbit(b).flatten(0, 1)
    h, rest = cloud[:, at], torch.cat([cloud[:, :at], cloud[:, at + 1 :]], 1)
    if others:
        spectrum = Spectrum(Base(others, name="rest"), bandwidth)
        upper, lower = _envelope(spectrum, rest, h), -_envelope(spectrum, rest, -h)
        phi = spectrum(rest[: len(b)])
        u, l = phi @ upper, phi @ lower
    else:
        u, l = h.max(), h.min()
    moved = b.clone()
    moved[:, at] = ((2 * b[:, at] - u - l) / (u - l)).clamp(-1, 1)
    return moved


def _envelope(spectrum: Spectrum, rest: Tensor, h: Tensor) -> Tensor:
    """Coefficients of the function of least mean that is >= h on all points."""
    from scipy.optimize import linprog

    outer, phi = _outermost(rest, h), spectrum(rest)
    found = linprog(
        phi.mean(0).numpy(), -phi[outer].numpy(), -h[outer].numpy(), bounds=(None, None)
    )
    if found.status != 0:
        raise TrainingError(
            f"expected a boundary of the cloud by linear programming, got: {found.message}; "
            "give more points, or another base"
        )
    c = torch.from_numpy(found.x)
    # the points that were left out
    c[0] += float((h - phi @ c).max().clamp_min(0))
    return c


def _outermost(rest: Tensor, h: Tensor, *, bins: int = 48, depth: int = 6) -> Tensor:
    """Rows of the `depth` largest h in each cell of a grid on the other coordinates."""
    cells = ((rest - rest.amin(0)) / (rest.amax(0) - rest.amin(0) + 1e-12) * bins).floor().long()
    _, cell = np.unique(cells.numpy(), axis=0, return_inverse=True)
    order = np.lexsort((-h.numpy(), cell.ravel()))
    first = np.r_[True, np.diff(cell.ravel()[order]) > 0]
    rank = np.arange(len(order)) - np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    return torch.from_numpy(order[rank < depth])
