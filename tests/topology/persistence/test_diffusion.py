"""Diffusion distances: their definition, their invariances, and what they are good for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import topogen as tg
from topogen import check_topology
from topogen.errors import InvalidPoints
from topogen.point_cloud.cloud import prepare
from topogen.point_cloud.knn import distances, neighbours
from topogen.topology import CheckOptions
from topogen.topology.persistence.diffusion import diffusion_cloud


def diffused(x):
    """Distances between rows of P^t D^(-1/2), by dense eigenvectors; t by its definition."""
    A = np.zeros((len(x), len(x)))
    A[np.arange(len(x))[:, None], neighbours(x, math.isqrt(len(x)))[1]] = 1.0
    A = np.maximum(A, A.T)
    D = A.sum(axis=1)
    mu, u = np.linalg.eigh(A / np.sqrt(D[:, None] * D))
    mu, u = np.maximum(mu[::-1], 0), u[:, ::-1]
    t = np.log(0.1) / np.log(mu[9] / mu[1])
    return distances(u * mu**t / np.sqrt(D)[:, None])


def test_distances_are_those_of_the_walk(cloud):
    prepared = prepare(cloud("circle", 200))
    found = distances(diffusion_cloud(prepared).points)
    exact = diffused(prepared.points)
    assert diffusion_cloud(prepared).points.shape == (200, 60)
    assert found / found.max() == pytest.approx(exact / exact.max(), abs=1e-6)


def test_isometries_and_units_change_nothing(cloud):
    rng = np.random.default_rng(0)
    x = cloud("torus", 300)
    frame = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    one, other = (
        distances(diffusion_cloud(prepare(y)).points) for y in (x, 7e3 * x @ frame.T + 5)
    )
    assert one == pytest.approx(other, abs=1e-6)
    order = rng.permutation(300)
    shuffled = distances(diffusion_cloud(prepare(x[order])).points)
    assert shuffled == pytest.approx(one[np.ix_(order, order)], abs=0.05)


def test_the_seed_starts_the_solver_only(cloud):
    prepared = prepare(cloud("sphere", 200))
    one, same, other = (diffusion_cloud(prepared, seed=s).points for s in (1, 1, 2))
    assert (one == same).all()
    assert distances(one) == pytest.approx(distances(other), abs=1e-6)


@pytest.mark.parametrize(("name", "n"), [("circle", 1000), ("sphere", 2500)])
def test_clean_connected_clouds_keep_their_homology(cloud, space, name, n):
    report = check_topology(cloud(name, n), space(name), options=CheckOptions(metric="diffusion"))
    assert report.verdict == "agrees", str(report)
    assert report.dim == space(name).dim
    assert any("no lengths" in remark for remark in report.remarks)


def test_a_tube_finer_than_the_slow_modes_is_not_said_to_be_gone(cloud):
    thin = tg.Torus(1.0, 0.15)
    x = thin.sample_uniform(2500, generator=torch.Generator().manual_seed(0))
    assert (
        check_topology(x, thin, options=CheckOptions(metric="diffusion")).verdict == "undetermined"
    )


def test_noise_in_more_dimensions_than_points_hides_less_of_a_circle():
    # correlation of the distance with the angle, over pairs less than a quarter turn apart
    rng = np.random.default_rng(0)
    n, D = 200, 300
    t = 2 * np.pi * rng.random(n)
    frame = np.linalg.qr(rng.standard_normal((D, 2)))[0]
    x = np.stack([np.cos(t), np.sin(t)], axis=1) @ frame.T + 0.1 * rng.standard_normal((n, D))
    prepared = prepare(x)
    angle = abs(np.angle(np.exp(1j * (t[:, None] - t))))
    near = (angle > 0) & (angle < np.pi / 2)
    walked = distances(diffusion_cloud(prepared).points)[near]
    straight = distances(prepared.points)[near]
    gain = np.corrcoef(walked, angle[near])[0, 1] - np.corrcoef(straight, angle[near])[0, 1]
    assert gain > 0.1


def test_parts_are_refused(cloud):
    two = np.concatenate([cloud("circle", 400), cloud("circle", 200, 1) + 10.0])
    with pytest.raises(InvalidPoints, match="2 parts of up to 400 of 600"):
        check_topology(two, options=CheckOptions(metric="diffusion"))


def test_too_few_points_are_refused():
    x = np.random.default_rng(0).random((49, 2))
    with pytest.raises(InvalidPoints, match="at least 50"):
        check_topology(x, options=CheckOptions(metric="diffusion"))


def test_distances_are_diffused_once_when_outliers_go():
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 2 * np.pi, 600)
    x = np.concatenate([np.c_[np.cos(t), np.sin(t)], rng.uniform(-1.5, 1.5, (12, 2))])
    report = check_topology(x, options=CheckOptions(metric="diffusion"))
    assert sum("diffusion" in remark for remark in report.remarks) <= 1, str(report)
