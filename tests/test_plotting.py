"""Figures are made without pyplot, have equal axes, and can be written."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from topogen.plotting import persistence_figure, scatter_figure


def test_persistence_figure_counts_classes_and_draws_cut_offs(tmp_path):
    bars = [
        np.array([[0.0, 1.0], [0.0, 0.2]]),
        np.array([[0.2, 0.9], [0.3, 0.35]]),
        np.empty((0, 2)),
    ]
    figure = persistence_figure({"Z/2": bars, "Z/3": bars}, (2.2, 2.4, 1.3), 0.15, title="t")
    assert len(figure.axes) == 2
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts == ["$H_0$: 1", "$H_1$: 1", "$H_2$: 0"]
    figure.savefig(tmp_path / "a.png")


@pytest.mark.parametrize("D", [1, 2, 3, 7])
def test_scatter_figure_has_one_scale(tmp_path, D):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, D)), 3 * rng.standard_normal((5000, D))
    figure = scatter_figure({"a": x, "b": y}, labels={"a": np.arange(50) % 3, "b": y[:, 0]})
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert np.ptp(first.get_xlim()) == pytest.approx(np.ptp(first.get_ylim()))
    figure.savefig(tmp_path / "b.png")


def test_pyplot_stays_unloaded():
    import subprocess

    code = (
        "import sys, numpy as np; from topogen.plotting import scatter_figure;"
        "scatter_figure({'a': np.zeros((3, 2))}); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
