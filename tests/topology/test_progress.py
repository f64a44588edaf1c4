"""Progress: silent unless wanted, on standard error only, and never in the way of the answer."""

from __future__ import annotations

import io
import sys
import threading

import pytest
import torch

import topogen as tg
from topogen import check_topology
from topogen.topology.progress import on_terminal, progress_line


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


class Log:
    """What some programs put in the place of standard error."""

    def write(self, text):
        pass

    def flush(self):
        pass


class Broken(Log):
    def isatty(self):
        raise OSError("no console")


def _closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream", [lambda: None, Log, Broken, _closed], ids=["none", "log", "broken", "closed"]
)
@pytest.mark.parametrize("wanted", [None, True])
def test_standard_error_may_be_missing_or_odd(stream, wanted, monkeypatch):
    if wanted and stream is _closed:
        return  # nothing can be shown there
    monkeypatch.setattr(sys, "stderr", stream())
    assert not on_terminal()
    with progress_line(wanted) as notify:
        notify("stage")


def test_a_fit_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    t = torch.linspace(0, 6, 60, dtype=torch.float64)
    for progress in (None, True):
        fitted = tg.fit(tg.LocalPolynomials(1, 2), torch.stack([t, t], -1), progress=progress)
        assert fitted.history
