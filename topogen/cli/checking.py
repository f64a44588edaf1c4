"""The command `topogen check`: the homology of a cloud, against what is expected of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from typer import BadParameter, Option, echo

from ..homology import Homology
from ..manifolds.spaces import SPACES, ReferenceSpace
from ..point_cloud.files import load_points, user_path
from ..report import check_figure, write_check
from ..report.page import write_figure, write_text
from ..topology.inference.check import CheckOptions, check_topology
from ..topology.inference.report import TopologyReport
from .options import (
    STATUS,
    Data,
    OptionalPath,
    OptionalText,
    Quiet,
    Seed,
    require_folder,
    require_picture,
)


def check_(
    data: Data,
    against: Annotated[
        OptionalPath, Option(help="Another point cloud.", metavar="DATA", parser=user_path)
    ] = None,
    expect: Annotated[
        OptionalText, Option(help=f"A space: {', '.join(SPACES)}.", metavar="SPACE")
    ] = None,
    betti: Annotated[
        list[str] | None, Option(help="Betti numbers: 1,2,1 over every field, or 3:1,1,0.")
    ] = None,
    alpha: Annotated[float, Option(help="Bound on false classes, at most 0.1.")] = 0.01,
    max_seconds: Annotated[float | None, Option(help="Most seconds.")] = None,
    max_memory: Annotated[
        OptionalText, Option(help="Most memory beside the points, as 300M or 2G.")
    ] = None,
    trim: Annotated[
        str, Option(help="Outliers left out: auto, or a fraction.", metavar="auto|FRACTION")
    ] = "auto",
    max_outliers: Annotated[
        float, Option(help="Share of points left out from which it fails.", metavar="SHARE")
    ] = 1.0,
    metric: Annotated[str, Option(help="Distances.", metavar="euclidean|diffusion")] = "euclidean",
    extras: Annotated[bool, Option("--extras", help="Other published tests too.")] = False,
    plot: Annotated[
        OptionalPath,
        Option(
            help="Persistence diagrams; with --against beside both clouds.",
            metavar="FILE.png",
            parser=user_path,
        ),
    ] = None,
    barcode: Annotated[
        OptionalPath, Option(help="Barcodes with cut-offs.", metavar="FILE.png", parser=user_path)
    ] = None,
    report: Annotated[
        OptionalPath,
        Option(help="One page with everything.", metavar="FILE.html", parser=user_path),
    ] = None,
    as_json: Annotated[
        OptionalPath, Option("--json", help="The numbers.", metavar="FILE.json", parser=user_path)
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> int:
    """Homology of a point cloud, and whether it is what is expected."""
    expectation = Expectation(against, expect, tuple(betti or ()))
    outputs = CheckFiles(plot, barcode, report, as_json)
    memory = None if max_memory is None else parse_memory(max_memory)
    options = CheckArguments(
        alpha, max_seconds, memory, parse_trim(trim), max_outliers, metric, extras, seed
    )
    settings: dict[str, Any] = options.settings() | expectation.fields()
    settings["progress"] = False if quiet else None
    require_picture(plot, barcode)
    require_folder(report, as_json)
    clouds = {data.name: load_points(data)}
    expected: Any = expectation.homology()
    if against is not None:
        clouds[f"against {against.name}"] = expected = load_points(against)
    checked = check_topology(clouds[data.name], expected=expected, **settings)
    echo(str(checked))
    reports = {data.name: checked}
    if against is not None and (plot is not None or report is not None):
        # the other cloud's own diagrams, in the same degrees
        reports[f"against {against.name}"] = check_topology(
            expected, max_dim=checked.max_dim, **settings
        )
    words = ["topogen", "check", str(data), *expectation.words(), *options.words()]
    outputs.write(clouds, reports, shlex.join(words))
    return STATUS[checked.verdict]


@dataclass(frozen=True)
class Expectation:
    """What is expected of the points: another cloud, a named space, or Betti numbers."""

    against: Path | None
    expect: str | None
    betti: tuple[str, ...]

    def __post_init__(self) -> None:
        if sum(given not in (None, ()) for given in (self.against, self.expect, self.betti)) > 1:
            raise BadParameter(
                "expected one of --against, --expect and --betti, got more; choose one"
            )

    def homology(self) -> ReferenceSpace | Homology | None:
        """A space or its homology; None where nothing but another cloud is named."""
        if self.expect is None:
            return parse_betti(self.betti) if self.betti else None
        name = self.expect.lower().replace("_", "-")
        if name not in SPACES:
            raise BadParameter(
                f"expected --expect with one of {', '.join(SPACES)}, got {self.expect!r}"
            )
        return SPACES[name]()

    def fields(self) -> dict[str, Any]:
        """The fields that Betti numbers are given over."""
        return {"fields": parse_betti(self.betti).fields} if self.betti else {}

    def words(self) -> list[str]:
        """As on the command line."""
        given = [("--against", self.against), ("--expect", self.expect)]
        given += [("--betti", text) for text in self.betti]
        return [word for name, value in given if value is not None for word in (name, str(value))]


@dataclass(frozen=True)
class CheckArguments:
    """How the points are checked: what the command line asks for."""

    alpha: float = 0.01
    max_seconds: float | None = None
    max_memory: int | None = None
    trim: float | Literal["auto"] = "auto"
    max_outliers: float = 1.0
    metric: str = "euclidean"
    extras: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 0.1:
            raise BadParameter(f"expected 0 < --alpha <= 0.1, got {self.alpha}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise BadParameter(f"expected --max-seconds > 0, got {self.max_seconds}")
        if not 0 <= self.max_outliers <= 1:
            raise BadParameter(f"expected 0 <= --max-outliers <= 1, got {self.max_outliers}")
        if self.metric not in ("euclidean", "diffusion"):
            raise BadParameter(f"expected --metric euclidean or diffusion, got {self.metric!r}")

    def settings(self) -> dict[str, Any]:
        """The arguments of :func:`topogen.check_topology`."""
        options = CheckOptions(
            trim=self.trim,
            metric=cast("Literal['euclidean', 'diffusion']", self.metric),
            max_memory=self.max_memory,
            extras=self.extras,
            most_outliers=self.max_outliers,
        )
        return {
            "alpha": self.alpha,
            "max_seconds": self.max_seconds,
            "seed": self.seed,
            "options": options,
        }

    def words(self) -> list[str]:
        """As on the command line; those at their defaults are left out, but the seed."""
        words = []
        given = vars(self)
        for option in fields(self):
            value = given[option.name]
            if option.name == "seed" or value != option.default:
                words.append(f"--{option.name.replace('_', '-')}")
                words += [] if value is True else [str(value)]
        return words


@dataclass(frozen=True)
class CheckFiles:
    """The files to write."""

    plot: Path | None
    barcode: Path | None
    report: Path | None
    as_json: Path | None

    def write(
        self, clouds: dict[str, Any], reports: dict[str, TopologyReport], command: str
    ) -> None:
        """Write them, of clouds and reports by name, the cloud that was checked first."""
        checked = next(iter(reports.values()))
        if self.plot is not None:
            figure = check_figure(clouds, reports) if len(clouds) > 1 else checked.plot()
            echo(f"diagrams: {write_figure(self.plot, figure)}")
        if self.barcode is not None:
            echo(f"barcode: {write_figure(self.barcode, checked.plot('barcode'))}")
        if self.as_json is not None:
            text = json.dumps(checked.to_dict(), indent=1, allow_nan=False)
            echo(f"numbers: {write_text(self.as_json, text)}")
        if self.report is not None:
            echo(f"report: {write_check(self.report, clouds, reports, command=command)}")


def parse_memory(text: str) -> int:
    """Bytes, at least 1M, of a text such as "300M" or "2G" (powers of 1024); else BadParameter."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text.strip().upper())
    size = int(float(match[1]) * 2 ** (10 * " KMG".index(match[2] or " "))) if match else 0
    if size < 2**20:
        raise BadParameter(
            f"expected --max-memory of at least 1M, such as 300M or 2G, got {text!r}"
        )
    return size


