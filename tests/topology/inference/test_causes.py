"""What a number is undetermined by: each cause on a cloud that has it, and none on clean ones."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from topogen import check_topology
from topogen.topology import CheckOptions
from topogen.topology.inference.causes import ADVICE
from topogen.topology.inference.evidence import Cause


def tetrahedron(n):
    rng = np.random.default_rng(0)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])[rng.integers(0, 4, n)]
    return (rng.dirichlet([1, 1, 1], n)[:, :, None] * corners[faces]).sum(axis=1)


def few(cloud):
    return cloud("torus", 150)


def noisy(cloud):
    # a segment with noise of a fiftieth of its length, in ten directions together
    rng = np.random.default_rng(0)
    x = 0.02 / np.sqrt(10) * rng.standard_normal((2500, 10))
    x[:, 0] += rng.random(2500)
    return x


def uneven(cloud):
    x = cloud("fat torus", 40_000)
    weight = np.exp(2 * x[:, 0])
    return x[np.random.default_rng(0).random(len(x)) < weight / weight.max()][:3000]


def with_outliers(cloud):
    rng = np.random.default_rng(0)
    t = 2 * np.pi * rng.random(3000)
    ring = np.c_[np.cos(t), np.sin(t)] + 0.05 * rng.standard_normal((3000, 2))
    return np.concatenate([ring, np.c_[2 * rng.random(60) - 1, np.zeros(60)]])


def creased(cloud):
    return tetrahedron(2500)


@pytest.mark.parametrize(
    ("draw", "cause"),
    [
        (few, "few points"),
        (noisy, "noise"),
        (uneven, "uneven density"),
        (with_outliers, "outliers"),
        (creased, "creases"),
    ],
)
def test_each_cause_is_named_with_its_advice(cloud, draw, cause):
    report = check_topology(draw(cloud))
    assert not report.determined
    assert report.cause == cause, str(report)
    assert report.advice == ADVICE[cause]
    assert f"cause: {cause}; {report.advice}" in str(report)
    assert report.to_dict()["cause"] == cause


def test_no_time_is_a_limit(cloud):
    assert check_topology(cloud("torus", 1000), max_seconds=1e-3).cause == "limits"


def test_what_is_determined_has_no_cause(cloud):
    report = check_topology(cloud("circle", 1000), (1, 1))
    assert (report.verdict, report.cause, report.advice) == ("agrees", None, "")


def test_another_cloud_may_be_the_cause(cloud):
    report = check_topology(cloud("sphere", 1000), cloud("torus", 100))
    assert report.verdict == "undetermined"
    assert report.cause == "few points"


def test_every_cause_has_its_own_advice():
    assert set(ADVICE) == set(get_args(Cause))
    assert len(set(ADVICE.values())) == len(ADVICE)


def test_points_left_out_can_be_made_to_fail(cloud):
    rng = np.random.default_rng(0)
    x = np.concatenate([cloud("circle", 1500), rng.uniform(-2, 2, (30, 2))])
    report = check_topology(x, (1, 1))
    assert report.verdict == "agrees"
    assert len(report.left_out) == report.outliers > 10
    assert min(report.left_out) >= 1500  # the rows that were added
    strict = check_topology(x, (1, 1), options=CheckOptions(most_outliers=0.001))
    assert strict.verdict == "disagrees"
    assert "off the manifold" in strict.reason
    loose = check_topology(x, (1, 1), options=CheckOptions(most_outliers=0.05))
    assert loose.verdict == "agrees"
    with pytest.raises(ValueError, match="most_outliers"):
        CheckOptions(most_outliers=2.0)
