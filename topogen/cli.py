"""The command line: topogen inspect | learn | sample | check | demo.

Exit status: 0 agrees or done, 1 disagrees, 2 usage or bad input, 3 undetermined, 4 training
failed, 70 internal error, 130 interrupted. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._version import __version__

if TYPE_CHECKING:
    from .homology import Homology

DONE, DISAGREES, BAD_INPUT, UNDETERMINED, TRAINING_FAILED = 0, 1, 2, 3, 4
INTERNAL, INTERRUPTED = 70, 130
_STATUS = {"agrees": DONE, "disagrees": DISAGREES, "undetermined": UNDETERMINED, None: DONE}

app = typer.Typer(
    name="topogen",
    help="Points in; a manifold of the right topology, an exact density on it, a verdict out.",
    epilog="Exit status: 0 agrees or done, 1 disagrees, 2 bad input, 3 undetermined, "
    "4 training failed, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    Path, typer.Argument(help="Points: .npy, .npz, .csv, .pt or .parquet.", metavar="DATA")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def main() -> None:
    """Run the command line; errors are one line on stderr."""
    import torch

    # the process is ours, and many small operations on several threads wait for one another
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    sys.exit(run([a for a in arguments if a != "--debug"], debug=debug))


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: as on the command line, without the program's name.
        debug: let exceptions through, with their traceback.
    """
    try:
        status = app(arguments, prog_name="topogen", standalone_mode=False)
    except _InterruptedError as error:
        return _fail(f"interrupted: {error}", INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if debug:
            raise
        return _explain(error)
    if status == INTERRUPTED:
        # typer turns a bare Ctrl-C into this status without a word
        return _fail("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else DONE


class _InterruptedError(Exception):
    """Ctrl-C, with something to say."""


def _explain(error: Exception) -> int:
    from .errors import TopogenError, TrainingError

    if isinstance(error, TrainingError):
        return _fail(str(error), TRAINING_FAILED)
    if isinstance(error, TopogenError | typer.BadParameter) or hasattr(error, "format_message"):
        said = getattr(error, "format_message", error.__str__)
        return _fail(said(), BAD_INPUT)
    line = (str(error).splitlines() or [""])[0]
    return _fail(
        f"internal error ({type(error).__name__}: {line}); run again with --debug and report "
        "what it prints",
        INTERNAL,
    )


def _fail(message: str, status: int) -> int:
    typer.echo(f"topogen: {' '.join(message.split())}", err=True)
    return status


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"topogen {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options of every command."""


@app.command("inspect")
def inspect_(data: Data, seed: Seed = 0) -> None:
    """Dimension, homology, components and noise of a point cloud."""
    from .datafiles import load_points
    from .summary import inspect

    typer.echo(str(inspect(load_points(data), seed=seed)))


@app.command("learn")
def learn_(
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Model file (.safetensors).", metavar="MODEL")
    ],
    report: Annotated[Path | None, typer.Option(help="HTML report.", metavar="OUT.html")] = None,
    family: Annotated[str, typer.Option(help="auto, or a family of models.")] = "auto",
    dim: Annotated[int | None, typer.Option(help="Dimension; estimated when left out.")] = None,
    seed: Seed = 0,
    max_seconds: Annotated[float | None, typer.Option(help="Most seconds for the fit.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after Ctrl-C.")] = False,
    quiet: Quiet = False,
) -> int:
    """Learn the manifold and a density on it; write the model and a report."""
    from .datafiles import load_points
    from .pipeline import FAMILIES, learn, save

    if family not in ("auto", *FAMILIES):
        raise typer.BadParameter(
            f"expected --family auto or one of {', '.join(FAMILIES)}, got {family!r}"
        )
    _require_folder(output)
    if report is not None:
        _require_folder(report)
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
        raise _InterruptedError(
            f"{stop} (here: --resume)" if str(stop) else "before the fit"
        ) from None
    save(result, output)
    checkpoint.unlink(missing_ok=True)
    typer.echo(str(result))
    typer.echo(f"model: {output}")
    if report is not None:
        command = f"topogen learn {data} -o {output} --report {report} --seed {seed}"
        typer.echo(f"report: {result.report(report, command=command)}")
    return _STATUS[result.topology.verdict]


@app.command("sample")
def sample_(
    model: Annotated[Path, typer.Argument(help="A file that learn wrote.", metavar="MODEL")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".npy, .npz, .csv or .pt", metavar="FILE")
    ],
    n: Annotated[int, typer.Option("-n", help="How many points.", min=1)] = 1000,
    seed: Seed = 0,
) -> None:
    """Draw points from a learned model."""
    import torch

    from .datafiles import output_kind, save_points
    from .pipeline import LearnResult, load

    output_kind(output)
    loaded = load(model)
    generator = torch.Generator().manual_seed(seed)
    if isinstance(loaded, LearnResult):
        loaded = loaded.model
    law = (
        loaded()
        if hasattr(loaded, "stages") and callable(getattr(loaded, "forward", None))
        else None
    )
    if law is None or not hasattr(law, "sample"):
        raise typer.BadParameter(f"{model}: expected a learned law, got a {type(loaded).__name__}")
    save_points(output, law.sample((n,), generator=generator).numpy())
    typer.echo(f"{n} points: {output}")


