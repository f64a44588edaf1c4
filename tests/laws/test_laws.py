"""Every manifold, chart, atlas and distribution of the library keeps the laws of topogen.testing.

The laws of distributions are statistical at 5 standard errors; about 120 means are compared, so a
right library fails by chance with probability below 1e-4 (and seeds are fixed).
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from abc import ABC
from collections.abc import Iterator

import pytest
import torch

import topogen as tg
from tests.catalogue import ATLASES, CHARTS, DISTRIBUTIONS, MANIFOLDS, Catalogue
from topogen.errors import UnsupportedError
from topogen.manifolds.atlas import BaseAtlas
from topogen.testing import check_atlas, check_chart, check_distribution, check_manifold


@MANIFOLDS.names()
def test_manifolds(name: str) -> None:
    check_manifold(MANIFOLDS[name])


@MANIFOLDS.names()
def test_the_projection_along_normals_has_the_tangent_projector_as_derivative(name: str) -> None:
    M = MANIFOLDS[name]
    x = M.rough_points(40, torch.Generator().manual_seed(0))
    x = x if x is not None else torch.randn(40, M.ambient_dim).double()
    p = M.project(M.project(x).value.detach())  # points of M, up to rounding
    x = p.value[p.converged & M.in_domain(p.value)][:6].detach()
    assert len(x) > 3
    generator = torch.Generator().manual_seed(1)
    c = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    y = x.clone().requires_grad_()
    (got,) = torch.autograd.grad((c * M.project_along_normals(y).value).sum(), y)
    T = M.tangent_basis(x)
    # over-determined equations of a learned set vanish on it up to its tolerance only
    loose = name == "neural_torus_residual"
    off = (got - (T @ (T.mT @ c.unsqueeze(-1))).squeeze(-1)).abs().max()
    assert float(off) < (1e-2 if loose else 1e-6)
    # and is what differences give, normal directions too
    with torch.no_grad():
        h = 1e-6 * M.scale
        sides = [M.project_along_normals(x + s * h * c).value for s in (1, -1)]
    off = ((c * (sides[0] - sides[1])).sum(-1) / (2 * h) - (c * got).sum(-1)).abs().max()
    assert float(off) < (1e-1 if loose else 1e-4)


@CHARTS.names()
def test_charts(name: str) -> None:
    check_chart(CHARTS[name])


@ATLASES.names()
def test_charts_of_atlases(name: str) -> None:
    charts = list(ATLASES[name].charts)
    for chart in charts[:: max(1, len(charts) // 4)]:
        assert isinstance(chart, tg.Chart)
        check_chart(chart)


@ATLASES.names()
def test_atlases(name: str) -> None:
    check_atlas(ATLASES[name])


@DISTRIBUTIONS.names()
def test_distributions(name: str) -> None:
    check_distribution(DISTRIBUTIONS[name])


def classes(base: type) -> Iterator[type]:
    """The public classes of the library under `base` that are not abstract, itself included."""
    if not (ABC in base.__bases__ or inspect.isabstract(base) or base.__name__.startswith("_")):
        yield base
    for below in base.__subclasses__():
        if below.__module__.startswith("topogen."):
            yield from classes(below)


@pytest.mark.parametrize(
    ("base", "catalogue"),
    [
        (tg.Manifold, MANIFOLDS),
        (tg.Chart, CHARTS),
        (BaseAtlas, ATLASES),
        (tg.ManifoldDistribution, DISTRIBUTIONS),
    ],
)
def test_no_public_class_is_missing_from_the_catalogue(base: type, catalogue: Catalogue) -> None:
    for package in (tg.manifolds, tg.distributions, tg.models, tg.baselines):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    missing = set(classes(base)) - catalogue.kinds()
    assert not missing, f"{missing} are in no line of tests/catalogue.py"
    # negative control: a class that is not listed is found
    assert set(classes(base)) - (catalogue.kinds() - {max(catalogue.kinds(), key=str)})


def test_a_law_without_density_must_say_so() -> None:
    class NoDensity(tg.ManifoldDistribution):
        def _log_prob(self, x: torch.Tensor) -> torch.Tensor:
            raise UnsupportedError("no density")

        def _sample(self, n: int, generator: torch.Generator | None) -> torch.Tensor:
            return tg.Circle().sample_uniform(n, generator)

    q = NoDensity(tg.Circle(), likelihood="none", validate_args=False)
    assert "log_prob" in check_distribution(q)


def test_the_laws_leave_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_manifold(tg.Sphere())
    check_distribution(tg.VonMises(0.0, 1.0, validate_args=False), n=500)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() == torch.float32


def test_what_was_measured_is_reported() -> None:
    measured = check_manifold(tg.Sphere(), tg.Sphere().sample_uniform(100))
    assert measured["orthonormal"] < 1e-12
    assert all(math.isfinite(value) for value in measured.values())
