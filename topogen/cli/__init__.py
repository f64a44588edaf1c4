"""The command line; results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import torch
import typer

from .._version import __version__
from ..errors import TopogenError, TrainingError
from ..inspection import inspect
from ..point_cloud.files import load_points
from ..startup import started
from . import checking, learning
from .options import (
    BAD_INPUT,
    DONE,
    INTERNAL,
    INTERRUPTED,
    TRAINING_FAILED,
    Data,
    Interrupted,
    Seed,
)

app = typer.Typer(
    name="topogen",
    help="Points in; a manifold of the right topology, an exact density on it, a verdict out.",
    epilog="Exit status: 0 agrees or done, 1 disagrees, 2 bad input, 3 undetermined, "
    "4 training failed, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


# of click, or of the copy of it that typer carries
_ClickException: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Run the command line; errors are one line on stderr."""
    started()
    # the process is ours, and many small operations on several threads wait for one another
    torch.set_num_threads(1)
    # that of a notebook need not exist here, and files need none
    os.environ["MPLBACKEND"] = "agg"
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
    except Interrupted as error:
        return _fail(f"interrupted: {error}", INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        if sys.stderr is not None:
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


def _explain(error: Exception) -> int:
    if isinstance(error, _ClickException):
        refused: Any = error
        return _fail(refused.format_message(), BAD_INPUT)
    if isinstance(error, TopogenError):
        status = TRAINING_FAILED if isinstance(error, TrainingError) else BAD_INPUT
        return _fail(str(error), status)
    line = (str(error).splitlines() or [""])[0]
    return _fail(
        f"internal error ({type(error).__name__}: {line}); run again with --debug and report "
        "what it prints",
        INTERNAL,
    )


def _fail(message: str, status: int) -> int:
    if message:  # the help that a bare `topogen` prints says enough
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
    typer.echo(str(inspect(load_points(data), seed=seed)))


app.command("learn")(learning.learn_)
app.command("sample")(learning.sample_)
app.command("check")(checking.check_)
app.command("demo")(learning.demo_)
