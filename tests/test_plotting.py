"""Figures are made without pyplot, have equal axes, and can be written."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from topogen.plotting import (
    barcode_figure,
    clouds_figure,
    comparison_figure,
    persistence_figure,
    principal_view,
    scatter_figure,
)

BARS = [
    np.array([[0.0, 1.0], [0.0, 0.2]]),
    np.array([[0.2, 0.9], [0.3, 0.35]]),
    np.empty((0, 2)),
]
CUTS = (2.2, 2.4, 1.3)


def test_persistence_figure_counts_classes_and_draws_cut_offs(tmp_path):
    figure = persistence_figure({"Z/2": BARS, "Z/3": BARS}, CUTS, 0.15, title="t")
    assert len(figure.axes) == 2
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts == ["$H_0$: 1", "$H_1$: 1", "$H_2$: 0"]
    figure.savefig(tmp_path / "a.png")


def test_barcode_figure_labels_each_degree_and_draws_each_cut_off(tmp_path):
    figure = barcode_figure({"Z/2": BARS}, CUTS, 0.15, most=1)
    (ax,) = figure.axes
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == ["$H_0$\n1 of 2", "$H_1$\n1 of 2", "$H_2$\n0 of 0"]
    # per degree: the strip up to the cut-off, then the one bar that is drawn
    ends = [c.get_segments()[0][1, 0] for c in ax.collections if c.get_segments()]
    assert ends == pytest.approx([2.2 * 0.15, 1.0, 2.4 * 0.2, 0.9])
    figure.savefig(tmp_path / "a.png")


@pytest.mark.parametrize("draw", [persistence_figure, barcode_figure])
def test_diagram_figures_take_empty_diagrams(tmp_path, draw):
    draw({}, CUTS, 0.0).savefig(tmp_path / "a.png")
    draw({"Z/2": [np.empty((0, 2))]}, CUTS, 0.0).savefig(tmp_path / "b.png")


@pytest.mark.parametrize("D", [1, 2, 3, 7])
def test_comparison_figure_has_one_view_and_the_diagrams_below(tmp_path, D):
    x = np.random.default_rng(0).standard_normal((300, D))
    clouds, half = {"a": x, "b": x / 2}, [b / 2 for b in BARS]
    figure = comparison_figure(
        clouds, {"a": BARS, "b": half}, dict.fromkeys("ab", CUTS), {"a": 0.15, "b": 0.075}
    )
    first, second, below, beside = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert below.get_ylim() == beside.get_ylim()
    assert first.get_position().y0 > below.get_position().y1 - 0.05
    counts = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in (below, beside)]
    assert counts[0] == counts[1] == ["$H_0$: 1", "$H_1$: 1", "$H_2$: 0"]
    figure.savefig(tmp_path / "a.png")


def test_clouds_of_other_ambient_dimension_have_their_own_view(tmp_path):
    rng = np.random.default_rng(0)
    clouds = {"plane": rng.random((50, 2)), "space": 9 * rng.random((5000, 5))}
    figure = clouds_figure(clouds)
    assert figure.axes[0].get_xlim()[1] < 1.1
    figure.savefig(tmp_path / "a.png")


def test_principal_view_keeps_what_varies_most():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 6)) * [0, 3, 0, 2, 1, 0]
    view, share = principal_view(x)
    assert share == pytest.approx(1)
    assert np.abs(np.corrcoef(view(x)[:, 0], x[:, 1])[0, 1]) > 0.98
    assert principal_view(x[:2, :4])[0](x[:, :4]).shape == (100, 3)


@pytest.mark.parametrize("D", [1, 2, 3, 7])
def test_scatter_figure_has_one_view(tmp_path, D):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, D)), 3 * rng.standard_normal((5000, D))
    figure = scatter_figure({"a": x, "b": y}, labels={"a": np.arange(50) % 3, "b": y[:, 0]})
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim() == second.get_ylim()
    figure.savefig(tmp_path / "b.png")


@pytest.mark.slow
def test_pyplot_stays_unloaded():
    import subprocess

    code = (
        "import sys, numpy as np; from topogen.plotting import scatter_figure;"
        "scatter_figure({'a': np.zeros((3, 2))}); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("module", ["matplotlib_inline.backend_inline", "json"])
def test_the_backend_of_a_notebook_does_no_harm(module):
    import os
    import subprocess

    code = (
        "import io, os, numpy as np; from topogen.plotting import scatter_figure;"
        "scatter_figure({'a': np.zeros((3, 2))}).savefig(io.BytesIO());"
        "print(os.environ['MPLBACKEND'])"
    )
    backend = f"module://{module}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, backend), done.stderr
