"""Sphinx configuration: `make docs`."""

import os
import re
import sys
import warnings

# sphinx-gallery runs examples in this process
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
warnings.filterwarnings("ignore", message=".*torch.jit.*")

sys.path.insert(0, os.path.dirname(__file__))

import topogen  # noqa: E402

project = "topogen"
author = "topogen developers"
copyright = "2026, topogen developers"
version = release = topogen.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "topogen"
html_static_path = ["_static"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True
napoleon_attr_annotations = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"(sphere|torus)\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "image_scrapers": ("gallery_figures.scrape",),
    "abort_on_example_error": True,
}


def norms(app, what, name, obj, options, lines):
    """Escape |x|: in docstrings a norm, to docutils a substitution; formulas stay as they are."""
    indent = None
    for i, line in enumerate(lines):
        if indent is not None and line.strip() and not line.startswith(indent + " "):
            indent = None
        if ".. math::" in line:
            indent = line[: len(line) - len(line.lstrip())]
        if indent is None:
            parts = re.split(r"(:math:`[^`]*`|``[^`]*``)", line)
            plain = [p if k % 2 else p.replace("|", r"\|") for k, p in enumerate(parts)]
            lines[i] = "".join(plain)


def setup(app):
    app.connect("autodoc-process-docstring", norms, priority=900)
