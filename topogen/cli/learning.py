"""The commands `topogen learn`, `sample` and `demo`: models from points, points from models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from typer import Argument, BadParameter, Option, echo

from ..demos import DEMOS, run
from ..models.base import LearnedDistribution
from ..pipeline import FAMILIES, learn
from ..point_cloud.files import load_points, output_kind, save_points, user_path
from ..report import write_picture
from ..results import LearnResult
from ..serialization import load, save
from .options import STATUS, Data, Interrupted, OptionalPath, Quiet, Seed, require_folder

OTHER_KINDS = (".pt", ".pth", ".pkl", ".npy", ".npz", ".csv", ".html")  # no model is written so


def learn_(
    data: Data,
    output: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            help="Model file (.safetensors).",
            metavar="MODEL",
            parser=user_path,
        ),
    ],
    report: Annotated[
        OptionalPath, Option(help="HTML report.", metavar="OUT.html", parser=user_path)
    ] = None,
    family: Annotated[str, Option(help=f"auto, {', '.join(FAMILIES)}.")] = "auto",
    dim: Annotated[int | None, Option(help="Dimension; estimated when left out.")] = None,
    seed: Seed = 0,
    max_seconds: Annotated[float | None, Option(help="Most seconds for the fit.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on after Ctrl-C.")] = False,
    quiet: Quiet = False,
) -> int:
    """Learn the manifold and a density on it; write the model and a report."""
    family = family.lower()
    if family not in ("auto", *FAMILIES):
        raise BadParameter(
            f"expected --family auto or one of {', '.join(FAMILIES)}, got {family!r}"
        )
    if output.suffix.lower() in OTHER_KINDS:
        raise BadParameter(
            f"{output}: expected a .safetensors file, got {output.suffix}; rename the model"
        )
    require_folder(output, report)
    points = load_points(data)
    checkpoint = output.with_name(output.name + ".checkpoint")
    try:
        result = learn(
            points,
            family=family,
            dim=dim,
            seed=seed,
            max_seconds=max_seconds,
            progress=False if quiet else None,
            checkpoint=checkpoint,
            resume=resume,
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{stop} (here: --resume)" if str(stop) else "before the fit") from None
    save(result, output)
    checkpoint.unlink(missing_ok=True)
    echo(str(result))
    echo(f"model: {output}")
    if report is not None:
        command = f"topogen learn {data} -o {output} --report {report} --seed {seed}"
        command += f" --family {result.family}" + (f" --dim {dim}" if dim is not None else "")
        echo(f"report: {result.report(report, command=command)}")
    return STATUS[result.topology.verdict]


def sample_(
    model: Annotated[
        Path, Argument(help="A file that learn wrote.", metavar="MODEL", parser=user_path)
    ],
    output: Annotated[
        Path,
        Option("--output", "-o", help=".npy, .npz, .csv or .pt", metavar="FILE", parser=user_path),
    ],
    n: Annotated[int, Option("-n", help="How many points.", min=1)] = 1000,
    seed: Seed = 0,
) -> None:
    """Draw points from a learned model."""
    output_kind(output)
    loaded = load(model)
    if isinstance(loaded, LearnResult):
        loaded = loaded.model
    if not isinstance(loaded, LearnedDistribution):
        raise BadParameter(
            f"{model}: expected a learned distribution, got a {type(loaded).__name__}"
        )
    generator = torch.Generator().manual_seed(seed)
    save_points(output, loaded().sample((n,), generator=generator).numpy())
    echo(f"{n} points: {output}")


def demo_(
    name: Annotated[str, Argument(help="circle, sphere, torus, klein or alanine.")] = "torus",
    n: Annotated[int, Option("-n", help="Points to learn from.", min=100)] = 8000,
    output: Annotated[
        Path,
        Option("--output", "-o", help="Folder for the report.", metavar="DIR", parser=user_path),
    ] = Path("demo-output"),
    seed: Seed = 0,
    quiet: Quiet = False,
) -> int:
    """Learn a known space from points, and measure the result against the truth."""
    name = name.lower()
    if name not in DEMOS:
        raise BadParameter(f"expected one of {', '.join(DEMOS)}, got {name!r}")
    demo = DEMOS[name]()
    require_folder(output / "report.html")
    echo(f"{name}: {demo.about}")
    outcome = run(demo, n=n, seed=seed, progress=False if quiet else None)
    result = outcome.result
    result.measurements = {**result.measurements, **outcome.measurements}
    echo(str(result))
    command = f"topogen demo {name} -n {n} --seed {seed}"
    echo(f"report: {result.report(output / f'{name}.html', command=command)}")
    echo(f"picture: {write_picture(result, output / f'{name}.png')}")
    echo(f"verdict: {outcome.verdict} ({demo.homology})")
    return STATUS[outcome.verdict]
