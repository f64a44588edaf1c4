"""Clouds for the topology tests, by name: area-uniform samples in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import topogen as tg


def _genus_two(n, seed):
    """{(x (x-1)^2 (x-2) + y^2)^2 + z^2 = .04}, whose two handles are thin: a hard case."""
    rng = np.random.default_rng(seed)

    def f(p):
        x, y, z = p.T
        g = x * (x - 1) ** 2 * (x - 2) + y * y
        dx = (x - 1) ** 2 * (x - 2) + x * (2 * (x - 1) * (x - 2) + (x - 1) ** 2)
        return g * g + z * z - 0.04, np.stack([2 * g * dx, 4 * g * y, 2 * z], axis=1)

    low, high = np.array([-0.3, -0.8, -0.25]), np.array([2.3, 0.8, 0.25])
    retained, count = [], 0
    while count < n:  # a shell, weighted by |grad f|, then Newton steps onto the surface
        p = low + (high - low) * rng.random((400_000, 3))
        value, slope = f(p)
        size = np.linalg.norm(slope, axis=1)
        p = p[(np.abs(value) < 0.002) & (rng.random(len(p)) < size / 1.5)]
        for _ in range(4):
            value, slope = f(p)
            p = p - slope * (value / (slope**2).sum(axis=1))[:, None]
        retained.append(p)
        count += len(p)
    return np.concatenate(retained)[:n]


def _ball(n, seed, dim):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / dim)


SPACES = {
    "circle": tg.Circle,
    "trefoil": lambda: tg.TorusKnot(2, 3),
    "hopf": tg.HopfLink,
    "sphere": tg.Sphere,
    "torus": tg.Torus,
    "fat torus": lambda: tg.Torus(2.0, 1.0),
    "flat torus": lambda: tg.FlatTorus(2),
    "klein": tg.KleinBottle,
    "rp2": tg.ProjectivePlane,
    "genus 2": lambda: tg.GenusSurface(2),
    "moebius": lambda: tg.MobiusBand(width=0.6),
    "so3": tg.SpecialOrthogonal,
    "s1 x s2": lambda: tg.Product(tg.Circle(), tg.Sphere()),
}


@pytest.fixture(scope="session")
def space():
    """Name -> reference space."""
    return lambda name: SPACES[name]()


@pytest.fixture(scope="session")
def cloud():
    """Draw a sample: cloud(name, n, seed) has shape (n, D)."""

    def draw(name, n, seed=0):
        if name == "thin genus 2":
            return _genus_two(n, seed)
        if name == "disc":
            return _ball(n, seed, 2)
        if name == "ball":
            return _ball(n, seed, 3)
        if name == "gauss":
            return np.random.default_rng(seed).standard_normal((n, 2))
        generator = torch.Generator().manual_seed(seed)
        return SPACES[name]().sample_uniform(n, generator=generator).numpy().astype(float)

    return draw
