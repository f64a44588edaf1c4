"""What the commands share: exit statuses, arguments, places to write to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SaveError

DONE, DISAGREES, BAD_INPUT, UNDETERMINED, TRAINING_FAILED = 0, 1, 2, 3, 4
INTERNAL, INTERRUPTED = 70, 130
# of a verdict
STATUS = {"agrees": DONE, "disagrees": DISAGREES, "undetermined": UNDETERMINED, None: DONE}
PICTURES = (".png", ".svg", ".pdf")

Data = Annotated[
    Path, typer.Argument(help="Points: .npy, .npz, .csv, .pt or .parquet.", metavar="DATA")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on the terminal.")]


class Interrupted(Exception):
    """Ctrl-C, with something to say."""


def require_folder(path: Path) -> None:
    """Fail now, rather than after the work, when nothing could be written at `path`."""
    if path.is_dir():
        raise SaveError(f"{path}: expected a file to write, got a directory; add a file name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(
            f"{path}: expected a folder to write to, got {error.strerror}; choose another"
        ) from None


def require_picture(path: Path) -> None:
    """Fail now where no picture could be written at `path`."""
    if path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(
            f"{path}: expected a picture, {', '.join(PICTURES)}, got {path.suffix or 'no suffix'}"
        )
    require_folder(path)
