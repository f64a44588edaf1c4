"""Figures from plain arrays. No pyplot, no backend, no global state: calls return a Figure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEGREE_COLOURS = ("#444444", "#d1495b", "#1f77b4", "#2a9d55")
MOST_POINTS = 4000  # more of them only cover each other


def persistence_figure(
    diagrams: Mapping[str, Sequence[np.ndarray]],
    cuts: Sequence[float],
    scale: float,
    *,
    title: str | None = None,
) -> Figure:
    r"""Persistence diagrams side by side, with the dashed lines beyond which a bar is a class.

    In degree k >= 1 death/birth passes the cut-off; in degree 0 death passes it times `scale`.

    Args:
        diagrams: per panel, the (birth, death) arrays of degree 0, 1, ..., each of shape (b, 2).
        cuts: the cut-off of each degree.
        scale: covering radius of the landmarks.
        title: above all panels.
    """
    count = max(len(diagrams), 1)
    figure = _figure(4.6 * count, 4.4, title, layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for ax, (name, panel) in zip(axes, diagrams.items(), strict=False):
        _draw_diagram(ax, panel, cuts, scale, 1.06 * _longest(diagrams.values()))
        ax.set_title(name)
    axes[0].set_ylabel("death")
    return figure


def import_matplotlib() -> None:
    """Import matplotlib, also where MPLBACKEND is that of a notebook and not installed here.

    It is left alone where it can be imported: what else the program draws goes there.
    """
    backend = os.environ.get("MPLBACKEND", "")
    if "matplotlib" in sys.modules or not backend.startswith("module://"):
        return
    try:
        missing = find_spec(backend.removeprefix("module://")) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        os.environ["MPLBACKEND"] = "agg"
        import matplotlib  # noqa: F401, reads it once

        os.environ["MPLBACKEND"] = backend


def _figure(
    width: float, height: float, title: str | None, y: float | None = None, **options: Any
) -> Figure:
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **options)
    if title:
        figure.suptitle(title, fontsize=10, y=y)
    return figure


def _longest(diagrams: Iterable[Sequence[np.ndarray]]) -> float:
    """The latest death: where filtrations end, as the first component never dies."""
    return max((float(b[:, 1].max()) for bars in diagrams for b in bars if len(b)), default=1.0)


def _strengths(b: np.ndarray, degree: int, scale: float) -> np.ndarray:
    """What is compared with the cut-off: death/birth, in degree 0 death/scale."""
    return b[:, 1] / (scale if degree == 0 else np.maximum(b[:, 0], 1e-300))


def _draw_diagram(
    ax: Any, bars: Sequence[np.ndarray], cuts: Sequence[float], scale: float, top: float
) -> None:
    """One persistence diagram up to `top`; the dotted line is the end of the filtration."""
    ax.plot([0, top], [0, top], color="0.7", lw=0.8)
    ax.axhline(_longest([bars]), color="0.75", lw=0.8, ls=":", zorder=0)
    for k, b in enumerate(bars):
        colour = DEGREE_COLOURS[k % len(DEGREE_COLOURS)]
        strong = _strengths(b, k, scale) > cuts[k]
        ax.scatter(*b[~strong].T, s=9, color=colour, alpha=0.45, lw=0)
        ax.scatter(*b[strong].T, s=48, color=colour, ec="white", lw=0.7, zorder=3)
        ax.scatter([], [], s=40, color=colour, label=f"$H_{k}$: {int(strong.sum())}")
        if k == 0:
            ax.plot([0, 0.06 * top], [cuts[0] * scale] * 2, color=colour, lw=1.2, ls="--")
        else:
            reach = min(top / cuts[k], top)
            ax.plot([0, reach], [0, reach * cuts[k]], color=colour, lw=1.0, ls="--")
    ax.set(xlabel="birth", xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
    ax.set_aspect("equal")
    ax.legend(loc="lower right", frameon=False, title="beyond cut-off (dashed)")


def barcode_figure(
    diagrams: Mapping[str, Sequence[np.ndarray]],
    cuts: Sequence[float],
    scale: float,
    *,
    title: str | None = None,
    most: int = 12,
) -> Figure:
    """Barcodes side by side, one panel per name, each bar on the length that noise may have.

    Bars of one degree stand together, strongest (by death/birth; in degree 0 by death) on top. The
    pale strip under each ends at the cut-off times birth, in degree 0 times `scale`. Bars beyond
    it are classes, and thick; an arrow is alive at the longest edge.

    Args:
        diagrams: as in :func:`persistence_figure`.
        cuts: the cut-off of each degree.
        scale: covering radius of the landmarks.
        title: above all panels.
        most: how many bars are drawn per degree; the margin says how many there are.
    """
    count = max(len(diagrams), 1)
    rows = [sum(min(len(b), most) + 2 for b in panel) for panel in diagrams.values()]
    height = 1.3 + 0.115 * max(rows, default=0)
    figure = _figure(4.8 * count, height, title, layout="constrained")
    axes = figure.subplots(1, count, squeeze=False, sharex=True)[0]
    longest = _longest(diagrams.values())
    for ax, (name, panel) in zip(axes, diagrams.items(), strict=False):
        y, middles, labels = 0.0, [], []
        for k, b in enumerate(panel):
            colour = DEGREE_COLOURS[k % len(DEGREE_COLOURS)]
            strength = _strengths(b, k, scale)
            order = np.argsort(-strength, kind="stable")[:most]
            rows_k = y - np.arange(len(order))
            birth, death = b[order].T
            cut = np.full(len(order), cuts[k] * scale) if k == 0 else cuts[k] * birth
            strong = strength[order] > cuts[k]
            ax.hlines(rows_k, birth, np.minimum(cut, longest), color=colour, lw=4.5, alpha=0.16)
            ax.hlines(rows_k, birth, death, color=colour, lw=np.where(strong, 3.2, 1.0))
            alive = strong & (death >= longest)
            ax.plot(death[alive], rows_k[alive], ls="", marker=">", ms=7, color=colour)
            bottom = y - max(len(order), 1)
            middles.append((y + bottom + 1) / 2)
            labels.append(f"$H_{k}$\n{int((strength > cuts[k]).sum())} of {len(b)}")
            if k:
                ax.axhline(y + 1.0, color="0.85", lw=0.8)
            y = bottom - 1
        ax.set(title=name, xlim=(0, 1.06 * longest), ylim=(y + 0.6, 1.2))
        ax.set_xlabel("length of edges (pale: as far as noise may reach)")
        ax.set_yticks(middles, labels, fontsize=9)
        ax.tick_params(axis="y", length=0)
        for k, text in enumerate(ax.get_yticklabels()):
            text.set_color(DEGREE_COLOURS[k % len(DEGREE_COLOURS)])
        ax.spines[["top", "right", "left"]].set_visible(False)
    return figure


def comparison_figure(
    clouds: Mapping[str, Any],
    diagrams: Mapping[str, Sequence[np.ndarray]],
    cuts: Mapping[str, Sequence[float]],
    scales: Mapping[str, float],
    *,
    colours: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
) -> Figure:
    """Clouds side by side in one view, and under each its persistence diagram.

    Args:
        clouds: per name, points of shape (n, D), as in :func:`draw_clouds`.
        colours: of the points, likewise.
        diagrams: per name, the (birth, death) arrays of degree 0, 1, ..., over one field.
        cuts: per name, the cut-off of each degree, as in :func:`persistence_figure`.
        scales: per name, the covering radius of the landmarks.
        title: above everything.
        seed: for the choice of the points drawn.
    """
    figure = _figure(4.8 * len(clouds), 9.4, title, y=0.985)
    draw_clouds(figure, clouds, colours=colours, bottom=0.49, top=0.955, seed=seed)
    grid = figure.add_gridspec(
        1, len(clouds), left=0.15 / len(clouds), right=0.99, bottom=0.055, top=0.46, wspace=0.12
    )
    top = 1.06 * _longest(diagrams.values())
    for i, name in enumerate(clouds):
        ax = figure.add_subplot(grid[i])
        _draw_diagram(ax, diagrams[name], cuts[name], scales[name], top)
        if i == 0:
            ax.set_ylabel("death")
        else:
            ax.set_yticklabels([])
    return figure


def clouds_figure(
    clouds: Mapping[str, Any],
    *,
    colours: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
) -> Figure:
    """Clouds side by side in one view without axes; arguments as in :func:`draw_clouds`."""
    figure = _figure(4.6 * len(clouds), 4.6, title)
    draw_clouds(figure, clouds, colours=colours, top=0.94 if title else 1.0, seed=seed)
    return figure


def draw_clouds(
    figure: Figure,
    clouds: Mapping[str, Any],
    *,
    colours: Mapping[str, Any] | None = None,
    bottom: float = 0.0,
    top: float = 1.0,
    seed: int = 0,
    most: int = MOST_POINTS,
) -> None:
    """Draw clouds side by side, without axes, in one view if their dimensions are equal.

    Args:
        figure: what is drawn on.
        clouds: per name, points of shape (n, D).
        colours: per name, a colour or one per point; by depth where left out.
        bottom: lower edge of the strip that is drawn on, as a share of the figure.
        top: upper edge.
        seed: for the choice of the points drawn.
        most: how many points of each cloud are drawn.
    """
    arrays = {name: np.asarray(x, dtype=float) for name, x in clouds.items()}
    first = next(iter(arrays.values()))
    together = len({x.shape[1] for x in arrays.values()}) == 1
    views = {name: principal_view(first if together else x) for name, x in arrays.items()}
    shown = {name: views[name][0](x) for name, x in arrays.items()}
    width, height = 1 / len(shown), top - bottom
    rng = np.random.default_rng(seed)
    for i, (name, x) in enumerate(shown.items()):
        everything = np.concatenate(list(shown.values())) if together else x
        low, high = everything.min(axis=0), everything.max(axis=0)
        half = np.maximum((high - low) / 2, 0.125 * (high - low).max() or 1.0)
        flat = len(half) == 2
        colour = (colours or {}).get(name)
        if colour is None:
            colour = "#3b6fb6" if flat else _ramp(x[:, 2], low[2], high[2])
        if len(x) > most:
            rows = rng.choice(len(x), most, replace=False)
            colour = colour[rows] if isinstance(colour, np.ndarray) else colour
            x = x[rows]
        # placed by hand: automatic layouts treat two equal 3-D axes differently
        box = (i * width, bottom, width, 0.93 * height)
        ax: Any = figure.add_axes(box, projection=None if flat else "3d")
        ax.scatter(*x.T, c=colour, s=4.0, linewidths=0)
        for axis, c, h in zip("xyz", (high + low) / 2, 1.03 * half, strict=False):
            ax.set(**{f"{axis}lim": (c - h, c + h)})
        if flat:
            ax.set_aspect("equal")
        else:
            # a copy: matplotlib scales what it is given
            ax.set_box_aspect(tuple(half), zoom=1.35)
            ax.view_init(elev=32, azim=-58)
        ax.set_axis_off()
        share = views[name][1]
        label = "" if share is None else f", 3 principal axes: {share:.0%} of the variance"
        words = f"{name} ({len(arrays[name])} points{label})"
        figure.text(
            (i + 0.5) * width, bottom + 0.95 * height, words, fontsize=9, color="#777", ha="center"
        )


def principal_view(x: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float | None]:
    """The view of a cloud in 2 or 3 columns or principal axes, and the share of the variance.

    The share is None where D <= 3: nothing is lost.
    """
    D = x.shape[1]
    if D <= 3:
        return (lambda y: y if D > 1 else np.pad(y, ((0, 0), (0, 1)))), None
    # axes of more than 1000 points are no better to look at, and slow in R^2304
    part = x[:: max(1, len(x) // 1000)]
    centre = part.mean(axis=0)
    part = part - centre
    if D > len(part):  # the same axes, by the smaller factor of QR
        Q, R = np.linalg.qr(part.T)
        _, s, Vh = np.linalg.svd(R.T)
        Vh = Vh[:3] @ Q.T
    else:
        _, s, Vh = np.linalg.svd(part, full_matrices=False)
    axes = np.zeros((3, D))
    axes[: len(Vh)] = Vh[:3]
    axes *= np.where(axes[np.arange(3), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    share = float((s[:3] ** 2).sum() / max((s**2).sum(), 1e-300))
    return (lambda y: (y - centre) @ axes.T), share


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """One RGBA row per value, dark at `low`."""
    import_matplotlib()
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * (values - low) / ((high - low) or 1.0))


def scatter_figure(
    clouds: Mapping[str, Any],
    *,
    labels: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
) -> Figure:
    """Clouds side by side in one view, coloured by a value of each point.

    Args:
        clouds: per panel, points of shape (n, D), as in :func:`draw_clouds`.
        labels: per panel, one value per point: integers pick colours from a cycle, real numbers a
            place on a colour map.
        title: above all panels.
        seed: for the choice of the points drawn.
    """
    colours = {name: _colours(np.asarray(values)) for name, values in (labels or {}).items()}
    return clouds_figure(clouds, colours=colours, title=title, seed=seed)


def _colours(values: np.ndarray) -> np.ndarray:
    """One RGBA row per point."""
    import_matplotlib()
    from matplotlib import colormaps

    if values.dtype.kind in "iub":
        return colormaps["tab20"](values.astype(int) % 20)
    return _ramp(values, float(values.min()), float(values.max()))
