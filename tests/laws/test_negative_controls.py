"""Objects that break one law each: topogen.testing must name that law."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from topogen.distributions.base import ManifoldDistribution
from topogen.errors import InvalidPoints, TopogenError
from topogen.homology import Homology
from topogen.manifolds.atlas import Atlas
from topogen.manifolds.base import Manifold, Projection
from topogen.manifolds.charts import Ball, Box, FunctionChart
from topogen.manifolds.spaces import Circle, Sphere
from topogen.testing import (
    LawViolation,
    check_atlas,
    check_chart,
    check_distribution,
    check_manifold,
)


class Round(Manifold):
    """The unit sphere, with one mistake."""

    ambient_dim = 3

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.mistake = mistake
        self.dim = 1 if mistake == "dim" else 2

    def project(
        self,
        x: Tensor,
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        tol = 1e-5 if tol is None else tol
        if self.mistake == "no change of input":
            with torch.no_grad():
                x += 1e-3
        size = x.norm(dim=-1, keepdim=True)
        y = x / size
        if self.mistake == "on M":
            y = 1.001 * y
        if self.mistake == "idempotent":
            y = y + 1e-6 * torch.stack([-y[..., 1], y[..., 0], y[..., 2] * 0], -1)
            y = y / y.norm(dim=-1, keepdim=True)
        if self.mistake == "rows alone" and x.ndim == 2:
            y = y + 1e-2 * (x - y).mean(0)
            y = y / y.norm(dim=-1, keepdim=True)
        if self.mistake == "NaN stays alone" and bool(x.isnan().any()):
            y = y * (1 + 1e-6)
        if self.mistake == "dtype kept":
            y = y.double()
        r = self.residual(y)
        ok = r <= (math.inf if self.mistake == "on M" else tol)
        if self.mistake == "NaN does not converge":
            ok = torch.ones_like(ok)
        p = Projection(y, r, ok, torch.ones_like(r, dtype=torch.int64))
        if self.mistake == "shapes" and x.ndim == 1:
            p = Projection(y.unsqueeze(0), r, ok, p.steps)
        return p.require(tol) if throw and self.mistake != "throw" else p

    def residual(self, x: Tensor) -> Tensor:
        scale = 10.0 if self.mistake == "residual" else 1.0
        return scale * (x.norm(dim=-1) - 1).abs()

    def tangent_basis(self, x: Tensor) -> Tensor:
        Q = super().tangent_basis(x)
        if self.mistake == "orthonormal":
            return 2 * Q
        if self.mistake == "tangent":
            return torch.stack([Q[..., 0], x], -1)
        return Q


@pytest.mark.parametrize(
    "law",
    [
        "no change of input",
        "on M",
        "idempotent",
        "rows alone",
        "NaN stays alone",
        "NaN does not converge",
        "dtype kept",
        "throw",
        "residual",
        "dim",
        "orthonormal",
        "tangent",
    ],
)
def test_broken_manifolds(law: str) -> None:
    with pytest.raises(LawViolation) as caught:
        check_manifold(Round(law))
    assert caught.value.law == law
    assert "Round" in str(caught.value)


def test_the_same_manifold_without_a_mistake() -> None:
    check_manifold(Round())


def test_wrong_shapes_are_caught() -> None:
    # with run-time type checks on, the Projection itself refuses
    with pytest.raises((LawViolation, TypeError)):
        check_manifold(Round("shapes"))


def test_a_violation_is_an_assertion_and_a_topogen_error() -> None:
    with pytest.raises(LawViolation) as caught:
        check_manifold(Round("orthonormal"))
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, TopogenError)
    assert caught.value.measured == pytest.approx(3.0)
    assert caught.value.tolerance == 1e-9


def test_no_points_to_test_on() -> None:
    class Nowhere(Round):
        def project(self, x: Tensor, **options: object) -> Projection:
            p = super().project(x)
            return Projection(p.value, p.residual, p.converged & False, p.steps)

    with pytest.raises(InvalidPoints, match="at least 8 points"):
        check_manifold(Nowhere())


def graph(z: Tensor) -> Tensor:
    return torch.cat([z, (z * z).sum(-1, keepdim=True)], -1)


class Scaled(FunctionChart):
    """A wrong Jacobian."""

    def value_and_jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, J = super().value_and_jacobian(z)
        return x, 2 * J


class Gram(FunctionChart):
    """A wrong volume."""

    def log_volume(self, z: Tensor) -> Tensor:
        return super().log_volume(z) + 1e-3


class Flat(FunctionChart):
    """No volume."""

    def log_volume(self, z: Tensor) -> Tensor:
        return super().log_volume(z) - math.inf


class Everywhere(FunctionChart):
    """No NaN outside."""

    def decode(self, z: Tensor, *, throw: bool = False) -> Tensor:
        return self.psi(z)


CHARTS: dict[str, Callable[[], FunctionChart]] = {
    "inverse": lambda: FunctionChart(graph, lambda x: x[..., :2] * 0.99, domain=Ball(2), atol=1.0),
    "contains": lambda: FunctionChart(graph, lambda x: x[..., :2] + 0.1, domain=Ball(2)),
    "jacobian": lambda: Scaled(graph, lambda x: x[..., :2], domain=Ball(2)),
    "log volume": lambda: Gram(graph, lambda x: x[..., :2], domain=Ball(2)),
    "NaN outside": lambda: Everywhere(graph, lambda x: x[..., :2], domain=Ball(2)),
    "embedding": lambda: Flat(graph, lambda x: x[..., :2], domain=Ball(2)),
    "dtype kept": lambda: FunctionChart(
        lambda z: graph(z).double(), lambda x: x[..., :2].double(), domain=Ball(2)
    ),
    "rows alone": lambda: FunctionChart(
        lambda z: graph(z) + 1e-4 * (0 if z.ndim < 2 else 1),
        lambda x: x[..., :2] - 1e-4 * (0 if x.ndim < 2 else 1),
        domain=Ball(2),
    ),
    "gradients": lambda: FunctionChart(
        lambda z: torch.cat([z, torch.where(z[..., :1] > 2, z[..., :1].sqrt(), 0.0)], -1),
        lambda x: x[..., :2],
        domain=Ball(2),
    ),
}


@pytest.mark.parametrize("law", CHARTS)
def test_broken_charts(law: str) -> None:
    with pytest.raises(LawViolation) as caught:
        check_chart(CHARTS[law]())
    assert caught.value.law == law


def test_a_right_chart() -> None:
    check_chart(FunctionChart(graph, lambda x: x[..., :2], domain=Ball(2)))


def arc(centre: float, half: float, radius: float = 1.0) -> FunctionChart:
    """An arc of a circle, by angle."""

    def decode(z: Tensor) -> Tensor:
        return radius * torch.cat([(z + centre).cos(), (z + centre).sin()], -1)

    def encode(x: Tensor) -> Tensor:
        angle = torch.atan2(x[..., 1:], x[..., :1]) - centre
        return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi

    return FunctionChart(decode, encode, domain=Box(-half, half), atol=0.5)


THIRDS = [0.0, 2 * math.pi / 3, 4 * math.pi / 3]


def test_a_right_atlas() -> None:
    check_atlas(Atlas([arc(c, 1.7) for c in THIRDS], Circle()))


def test_a_gap() -> None:
    x = Circle().sample_uniform(400, torch.Generator().manual_seed(0))
    with pytest.raises(LawViolation) as caught:
        check_atlas(Atlas([arc(c, 1.7) for c in THIRDS[:2]]), x)
    assert caught.value.law == "cover"


def test_a_gap_without_points_is_seen_at_the_rims() -> None:
    with pytest.raises(LawViolation) as caught:
        check_atlas(Atlas([arc(c, 1.7) for c in THIRDS[:2]]))
    assert caught.value.law == "chart boundaries"


def test_two_sheets() -> None:
    charts = [arc(c, 1.7, radius=1 + 0.01 * k) for k, c in enumerate(THIRDS)]
    with pytest.raises(LawViolation) as caught:
        check_atlas(Atlas(charts))
    assert caught.value.law in ("one M", "transitions")


@pytest.mark.parametrize("claim", ["volume", "orientable", "nerve"])
def test_false_claims_of_the_manifold(claim: str) -> None:
    M = Circle()
    if claim == "volume":
        M.volume = 6.0
    elif claim == "orientable":
        M.orientable = False
    else:
        M.homology = Homology((1, 2))
    with pytest.raises(LawViolation) as caught:
        check_atlas(Atlas([arc(c, 1.7) for c in THIRDS], M))
    assert caught.value.law == claim


class OnSphere(ManifoldDistribution):
    """The uniform law of the sphere, with one mistake."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__(Sphere(), validate_args=False)
        self.mistake = mistake
        if mistake == "log_z_error":
            self.log_z_error = -1.0
        if mistake == "likelihood":
            self.likelihood = "good"  # pyright: ignore[reportAttributeAccessIssue]

    def _log_prob(self, x: Tensor) -> Tensor:
        value = 0 * x[..., 2] - math.log(4 * math.pi)
        if self.mistake == "gradient":
            value = value + x[..., 2].detach() - math.log(math.sinh(1.0))
        if self.mistake == "normalised":
            value = value + 0.01
        if self.mistake == "samples follow the density":
            value = (1 + 0.5 * x[..., 2]).log() - math.log(4 * math.pi)
        if self.mistake == "rows alone":
            value = value + 1e-3 * x.mean()
        if self.mistake == "samples have density":
            value = torch.where(x[..., 0] > 0, value, -math.inf)
        return value

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        if self.mistake == "seeds":
            generator = torch.Generator().manual_seed(n)
        x = Sphere().sample_uniform(n, generator)
        return 1.01 * x if self.mistake == "support" else x

    def log_prob(self, value: Tensor) -> Tensor:
        y = super().log_prob(value)
        if self.mistake == "tangent gradient":
            y = y + (value.square().sum(-1) - 1)
        if self.mistake == "NaN stays NaN":
            return y.nan_to_num(nan=-math.inf)
        if self.mistake == "off M":
            return y.clamp_min(-10.0)
        return y


