"""A limit on wall time that work keeps, whatever it is doing."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(KeyboardInterrupt):
    """Time is over: a clock stops the work, as Ctrl-C would."""


class Deadline:
    """So many seconds from now on.

    Args:
        seconds: of wall time; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.begin = time.perf_counter()

    @property
    def left(self) -> float | None:
        """Seconds left, not below 0; None where there is no limit."""
        if self.seconds is None:
            return None
        return max(self.seconds - (time.perf_counter() - self.begin), 0.0)

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self.left == 0

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise :class:`OutOfTime` in the block, in its own thread, when time is over.

        A call into compiled code ends first. Where other code swallows the error it is raised
        again, a second later at the earliest: what handles it may take that long.
        """
        if self.left is None:
            yield
            return
        if self.over:
            raise OutOfTime
        thread, ended = threading.get_ident(), threading.Event()

        def ring() -> None:
            wait = self.left
            while not ended.wait(wait):
                _raise_in(thread, OutOfTime)
                wait = max(1.0, 0.02 * (self.seconds or 0.0))

        clock = threading.Thread(target=ring, daemon=True)
        try:
            clock.start()
            yield
        finally:
            while clock is not None:
                try:
                    ended.set()
                    clock.join()
                    # what was sent when the block had ended is raised where a loop goes round. To
                    # withdraw it by NULL leaves Python 3.11 asking for ever: profilers hang then
                    for _ in range(2):
                        pass
                    clock = None
                except OutOfTime:
                    continue  # it comes from the block all the same, or came after its end


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
