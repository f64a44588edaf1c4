"""The parts of a page: tables, inline pictures, the verdict, and one style for all of it."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import SaveError
from ..point_cloud.files import user_path
from ..topology.inference.report import TopologyReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file, and its folder where there is none; SaveError where it cannot be."""
    with _place(path) as place:
        place.write_text(text, encoding="utf-8")
    return place


def write_figure(path: str | Path, figure: Figure) -> Path:
    """Write a figure as .png, .svg or .pdf; see :func:`write_text`."""
    with _place(path) as place:
        figure.savefig(place, dpi=160, facecolor="white")
    return place


@contextmanager
def _place(path: str | Path) -> Iterator[Path]:
    """A path in a folder that exists; SaveError where it cannot be written."""
    path = user_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
    except OSError as error:
        raise SaveError(
            f"{path}: expected a place to write to, got {error.strerror}; choose another"
        ) from None


def svg(figure: Figure) -> str:
    """The figure as inline SVG with text kept as text; the page gives the size."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "topogen"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for size in ("height", "width"):
        text = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    return text


def png(figure: Figure, alt: str, *, transparent: bool = True) -> str:
    """The figure as an inline picture; with axes and text in black it needs a white ground."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=170, transparent=transparent)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'


def number(value: Any) -> str:
    """A number in few digits; anything else as text."""
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e9:
            return str(int(value))
        return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.5g}"
    return html.escape(str(value))


def table(rows: Iterable[tuple[str, str]], caption: str) -> str:
    """Names and values."""
    body = "".join(f"<tr><th scope=row>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table><caption>{caption}</caption><tbody>{body}</tbody></table>"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """A table with named columns."""
    top = "".join(f"<th scope=col>{name}</th>" for name in head)
    body = "".join(
        f"<tr><th scope=row>{name}</th>{''.join(f'<td>{v}</td>' for v in values)}</tr>"
        for name, *values in rows
    )
    return (
        f'<table class="grid"><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def notes(remarks: Sequence[str], heading: str = "Remarks") -> str:
    """A list under a heading; nothing where there is nothing to say."""
    if not remarks:
        return ""
    items = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
    return f"<section><h2>{heading}</h2><ul>{items}</ul></section>"


def betti_table(report: TopologyReport, caption: str) -> str:
    """What is known of each degree over each field."""

    def say(values: Sequence[Any], k: int, form: str = "") -> str:
        return "?" if k >= len(values) or values[k] is None else format(values[k], form)

    def wanted(k: int, p: int) -> str:
        known = report.expected
        return str(known.betti_number(k, p)) if known is not None and p in known.fields else ""

    columns = {
        "found": lambda k, p: f"<b>{say(report.betti[p], k)}</b>",
        "expected": wanted,
        "witness": lambda k, p: say(report.witness.get(p, ()), k),
        "p-value": lambda k, p: say(report.p_values[p], k, ".1g"),
    }
    if report.expected is None:
        del columns["expected"]
    rows = [
        [f"H<sub>{k}</sub>(Z/{p})", *(cell(k, p) for cell in columns.values())]
        for p, numbers in report.betti.items()
        for k in range(len(numbers))
    ]
    return grid(["", *columns], rows, caption)


def how_checked(report: TopologyReport) -> list[tuple[str, str]]:
    """How a cloud was checked, as rows of a table."""
    eps = report.scale
    seen = f"{eps:.3g}; gaps below {2 * eps:.3g} and holes below {4 * eps:.3g} are not seen"
    rows = [
        ("scale &epsilon;", seen),
        ("computed", html.escape(report.strategy)),
        ("landmarks", f"{report.landmarks[0]} and {report.landmarks[1]}"),
        ("outliers left out", f"{report.outliers} of {report.n_points} points"),
    ]
    if report.cause is not None:
        rows.append(("undetermined by", html.escape(f"{report.cause}; {report.advice}")))
    return rows


def diagrams(report: TopologyReport, of: str = "") -> str:
    """Persistence diagram and barcode."""
    return f"""<figure class="diagrams">{svg(report.plot())}
<figcaption>Persistence{of}. Bars beyond the dashed line of their degree are counted as classes;
the rest is what noise alone could give. The statement holds at scale {report.scale:.3g}.
</figcaption></figure>
<figure class="diagrams">{svg(report.plot("barcode"))}
<figcaption>The strongest bars of each degree. The pale strip under a bar is as far as noise may
reach; an arrow is alive at the longest edge of the complex.</figcaption></figure>"""


def page(
    title: str, verdict: str, sentence: str, reason: str, body: str, made: list[tuple[str, str]]
) -> str:
    """A page from its parts, each of them HTML already but `verdict`, a word, and `reason`."""
    words = verdict or "no hypothesis"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>topogen: {html.escape(words)}</title><style>{_STYLE}</style></head><body><main>
<header><p class="mark">topogen {__version__}</p><h1>{title}</h1>
<p class="verdict {html.escape(verdict)}"><b>{html.escape(words)}</b> {sentence}</p>
<p class="reason">{html.escape(reason)}</p></header>
{body}
{table(made, "How to reproduce")}
<footer>Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC</footer>
</main></body></html>
"""


_STYLE = """
:root{--ink:#1d1f23;--soft:#6a6f78;--line:#e3e5e8;--paper:#fff;--card:#f7f8f9;--good:#1f7a4d;
--bad:#b3322b;--open:#95650a}
@media (prefers-color-scheme:dark){:root{--ink:#e6e7ea;--soft:#9aa0aa;--line:#33373e;
--paper:#16181c;--card:#1e2126;
--good:#5cc492;--bad:#f0857d;--open:#e0b25a}.diagrams svg{filter:invert(1) hue-rotate(180deg)}}
*{box-sizing:border-box}html{background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
body{margin:0}main{max-width:960px;margin:0 auto;padding:40px 24px 64px}
.mark{color:var(--soft);margin:0;font-size:14px}
h1{font-size:28px;line-height:1.25;margin:2px 0 14px;font-weight:650}
h2{font-size:17px;margin:36px 0 6px}sup{line-height:0}
.verdict{margin:0;padding:10px 14px;border-left:4px solid var(--open);background:var(--card);
border-radius:0 6px 6px 0}
.verdict b{color:var(--open);margin-right:8px}.agrees{border-color:var(--good)}
.agrees b{color:var(--good)}
.disagrees{border-color:var(--bad)}.disagrees b{color:var(--bad)}
.reason{color:var(--soft);font-size:14px;margin:8px 0 0}
figure{margin:32px 0 0}figure img,figure svg{display:block;width:100%;height:auto}
.one img{max-width:560px;margin:0 auto}figcaption{color:var(--soft);font-size:14px;margin-top:8px}
.grid th[scope=col]{text-align:right}.grid th:first-child{text-align:left}.grid b{font-size:16px}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:0 36px;
align-items:start}
table{width:100%;border-collapse:collapse;margin-top:32px;font-size:14.5px}
caption{text-align:left;font-weight:650;font-size:17px;padding-bottom:6px}
th,td{border-top:1px solid var(--line);padding:6px 0;vertical-align:top;text-align:left;
font-weight:400}
th{color:var(--soft);padding-right:16px}td{text-align:right;font-variant-numeric:tabular-nums}
code{font:13.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
ul{padding-left:20px}footer{color:var(--soft);font-size:13px;margin-top:40px}
@media print{main{padding:0;max-width:none}html{font-size:13px}
figure,table,section{break-inside:avoid}
:root{--ink:#000;--soft:#555;--line:#ccc;--paper:#fff;--card:#fff}.diagrams svg{filter:none}}
"""
