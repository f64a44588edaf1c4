"""One line on a terminal that says what is being computed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Notify = Callable[[str], None]


def on_terminal() -> bool:
    """Whether standard error is a terminal; it may also be missing, closed, or something else."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError, OSError):
        return False


@contextmanager
def progress_line(wanted: bool | None) -> Iterator[Notify]:
    """What to call with the name of each stage.

    Args:
        wanted: whether to show it; None shows it where standard error is a terminal, but not from
            a thread beside the main one, whose own line it would overwrite.
    """
    if wanted is None:
        wanted = on_terminal() and threading.current_thread() is threading.main_thread()
    if not wanted or sys.stderr is None:
        yield lambda stage: None
        return
    if not on_terminal():  # a log file: one line per stage
        yield lambda stage: print(f"topology: {stage}", file=sys.stderr)
        return
    from rich.console import Console

    with Console(stderr=True).status("topology") as status:
        yield lambda stage: status.update(f"topology: {stage}")
