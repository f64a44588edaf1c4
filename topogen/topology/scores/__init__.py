"""Published scores of generated samples against data, each beside its real-versus-real floor."""

from collections.abc import Callable
from functools import partial

from .cross_barcodes import cross_barcode as cross_barcode
from .cross_barcodes import mtop_divergence as mtop_divergence
from .cross_barcodes import r_cross_barcode as r_cross_barcode
from .cross_barcodes import representation_divergence as representation_divergence
from .cross_barcodes import rtd as rtd
from .heat_traces import graph_laplacian as graph_laplacian
from .heat_traces import heat_trace as heat_trace
from .heat_traces import imd as imd
from .living_times import geometry_score as geometry_score
from .noise_floors import Score as Score
from .topp_r import Support as Support
from .topp_r import support_precision as support_precision
from .topp_r import support_recall as support_recall

#: What :func:`~topogen.topology.compare` knows by name.
SCORES: dict[str, Callable[..., Score]] = {
    "geometry_score": geometry_score,
    "imd": imd,
    "mtop_divergence (missed)": partial(mtop_divergence, side="missed"),
    "mtop_divergence (invented)": partial(mtop_divergence, side="invented"),
    "rtd": rtd,
    "support_precision": support_precision,
    "support_recall": support_recall,
}