def parse_trim(text: str) -> float | Literal["auto"]:
    """A fraction in [0, 0.5), or "auto"; anything else is a BadParameter."""
    if text == "auto":
        return "auto"
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction < 0.5:
        raise BadParameter(f"expected --trim auto or a fraction in [0, 0.5), got {text!r}")
    return fraction


def parse_betti(texts: Sequence[str]) -> Homology:
    """Betti numbers from texts, all as "3:1,1,0" (Z/3), or one as "1,2,1"; else BadParameter."""
    betti: dict[int, tuple[int, ...]] = {}
    try:
        for text in texts:
            # blanks beside the separators; one between digits is none of them
            tight = re.sub(r"\s*([,:])\s*", r"\1", text.strip())
            match = re.fullmatch(r"(?:(\d+):)?(\d+(?:,\d+)*)", tight)
            if match is None:
                raise ValueError("whole numbers with commas between them")
            field, values = match[1], tuple(int(b) for b in match[2].split(","))
            if field is None:
                if len(texts) > 1:
                    raise ValueError("Betti numbers for every field stand alone")
                return Homology(values)
            if int(field) in betti:
                raise ValueError(f"Z/{field} is given twice")
            betti[int(field)] = values
        return Homology(betti)
    except ValueError as error:
        raise BadParameter(
            f"expected --betti 1,2,1 or --betti 2:1,2,1 --betti 3:1,1,0, got "
            f"{' '.join(texts)!r} ({error})"
        ) from None
