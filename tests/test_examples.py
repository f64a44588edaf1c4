"""The example scripts run and say what they are there to show, in words or patterns.

Not here: `alanine`, which is `topogen demo alanine` of tests/test_cli.py; `sphere` and `torus`,
which the documentation runs; `topology_loss` and `bootstrap_dask`, tested in tests/topology.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "circle": ["topology of samples against data: agrees", "NLL gap"],
    "circular_coordinates": [],
    "check_alanine": ["agrees", "disagrees"],
    "implicit_circles": ["NLL gap"],
    # closer than published (.0097, .1734); a gap below .03 nats
    "implicit_glycine": [
        r"topogen +\S+e-0[4-9] +\S+e-0[2-9] +\d+ +-?0\.0[0-2]\d* \+- 0\.00",
        r"\n\d{1,2} of 10000 fresh points without a density",
    ],
    "implicit_spheres": [
        r"right sphere 0\.(4[789]|5[012])\d \+- \.008",
        "intersection: length 5.44",
        "likelihood exact",
    ],
    "manifold_arithmetic": [r"\(1, 0, 3\)", "length 5.44140", "tangent at", "at distance 0.5"],
    "polynomial_patches": ["those of KleinBottle"],
    "rotating_digit": ["those of Circle"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_example(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[name]:
        assert re.search(words, done.stdout), words


@pytest.mark.parametrize("name", ["natural_patches", "cyclo_octane", "implicit_earth"])
def test_scripts_that_need_a_file_say_where_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = str(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [script])
    runpy.run_path(script, run_name="__main__")
    assert "where to get it" in capsys.readouterr().out
