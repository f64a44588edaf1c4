"""Injective flows as published: small, runnable baselines with exact laws."""

from .guards import Score as Score
from .guards import check_weight as check_weight
from .guards import least_weight as least_weight
from .model import PublishedFlow as PublishedFlow
from .objectives import OBJECTIVES as OBJECTIVES

__all__ = ["OBJECTIVES", "PublishedFlow", "Score", "check_weight", "least_weight"]
