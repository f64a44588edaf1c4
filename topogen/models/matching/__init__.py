"""Distributions learned as flows on M, by flow matching."""

from .flow_distribution import FlowDistribution as FlowDistribution
from .flow_matching import FlowMatching as FlowMatching
from .ode import Flowed as Flowed
from .ode import divergence as divergence
from .ode import flow as flow
from .options import MatchingOptions as MatchingOptions
