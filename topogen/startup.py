"""Ctrl-C while the program `topogen` starts, which takes seconds: it ends in one line.

Nothing is changed where a program of somebody else imports the library.
"""

import os
import re
import signal
import sys
import threading
from typing import Any, NoReturn


def is_program() -> bool:
    """Whether this process is `topogen`, or `python -m topogen`."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    if name == "-m":  # as long as Python looks for the module; its name comes before the arguments
        return re.fullmatch(r"(-\w*m)?topogen", sys.orig_argv[-len(sys.argv)]) is not None
    return name in ("topogen", "topogen.exe")


def end(signum: int, frame: Any) -> NoReturn:
    """Say that it was interrupted, and end."""
    os.write(2, b"topogen: interrupted\n")
    sys.exit(130)


def started() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if (
    is_program()
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored
):
    signal.signal(signal.SIGINT, end)
