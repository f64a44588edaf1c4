"""Progress: silent unless wanted, on standard error only, and never in the way of the answer."""

from __future__ import annotations

import sys
import threading

import pytest

from topogen import check_topology
from topogen.topology.progress import progress_line


class Terminal:
    def __init__(self, stream):
        self.stream = stream

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_silent_where_standard_error_is_no_terminal(cloud, capfd):
    check_topology(cloud("circle", 300))
    check_topology(cloud("circle", 300), progress=False)
    with progress_line(None) as notify:
        notify("stage")
    assert capfd.readouterr() == ("", "")


def test_a_line_on_standard_error_when_wanted(cloud, capsys):
    plain = check_topology(cloud("circle", 300))
    shown = check_topology(cloud("circle", 300), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "topology" in err
    assert shown.betti == plain.betti


def test_by_default_only_the_main_thread_draws_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))

    def use():
        with progress_line(None) as notify:
            notify("stage")

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert capsys.readouterr().err == ""
    use()
    assert "topology" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", [True, False])
def test_errors_pass_through(wanted):
    def fail():
        with progress_line(wanted) as notify:
            notify("stage")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
