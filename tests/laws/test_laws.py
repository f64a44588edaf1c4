"""Every set, chart, atlas and law of the library keeps the laws of topogen.testing.

The laws of distributions are statistical at 5 standard errors; about 60 means are compared, so a
right library fails by chance with probability below 1e-4 (and seeds are fixed).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from topogen.distributions.base import ManifoldDistribution
from topogen.distributions.mixture import Mixture
from topogen.distributions.uniform import Uniform
from topogen.distributions.von_mises import VonMises, VonMisesFisher
from topogen.errors import UnsupportedError
from topogen.manifolds.base import Manifold, Projection
from topogen.manifolds.charts import Chart
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations import disjoint_union
from topogen.manifolds.operations.product import Product
from topogen.manifolds.spaces import (
    Circle,
    Euclidean,
    FlatTorus,
    GenusSurface,
    HopfLink,
    Interval,
    KleinBottle,
    MobiusBand,
    ProjectivePlane,
    ReferenceSpace,
    SpecialOrthogonal,
    Sphere,
    Torus,
    TorusKnot,
)
from topogen.testing import check_atlas, check_chart, check_distribution, check_manifold

SPACES: dict[str, Callable[[], ReferenceSpace]] = {
    "circle": lambda: Circle(2.0),
    "sphere": Sphere,
    "sphere3": lambda: Sphere(3, 0.5),
    "torus": Torus,
    "flat_torus": lambda: FlatTorus(2),
    "klein": KleinBottle,
    "projective": ProjectivePlane,
    "rotations": SpecialOrthogonal,
    "mobius": MobiusBand,
    "trefoil": lambda: TorusKnot(2, 3),
    "hopf": HopfLink,
    "genus2": lambda: GenusSurface(2),
    "plane": lambda: Euclidean(2),
    "interval": lambda: Interval(-1.0, 3.0),
    "cylinder": lambda: Product(Circle(), Interval(0.0, 1.0)),
    "circle_x_sphere": lambda: Product(Circle(), Sphere()),
    "two_circles": lambda: disjoint_union(Circle(1.0), Circle(2.0)),
}


class Minimal(Manifold):
    """What a user writes at the least: an ellipse, by dividing by the length in its own norm."""

    dim, ambient_dim = 1, 2
    axes = torch.tensor([2.0, 1.0], dtype=torch.float64)

    def project(
        self,
        x: torch.Tensor,
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        tol = 1e-6 if tol is None else tol
        y = x / (x / self.axes.to(x)).norm(dim=-1, keepdim=True)
        r = self.residual(y)
        p = Projection(y, r, r <= tol, torch.ones_like(r, dtype=torch.int64))
        return p.require(tol) if throw else p

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        a = self.axes.to(x)
        size = (x / a).norm(dim=-1)
        return (size - 1).abs() * size / (x / a**2).norm(dim=-1)


SETS: dict[str, Callable[[], Manifold]] = {
    **SPACES,
    "minimal": Minimal,
    "implicit": lambda: ImplicitManifold(
        lambda x: (x * x * x.new_tensor([1.0, 2.0, 3.0])).sum(-1, keepdim=True) - 1, 2, 3
    ),
}

LAWS: dict[str, Callable[[], ManifoldDistribution]] = {
    "uniform_sphere": lambda: Uniform(Sphere(), validate_args=False),
    "uniform_klein": lambda: Uniform(KleinBottle(), validate_args=False),
    "uniform_mobius": lambda: Uniform(MobiusBand(), validate_args=False),
    "uniform_link": lambda: Uniform(HopfLink(), validate_args=False),
    "uniform_torus4": lambda: Uniform(FlatTorus(4), validate_args=False),
    "validating": lambda: Uniform(Circle(), validate_args=True),
    "von_mises": lambda: VonMises(0.3, 2.0, validate_args=False),
    "von_mises_fisher": lambda: VonMisesFisher([1.0, 2.0, 2.0], 10.0, validate_args=False),
    "mixture": lambda: Mixture(
        [0.3, 0.7],
        [VonMisesFisher([0.0, 0.0, s], 5.0, validate_args=False) for s in (1.0, -1.0)],
        validate_args=False,
    ),
}


def names(table: dict[str, Callable[[], object]]) -> list[object]:
    """The names, with the slow ones marked; each of those has a faster sibling of its kind."""
    late = {"genus2", "trefoil", "circle_x_sphere", "uniform_mobius"}
    return [pytest.param(n, marks=pytest.mark.slow) if n in late else n for n in table]


@pytest.mark.parametrize("name", names({**SETS}))
def test_manifolds(name: str) -> None:
    check_manifold(SETS[name]())


@pytest.mark.parametrize("name", names({**SPACES}))
def test_charts(name: str) -> None:
    charts = list(SPACES[name]().atlas().charts)
    for chart in charts[:: max(1, len(charts) // 4)]:
        assert isinstance(chart, Chart)
        check_chart(chart)


@pytest.mark.parametrize("name", names({**SPACES}))
def test_atlases(name: str) -> None:
    check_atlas(SPACES[name]().atlas())


@pytest.mark.parametrize("name", names({**LAWS}))
def test_distributions(name: str) -> None:
    check_distribution(LAWS[name]())


def test_a_law_without_density_must_say_so() -> None:
    class NoDensity(ManifoldDistribution):
        def _log_prob(self, x: torch.Tensor) -> torch.Tensor:
            raise UnsupportedError("no density")

        def _sample(self, n: int, generator: torch.Generator | None) -> torch.Tensor:
            return Circle().sample_uniform(n, generator)

    q = NoDensity(Circle(), likelihood="none", validate_args=False)
    assert "log_prob" in check_distribution(q)


def test_the_laws_leave_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_manifold(Sphere())
    check_distribution(VonMises(0.0, 1.0, validate_args=False), n=500)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() == torch.float32


def test_what_was_measured_is_reported() -> None:
    measured = check_manifold(Sphere(), Sphere().sample_uniform(100))
    assert measured["orthonormal"] < 1e-12
    assert all(math.isfinite(value) for value in measured.values())
