"""topogen check."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from .options import STATUS, Data, Quiet, Seed, require_folder, require_picture

if TYPE_CHECKING:
    from ..homology import Homology

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def check_(
    data: Data,
    against: Annotated[
        Path | None, typer.Option(help="Another point cloud.", metavar="DATA")
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="A space: circle, sphere, torus, klein, ...")
    ] = None,
    betti: Annotated[
        list[str] | None, typer.Option(help="Betti numbers: 1,2,1 over every field, or 3:1,1,0.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Bound on false classes, at most 0.1.")] = 0.01,
    max_seconds: Annotated[float | None, typer.Option(help="Most seconds.")] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Most memory beside the points, as 300M or 2G.")
    ] = None,
    trim: Annotated[
        str, typer.Option(help="Outliers left out: auto, or a fraction.", metavar="auto|FRACTION")
    ] = "auto",
    metric: Annotated[
        str, typer.Option(help="Distances.", metavar="euclidean|diffusion")
    ] = "euclidean",
    extras: Annotated[bool, typer.Option("--extras", help="Other published tests too.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Persistence diagrams; with --against beside both clouds.", metavar="FILE.png"
        ),
    ] = None,
    barcode: Annotated[
        Path | None, typer.Option(help="Barcodes with cut-offs.", metavar="FILE.png")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="One page with everything.", metavar="FILE.html")
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="The numbers.", metavar="FILE.json")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> int:
    """Homology of a point cloud, and whether it is what is expected."""
    from ..point_cloud.files import load_points
    from ..report.page import write_figure, write_text
    from ..topology.inference.check import CheckOptions, check_topology

    _require_sense(against, expect, betti, alpha, max_seconds, metric)
    options = CheckOptions(
        trim=parse_trim(trim),
        metric=cast("Literal['euclidean', 'diffusion']", metric),
        max_memory=None if max_memory is None else parse_memory(max_memory),
        extras=extras,
    )
    asked: dict[str, Any] = {
        "alpha": alpha,
        "seed": seed,
        "max_seconds": max_seconds,
        "progress": False if quiet else None,
        "options": options,
    }
    expected: Any = None
    if expect is not None:
        expected = _space(expect)
    elif betti:
        expected = parse_betti(betti)
        asked["fields"] = expected.fields
    for picture in (plot, barcode):
        if picture is not None:
            require_picture(picture)
    for file in (report, as_json):
        if file is not None:
            require_folder(file)
    clouds = {data.name: load_points(data)}
    if against is not None:
        clouds[f"against {against.name}"] = expected = load_points(against)
    checked = check_topology(clouds[data.name], expected=expected, **asked)
    typer.echo(str(checked))
    reports = {data.name: checked}
    if against is not None and (plot is not None or report is not None):
        # the other cloud's own diagrams, in the same degrees
        reports[f"against {against.name}"] = check_topology(
            expected, max_dim=checked.max_dim, **asked
        )
    if plot is not None:
        from ..report import check_figure

        figure = checked.plot() if against is None else check_figure(clouds, reports)
        typer.echo(f"diagrams: {write_figure(plot, figure)}")
    if barcode is not None:
        typer.echo(f"barcode: {write_figure(barcode, checked.plot('barcode'))}")
    if as_json is not None:
        text = json.dumps(checked.to_dict(), indent=1, allow_nan=False)
        typer.echo(f"numbers: {write_text(as_json, text)}")
    if report is not None:
        from ..report import write_check

        command = _command(data, against, expect, betti, asked)
        typer.echo(f"report: {write_check(report, clouds, reports, command=command)}")
    return STATUS[checked.verdict]


def _require_sense(
    against: Path | None,
    expect: str | None,
    betti: list[str] | None,
    alpha: float,
    max_seconds: float | None,
    metric: str,
) -> None:
    """Refuse what no check can do, before any work."""
    if sum(claim is not None for claim in (against, expect, betti or None)) > 1:
        raise typer.BadParameter(
            "expected one of --against, --expect and --betti, got more; choose one"
        )
    if not 0 < alpha <= 0.1:
        raise typer.BadParameter(f"expected 0 < --alpha <= 0.1, got {alpha}")
    if max_seconds is not None and not max_seconds > 0:
        raise typer.BadParameter(f"expected --max-seconds > 0, got {max_seconds}")
    if metric not in ("euclidean", "diffusion"):
        raise typer.BadParameter(f"expected --metric euclidean or diffusion, got {metric!r}")


def _command(
    data: Path,
    against: Path | None,
    expect: str | None,
    betti: list[str] | None,
    asked: dict[str, Any],
) -> str:
    """What gives the same verdict again; options at their defaults are left out."""
    words = ["topogen", "check", str(data)]
    if against is not None:
        words += ["--against", str(against)]
    if expect is not None:
        words += ["--expect", expect]
    for claim in betti or []:
        words += ["--betti", claim]
    usual = {
        "alpha": 0.01,
        "max_seconds": None,
        "max_memory": None,
        "trim": "auto",
        "metric": "euclidean",
    }
    given = {**asked, **asdict(asked["options"])}
    for name, default in usual.items():
        if given[name] != default:
            words += [f"--{name.replace('_', '-')}", str(given[name])]
    words += ["--extras"] if given["extras"] else []
    return shlex.join([*words, "--seed", str(given["seed"])])


def parse_memory(text: str) -> int:
    """Bytes of a text such as "300M" or "2G" (powers of 1024).

    Raises:
        typer.BadParameter: another form, or less than 1M.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 2**20:
        raise typer.BadParameter(
            f"expected --max-memory of at least 1M, such as 300M or 2G, got {text!r}"
        )
    return size


