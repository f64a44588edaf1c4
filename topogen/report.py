"""One HTML file that shows a learned result: no network, no scripts, opens from disk, prints."""

from __future__ import annotations

import base64
import html
import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._version import __version__
from .errors import SaveError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .pipeline import LearnResult

# points drawn per picture
_DRAWN = 4000
_HEADING = {
    "agrees": "The samples have the homology of the data",
    "disagrees": "The samples do not have the homology of the data",
    "undetermined": "The homology could not be settled",
}


def write_report(result: LearnResult, path: str | Path, *, command: str | None = None) -> Path:
    """Write the report of a learned result.

    Args:
        result: from :func:`topogen.learn` or :func:`topogen.load`.
        path: the HTML file.
        command: what reproduces it; None shows the Python call.

    Raises:
        SaveError: the place cannot be written.
    """
    path = Path(path)
    page = _page(result, command or f"topogen.learn(points, seed={result.seed})")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SaveError(
            f"{path}: expected a place to write to, got {error.strerror}; choose another"
        ) from None
    return path


def write_picture(result: LearnResult, path: str | Path) -> Path:
    """Data and samples side by side, as .png or .svg.

    Raises:
        SaveError: the place cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clouds_figure(result).savefig(path, dpi=160, facecolor="white")
    except OSError as error:
        raise SaveError(
            f"{path}: expected a place to write to, got {error.strerror}; choose another"
        ) from None
    return path


def clouds_figure(result: LearnResult) -> Figure:
    """Data and samples side by side, coloured by chart; more than 3 columns by principal components."""
    from matplotlib.figure import Figure

    samples = result.sample(_DRAWN, seed=result.seed).numpy()
    panels = [("samples", samples)]
    if result.points is not None:
        rng = np.random.default_rng(result.seed)
        kept = rng.permutation(result.points.shape[0])[:_DRAWN]
        panels.insert(0, ("data", result.points[kept]))
    view, label = _view(panels[0][1])
    shown = [view(cloud) for _, cloud in panels]
    colours = [_colours(result, cloud) for _, cloud in panels]
    everything = np.concatenate(shown)
    centre = (everything.max(axis=0) + everything.min(axis=0)) / 2
    flat = everything.shape[1] == 2
    half = np.abs(everything - centre).max(axis=0)
    half = np.maximum(half, 0.25 * half.max())
    count = len(panels)
    figure = Figure(figsize=(4.6 * count, 4.6))
    for i, ((name, _), cloud, colour) in enumerate(zip(panels, shown, colours, strict=True)):
        # placed by hand: automatic layouts treat two equal 3-D axes differently
        box = (i / count, 0.0, 1 / count, 0.93)
        axes: Any = figure.add_axes(box, projection=None if flat else "3d")
        axes.scatter(*cloud.T, c=colour, s=4.0, linewidths=0)
        axes.set_xlim(centre[0] - half[0], centre[0] + half[0])
        axes.set_ylim(centre[1] - half[1], centre[1] + half[1])
        if flat:
            axes.set_aspect("equal")
        else:
            axes.set_zlim(centre[2] - half[2], centre[2] + half[2])
            # a copy: matplotlib scales what it is given
            axes.set_box_aspect(tuple(half), zoom=1.45)
            axes.view_init(elev=32, azim=-58)
        axes.set_axis_off()
        title = f"{name} ({cloud.shape[0]} points{label})"
        figure.text((i + 0.5) / count, 0.95, title, fontsize=9, color="#777", ha="center")
    return figure


def _view(points: np.ndarray) -> tuple[Any, str]:
    """The map to 2 or 3 columns, and what to say of it."""
    if points.shape[1] <= 3:
        return (lambda x: x), ""
    mean = points.mean(axis=0)
    _, s, Vh = np.linalg.svd(points - mean, full_matrices=False)
    axes = Vh[:3]
    axes = axes * np.sign(axes[np.arange(axes.shape[0]), np.abs(axes).argmax(axis=1)])[:, None]
    share = (s[: len(axes)] ** 2).sum() / max((s**2).sum(), 1e-300)
    return (
        lambda x: (x - mean) @ axes.T
    ), f", 3 principal components, {share:.0%} of the variance"


def _colours(result: LearnResult, cloud: np.ndarray) -> Any:
    """A colour per point: the chart in which it weighs most."""
    from matplotlib import colormaps

    law = result.distribution
    atlas = getattr(law, "atlas", None)
    if atlas is None:
        return "#3b6fb6"
    x = law.manifold.project(torch.from_numpy(cloud)).value
    chart = atlas.weights(x).nan_to_num(0.0).argmax(-1).numpy()
    count = max(len(atlas.charts), 2)
    # neighbouring numbers get distant hues; the ends of the map are too pale or too dark
    order = (np.arange(count) * 0.618034) % 1.0
    return colormaps["turbo"](0.08 + 0.84 * order)[chart]


def _svg(figure: Figure) -> str:
    """The figure as inline SVG with text kept as text."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "topogen"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # the size comes from the page
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1),
        count=1,
    )


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=170, transparent=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: Any) -> str:
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e9:
            return str(int(value))
        return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.5g}"
    return html.escape(str(value))


