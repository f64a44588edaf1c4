"""What `import topogen` loads and leaves alone; in a process of its own."""

import json
import subprocess
import sys

PROGRAM = """
import json, os, random, sys
import numpy as np, torch

def state():
    from torch.distributions import Distribution
    return [
        str(torch.get_default_dtype()), torch.get_num_threads(),
        torch.get_rng_state().sum().item(), random.getstate()[1][:3],
        np.random.get_state()[1][:3].tolist(), Distribution._validate_args,
        os.environ.get("MPLBACKEND"), os.environ.get("GEOMSTATS_BACKEND"), torch.is_grad_enabled(),
    ]

before, modules = state(), set(sys.modules)
import topogen
undocumented = [
    name for name in dir(topogen)
    if not name.startswith("_") and not (getattr(topogen, name).__doc__ or "").strip()
]
names = [n for n in dir(topogen) if not n.startswith("_")]
heavy = {"geomstats", "matplotlib", "sklearn", "pandas", "gudhi", "zuko", "scipy", "rich", "typer",
         "safetensors"}
print(json.dumps({
    "before": before, "after": state(), "undocumented": undocumented, "names": names,
    "heavy": sorted(heavy & (set(sys.modules) - modules)),
}))
"""


def test_import_is_light_and_changes_nothing():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["before"] == found["after"]
    assert found["heavy"] == []
    assert found["undocumented"] == []
    wanted = {
        "inspect",
        "learn",
        "fit",
        "save",
        "load",
        "check_topology",
        "Torus",
        "Homology",
        "Atlas",
    }
    assert wanted <= set(found["names"])
