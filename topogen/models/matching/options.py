"""Options of the training of flow matching."""

from __future__ import annotations

from dataclasses import dataclass

from ...storable import Options
from .pairs import PAIRINGS


@dataclass(frozen=True)
class MatchingOptions(Options):
    """How a flow is trained on pairs of base points and data points.

    Attributes:
        steps: of the descent.
        batch: examples of a step.
        pairing: of base and data points: by optimal "transport" within a block, or "independent".
        late: power by which times crowd towards 1, where fine details form; 1 is uniform.
        held_out: share of the points that chooses the weights; 0 keeps the last ones.

    Raises:
        ValueError: an option is out of its range.
    """

    steps: int = 3000
    batch: int = 512
    pairing: str = "transport"
    late: float = 1.0
    held_out: float = 0.1

    def __post_init__(self) -> None:
        if self.pairing not in PAIRINGS:
            raise ValueError(f"expected pairing in {PAIRINGS}, got {self.pairing!r}")
        if min(self.steps, self.batch) < 1 or not (0 <= self.held_out < 1 and self.late >= 1):
            raise ValueError(
                "expected steps, batch >= 1, 0 <= held_out < 1 and late >= 1, "
                f"got {self.steps}, {self.batch}, {self.held_out} and {self.late}"
            )
