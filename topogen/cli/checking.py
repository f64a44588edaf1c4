"""topogen check."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..homology import Homology
from ..manifolds import spaces
from ..point_cloud.files import load_points
from ..report import check_figure, write_check
from ..report.page import write_figure, write_text
from ..topology.inference.check import TopologyReport, check_topology
from .options import STATUS, Data, Quiet, Seed, require_folder, require_picture


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
    hypothesis = Hypothesis(against, expect, tuple(betti or ()))
    outputs = Outputs(plot, barcode, report, as_json)
    options = Options(alpha, max_seconds, max_memory, trim, metric, extras, seed)
    settings = options.parsed() | {"progress": False if quiet else None} | hypothesis.fields()
    outputs.require()
    clouds = {data.name: load_points(data)}
    expected = hypothesis.homology()
    if against is not None:
        clouds[f"against {against.name}"] = expected = load_points(against)
    checked = check_topology(clouds[data.name], expected=expected, **settings)
    typer.echo(str(checked))
    reports = {data.name: checked}
    if against is not None and (plot is not None or report is not None):
        # the other cloud's own diagrams, in the same degrees
        reports[f"against {against.name}"] = check_topology(
            expected, max_dim=checked.max_dim, **settings
        )
    words = ["topogen", "check", str(data), *hypothesis.words(), *options.words()]
    outputs.write(clouds, reports, shlex.join(words))
    return STATUS[checked.verdict]


@dataclass(frozen=True)
class Hypothesis:
    """What is expected of the points: another cloud, a named space, or Betti numbers."""

    against: Path | None
    expect: str | None
    betti: tuple[str, ...]

    def __post_init__(self) -> None:
        if sum(given not in (None, ()) for given in (self.against, self.expect, self.betti)) > 1:
            raise typer.BadParameter(
                "expected one of --against, --expect and --betti, got more; choose one"
            )

    def homology(self) -> Any:
        """A space or its homology; None where nothing but another cloud is named."""
        if self.expect is not None:
            return _space(self.expect)
        return parse_betti(list(self.betti)) if self.betti else None

    def fields(self) -> dict[str, Any]:
        """The fields that Betti numbers are given over."""
        return {"fields": parse_betti(list(self.betti)).fields} if self.betti else {}

    def words(self) -> list[str]:
        """As on the command line."""
        given = [("--against", self.against), ("--expect", self.expect)]
        given += [("--betti", text) for text in self.betti]
        return [word for name, value in given if value is not None for word in (name, str(value))]


@dataclass(frozen=True)
class Options:
    """How the points are checked, as on the command line."""

    alpha: float = 0.01
    max_seconds: float | None = None
    max_memory: str | None = None
    trim: str = "auto"
    metric: str = "euclidean"
    extras: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 0.1:
            raise typer.BadParameter(f"expected 0 < --alpha <= 0.1, got {self.alpha}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise typer.BadParameter(f"expected --max-seconds > 0, got {self.max_seconds}")
        if self.metric not in ("euclidean", "diffusion"):
            raise typer.BadParameter(
                f"expected --metric euclidean or diffusion, got {self.metric!r}"
            )

    def parsed(self) -> dict[str, Any]:
        """The arguments of :func:`topogen.check_topology`."""
        memory = None if self.max_memory is None else parse_memory(self.max_memory)
        return asdict(self) | {"max_memory": memory, "trim": parse_trim(self.trim)}

    def words(self) -> list[str]:
        """As on the command line; those at their defaults are left out, but the seed."""
        words = []
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name == "seed" or value != option.default:
                words.append(f"--{option.name.replace('_', '-')}")
                words += [] if value is True else [str(value)]
        return words


@dataclass(frozen=True)
class Outputs:
    """The files to write."""

    plot: Path | None
    barcode: Path | None
    report: Path | None
    as_json: Path | None

    def require(self) -> None:
        """Fail now, rather than after the work, where one cannot be written."""
        for picture in (self.plot, self.barcode):
            if picture is not None:
                require_picture(picture)
        for file in (self.report, self.as_json):
            if file is not None:
                require_folder(file)

    def write(
        self, clouds: dict[str, Any], reports: dict[str, TopologyReport], command: str
    ) -> None:
        """Write them, of clouds and reports by name, the cloud that was checked first."""
        checked = next(iter(reports.values()))
        if self.plot is not None:
            figure = check_figure(clouds, reports) if len(clouds) > 1 else checked.plot()
            typer.echo(f"diagrams: {write_figure(self.plot, figure)}")
        if self.barcode is not None:
            typer.echo(f"barcode: {write_figure(self.barcode, checked.plot('barcode'))}")
        if self.as_json is not None:
            text = json.dumps(checked.to_dict(), indent=1, allow_nan=False)
            typer.echo(f"numbers: {write_text(self.as_json, text)}")
        if self.report is not None:
            path = write_check(self.report, clouds, reports, command=command)
            typer.echo(f"report: {path}")


def parse_memory(text: str) -> int:
    """Bytes of a text such as "300M" or "2G" (powers of 1024).

    Raises:
        typer.BadParameter: another form, or less than 1M.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text.strip().upper())
    size = int(float(match[1]) * 2 ** (10 * " KMG".index(match[2] or " "))) if match else 0
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
    known = {
        "circle": spaces.Circle,
        "sphere": spaces.Sphere,
        "torus": spaces.Torus,
        "klein": spaces.KleinBottle,
        "projective-plane": spaces.ProjectivePlane,
        "so3": spaces.SpecialOrthogonal,
        "genus2": lambda: spaces.GenusSurface(2),
        "trefoil": lambda: spaces.TorusKnot(2, 3),
        "hopf": spaces.HopfLink,
        "mobius": spaces.MobiusBand,
        "flat-torus": spaces.FlatTorus,
        "sphere3": lambda: spaces.Sphere(3),
        "torus3": lambda: spaces.FlatTorus(3),
    }
    if name not in known:
        raise typer.BadParameter(f"expected --expect with one of {', '.join(known)}, got {name!r}")
    return known[name]()
