"""What a redesign must leave as it is: numbers of `learn`, `check_topology` and NLL gaps.

    python benchmarks/unchanged.py record before.json     # on the one version
    python benchmarks/unchanged.py record after.json      # on the other
    python benchmarks/unchanged.py compare before.json after.json

`unchanged_ea54283.json` is the record of commit ea54283, before the redesign.

`record` runs `learn` on five spaces with the three families, from 2000 points, and
`check_topology` on thirteen spaces with two seeds; rows that the file has are kept. `compare`
prints every number that differs by more than 1e-6 of its value and every verdict that differs, and
ends with status 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

import topogen as tg
from topogen import demos

LEARN = ("circle", "sphere", "torus", "klein", "alanine")
FAMILIES = ("atlas", "implicit", "injective")
POINTS, FRESH, RELATIVE = 2000, 4000, 1e-6


def spaces() -> dict[str, tuple[Any, int]]:
    """Name to (space, number of points); old names where the new ones are not there yet."""
    genus = getattr(tg, "GenusSurface", None) or tg.Genus  # pyright: ignore
    rotations = getattr(tg, "SpecialOrthogonal", None)
    so3 = rotations(3) if rotations is not None else tg.RotationGroup()  # pyright: ignore
    return {
        "circle": (tg.Circle(), 2500),
        "trefoil": (tg.TorusKnot(2, 3), 2500),
        "Hopf link": (tg.HopfLink(), 2500),
        "sphere": (tg.Sphere(), 2500),
        "torus (1, .4)": (tg.Torus(), 2500),
        "torus (2, 1)": (tg.Torus(2.0, 1.0), 2500),
        "flat torus": (tg.FlatTorus(2), 2500),
        "Klein bottle": (tg.KleinBottle(), 2500),
        "RP2": (tg.ProjectivePlane(), 2500),
        "genus 2": (genus(2), 5000),
        "SO(3)": (so3, 5000),
        "S1 x S2": (tg.Product(tg.Circle(), tg.Sphere()), 5000),
        "S3": (tg.Sphere(3), 5000),
    }


def learned(name: str, family: str) -> dict[str, Any]:
    """The numbers of one call of `learn`."""
    demo = demos.DEMOS[name]()
    x = demo.points(POINTS, 0)[:POINTS]
    try:
        r = tg.learn(x, family=family, seed=0, progress=False)
    except tg.errors.TopogenError as e:
        return {"refused": f"{type(e).__name__}: {e}"[:90]}
    samples = r.sample(500, seed=1)
    fresh = demo.sample(FRESH, torch.Generator().manual_seed(10_000))
    gap = demo.log_prob(fresh) - r.log_prob(fresh)
    inside = gap.isfinite()
    measured = getattr(r, "measurements", None) or r.measurements  # pyright: ignore
    return {
        "numbers": {k: v for k, v in measured.items() if "second" not in k},
        "verdict": r.topology.verdict,
        "betti": {str(p): b for p, b in r.topology.betti.items()},
        "samples": [float(samples.sum()), float((samples**2).sum())],
        "log_prob": float(r.log_prob(samples).sum()),
        "gap": float(gap[inside].mean()),
        "outside": int((~inside).sum()),
    }


def checked(space: Any, n: int, seed: int) -> dict[str, Any]:
    """The numbers of one call of `check_topology`, with the space as the hypothesis."""
    x = space.sample_uniform(n, generator=torch.Generator().manual_seed(seed))
    report = tg.check_topology(x, expected=space, seed=seed)
    return {
        "verdict": report.verdict,
        "betti": {str(p): b for p, b in report.betti.items()},
        "p_values": {str(p): b for p, b in report.p_values.items()},
        "scale": report.scale,
    }


def record(path: Path) -> None:
    """Run everything; the file is written after each row, so a stopped run keeps what it has."""
    torch.set_num_threads(1)
    rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    jobs: list[tuple[str, Any]] = [
        (f"check {name}, seed {seed}", lambda s=space, n=n, k=seed: checked(s, n, k))
        for name, (space, n) in spaces().items()
        for seed in (0, 1)
    ]
    jobs += [
        (f"learn {name}, {family}", lambda m=name, f=family: learned(m, f))
        for family in FAMILIES
        for name in LEARN
    ]
    for label, job in jobs:
        if label in rows:
            continue
        begin = time.perf_counter()
        rows[label] = job()
        path.write_text(json.dumps(rows, indent=1))
        print(f"{label:36s} {time.perf_counter() - begin:7.1f} s", flush=True)


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two records differ: a line each."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(k for k in b if k not in a)]
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{where} / {k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (p, q) in pairs for d in differences(p, q, f"{where} [{i}]")]
    if isinstance(a, int | float) and isinstance(b, int | float):
        same = a == b or math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-12)
        return [] if same or (a != a and b != b) else [f"{where}: {a!r} -> {b!r}"]
    return [] if a == b else [f"{where}: {a!r} -> {b!r}"]


def main() -> int:
    """Record one version, or compare two records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("files", nargs="+", type=Path)
    args = parser.parse_args()
    if args.action == "record":
        record(args.files[0])
        return 0
    before, after = (json.loads(f.read_text()) for f in args.files[:2])
    rows = [row for row in before if row in after]
    found = [d for row in rows for d in differences(before[row], after[row], row)]
    print("\n".join(found))
    both = len(before.keys() & after.keys())
    print(f"{both} of {len(before)} rows compared, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
