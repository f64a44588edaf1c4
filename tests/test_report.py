import re

import numpy as np
import pytest

import topogen as tg
from topogen.errors import SaveError
from topogen.plotting import principal_view
from topogen.report import write_check, write_picture


def test_report_is_one_file_without_network(learned, tmp_path):
    path = learned.report(tmp_path / "deep" / "r.html", command="topogen learn <x> & more")
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    assert 'src="data:image/png;base64,' in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"url\((?!#)", page)
    # every id of the inlined SVG is its own namespace declaration at most
    assert "topogen learn &lt;x&gt; &amp; more" in page
    for word in (
        "agrees",
        "seed",
        "torch",
        "held-out NLL",
        "integral of p",
        "Z/3",
        "witness",
        "outliers left out",
        "Rips complexes",
        "length of edges",
    ):
        assert word in page
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


@pytest.mark.slow
def test_report_of_a_loaded_model(learned, tmp_path):
    tg.save(learned, tmp_path / "m.safetensors")
    page = tg.load(tmp_path / "m.safetensors").report(tmp_path / "r.html").read_text()
    assert "agrees" in page


def test_picture(learned, tmp_path):
    assert write_picture(learned, tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_unwritable_place(learned, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="place to write"):
        learned.report(tmp_path / "file" / "r.html")


def test_high_dimensional_clouds_are_shown_in_principal_axes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) @ np.linalg.qr(rng.normal(size=(9, 3)))[0].T
    view, share = principal_view(x)
    y = view(x)
    assert y.shape == (200, 3)
    assert share == pytest.approx(1.0)
    gaps = [np.linalg.norm(z[:, None] - z[None], axis=-1) for z in (x, y)]
    assert np.allclose(*gaps)


def test_check_page_is_one_file_and_escapes_names(circle, tmp_path):
    points = circle.numpy()
    found = tg.check_topology(points, expected=(1, 1))
    path = write_check(tmp_path / "c.html", {"<a>": points}, {"<a>": found})
    page = path.read_text()
    assert "&lt;a&gt;" in page
    assert "<a>" not in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for word in ("agrees", "witness", "p-value", "scale", "gudhi", "seed=0", found.strategy):
        assert word in page


def test_check_page_without_a_claim_says_so(circle, tmp_path):
    points = circle.numpy()[:12]
    found = tg.check_topology(points)
    page = write_check(tmp_path / "c.html", {"few": points}, {"few": found}).read_text()
    assert "no hypothesis" in page
    assert "undetermined by" in page
    assert "few points" in page
    assert "<th scope=col>expected</th>" not in page