def parse_trim(text: str) -> float | Literal["auto"]:
    """A fraction in [0, 0.5), or "auto".

    Raises:
        typer.BadParameter: anything else.
    """
    if text == "auto":
        return "auto"
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction < 0.5:
        raise typer.BadParameter(f"expected --trim auto or a fraction in [0, 0.5), got {text!r}")
    return fraction


def parse_betti(claims: list[str]) -> Homology:
    """Betti numbers from texts such as "1,2,1" (every field) or "3:1,1,0" (Z/3).

    Raises:
        typer.BadParameter: a text of another form, or both forms at once.
    """
    from ..homology import Homology

    betti: dict[int, tuple[int, ...]] = {}
    try:
        for claim in claims:
            field, _, numbers = claim.rpartition(":")
            values = tuple(int(b) for b in numbers.split(","))
            if not field:
                if len(claims) > 1:
                    raise ValueError("a claim for every field stands alone")
                return Homology(values)
            if int(field) in betti:
                raise ValueError(f"Z/{field} is given twice")
            betti[int(field)] = values
        return Homology(betti)
    except ValueError as error:
        raise typer.BadParameter(
            f"expected --betti 1,2,1 or --betti 2:1,2,1 --betti 3:1,1,0, got "
            f"{' '.join(claims)!r} ({error})"
        ) from None


def _space(name: str) -> Any:
    from ..manifolds import spaces as library

    spaces = {
        "circle": library.Circle,
        "sphere": library.Sphere,
        "torus": library.Torus,
        "klein": library.KleinBottle,
        "projective-plane": library.ProjectivePlane,
        "so3": library.SpecialOrthogonal,
        "genus2": lambda: library.GenusSurface(2),
        "trefoil": lambda: library.TorusKnot(2, 3),
        "hopf": library.HopfLink,
        "mobius": library.MobiusBand,
        "flat-torus": library.FlatTorus,
        "sphere3": lambda: library.Sphere(3),
        "torus3": lambda: library.FlatTorus(3),
    }
    if name not in spaces:
        raise typer.BadParameter(
            f"expected --expect with one of {', '.join(spaces)}, got {name!r}"
        )
    return spaces[name]()
