"""Intrinsic dimension, noise and duplicates of clouds with known answers."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from topogen.errors import InvalidPoints
from topogen.topology import dimension_across_scales, duplicates, intrinsic_dimension, noise_level


@pytest.mark.parametrize(
    ("name", "n", "dim"),
    [
        ("circle", 300, 1),
        ("trefoil", 1000, 1),
        ("hopf", 1000, 1),
        ("sphere", 500, 2),
        ("torus", 1000, 2),
        ("klein", 1000, 2),
        ("rp2", 1000, 2),
        ("moebius", 1000, 2),
        ("disc", 1000, 2),
        ("so3", 3000, 3),
        ("ball", 1000, 3),
    ],
)
def test_known_dimensions(cloud, name, n, dim):
    for seed in range(3):
        estimate = intrinsic_dimension(cloud(name, n, seed))
        assert estimate.dim == int(estimate) == dim, str(estimate)


def test_isometric_image_in_high_dimension_and_noise(cloud):
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.standard_normal((50, 3)))[0]
    x = cloud("sphere", 2000) @ frame.T
    assert intrinsic_dimension(x).dim == 2
    noisy = intrinsic_dimension(x + 0.02 * rng.standard_normal(x.shape))
    assert noisy.dim == 2
    assert not noisy.agree  # TwoNN takes the noise for dimension: it is evidence, not the judge
    torus = cloud("torus", 2500)
    for share in (0.005, 0.02):  # of the diameter, per coordinate
        shaken = torus + 2.8 * share * rng.standard_normal(torus.shape)
        assert intrinsic_dimension(shaken).dim == 2


def test_real_molecules_have_two_free_torsions():
    with resources.files("topogen.datasets").joinpath("alanine_conformers.npz").open("rb") as file:
        points = np.load(file)["points"]  # 8000 conformers in R^30
    assert intrinsic_dimension(points).dim == 2


@pytest.mark.parametrize(
    "x",
    [
        np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2),
        np.random.default_rng(0).random((400, 2)),
    ],
)
def test_flat_pieces_fill_their_space(x):
    assert intrinsic_dimension(x).dim == 2
    assert intrinsic_dimension(np.pad(x, ((0, 0), (0, 3)))).dim == 2


def test_noise_level_is_recovered(cloud):
    rng = np.random.default_rng(1)
    x = cloud("klein", 4000)
    assert noise_level(x, 2) < 0.003
    sigma = 0.03  # per coordinate, two of them normal
    found = noise_level(10 * (x + sigma * rng.standard_normal(x.shape)), 2)
    assert found == pytest.approx(10 * sigma * np.sqrt(2), rel=0.15)
    assert noise_level(cloud("disc", 500)) == 0.0
    with pytest.raises(ValueError, match="dim >= 1"):
        noise_level(x, 0)


@pytest.mark.parametrize(
    ("name", "n", "sigma"),
    [
        ("circle", 1000, 0.05),
        ("circle", 10_000, 0.05),
        ("circle", 1000, 0.1),
        ("sphere", 1000, 0.05),
        ("sphere", 1000, 0.1),
        ("fat torus", 1000, 0.15),
        ("trefoil", 1000, 0.02),
    ],
)
def test_noise_is_measured_beyond_the_noise_in_whatever_dimension(cloud, name, n, sigma):
    x = cloud(name, n)
    codim = 2 if name == "trefoil" else 1
    x = x + sigma * np.random.default_rng(0).standard_normal(x.shape)
    assert noise_level(x) == pytest.approx(sigma * np.sqrt(codim), rel=0.22)


@pytest.mark.parametrize("name", ["circle", "sphere", "torus", "klein"])
def test_clean_clouds_have_no_noise(cloud, name):
    assert noise_level(cloud(name, 1500)) < 0.015  # far below their spacing, 0.05 to 0.1


def test_duplicates(cloud):
    torus = cloud("torus", 50)
    assert duplicates(np.concatenate([torus, torus[:7]])) == 7
    assert duplicates([[0.0, 1.0], [-0.0, 1.0]]) == 1


def test_bad_points_are_refused():
    with pytest.raises(InvalidPoints, match="distinct points"):
        intrinsic_dimension(np.ones((100, 3)))


def test_dimension_across_scales_of_manifolds(cloud):
    rng = np.random.default_rng(0)
    t = 1.5 * np.pi * (1 + 2 * rng.random(3000))
    swiss = np.stack([t * np.cos(t), 21 * rng.random(3000), t * np.sin(t)], axis=1)
    torus = cloud("torus", 4000)
    frame = np.linalg.qr(rng.standard_normal((784, 3)))[0]
    for x in (swiss, torus, torus @ frame.T):
        scales = dimension_across_scales(x)
        assert set(scales.dims) == {2}, str(scales)
        assert "dimension 2 at radius" in str(scales)
        assert len(scales.radius) == len(scales.two_nn) == len(scales.disagreement)
        assert np.nanmax(scales.disagreement) < 1.0
        assert (np.diff(scales.radius) > 0).all()
    wide, narrow = dimension_across_scales(100 * torus), dimension_across_scales(torus)
    assert wide.radius == pytest.approx(100 * np.array(narrow.radius))


def test_noise_adds_dimensions_below_its_scale(cloud):
    rng = np.random.default_rng(0)
    x = np.pad(cloud("circle", 2500), ((0, 0), (0, 8)))
    scales = dimension_across_scales(x + 0.02 * rng.standard_normal(x.shape))
    radius, dims = np.array(scales.radius), np.array(scales.dims)
    assert (dims[radius < 0.12] >= 4).all()  # noise of size 0.06 in 9 directions
    assert (dims[radius > 0.45] == 1).all()
    assert max(scales.disagreement) > 2  # local PCA sees the curve first
    assert len(scales.plot().axes[0].lines) == 4


def test_an_estimate_brings_its_scales(cloud):
    estimate = intrinsic_dimension(cloud("sphere", 800))
    assert estimate.scales is not None
    assert set(estimate.scales.dims) == {2}
    assert "scales" not in repr(estimate)


def test_constant_columns_hold_no_dimension(cloud):
    x = np.pad(cloud("torus", 2500), ((0, 0), (0, 1)), constant_values=5.0)
    assert intrinsic_dimension(x).dim == 2
