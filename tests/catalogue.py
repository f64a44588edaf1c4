"""Every space, manifold, chart, atlas and distribution of the library by name, made once.

The suite of laws (tests/laws) runs over all of them. A new class is one line here:
`of(Class, ...)` where its arguments say all, `made(Class, maker)` where it has to be fitted or
taken from another object. tests/laws/test_laws.py fails where a public class is missing.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.baselines import DescentOptions, EnergyImplicit
from topogen.distributions.bumps import BumpMixture
from topogen.manifolds.charted import ChartedManifold
from topogen.manifolds.default_atlas import PartChart, charts_of
from topogen.manifolds.monge import MongeChart
from topogen.manifolds.operations.product import ProductChart
from topogen.manifolds.spaces.implicit_charts import GraphChart
from topogen.models.energy.mcmc_energy import ChainedEnergy
from topogen.models.flow.spline_flow import SplineDistribution
from topogen.models.injective.base_distributions import ImageDistribution
from topogen.models.injective.image_manifold import ImageManifold
from topogen.models.matching.flow_distribution import FlowDistribution
from topogen.models.matching.kernel_density import KernelMixture, logs_left_out, stacked

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """An object to be made: its class, and how.

    Attributes:
        slow: left to the slow suite.
        group: tests of one group run on one worker of xdist, so that a model is fitted once.
    """

    kind: type[T]
    make: Callable[[], T]
    slow: bool = False
    group: str = ""


def of(kind: type[T], *args: Any, slow: bool = False, **options: Any) -> Entry[T]:
    """The object `kind(*args, **options)`."""
    return Entry(kind, lambda: kind(*args, **options), slow)


def made(kind: type[T], make: Callable[[], T], *, slow: bool = False, group: str = "") -> Entry[T]:
    """The object that `make` returns, of this class."""
    return Entry(kind, make, slow, group)


class Catalogue(Mapping[str, T]):
    """Name -> object, made when it is first asked for and then shared by all tests."""

    def __init__(self, entries: Mapping[str, Entry[Any]]) -> None:
        self.entries = dict(entries)
        self._objects: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._objects:
            entry = self.entries[name]
            found = entry.make()
            if type(found) is not entry.kind:
                raise TypeError(f"expected {name} to be of class {entry.kind}, got {found}")
            self._objects[name] = found
        return self._objects[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def kinds(self) -> set[type]:
        """The classes that stand in the catalogue."""
        return {entry.kind for entry in self.entries.values()}

    def names(self, *, without: Collection[str] = (), slow: Collection[str] | None = None) -> Any:
        """A parametrisation by `name`; `slow` names the slow ones, None takes the entries' own."""
        chosen = [n for n in self.entries if n not in without]
        late = {n for n in chosen if self.entries[n].slow} if slow is None else set(slow)
        marks = {n: [pytest.mark.slow] if n in late else [] for n in chosen}
        for n in chosen:
            if self.entries[n].group:
                marks[n].append(pytest.mark.xdist_group(self.entries[n].group))
        return pytest.mark.parametrize("name", [pytest.param(n, marks=marks[n]) for n in chosen])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(M: Any, n: int, seed: int) -> Tensor:
    """`n` points of the uniform distribution on M."""
    return M.sample_uniform(n, generator=seeded(seed))


def ellipse(n: int, seed: int = 0) -> Tensor:
    """Points of the ellipse of semi-axes 2 and 1, uniform in the angle."""
    t = 2 * math.pi * torch.rand(n, generator=seeded(seed)).double()
    return torch.stack([2 * t.cos(), t.sin()], -1)


# -- spaces: they know their homology, volume, sampler and atlas ---------------------------------

SPACES: Catalogue[tg.Manifold] = Catalogue(
    {
        "circle": of(tg.Circle, 2.0),
        "sphere": of(tg.Sphere),
        "sphere3": of(tg.Sphere, 3, 0.5),
        "torus": of(tg.Torus),
        "flat_torus": of(tg.FlatTorus, 2),
        "klein": of(tg.KleinBottle),
        "projective": of(tg.ProjectivePlane),
        "rotations": of(tg.SpecialOrthogonal),
        "mobius": of(tg.MobiusBand),
        "trefoil": of(tg.TorusKnot, 2, 3, slow=True),
        "mirror_knot": of(tg.TorusKnot, -2, 3, slow=True),
        "long_knot": of(tg.TorusKnot, 3, 5, slow=True),
        "hopf": of(tg.HopfLink),
        "genus1": of(tg.GenusSurface, 1, slow=True),
        "genus2": of(tg.GenusSurface, 2, slow=True),
        "plane": of(tg.Euclidean, 2),
        "interval": of(tg.Interval, -1.0, 3.0),
        "cylinder": made(tg.Product, lambda: tg.Product(tg.Circle(), tg.Interval(0.0, 1.0))),
        "circle_x_sphere": made(
            tg.Product, lambda: tg.Product(tg.Circle(), tg.Sphere()), slow=True
        ),
        "torus_x_circle": made(tg.Product, lambda: tg.Product(tg.Torus(), tg.Circle()), slow=True),
        "klein_circle": made(
            tg.Product, lambda: tg.Product(tg.KleinBottle(), tg.Circle()), slow=True
        ),
        "two_circles": made(tg.Union, lambda: tg.disjoint_union(tg.Circle(1.0), tg.Circle(2.0))),
        "two_tori": made(
            tg.Union, lambda: tg.disjoint_union(tg.Torus(), tg.Torus(5.0, 0.4)), slow=True
        ),
        "two_knots": made(
            tg.Union,
            lambda: tg.disjoint_union(tg.TorusKnot(), tg.TorusKnot(2, 3, 5.0, 0.5)),
            slow=True,
        ),
    }
)


