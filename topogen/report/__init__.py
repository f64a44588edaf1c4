"""One HTML file that shows a result: no network, no scripts, opens from disk, prints."""

from .checked import check_figure as check_figure
from .checked import write_check as write_check
from .learned import clouds_figure as clouds_figure
from .learned import write_picture as write_picture
from .learned import write_report as write_report
