"""Figures from plain arrays. No pyplot, no backend, no global state: calls return a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEGREE_COLOURS = ("#444444", "#d1495b", "#1f77b4", "#2a9d55")
MOST_POINTS = 4000


def persistence_figure(
    diagrams: Mapping[str, Sequence[np.ndarray]],
    cuts: Sequence[float],
    scale: float,
    *,
    title: str | None = None,
) -> Figure:
    r"""Persistence diagrams side by side, one panel per name, with the line from noise to class.

    A bar of degree k >= 1 is a class when death/birth passes its cut-off, a line through the
    origin; one of degree 0 when its death passes cut-off times `scale`, a tick on the axis.

    Args:
        diagrams: per panel, the (birth, death) arrays of degree 0, 1, ..., each of shape (b, 2).
        cuts: the cut-off of each degree.
        scale: covering radius of the landmarks.
        title: above all panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(diagrams), 4.4), layout="constrained")
    bars = [b for panel in diagrams.values() for b in panel if len(b)]
    top = 1.05 * max((float(b[:, 1].max()) for b in bars), default=1.0)
    axes = figure.subplots(1, len(diagrams), squeeze=False)[0]
    for ax, (name, panel) in zip(axes, diagrams.items(), strict=True):
        ax.plot([0, top], [0, top], color="0.7", lw=0.8)
        for k, b in enumerate(panel):
            colour = DEGREE_COLOURS[k % len(DEGREE_COLOURS)]
            strength = b[:, 1] / (scale if k == 0 else np.maximum(b[:, 0], 1e-300))
            strong = strength > cuts[k]
            ax.scatter(*b[~strong].T, s=9, color=colour, alpha=0.45, lw=0)
            ax.scatter(*b[strong].T, s=48, color=colour, ec="white", lw=0.7, zorder=3)
            ax.scatter([], [], s=40, color=colour, label=f"$H_{k}$: {int(strong.sum())}")
            if k == 0:
                ax.plot([0, 0.03 * top], [cuts[0] * scale] * 2, color=colour, lw=1.2)
            else:
                reach = min(top / cuts[k], top)
                ax.plot([0, reach], [0, reach * cuts[k]], color=colour, lw=1.0, ls="--")
        ax.set(title=name, xlabel="birth", xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
        ax.set_aspect("equal")
        ax.legend(loc="lower right", frameon=False, title="classes (dashed: cut-off)")
    axes[0].set_ylabel("death")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def barcode_figure(
    diagrams: Mapping[str, Sequence[np.ndarray]],
    cuts: Sequence[float],
    scale: float,
    *,
    title: str | None = None,
    most: int = 25,
) -> Figure:
    """Barcodes side by side, one panel per name, each bar with the death that would make a class.

    Bars of one degree stand together, strongest (by death/birth; in degree 0 by death) on top;
    classes are thick, noise is thin, and a tick on each bar marks cut-off times birth (degree 0:
    cut-off times `scale`). Arguments as in :func:`persistence_figure`; at most `most` bars per
    degree are drawn, and the legend says how many there are.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(diagrams), 4.6), layout="constrained")
    axes = figure.subplots(1, len(diagrams), squeeze=False, sharex=True)[0]
    for ax, (name, panel) in zip(axes, diagrams.items(), strict=True):
        y = 0.0
        for k, b in enumerate(panel):
            colour = DEGREE_COLOURS[k % len(DEGREE_COLOURS)]
            from_birth = np.full(len(b), scale) if k == 0 else np.maximum(b[:, 0], 1e-300)
            shown = np.argsort(-b[:, 1] / from_birth, kind="stable")[:most]
            for i in shown:
                mark = cuts[k] * from_birth[i]
                strong = b[i, 1] > mark
                ax.hlines(y, *b[i], color=colour, lw=3.0 if strong else 0.9)
                ax.vlines(mark, y - 0.4, y + 0.4, color=colour, lw=0.8, alpha=0.7)
                y -= 1
            y -= 1.5
            ax.plot([], [], color=colour, lw=2, label=f"$H_{k}$, {len(b)} bars")
        ends = [b[:, 1].max() for b in panel if len(b)]
        ax.set(title=name, xlabel="length", yticks=[], xlim=(0, 1.05 * max(ends, default=1.0)))
        ax.legend(loc="lower right", frameon=False, title="ticks: cut-off")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def scatter_figure(
    clouds: Mapping[str, Any],
    *,
    labels: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
) -> Figure:
    """Clouds side by side in the plane or in space, with one scale for all of them.

    Clouds of more than three columns are shown in the leading three principal axes of the first.

    Args:
        clouds: per panel, points of shape (n, D); D is the same for all.
        labels: per panel, one value per point: integers pick colours from a cycle, real numbers
            a place on a colour map.
        title: above all panels.
        seed: chooses the points that are shown where there are more than 4000.
    """
    from matplotlib.figure import Figure

    arrays = {name: np.asarray(x, dtype=float) for name, x in clouds.items()}
    first = next(iter(arrays.values()))
    if first.shape[1] > 3:
        centre = first.mean(axis=0)
        axes3 = np.linalg.svd(first - centre, full_matrices=False)[2][:3].T
        arrays = {name: (x - centre) @ axes3 for name, x in arrays.items()}
    elif first.shape[1] == 1:
        arrays = {name: np.pad(x, ((0, 0), (0, 1))) for name, x in arrays.items()}
    solid = next(iter(arrays.values())).shape[1] == 3
    everything = np.concatenate(list(arrays.values()))
    low, high = everything.min(axis=0), everything.max(axis=0)
    half = 0.53 * float((high - low).max()) or 1.0
    figure = Figure(figsize=(4.4 * len(arrays), 4.4), layout="constrained")
    for i, (name, x) in enumerate(arrays.items()):
        shown = np.arange(len(x))
        if len(x) > MOST_POINTS:
            shown = np.random.default_rng(seed).choice(len(x), MOST_POINTS, replace=False)
        colour = _colours(None if labels is None else labels.get(name), x)[shown]
        ax: Any = figure.add_subplot(1, len(arrays), i + 1, projection="3d" if solid else None)
        ax.scatter(*x[shown].T, c=colour, s=4, lw=0, alpha=0.8)
        middle = (low + high) / 2
        for axis, c in zip("xyz", middle, strict=False):
            ax.set(**{f"{axis}lim": (c - half, c + half)})
        if solid:
            ax.set_box_aspect((1, 1, 1))
            for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
                axis.set_ticklabels([])
        else:
            ax.set_aspect("equal")
        ax.set_title(name)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _colours(labels: Any, x: np.ndarray) -> np.ndarray:
    """One RGBA row per point; without labels, by height along the last axis."""
    from matplotlib import colormaps

    if labels is None:
        values = x[:, -1]
    else:
        values = np.asarray(labels)
        if values.dtype.kind in "iub":
            return colormaps["tab20"](values.astype(int) % 20)
    spread = float(np.ptp(values)) or 1.0
    return colormaps["viridis"]((values - values.min()) / spread)
