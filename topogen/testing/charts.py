"""Laws of a Chart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ChartDomainError
from ..manifolds.charts import Chart
from .laws import Laws, gap, seeded


def check_chart(
    chart: Chart, generator: torch.Generator | None = None, *, tol: float = 1e-6
) -> dict[str, float]:
    r"""Check inverse, domain, Jacobian, volume, gradients, dtype, rows; returns the numbers.

    Args:
        chart: the chart.
        generator: source of randomness; None takes a fixed seed.
        tol: how exact the inverse is, relative to the size of the domain and of the image.

    Raises:
        LawViolation: a law is broken; the message names it, with the number and the tolerance.

    Example:
        >>> from topogen.manifolds.spaces import Sphere
        >>> check_chart(Sphere().atlas().charts[0])["inverse"] < 1e-12
        True
    """
    laws, generator = Laws(chart), seeded(generator)
    n = 48
    z = chart.domain.sample(n, generator=generator).to(torch.float64)
    x = chart.decode(z)
    laws.equal("shapes", tuple(x.shape), (n, chart.ambient_dim), "decode gives (n, D)")
    known = ~x.isnan().any(-1)
    laws.at_most("decodes", 1 - known.double().mean(), 0.2, "at most a fifth of U decodes to NaN")
    z, x = z[known], x[known]
    _inverse(chart, z, x, tol, laws)
    _outside(chart, z, x, laws)
    _derivatives(chart, z, laws)
    _rows(chart, z, x, tol, laws)
    return laws.measured


def _inverse(chart: Chart, z: Tensor, x: Tensor, tol: float, laws: Laws) -> None:
    low, high = chart.domain.bounding_box()
    size, extent = float((high - low).max()), 1 + float(x.abs().max())
    laws.holds("contains", chart.contains(x), "the chart contains what it decodes")
    back = chart.encode(x)
    laws.equal("shapes", tuple(back.shape), tuple(z.shape), "encode gives (n, d)")
    laws.at_most("inverse", gap(back, z), tol * size, "encode(decode(z)) = z")
    laws.at_most("inverse", gap(chart.decode(back), x), tol * extent, "decode(encode(x)) = x")
    single = {t.dtype for t in (chart.decode(z.float()), chart.encode(x.float()))}
    single.add(chart.log_volume(z.float()).dtype)
    laws.equal("dtype kept", single, {torch.float32}, "float32 in, float32 out")
    laws.equal("dtype kept", {x.dtype, back.dtype}, {torch.float64}, "float64 in, float64 out")


def _outside(chart: Chart, z: Tensor, x: Tensor, laws: Laws) -> None:
    low, high = chart.domain.bounding_box()
    outside, invalid = z.clone(), x.clone()
    outside[0], outside[1], invalid[0] = high + (high - low), math.nan, math.nan
    y = chart.decode(outside)
    laws.holds("NaN outside", y[:2].isnan().all(), "decode is NaN outside the domain")
    laws.at_most("NaN stays alone", gap(y[2:], x[2:]), 1e-12, "other rows must not change")
    back = chart.encode(invalid)
    laws.holds("NaN outside", back[0].isnan().all(), "encode is NaN for NaN")
    laws.holds("NaN outside", ~chart.contains(invalid)[0], "contains is False for NaN")
    laws.at_most("NaN stays alone", gap(back[1:], chart.encode(x)[1:]), 1e-12, "other rows")
    error = ChartDomainError
    laws.raises("throw", error, lambda: chart.decode(outside, throw=True), "z outside")
    laws.raises("throw", error, lambda: chart.encode(invalid, throw=True), "x outside")


def _derivatives(chart: Chart, z: Tensor, laws: Laws) -> None:
    J = chart.jacobian(z)
    laws.equal("shapes", tuple(J.shape), (*z.shape[:1], chart.ambient_dim, chart.dim), "J")
    low, high = chart.domain.bounding_box()
    h = 1e-5 * float((high - low).min())
    steps = h * torch.eye(chart.dim, dtype=z.dtype, device=z.device)
    ends = [chart.decode(z.unsqueeze(-2) + s * steps) for s in (1, -1)]
    numeric = ((ends[0] - ends[1]) / (2 * h)).mT
    # neighbours that lie outside the domain are NaN
    inside = ~numeric.isnan().flatten(1).any(-1)
    size = J[inside].flatten(1).norm(dim=-1)
    error = (J - numeric)[inside].flatten(1).norm(dim=-1) / size
    laws.at_most("jacobian", error, 1e-4, "J is the derivative of decode")
    log_volume = chart.log_volume(z)
    laws.holds("embedding", log_volume.isfinite(), "J has full rank in the domain")
    dense = torch.linalg.slogdet(J.mT @ J)[1] / 2
    laws.at_most("log volume", (log_volume - dense).abs(), 1e-6, "log_volume = log det(J^T J) / 2")
    w = z.clone().requires_grad_(True)
    total = chart.decode(w).sum() + chart.log_volume(w).sum()
    if total.requires_grad:
        (gradient,) = torch.autograd.grad(total, w)
        laws.holds("gradients", gradient.isfinite(), "gradients are finite in the domain")


def _rows(chart: Chart, z: Tensor, x: Tensor, tol: float, laws: Laws) -> None:
    d, D = chart.dim, chart.ambient_dim
    decoded = torch.stack([chart.decode(row) for row in z[:3]])
    encoded = torch.stack([chart.encode(row) for row in x[:3]])
    for alone, together in ((decoded, x), (encoded, chart.encode(x))):
        laws.at_most("rows alone", gap(alone, together[:3]), tol, "rows must not see each other")
    laws.equal("shapes", tuple(chart.decode(z[:0]).shape), (0, D), "an empty batch decodes")
    laws.equal("shapes", tuple(chart.encode(x[:0]).shape), (0, d), "an empty batch encodes")
    pair = z[:4].reshape(2, 2, d)
    shapes = tuple(chart.decode(pair).shape), tuple(chart.log_volume(pair).shape)
    laws.equal("shapes", shapes, ((2, 2, D), (2, 2)), "leading axes are kept")
