"""Laws of a Manifold."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from ..errors import InvalidPoints, ProjectionError
from ..manifolds.base import Manifold, membership_tolerance
from .laws import Laws, gap, seeded, uniform_points


def check_manifold(
    M: Manifold,
    points: Float[Tensor, "n D"] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    r"""Check retraction, residual, tangents, dtype, shapes, rows; returns the numbers, by law.

    Only `dim`, `ambient_dim`, `project` and `residual` need to be there; a sampler and a tangent
    basis are checked too where M has them.

    Args:
        M: the manifold.
        points: points near M; None takes ``M.sample_uniform``, else projections of normal vectors.
        generator: source of randomness; None takes a fixed seed.

    Raises:
        LawViolation: a law is broken; the message names it, with the number and the tolerance.
        InvalidPoints: no points are given, and fewer than 8 could be made.

    Example:
        >>> from topogen.manifolds.spaces import Sphere
        >>> check_manifold(Sphere())["idempotent"] < 1e-12
        True
    """
    laws, generator = Laws(M), seeded(generator)
    x = _points(M, points, generator, laws)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
    near = x + 1e-3 * M.scale * noise
    _retraction(M, x, near, laws)
    _rows(M, near, laws)
    _status(M, near, laws)
    _tangents(M, x, laws)
    return laws.measured


def _points(
    M: Manifold, points: Tensor | None, generator: torch.Generator, laws: Laws, count: int = 16
) -> Float[Tensor, "n D"]:
    given = points
    if given is None:
        state = generator.get_state()
        given = uniform_points(M, count, generator)
        if given is not None:
            laws.equal("sampler", tuple(given.shape), (count, M.ambient_dim), "shape (n, D)")
            laws.holds("sampler", M.contains(given), "every sample lies on M")
            again = uniform_points(M, count, torch.Generator().set_state(state))
            laws.holds("sampler", given == again, "one generator state gives one sample")
    if given is None:
        given = torch.randn(4 * count, M.ambient_dim, generator=generator, dtype=torch.float64)
        given = M.scale * given
    p = M.project(given.to(torch.float64))
    x = p.value[p.converged][:count].detach()
    if x.shape[0] < 8:
        raise InvalidPoints(
            f"expected at least 8 points that project onto M, got {x.shape[0]} "
            f"of {given.shape[0]}; give points near M"
        )
    return x


def _retraction(M: Manifold, x: Tensor, near: Tensor, laws: Laws) -> None:
    tol = membership_tolerance(torch.float64, M.scale)
    before = near.clone()
    p = M.project(near)
    laws.holds("no change of input", gap(near, before) == 0, "project must not write to x")
    laws.holds("converges", p.converged, "points 1e-3 of the scale from M must project")
    laws.at_most("on M", M.residual(p.value), M.atol(torch.float64), "project must land on M")
    laws.holds("contains", M.contains(p.value), "M contains what it projects to")
    laws.at_most("idempotent", (M.project(x).value - x).norm(dim=-1), tol, "project fixes M")
    moved = (p.value - near).norm(dim=-1) / M.scale
    laws.at_most("moves little", moved, 0.1, "project stays near x")
    for dtype in (torch.float32, torch.float64):
        q = M.project(near.to(dtype))
        kept = {t.dtype for t in (q.value, q.residual, M.residual(near.to(dtype)))}
        laws.equal("dtype kept", kept, {dtype}, "value and residual have the dtype of x")
        types = q.converged.dtype, q.steps.dtype
        laws.equal("status types", types, (torch.bool, torch.int64), "dtypes")


def _rows(M: Manifold, near: Tensor, laws: Laws) -> None:
    tol = membership_tolerance(torch.float64, M.scale)
    D, n = M.ambient_dim, near.shape[0] // 2
    whole = M.project(near)
    single = torch.stack([M.project(row).value for row in near[:2]])
    laws.at_most("rows alone", gap(single, whole.value[:2]), tol, "rows must not see each other")
    flipped = M.project(near.flip(0)).value.flip(0)
    laws.at_most("rows alone", gap(flipped, whole.value), tol, "rows must not see each other")
    for shape in ((), (0,), (2, n)):
        rows = near[0] if shape == () else near[: math.prod(shape)]
        p = M.project(rows.reshape(*shape, D))
        got = [p.value.shape[:-1], p.residual.shape, p.converged.shape, p.steps.shape]
        got.append(M.residual(rows.reshape(*shape, D)).shape)
        laws.equal("shapes", [tuple(s) for s in got], [shape] * 5, "leading axes are kept")
    paired = M.project(near[: 2 * n].reshape(2, n, D)).value.reshape(-1, D)
    off = gap(paired, whole.value[: 2 * n])
    laws.at_most("rows alone", off, tol, "leading axes are only rows")


def _status(M: Manifold, near: Tensor, laws: Laws) -> None:
    tol = membership_tolerance(torch.float64, M.scale)
    invalid = near.clone()
    invalid[1] = math.nan
    p, clean = M.project(invalid), M.project(near)
    good = torch.arange(near.shape[0]) != 1
    laws.holds("NaN does not converge", ~p.converged[1], "converged must be False for NaN")
    laws.holds("NaN does not converge", ~M.contains(invalid)[1], "contains must be False for NaN")
    law = "NaN stays alone"
    laws.holds(law, p.converged[good] == clean.converged[good], "other rows must converge")
    laws.at_most(law, gap(p.value[good], clean.value[good]), tol, "other rows must not change")
    laws.raises(
        "throw", ProjectionError, lambda: M.project(invalid, throw=True), "NaN with throw=True"
    )


def _tangents(M: Manifold, x: Tensor, laws: Laws) -> None:
    d, D = M.dim, M.ambient_dim
    h = 1e-4 * M.scale
    # central differences of the retraction: no derivative of the user's code is needed
    steps = h * torch.eye(D, dtype=x.dtype, device=x.device)
    ends = M.project(x.unsqueeze(-2) + steps).value, M.project(x.unsqueeze(-2) - steps).value
    derivative = (ends[0] - ends[1]) / (2 * h)
    rank = (torch.linalg.svdvals(derivative) > 0.3).sum(-1)
    # a manifold with boundary may have points closer to it than h
    share = 1.0 if M.closed else 0.9
    wrong = (rank != d).double().mean()
    laws.at_most("dim", wrong, 1 - share, "dim is the rank of D project on M")
    Q = M.tangent_basis(x)
    laws.equal("tangent basis", tuple(Q.shape), (x.shape[0], D, d), "shape (n, D, d)")
    laws.equal("tangent basis", Q.dtype, x.dtype, "dtype of x")
    identity = torch.eye(d, dtype=Q.dtype, device=Q.device)
    laws.at_most("orthonormal", (Q.mT @ Q - identity).abs(), 1e-9, "Q^T Q = I")
    away = M.residual(x.unsqueeze(-2) + h * Q.mT) / h
    worst = away.amax(-1).quantile(share)
    laws.at_most("tangent", worst, 2e-2, "x + h v leaves M by O(h^2) for tangent v, h = 1e-4")
    if d < D:
        ratio = M.residual(x.unsqueeze(-2) + h * calculus.complement(Q).mT) / h
        worst = (ratio - 1).abs().amax(-1).quantile(share)
        laws.at_most("residual", worst, 0.5, "residual ~ distance near M")