# -- models that are fitted once, for the laws and for their own tests ----------------------------


@dataclass(frozen=True)
class Fitted:
    """A model, what `fit` said, and the space that the points came from."""

    model: Any
    result: tg.FitResult
    space: Any


@functools.cache
def local_ellipse() -> Fitted:
    """A density on local polynomials of an ellipse."""
    model = tg.AtlasDensity(tg.ProjectedAtlas(tg.LocalPolynomials(1, 2), charts=8))
    return Fitted(model, tg.fit(model, ellipse(1000), seed=0), None)


@functools.cache
def local_torus() -> Fitted:
    """A density learned from 2500 area-uniform points of the ring torus."""
    M = tg.Torus()
    model = tg.AtlasDensity(tg.ProjectedAtlas(tg.LocalPolynomials(2, 3)))
    return Fitted(model, tg.fit(model, uniform(M, 2500, 0), seed=0), M)


@functools.cache
def neural_torus(constraints: str | None = None) -> Fitted:
    """A ring torus as the zero set of a small network, in the regular or the residual form."""
    M = tg.Torus(1.0, 0.5)
    model = tg.NeuralImplicit(2, 3, constraints, features=150, width=48)
    return Fitted(model, tg.fit(model, uniform(M, 1500, 0)), M)


@functools.cache
def energy_circle() -> Fitted:
    """A circle as the zero set of a published energy, after a tenth of the published steps."""
    M = tg.Circle()
    model = EnergyImplicit(1, 2, descent=DescentOptions(steps=600, batch=50, rate=0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged
        return Fitted(model, tg.fit(model, uniform(M, 600, 0), seed=0), M)


@functools.cache
def injective_ellipse() -> Fitted:
    """An ellipse as the image of a circle."""
    model = tg.InjectiveFlow(1, 2, "circle")
    return Fitted(model, tg.fit(model, ellipse(800), seed=0), None)


@functools.cache
def spline_circle() -> Fitted:
    """A small spline flow on a circle."""
    M = tg.Circle()
    model = tg.SplineFlow(M, bins=5, width=16, networks=1)
    x = tg.VonMises(0.4, 2.0).sample((500,), seeded())
    return Fitted(model, tg.fit(model, x, seed=0), M)


# -- manifolds ------------------------------------------------------------------------------------


class Minimal(tg.Manifold):
    """What a user writes at the least: an ellipse, by dividing by the length in its own norm."""

    dim, ambient_dim = 1, 2
    axes = torch.tensor([2.0, 1.0], dtype=torch.float64)

    def project(
        self,
        x: Tensor,
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> tg.Projection:
        tol = 1e-6 if tol is None else tol
        y = x / (x / self.axes.to(x)).norm(dim=-1, keepdim=True)
        r = self.residual(y)
        p = tg.Projection(y, r, r <= tol, torch.ones_like(r, dtype=torch.int64))
        return p.require(tol) if throw else p

    def residual(self, x: Tensor) -> Tensor:
        a = self.axes.to(x)
        size = (x / a).norm(dim=-1)
        return (size - 1).abs() * size / (x / a**2).norm(dim=-1)


def implicit_sphere(centre: float, radius: float = 1.0) -> tg.ImplicitManifold:
    """The sphere about (centre, 0, 0), as a zero set."""
    c = torch.tensor([centre, 0.0, 0.0], dtype=torch.float64)
    F = lambda x: ((x - c.to(x)) ** 2).sum(-1, keepdim=True) - radius**2
    return tg.ImplicitManifold(F, 2, 3, homology=tg.Homology((1, 0, 1)))


def two_spheres() -> tuple[tg.Similarity, tg.Similarity]:
    """Unit spheres about 1/2 and -1/2 on the first axis, which cross in a circle."""
    return tuple(tg.Similarity(tg.Sphere(), [s, 0.0, 0.0]) for s in (0.5, -0.5))


def rotated_torus() -> tg.Similarity:
    """A ring torus, twice as large, rotated and moved."""
    R = torch.linalg.qr(torch.randn(3, 3, generator=seeded(), dtype=torch.float64))[0]
    return tg.Similarity(tg.Torus(), [1.0, 2.0, 3.0], factor=2.0, rotation=R)


MANIFOLDS: Catalogue[tg.Manifold] = Catalogue(
    {
        **SPACES.entries,
        "minimal": of(Minimal),
        "ellipsoid": of(
            tg.ImplicitManifold,
            lambda x: (x * x * x.new_tensor([1.0, 2.0, 3.0])).sum(-1, keepdim=True) - 1,
            2,
            3,
        ),
        "similar_torus": made(tg.Similarity, rotated_torus),
        "small_copy": made(
            tg.Similarity,
            lambda: tg.Similarity(tg.FlatTorus(2), [1.0, 0.0, 0.0, 0.0], factor=0.1),
        ),
        "union": made(tg.Union, lambda: tg.Union(*two_spheres())),
        "implicit_union": made(
            tg.Union, lambda: tg.Union(implicit_sphere(0.5), implicit_sphere(-0.5, 0.8))
        ),
        "intersection": made(tg.Intersection, lambda: tg.Intersection(*two_spheres())),
        "intersection_in_R4": made(
            tg.Intersection,
            lambda: tg.Intersection(
                tg.FlatTorus(2), tg.Similarity(tg.Sphere(3, 1.3), [0.1, 0.2, 0.0, 0.0])
            ),
        ),
        "restriction": made(
            tg.Restriction, lambda: tg.Restriction(tg.Sphere(), lambda x: 0.2 - x[..., 2])
        ),
        "restricted_union": made(
            tg.Restriction,
            lambda: tg.Restriction(tg.Union(*two_spheres()), lambda x: x[..., 0] - 0.3),
        ),
        "union_of_intersections": made(
            tg.Union,
            lambda: tg.Union(
                tg.Intersection(*two_spheres()),
                tg.Similarity(tg.Intersection(*two_spheres()), [0.0, 0.0, 3.0]),
            ),
            slow=True,
        ),
        "local_ellipse": made(
            tg.LocalPolynomials, lambda: local_ellipse().model.atlas.manifold, group="ellipse"
        ),
        "local_torus": made(
            tg.LocalPolynomials,
            lambda: local_torus().model.atlas.manifold,
            slow=True,
            group="torus",
        ),
        "neural_torus": made(
            tg.NeuralImplicit, lambda: neural_torus().model, group="neural torus"
        ),
        "neural_torus_residual": made(
            tg.NeuralImplicit,
            lambda: neural_torus("residual").model,
            slow=True,
            group="neural torus",
        ),
        "energy_circle": made(EnergyImplicit, lambda: energy_circle().model, slow=True),
        "charted": made(ChartedManifold, lambda: tg.Atlas(list(tg.Circle().atlas())).manifold),
        "image": made(ImageManifold, lambda: injective_ellipse().model.manifold, group="image"),
    }
)
OPERATIONS = tuple(  # made of other manifolds
    name
    for name, entry in MANIFOLDS.entries.items()
    if entry.kind in (tg.Similarity, tg.Union, tg.Intersection, tg.Restriction)
)


# -- charts and atlases ---------------------------------------------------------------------------


ATLASES: Catalogue[tg.Atlas] = Catalogue(
    {
        **{
            name: made(tg.Atlas, lambda name=name: SPACES[name].atlas(), slow=entry.slow)
            for name, entry in SPACES.entries.items()
        },
        "copies": made(
            tg.Atlas,
            lambda: charts_of(tg.Union(*(q.manifold for q in moved_circles()))),
            slow=True,
        ),
        "similar_torus": made(tg.Atlas, lambda: charts_of(MANIFOLDS["similar_torus"]), slow=True),
        "charts_alone": made(tg.Atlas, lambda: tg.Atlas(list(tg.Circle().atlas()))),
        "projected_ellipse": made(
            tg.ProjectedAtlas, lambda: local_ellipse().model.atlas, slow=True, group="ellipse"
        ),
    }
)


def half_circle() -> tg.FunctionChart:
    """The right half of the unit circle, by the angle."""
    return tg.FunctionChart(
        lambda z: torch.cat([z.cos(), z.sin()], -1),
        lambda x: torch.atan2(x[..., 1:], x[..., :1]),
        domain=tg.Box([-1.5], [1.5]),
    )


def first(name: str) -> Callable[[], tg.Chart]:
    """The first chart of an atlas."""
    return lambda: next(iter(ATLASES[name].charts))


CHARTS: Catalogue[tg.Chart] = Catalogue(
    {
        "half_circle": made(tg.FunctionChart, half_circle),
        "graph": made(GraphChart, first("genus2"), slow=True),
        "monge": made(MongeChart, first("projected_ellipse"), group="ellipse"),
        "product": made(ProductChart, first("cylinder")),
        "part": made(PartChart, first("two_circles")),
    }
)


# -- distributions --------------------------------------------------------------------------------

LOOSE = {"validate_args": False}  # points off M have density 0


def pulled(x: Tensor) -> Tensor:
    """The log density of a von Mises distribution, without its constant."""
    return 2 * x[..., 0]


def moved_circles() -> list[tg.Pushforward]:
    """The published example: von Mises distributions on circles around -1.8 and 1.8."""
    q = tg.VonMises(0.0, 2.0)
    return [tg.Pushforward(q, tg.Similarity(q.manifold, [s, 0.0]), **LOOSE) for s in (1.8, -1.8)]


def kernels() -> KernelMixture:
    """Kernels about 50 points of a sphere."""
    M = tg.Sphere()
    y = tg.VonMisesFisher([0.0, 0.0, 1.0], 20.0).sample((50,), seeded())
    return KernelMixture(M, y, stacked(logs_left_out(M, y)), **LOOSE)


def chained() -> ChainedEnergy:
    """A von Mises-Fisher density on S^4, where there is no quadrature."""
    x = tg.VonMisesFisher([0.0, 0.0, 0.0, 0.0, 1.0], 3.0).sample((2000,), seeded())
    return ChainedEnergy(tg.Sphere(4), lambda v: 3 * v[..., 4], x, **LOOSE)


def flowed(M: tg.Manifold) -> FlowDistribution:
    """The uniform distribution, pushed along a field that turns with the time."""
    first, second = torch.eye(M.ambient_dim, dtype=torch.float64)[:2]
    field = lambda x, t: (1 - 2 * t).unsqueeze(-1) * first.to(x) + second.to(x)
    return FlowDistribution(tg.Uniform(M), field, **LOOSE)


DISTRIBUTIONS: Catalogue[tg.ManifoldDistribution] = Catalogue(
    {
        **{
            f"uniform_{name}": made(
                tg.Uniform,
                lambda name=name: tg.Uniform(SPACES[name], **LOOSE),
                slow=name in ("klein", "mobius"),
            )
            for name in ("sphere", "klein", "mobius", "hopf")
        },
        "uniform_torus4": made(tg.Uniform, lambda: tg.Uniform(tg.FlatTorus(4), **LOOSE)),
        "validating": made(tg.Uniform, lambda: tg.Uniform(tg.Circle(), validate_args=True)),
        "von_mises": of(tg.VonMises, 0.3, 2.0, **LOOSE),
        "von_mises_fisher": of(tg.VonMisesFisher, [1.0, 2.0, 2.0], 10.0, **LOOSE),
        "mixture": made(
            tg.Mixture,
            lambda: tg.Mixture(
                [0.3, 0.7],
                [tg.VonMisesFisher([0.0, 0.0, s], 5.0, **LOOSE) for s in (1.0, -1.0)],
                **LOOSE,
            ),
        ),
        "pushforward": made(tg.Pushforward, lambda: moved_circles()[0]),
        "two_circles": made(
            tg.Mixture,
            lambda: tg.Mixture(
                [0.5, 0.5],
                moved_circles(),
                manifold=tg.Union(*(q.manifold for q in moved_circles())),
                **LOOSE,
            ),
            slow=True,
        ),
        "energy": made(
            tg.EnergyDistribution,
            lambda: tg.EnergyDistribution(tg.Circle().atlas(), pulled, **LOOSE),
        ),
        "normal_noise": made(
            tg.NormalNoise, lambda: tg.NormalNoise(tg.VonMises(0.3, 2.0), 0.1, **LOOSE)
        ),
        "bumps": made(BumpMixture, lambda: local_ellipse().model(), group="ellipse"),
        "bumps_torus": made(BumpMixture, lambda: local_torus().model(), slow=True, group="torus"),
        "image": made(ImageDistribution, lambda: injective_ellipse().model(), group="image"),
        "splines": made(SplineDistribution, lambda: spline_circle().model()),
        "flow": made(FlowDistribution, lambda: flowed(tg.Circle()), slow=True),
        "flow_sphere": made(FlowDistribution, lambda: flowed(tg.Sphere()), slow=True),
        "kernels": made(KernelMixture, kernels, slow=True),
        "chained": made(ChainedEnergy, chained, slow=True),
    }
)
