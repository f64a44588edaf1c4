"""Closed forms of geomstats agree with the library's, in a process of its own.

geomstats changes torch's default dtype and picks its backend from the environment; its NumPy
backend in a child process touches nothing here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from topogen.manifolds.spaces import Circle, FlatTorus, SpecialOrthogonal, Sphere

SCRIPT = r"""
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
if not hasattr(np, "trapz"):
    np.trapz = np.trapezoid
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.special_orthogonal import SpecialOrthogonal

data = {k: np.array(v) for k, v in json.load(sys.stdin).items()}
np.random.seed(0)
n = 20000
S1, S2, SO3 = Hypersphere(1), Hypersphere(2), SpecialOrthogonal(3)
T2 = ProductManifold([Hypersphere(1), Hypersphere(1)])
out = {}
for name, M, shape in (("circle", S1, (2,)), ("sphere", S2, (3,)), ("rotations", SO3, (3, 3))):
    x = data[name].reshape(-1, *shape)
    y = data[name + "_on"].reshape(-1, *shape)
    out[name] = np.asarray(M.projection(x)).reshape(len(x), -1).tolist()
    out[name + "_belongs"] = np.asarray(M.belongs(y, atol=1e-10)).tolist()
    out[name + "_not"] = np.asarray(M.belongs(x, atol=1e-10)).tolist()
    if name == "rotations":
        continue  # its random_uniform on SO(n) is, as it says, not the Haar measure
    u = np.asarray(M.random_uniform(n)).reshape(n, -1)
    out[name + "_mean"] = u.mean(0).tolist()
    out[name + "_square"] = (u**2).mean(0).tolist()
x, y = data["torus"], data["torus_on"]
pair = lambda z: z.reshape(-1, 2)
out["torus"] = np.asarray(S1.projection(pair(x))).reshape(x.shape).tolist()
y = y.reshape(-1, 2, 2) if T2.point_ndim == 2 else y
out["torus_belongs"] = np.asarray(T2.belongs(y, atol=1e-10)).tolist()
out["torus_dim"] = int(T2.dim)
print("RESULT" + json.dumps(out))
"""


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, torch.Tensor], dict[str, list]]:
    generator = torch.Generator().manual_seed(0)
    data: dict[str, torch.Tensor] = {}
    for name, M in (
        ("circle", Circle()),
        ("sphere", Sphere()),
        ("rotations", SpecialOrthogonal()),
        ("torus", FlatTorus(2)),
    ):
        data[name + "_on"] = M.sample_uniform(50, generator)
        noise = torch.randn(50, M.ambient_dim, generator=generator, dtype=torch.float64)
        data[name] = data[name + "_on"] + 0.3 * noise
    environment = {**os.environ, "GEOMSTATS_BACKEND": "numpy", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps({k: v.tolist() for k, v in data.items()}),
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parent,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(row for row in done.stdout.splitlines() if row.startswith("RESULT"))
    return data, json.loads(line.removeprefix("RESULT"))


@pytest.mark.parametrize(
    ("name", "M"),
    [
        ("circle", Circle()),
        ("sphere", Sphere()),
        ("rotations", SpecialOrthogonal()),
        ("torus", FlatTorus(2)),
    ],
)
def test_projection_and_membership(
    name: str,
    M: Circle | Sphere | SpecialOrthogonal | FlatTorus,
    both: tuple[dict[str, torch.Tensor], dict[str, list]],
) -> None:
    data, theirs = both
    x, ours, other = (
        data[name].numpy(),
        M.project(data[name]).value.numpy(),
        np.array(theirs[name]),
    )
    same = np.ones(len(x), dtype=bool)
    if name == "rotations":
        # where det < 0 geomstats negates a column of a reflection: not the nearest rotation
        same = np.linalg.det(x.reshape(-1, 3, 3)) > 0
        far, near = (np.linalg.norm(x - y, axis=1)[~same] for y in (other, ours))
        assert 0 < (~same).sum() < 25
        assert (near < far).all()
    np.testing.assert_allclose(ours[same], other[same], rtol=0, atol=1e-12)
    assert all(theirs[name + "_belongs"])
    assert bool(M.contains(data[name + "_on"]).all())
    if name != "torus":
        assert theirs[name + "_not"] == M.contains(data[name]).tolist()
    else:
        assert theirs["torus_dim"] == M.dim


@pytest.mark.parametrize(("name", "M"), [("circle", Circle()), ("sphere", Sphere())])
def test_uniform_distributions_have_equal_moments(
    name: str,
    M: Circle | Sphere,
    both: tuple[dict[str, torch.Tensor], dict[str, list]],
) -> None:
    # two samples of 20000: |z| < 5.5 in 10 coordinates, false-alarm rate below 1e-6
    n = 20_000
    x = M.sample_uniform(n, torch.Generator().manual_seed(1)).numpy()
    for ours, key in ((x, "_mean"), (x**2, "_square")):
        z = (ours.mean(0) - np.array(both[1][name + key])) / (ours.std(0) * np.sqrt(2 / n))
        assert np.abs(z).max() < 5.5
