import math
import re

import pytest
import torch

import topogen as tg
from topogen.errors import SaveError
from topogen.report import write_picture


@pytest.fixture(scope="module")
def learned():
    t = (
        2
        * math.pi
        * torch.rand(600, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    # a circle in R^5: pictures are of principal components
    x = torch.stack([t.cos(), t.sin(), t.cos() / 2, 0 * t, 0 * t + 1], -1)
    return tg.learn(x, seed=0)


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
        "principal components",
        "Z/3",
    ):
        assert word in page
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


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