@app.command("check")
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
    alpha: Annotated[float, typer.Option(help="Bound on false classes.")] = 0.01,
    max_seconds: Annotated[float | None, typer.Option(help="Most seconds.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Persistence diagrams, .png or .svg.")] = None,
    seed: Seed = 0,
) -> int:
    """Homology of a point cloud, and whether it is what is expected."""
    from .datafiles import load_points
    from .topology.report import check_topology

    if sum(claim is not None for claim in (against, expect, betti or None)) > 1:
        raise typer.BadParameter(
            "expected one of --against, --expect and --betti, got more; choose one"
        )
    if not 0 < alpha < 1:
        raise typer.BadParameter(f"expected 0 < alpha < 1, got {alpha}")
    expected: Any = None
    if against is not None:
        expected = load_points(against)
    elif expect is not None:
        expected = _space(expect)
    elif betti:
        expected = parse_betti(betti)
    points = load_points(data)
    options = {"fields": expected.fields} if betti else {}
    report = check_topology(
        points, expected=expected, alpha=alpha, seed=seed, max_seconds=max_seconds, **options
    )
    typer.echo(str(report))
    if plot is not None:
        _require_folder(plot)
        report.plot().savefig(plot)
        typer.echo(f"diagrams: {plot}")
    return _STATUS[report.verdict]


@app.command("demo")
def demo_(
    name: Annotated[
        str, typer.Argument(help="circle, sphere, torus, klein or alanine.")
    ] = "torus",
    n: Annotated[int, typer.Option("-n", help="Points to learn from.", min=100)] = 8000,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path(
        "demo-output"
    ),
    seed: Seed = 0,
    quiet: Quiet = False,
) -> int:
    """Learn a known space from points, and measure the result against the truth."""
    from .demos import DEMOS, run
    from .report import write_picture

    if name not in DEMOS:
        raise typer.BadParameter(f"expected one of {', '.join(DEMOS)}, got {name!r}")
    demo = DEMOS[name]()
    _require_folder(output / "report.html")
    typer.echo(f"{name}: {demo.about}")
    outcome = run(demo, n=n, seed=seed, progress=False if quiet else None)
    result = outcome.result
    result.numbers = {**result.numbers, **outcome.numbers}
    typer.echo(str(result))
    command = f"topogen demo {name} -n {n} --seed {seed}"
    report = result.report(output / f"{name}.html", command=command)
    typer.echo(f"report: {report}")
    typer.echo(f"picture: {write_picture(result, output / f'{name}.png')}")
    typer.echo(f"verdict: {outcome.verdict} ({demo.homology})")
    return _STATUS[outcome.verdict]


def parse_betti(claims: list[str]) -> Homology:
    """Betti numbers from texts such as "1,2,1" (every field) or "3:1,1,0" (Z/3).

    Raises:
        typer.BadParameter: a text of another form, or both forms at once.
    """
    from .homology import Homology

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
    from .manifolds import library

    spaces = {
        "circle": library.Circle,
        "sphere": library.Sphere,
        "torus": library.Torus,
        "klein": library.KleinBottle,
        "projective-plane": library.ProjectivePlane,
        "so3": library.RotationGroup,
        "genus2": lambda: library.Genus(2),
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


def _require_folder(path: Path) -> None:
    """Fail now, rather than after the work, when nothing could be written at `path`."""
    from .errors import SaveError

    if path.is_dir():
        raise SaveError(f"{path}: expected a file to write, got a directory; add a file name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(
            f"{path}: expected a folder to write to, got {error.strerror}; choose another"
        ) from None


if __name__ == "__main__":
    main()
