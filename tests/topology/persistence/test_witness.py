"""The lazy witness complex against its definition and against spaces whose homology is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from topogen.datasets import alanine
from topogen.point_cloud.cloud import prepare
from topogen.point_cloud.landmarks import farthest_points
from topogen.topology.persistence.witness import (
    WITNESS_RULES,
    witness_betti,
    witness_edges,
)


def _witness(x, dim, max_dim=None, start=0):
    x = prepare(x).points
    index, radius = farthest_points(x, WITNESS_RULES[min(dim, 3)].landmark_count(len(x)), start)
    return witness_betti(
        x,
        x[index],
        float(radius[-1]),
        (2, 3),
        dim if max_dim is None else max_dim,
        relaxation=WITNESS_RULES[min(dim, 3)].relaxation,
        most_degree=WITNESS_RULES[min(dim, 3)].most_degree,
    )


def test_edges_enter_by_the_definition():
    rng = np.random.default_rng(0)
    w, l = rng.random((200, 3)), rng.random((30, 3))
    squares = ((w[:, None] - l) ** 2).sum(axis=2)
    late = squares - squares.min(axis=1, keepdims=True)
    f = np.maximum(late[:, :, None], late[:, None, :]).min(axis=0)
    most = float(np.quantile(f, 0.6))
    expected = np.where(f <= most, f, np.inf)
    np.fill_diagonal(expected, np.inf)
    assert witness_edges(w, l, most) == pytest.approx(expected)


def test_more_neighbours_are_looked_up_where_many_cells_meet():
    centre = np.zeros((5, 2))
    t = np.linspace(0, 2 * np.pi, 41)[1:]
    l = np.stack([np.cos(t), np.sin(t)], axis=1)  # all 40 are equally near the centre
    f = witness_edges(centre, l, 0.5)
    assert np.isfinite(f[np.triu_indices(40, 1)]).all()


CASES = {
    "circle": (1, 1000),
    "trefoil": (1, 1000),
    "hopf": (1, 1000),
    "sphere": (2, 2500),
    "torus": (2, 2500),
    "flat torus": (2, 2500),
    "klein": (2, 2500),
    "rp2": (2, 2500),
    "genus 2": (2, 5000),
}


@pytest.mark.parametrize("name", CASES)
def test_known_spaces(name, space, cloud):
    dim, n = CASES[name]
    homology = space(name).homology
    expected = {p: tuple(homology.betti_number(k, p) for k in range(dim + 1)) for p in (2, 3)}
    assert _witness(cloud(name, n), dim).betti == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["so3", "s1 x s2"])
def test_three_manifolds(name, space, cloud):
    homology = space(name).homology
    expected = {p: tuple(homology.betti_number(k, p) for k in range(4)) for p in (2, 3)}
    assert _witness(cloud(name, 6000), 3).betti == expected


def test_where_holes_still_close_nothing_is_counted():
    """Conformers of alanine: a torus with many points in a few places and few elsewhere."""
    generator = torch.Generator().manual_seed(0)
    x = alanine.embed(alanine.sample_torsions(8000, generator)).numpy()
    found = _witness(x, 2)
    assert found.betti is not None
    born, alive = WITNESS_RULES[2].relaxation
    for p, numbers in found.betti.items():
        assert numbers[1] is None
        birth, death = found.diagrams[p][1].T
        assert ((birth <= born) & (death >= alive)).sum() > 2  # classes which the torus has not
        assert ((birth <= born) & (death > 0.9 * alive) & (death < alive)).any()


def test_contractible_clouds_have_no_classes(cloud):
    for name, dim in [("disc", 2), ("ball", 3)]:
        assert _witness(cloud(name, 2500), dim, max_dim=2).betti[2] == (1, 0, 0)


@pytest.mark.parametrize(
    ("name", "n", "noise"),
    [
        ("torus", 600, 0),  # reads (1, 1, 0)
        ("fat torus", 600, 0),  # (1, 0, 0): a ball
        ("klein", 600, 0),
        ("genus 2", 1500, 0),  # (1, 1, 4), (1, 0, 6)
        ("klein", 2500, 0.1),  # (1, 0, 0)
        ("trefoil", 200, 0),  # (1, 0)
    ],
)
def test_what_is_not_resolved_gets_no_numbers(name, n, noise, space, cloud):
    x = cloud(name, n)
    x = x + noise * np.random.default_rng(0).standard_normal(x.shape)
    found = _witness(x, space(name).dim)
    assert found.betti is None
    assert "edges at each landmark" in found.reason