@pytest.mark.parametrize(
    "law",
    [
        "log_z_error",
        "likelihood",
        "normalised",
        "samples follow the density",
        "rows alone",
        "samples have density",
        "seeds",
        "support",
        "NaN stays NaN",
        "off M",
        "gradient",
        "tangent gradient",
    ],
)
def test_broken_distributions(law: str) -> None:
    with pytest.raises(LawViolation) as caught:
        check_distribution(OnSphere(law))
    assert caught.value.law == law


def test_the_same_distribution_without_a_mistake() -> None:
    check_distribution(OnSphere())


def test_a_density_without_a_derivative() -> None:
    class Detached(OnSphere):
        def _log_prob(self, x: Tensor) -> Tensor:
            constant = x.new_full(x.shape[:-1], -math.log(4 * math.pi))
            return constant + x[..., 2].detach() if self.mistake else constant

    check_distribution(Detached())  # a constant needs none
    with pytest.raises(LawViolation, match="gradient"):
        check_distribution(Detached("detached"))


def test_without_an_atlas_the_volume_identity_is_checked() -> None:
    class Bare(Round):
        volume, volume_error = 4 * math.pi, 0.0

    right, wrong = OnSphere(), OnSphere("normalised")
    for q in (right, wrong):
        q.manifold = Bare()
    assert "volume identity" in check_distribution(right)
    with pytest.raises(LawViolation, match="volume identity"):
        check_distribution(wrong, tol=1e-4)
