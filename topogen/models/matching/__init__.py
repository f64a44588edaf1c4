"""Laws learned as flows on M, by flow matching."""

from .density import FlowMatching as FlowMatching
from .geometry import Geometry as Geometry
from .law import FlowLaw as FlowLaw
from .ode import Flowed as Flowed
from .ode import divergence as divergence
from .ode import flow as flow
