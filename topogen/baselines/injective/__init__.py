"""Injective flows as published: small, runnable baselines with exact distributions."""

from .checks import HeldOutScore as HeldOutScore
from .checks import check_weight as check_weight
from .checks import least_weight as least_weight
from .objectives import OBJECTIVES as OBJECTIVES
from .published_flow import PublishedFlow as PublishedFlow
