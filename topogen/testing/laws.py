"""How a law is checked: a measured number against a tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import TopogenError, UnsupportedError
from ..manifolds.atlas import BaseAtlas
from ..manifolds.base import Manifold


class LawViolation(TopogenError, AssertionError):
    """An object breaks a law of its kind.

    Attributes:
        law: the name of the law.
        measured: the number that was measured; NaN where there is none.
        tolerance: what it may be at most; NaN where there is none.
    """

    def __init__(
        self,
        subject: str,
        law: str,
        explanation: str,
        measured: float = math.nan,
        tolerance: float = math.nan,
    ) -> None:
        self.law, self.measured, self.tolerance = law, measured, tolerance
        said = f"{subject} breaks the law '{law}'"
        if not math.isnan(tolerance):
            said += f": measured {measured:.3g}, tolerance {tolerance:.3g}"
        super().__init__(f"{said}; {explanation}")


class Laws:
    """The laws of one object; a check raises :class:`LawViolation` where one is broken.

    Attributes:
        measured: the number measured for every law that holds so far.
    """

    def __init__(self, subject: Any) -> None:
        self.subject = type(subject).__name__
        self.measured: dict[str, float] = {}

    def at_most(self, law: str, value: Tensor | float, tolerance: float, explanation: str) -> None:
        """The largest of `value` is <= tolerance; NaN breaks the law."""
        rows = torch.as_tensor(value, dtype=torch.float64).detach().reshape(-1)
        worst = float(rows.nan_to_num(nan=math.inf).max()) if rows.numel() else 0.0
        if not worst <= tolerance:
            raise LawViolation(self.subject, law, explanation, worst, tolerance)
        self.measured[law] = max(worst, self.measured.get(law, -math.inf))

    def holds(self, law: str, ok: bool | Tensor, explanation: str) -> None:
        """A yes-or-no law."""
        if not bool(torch.as_tensor(ok).all()):
            raise LawViolation(self.subject, law, explanation)
        self.measured[law] = 0.0

    def equal(self, law: str, a: Any, b: Any, explanation: str) -> None:
        """Two plain values agree: a == b."""
        if a != b:
            raise LawViolation(self.subject, law, f"{explanation}: got {a}, expected {b}")
        self.measured[law] = 0.0

    def raises(
        self, law: str, error: type[Exception], call: Callable[[], Any], explanation: str
    ) -> None:
        """Calling raises the given error."""
        try:
            call()
        except error:
            self.measured[law] = 0.0
        else:
            raise LawViolation(self.subject, law, f"{explanation}: expected {error.__name__}")


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """The given generator, or one with a fixed seed: laws do not touch the global state."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def uniform_points(
    M: Manifold | BaseAtlas, n: int, generator: torch.Generator | None
) -> Float[Tensor, "n D"] | None:
    """A sample of the uniform distribution by M's own sampler; None where it has none."""
    try:
        return M.sample_uniform(n, generator)
    except UnsupportedError:  # an infinite volume, say
        return None


def gap(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|, where two NaN count as equal."""
    return torch.where(a.isnan() & b.isnan(), 0.0, (a - b).abs())