def _table(rows: list[tuple[str, str]], caption: str) -> str:
    body = "".join(f"<tr><th scope=row>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table><caption>{caption}</caption><tbody>{body}</tbody></table>"


def _betti(numbers: Any) -> str:
    return ", ".join("?" if b is None else str(b) for b in numbers)


def _page(result: LearnResult, command: str) -> str:
    e = html.escape
    law = result.distribution
    verdict = result.topology.verdict or "undetermined"
    summary = result.summary
    measured = [(e(name), _number(value)) for name, value in result.numbers.items()]
    found = [
        (f"Z/{p}", f"data ({_betti(summary.betti.get(p, ()))}) &nbsp; samples ({_betti(numbers)})")
        for p, numbers in result.topology.betti.items()
    ]
    data = [
        ("points", f"{summary.n} in R<sup>{summary.ambient_dim}</sup>"),
        ("estimated dimension", str(summary.dim)),
        ("components", str(summary.components)),
        ("orientable", {True: "yes", False: "no", None: "?"}[summary.orientable]),
        ("noise", f"{summary.noise:.3g}"),
        ("duplicates", str(summary.duplicates)),
    ]
    made = [
        ("command", f"<code>{e(command)}</code>"),
        ("seed", str(result.seed)),
        ("fit", f"{e(result.status)}, {result.seconds:.1f} s in all"),
        *((e(name), e(version)) for name, version in result.versions.items()),
    ]
    notes = "".join(f"<li>{e(remark)}</li>" for remark in result.remarks)
    measure = {
        "hausdorff": f"the {law.dim}-dimensional volume of M in the units of the points",
        "lebesgue": "Lebesgue measure",
    }[law.measure]
    reason = e(str(result.topology.reason or ""))
    title = f"{type(result.model).__name__} on a {law.dim}-manifold in R<sup>{summary.ambient_dim}</sup>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>topogen report: {e(verdict)}</title><style>{_STYLE}</style></head><body><main>
<header><p class="mark">topogen {__version__}</p><h1>{title}</h1>
<p class="verdict {verdict}"><b>{e(verdict)}</b> {_HEADING[verdict]}.</p><p class="reason">{reason}</p></header>
<figure><img src="{_png(clouds_figure(result))}" alt="data and samples, coloured by chart">
<figcaption>Each colour is one chart of the atlas: the chart in which a point weighs most.</figcaption></figure>
<section class="columns">{_table(measured, "Measured")}<div>
{_table(found, "Betti numbers")}{_table(data, "Data")}</div></section>
<figure class="diagrams">{_svg(result.topology.plot())}
<figcaption>Persistence of the samples. Points beyond the line are counted as classes; the rest is what noise
alone could give. The statement holds at scale {_number(result.topology.scale)}.</figcaption></figure>
{f"<section><h2>Remarks</h2><ul>{notes}</ul></section>" if notes else ""}
<section><h2>What the density is</h2><p>log p is in nats with respect to {measure}; its kind is
<b>{e(law.likelihood)}</b>. It can be compared with another law only where measure and dimension are the same. A
held-out NLL belongs to points that chose the model's size but not its weights.</p></section>
{_table(made, "How to reproduce")}
<footer>Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC</footer>
</main></body></html>
"""


_STYLE = """
:root{--ink:#1d1f23;--soft:#6a6f78;--line:#e3e5e8;--paper:#fff;--card:#f7f8f9;--good:#1f7a4d;--bad:#b3322b;--open:#95650a}
@media (prefers-color-scheme:dark){:root{--ink:#e6e7ea;--soft:#9aa0aa;--line:#33373e;--paper:#16181c;--card:#1e2126;
--good:#5cc492;--bad:#f0857d;--open:#e0b25a}.diagrams svg{filter:invert(1) hue-rotate(180deg)}}
*{box-sizing:border-box}html{background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
body{margin:0}main{max-width:960px;margin:0 auto;padding:40px 24px 64px}
.mark{color:var(--soft);margin:0;font-size:14px}h1{font-size:28px;line-height:1.25;margin:2px 0 14px;font-weight:650}
h2{font-size:17px;margin:36px 0 6px}sup{line-height:0}
.verdict{margin:0;padding:10px 14px;border-left:4px solid var(--open);background:var(--card);border-radius:0 6px 6px 0}
.verdict b{color:var(--open);margin-right:8px}.agrees{border-color:var(--good)}.agrees b{color:var(--good)}
.disagrees{border-color:var(--bad)}.disagrees b{color:var(--bad)}.reason{color:var(--soft);font-size:14px;margin:8px 0 0}
figure{margin:32px 0 0}figure img,figure svg{display:block;width:100%;height:auto}
figcaption{color:var(--soft);font-size:14px;margin-top:8px}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:0 36px;align-items:start}
table{width:100%;border-collapse:collapse;margin-top:32px;font-size:14.5px}
caption{text-align:left;font-weight:650;font-size:17px;padding-bottom:6px}
th,td{border-top:1px solid var(--line);padding:6px 0;vertical-align:top;text-align:left;font-weight:400}
th{color:var(--soft);padding-right:16px}td{text-align:right;font-variant-numeric:tabular-nums}
code{font:13.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
ul{padding-left:20px}footer{color:var(--soft);font-size:13px;margin-top:40px}
@media print{main{padding:0;max-width:none}html{font-size:13px}figure,table,section{break-inside:avoid}
:root{--ink:#000;--soft:#555;--line:#ccc;--paper:#fff;--card:#fff}.diagrams svg{filter:none}}
"""
