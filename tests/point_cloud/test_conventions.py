"""What columns look like: every convention is named, and ordinary points are not."""

from __future__ import annotations

import re

import numpy as np
import pytest

import topogen as tg
from topogen.errors import InvalidPoints
from topogen.point_cloud.arrays import as_array
from topogen.point_cloud.cloud import prepare
from topogen.point_cloud.conventions import recognise

RNG = np.random.default_rng(0)
CUT = (180 + 25 * RNG.normal(size=600)) % 360  # one cluster across the cut of +-180 degrees
FLAT = -60 + 25 * RNG.normal(size=600)
WHOLE = RNG.uniform(0, 360, (600, 2))
LATITUDE = np.degrees(np.arcsin(RNG.uniform(-1, 1, 600)))


def wrapped(x):
    return (x + 180) % 360 - 180


def quaternions(n=600, mean=(0.02, 1, 0, 0)):
    q = np.asarray(mean) + 0.08 * RNG.normal(size=(n, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def matrices(q):
    w, x, y, z = q.T
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]
    rows += [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]
    rows += [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]
    return np.stack(rows, axis=-1)


def arcs(n=40):
    t = RNG.uniform(0, 2 * np.pi, n)
    return np.abs(wrapped(np.degrees(t[:, None] - t)))


Q = quaternions()
LOOKS = {
    "a cluster across the cut": (
        np.c_[wrapped(CUT), FLAT],
        "column 0 runs from -180 to 180 .*degrees.*cosine and sine",
    ),
    "torsions": (wrapped(WHOLE), "columns 0 and 1 run from -180 to 180 .*degrees"),
    "whole degrees": (np.round(wrapped(WHOLE)), "columns 0 and 1 run from -180 to 180"),
    "a compass": (WHOLE[:, :1], "column 0 runs from 0 to 360 .*degrees"),
    "positive radians": (np.radians(WHOLE), "columns 0 and 1 run from 0 to 2 pi .*radians"),
    "float32": (np.radians(wrapped(WHOLE)).astype(np.float32), "from -pi to pi .*radians"),
    "a heading": (np.c_[RNG.normal(size=(600, 2)), wrapped(CUT)], "column 2 runs from -180"),
    "ten": (wrapped(RNG.uniform(0, 360, (600, 10))), "columns 0, 1, 2, 3, 4 and 5 more run"),
    "latitude, longitude": (
        np.c_[LATITUDE, wrapped(WHOLE[:, 0])],
        "column 0 is a latitude and column 1 a longitude, unit vectors",
    ),
    "longitude first": (np.c_[WHOLE[:, 0], LATITUDE], "column 1 is a latitude and column 0"),
    "in radians": (
        np.radians(np.c_[LATITUDE, wrapped(WHOLE[:, 0])]),
        "column 0 is a latitude and column 1 a longitude",
    ),
    "quaternions, w first": (Q * np.sign(Q[:, :1]), "quaternions: q and -q are one rotation"),
    "quaternions, w last": (np.roll(Q * np.sign(Q[:, :1]), -1, axis=1), "as_matrix"),
    "quaternions, w negative": (-Q * np.sign(Q[:, :1]), "quaternions"),
    "quaternions of three digits": (np.round(Q * np.sign(Q[:, :1]), 3), "quaternions"),
    "the largest entry positive": (
        (g := RNG.normal(size=(600, 4)))
        / np.linalg.norm(g, axis=1, keepdims=True)
        * np.sign(np.take_along_axis(g, np.abs(g).argmax(1)[:, None], 1)),
        "quaternions",
    ),
    "rotations": (matrices(Q), "3 x 3 matrices, rotations; they can stay so"),
    "reflections": (
        matrices(Q) * np.where(np.arange(600) % 2, 1, -1)[:, None],
        "orthogonal, 300 of them with reflection",
    ),
    "row numbers": (np.c_[np.arange(600), RNG.normal(size=(600, 2))], "column 0 counts the rows"),
    "row numbers from 1": (np.c_[RNG.normal(size=(60, 2)), np.arange(1, 61)], "column 2 counts"),
    "frames": (np.c_[RNG.normal(size=60), np.arange(700, 760)], "column 1 counts"),
    "with a height": (
        np.c_[WHOLE[:, 0], LATITUDE, RNG.uniform(0, 9, 600)],
        "column 1 is a latitude and column 0 a longitude",
    ),
    "rounded distances": (
        arcs() + 1e-6 * RNG.normal(size=(40, 40)),
        "may be a matrix of distances",
    ),
    "distances": (arcs(), "40 x 40 array is symmetric and may be a matrix of distances"),
    "correlations": (np.corrcoef(RNG.normal(size=(20, 30))), "a matrix of similarities"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_conventions_are_named(name):
    x, words = LOOKS[name]
    (found,) = recognise(as_array(x))

    assert re.search(words, found), found
    assert found in prepare(x).remarks  # which reports repeat


def _ordinary():
    t = RNG.uniform(0, 2 * np.pi, (600, 2))
    sphere = RNG.normal(size=(600, 4))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    yield "circle", np.c_[np.cos(t[:, 0]), np.sin(t[:, 0])]
    yield "flat torus", np.c_[np.cos(t), np.sin(t)]
    yield "S^3", sphere
    yield "a large circle", 150 * np.c_[np.cos(t[:, 0]), np.sin(t[:, 0])] + [500, 0]
    yield "angles far from the cut", 40 * RNG.normal(size=(600, 2)).clip(-3, 3)
    yield "square", RNG.uniform(0, 1, (600, 2))
    yield "normal", RNG.normal(size=(600, 9))
    yield "as many columns as rows", RNG.normal(size=(30, 30))
    yield "few rows", wrapped(WHOLE[:9])
    yield "a curve of scalars", np.arange(50.0)[:, None]


ORDINARY = dict(_ordinary())


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_points_are_not(name):
    assert recognise(as_array(ORDINARY[name])) == []


@pytest.mark.parametrize("seed", range(5))
def test_few_standard_scores_look_like_radians(seed):
    """Among 200 columns of 1000 standard normal numbers, at most 2 %."""
    x = np.random.default_rng(seed).normal(size=(200, 1000, 1))
    assert sum(bool(recognise(column)) for column in x) <= 4


def test_errors_say_it_too():
    torsions = np.radians(wrapped(WHOLE))
    with pytest.raises(InvalidPoints, match=r"R\^4, got 2 columns; columns 0 and 1 run from -pi"):
        as_array(torsions, ambient_dim=4)
    embedded = tg.FlatTorus(2).parametrize(tg.point_cloud.tensors.as_tensor(torsions))
    assert recognise(embedded.numpy()) == []


@pytest.mark.parametrize("dim", [None, 1, 2])
@pytest.mark.parametrize("D", [1, 2])
def test_advice_for_a_cloud_that_fills_space_can_be_followed(D, dim):
    if (D, dim) == (2, 1):
        return  # this is the advice
    with pytest.raises(InvalidPoints, match="KernelDensity") as caught:
        tg.learn(wrapped(WHOLE[:400, :D]), dim=dim)
    said = str(caught.value)
    assert "cosine and sine" in said
    assert "leave dim out" not in said
    assert ("pass a dim below 2" in said) == (D == 2 and dim is None)
    assert ("two columns or more" in said) == (D == 1)
