"""What the commands share: exit statuses, arguments, places to write to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from ..errors import SaveError
from ..point_cloud.files import KINDS, user_path

DONE, DISAGREES, BAD_INPUT, UNDETERMINED, TRAINING_FAILED = 0, 1, 2, 3, 4
INTERNAL, INTERRUPTED = 70, 130
# of a verdict
STATUS = {"agrees": DONE, "disagrees": DISAGREES, "undetermined": UNDETERMINED, None: DONE}
PICTURES = (".png", ".svg", ".pdf")

OptionalPath = Path | None
OptionalText = str | None
Data = Annotated[
    Path,
    Argument(
        help=f"Points: {KINDS}.",
        metavar="DATA",
        parser=user_path,
    ),
]
Seed = Annotated[int, Option(help="The same seed gives the same result.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress on the terminal.")]


class Interrupted(Exception):
    """Ctrl-C, with something to say."""


def require_folder(*paths: OptionalPath) -> None:
    """Fail now, rather than after the work, where a file could not be written."""
    for path in filter(None, paths):
        if path.is_dir():
            raise SaveError(f"{path}: expected a file to write, got a directory; add a file name")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveError(
                f"{path}: expected a folder to write to, got {error.strerror}; choose another"
            ) from None


def require_picture(*paths: OptionalPath) -> None:
    """Fail now where a picture could not be written."""
    for path in filter(None, paths):
        if (suffix := path.suffix).lower() not in PICTURES:
            raise BadParameter(
                f"{path}: expected a picture, {', '.join(PICTURES)}, got {suffix or 'no suffix'}"
            )
    require_folder(*paths)
