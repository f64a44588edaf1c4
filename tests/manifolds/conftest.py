"""Sets for the tests of intersections and unions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from topogen.homology import Homology
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations import Similarity
from topogen.manifolds.spaces import Sphere


class Makers:
    """Makers of sets."""

    @staticmethod
    def sphere_equation(centre: list[float], radius: float = 1.0) -> Callable[[Tensor], Tensor]:
        c = torch.tensor(centre, dtype=torch.float64)
        return lambda x: ((x - c.to(x)) ** 2).sum(-1, keepdim=True) - radius**2

    @staticmethod
    def implicit_sphere(centre: list[float], radius: float = 1.0) -> ImplicitManifold:
        D = len(centre)
        homology = Homology((1, *[0] * (D - 2), 1))
        return ImplicitManifold(
            Makers.sphere_equation(centre, radius), D - 1, D, homology=homology
        )

    @staticmethod
    def implicit_plane(normal: list[float], height: float) -> ImplicitManifold:
        n = torch.tensor(normal, dtype=torch.float64)
        n = n / n.norm()
        F = lambda x: (x @ n.to(x)).unsqueeze(-1) - height
        return ImplicitManifold(F, len(normal) - 1, len(normal), closed=False)

    @staticmethod
    def two_spheres() -> tuple[Similarity, Similarity]:
        sphere = Sphere()
        return Similarity(sphere, [0.5, 0.0, 0.0]), Similarity(sphere, [-0.5, 0.0, 0.0])

    @staticmethod
    def upper(x: Tensor) -> Tensor:
        return 0.2 - x[..., 2]


@pytest.fixture(scope="session")
def make() -> type[Makers]:
    return Makers
