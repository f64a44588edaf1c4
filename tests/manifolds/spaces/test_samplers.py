"""The samplers draw the normalised area, by statistics with known expectations.

Every statistical test here has a false-alarm rate of 1e-5 or less: z-scores are bounded by 5 (rate
6e-7 each), Kolmogorov-Smirnov statistics by 2.5 / sqrt(n) (rate 7.5e-6).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.catalogue import MANIFOLDS
from topogen import calculus
from topogen.manifolds.base import Manifold
from topogen.manifolds.spaces import (
    GenusSurface,
    KleinBottle,
    MobiusBand,
    ProjectivePlane,
    SpecialOrthogonal,
    Sphere,
    Torus,
    TorusKnot,
)

N = 20_000


def z_score(values: Tensor, expected: float) -> float:
    return abs(float(values.mean()) - expected) / (float(values.std()) / math.sqrt(len(values)))


def draw(M: Manifold, n: int = N) -> Tensor:
    return M.sample_uniform(n, torch.Generator().manual_seed(7))


MOMENTS: list[tuple[str, Callable[[Tensor], Tensor], float]] = [
    ("circle", lambda x: x[:, 0] * x[:, 1], 0.0),
    ("sphere3", lambda x: (2 * x[:, 0]) ** 2, 1 / 4),
    ("sphere3", lambda x: (2 * x[:, 0]) ** 4, 3 / 24),
    # E cos v = r / (2 R): uniform angles would give 0
    ("torus", lambda x: (x[:, :2].norm(dim=-1) - 1) / 0.4, 0.2),
    ("torus_x_circle", lambda x: (x[:, :2].norm(dim=-1) - 1) / 0.4, 0.2),
    ("flat_torus", lambda x: x[:, 0] * x[:, 2], 0.0),
    ("hopf", lambda x: x[:, 0], 0.5),
    ("projective", lambda x: x[:, 0] ** 2, 1 / 15),
    ("rotations", lambda x: x[:, [0, 4, 8]].sum(-1), 0.0),
    ("rotations", lambda x: x[:, [0, 4, 8]].sum(-1) ** 2, 1.0),
    ("rotations", lambda x: x[:, [0, 4, 8]].sum(-1) ** 4, 3.0),
    ("genus2", lambda x: x[:, 0], 0.0),
    ("genus2", lambda x: x[:, 1] * x[:, 2], 0.0),
    ("interval", lambda x: ((x[:, 0] + 1) / 4) ** 2, 1 / 3),
    ("two_circles", lambda x: x.norm(dim=-1), 5 / 3),
]


@pytest.mark.parametrize(("name", "statistic", "expected"), MOMENTS)
def test_moments(name: str, statistic: Callable[[Tensor], Tensor], expected: float) -> None:
    n = 4000 if name == "genus2" else N
    assert z_score(statistic(draw(MANIFOLDS[name], n)), expected) < 5


def test_uniform_angles_on_the_torus_are_rejected() -> None:
    # negative control of the moment test
    t = 2 * math.pi * torch.rand(N, 2, generator=torch.Generator().manual_seed(0)).double()
    x = Torus(1.0, 0.4).parametrize(t)
    assert z_score((x[:, :2].norm(dim=-1) - 1) / 0.4, 0.2) > 20


def kolmogorov(values: Tensor, distribution: Callable[[Tensor], Tensor]) -> float:
    x = values.sort().values
    n = x.numel()
    F = distribution(x)
    k = torch.arange(n, dtype=torch.float64)
    return float(torch.maximum((k + 1) / n - F, F - k / n).max()) * math.sqrt(n)


def test_archimedes() -> None:
    # the third coordinate is uniform on the 2-sphere
    assert kolmogorov(draw(Sphere())[:, 2], lambda h: (h + 1) / 2) < 2.5


def test_tube_angle_of_the_torus() -> None:
    M = Torus(1.0, 0.4)
    v = M.coordinates(draw(M))[:, 1]
    assert kolmogorov(v, lambda v: (v + math.pi + 0.4 * v.sin()) / (2 * math.pi)) < 2.5


def test_rotation_angles() -> None:
    # Haar measure: angle of density (1 - cos t) / pi on [0, pi]
    trace = draw(SpecialOrthogonal())[:, [0, 4, 8]].sum(-1)
    t = ((trace - 1) / 2).clamp(-1, 1).acos()
    assert kolmogorov(t, lambda t: (t - t.sin()) / math.pi) < 2.5


def test_angle_between_projective_lines() -> None:
    # cos^2 of the angle to a fixed line is the square of a uniform number
    c2 = ProjectivePlane.matrix(draw(ProjectivePlane()))[:, 2, 2]
    assert kolmogorov(c2, lambda s: s.clamp_min(0).sqrt()) < 2.5


@pytest.mark.parametrize("M", [KleinBottle(1.0, 0.7), MobiusBand(1.6), TorusKnot(2, 5, 1.0, 0.7)])
def test_last_parameter_against_quadrature(M: KleinBottle | MobiusBand | TorusKnot) -> None:
    # chi-square over 20 cells of the last parameter, against the area element by finite quadrature
    t = M.coordinates(draw(M))
    last = t[:, -1]
    half = 0.8 if isinstance(M, MobiusBand) else math.pi
    edges = torch.linspace(-half, half, 21, dtype=torch.float64)
    counts = torch.histogram(last.cpu(), edges).hist
    fine = torch.linspace(-half, half, 20 * 20 + 1, dtype=torch.float64)
    middle = (fine[1:] + fine[:-1]) / 2
    # midpoints of (-pi, pi), where `coordinates` puts u
    u = math.pi * ((torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1)
    if t.shape[-1] == 1:
        grid = middle.reshape(-1, 1, 1)
    else:
        grid = torch.stack(torch.broadcast_tensors(u, middle[:, None]), -1)
    density = calculus.log_volume(M.parametrize, grid).exp().mean(-1)
    expected = density.reshape(20, 20).sum(-1)
    expected = expected / expected.sum() * N
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < 60  # 19 degrees of freedom: rate 4e-6


def test_genus_sampler_against_the_torus() -> None:
    # one handle is a ring torus: the line sampler must reproduce its tube angle
    x = draw(GenusSurface(1), 8000)
    v = Torus(1.0, 0.5).coordinates(x)[:, 1]
    assert kolmogorov(v, lambda v: (v + math.pi + 0.5 * v.sin()) / (2 * math.pi)) < 2.5


@pytest.mark.parametrize("field", [2, 3])
def test_genus_two_is_seen_in_5000_points(field: int) -> None:
    # Rips complex of 400 farthest-point landmarks, cut at 3.2 times their covering radius
    from gudhi import RipsComplex

    x = draw(GenusSurface(2), 5000)
    landmarks, distance = [0], (x - x[0]).norm(dim=-1)
    for _ in range(399):
        landmarks.append(int(distance.argmax()))
        distance = torch.minimum(distance, (x - x[landmarks[-1]]).norm(dim=-1))
    points = x[landmarks].numpy()
    tree = RipsComplex(points=points, max_edge_length=3.2 * float(distance.max()))
    tree = tree.create_simplex_tree(max_dimension=1)
    tree.collapse_edges()
    tree.expansion(3)
    tree.compute_persistence(homology_coeff_field=field, persistence_dim_max=True)
    assert tuple(tree.betti_numbers()[:3]) == (1, 4, 1)
