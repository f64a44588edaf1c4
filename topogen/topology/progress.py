"""One line on a terminal that says what is being computed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Notify = Callable[[str], None]


@contextmanager
def progress_line(wanted: bool | None) -> Iterator[Notify]:
    """What to call with the name of each stage.

    Args:
        wanted: whether to show it; None shows it where standard error is a terminal.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda stage: None
        return
    from rich.console import Console

    with Console(stderr=True).status("topology") as status:
        yield lambda stage: status.update(f"topology: {stage}")
