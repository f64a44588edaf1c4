"""Lets the gallery show what an example calls `figure`: topogen draws without pyplot."""

from sphinx_gallery.scrapers import figure_rst


def scrape(block, block_vars, gallery_conf):
    figure = block_vars["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=110)
    return figure_rst([path], gallery_conf["src_dir"])
