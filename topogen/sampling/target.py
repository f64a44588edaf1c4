"""The distribution that a chain aims at: an unnormalised log density on M, with its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

LogDensity = Callable[[Tensor], Tensor]


class Target:
    r"""The density :math:`f(x)^\beta` w.r.t. H^d on M, up to a factor; None means uniform.

    NaN and -inf are density 0, and NaN are counted. A module with float32 parameters gets float32
    points.

    Raises:
        ValueError: log_density does not take (n, D) to (n,), or treats rows together.
    """

    def __init__(self, log_density: LogDensity | None, x: Float[Tensor, "n D"]) -> None:
        self.f = log_density
        self.beta = 1.0
        self.nan = 0
        self.dtype = x.dtype
        if isinstance(log_density, nn.Module):
            parameter = next(log_density.parameters(), None)
            self.dtype = self.dtype if parameter is None else parameter.dtype
        if log_density is not None:
            self._probe(log_density, x)

    def _probe(self, f: LogDensity, x: Tensor) -> None:
        D = x.shape[-1]
        x = x[:5].to(self.dtype)
        expected = f"expected log_density to take (n, {D}) to (n,), row by row"
        try:
            with torch.no_grad():
                y, first = f(x), f(x[:1])
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{expected}; on {tuple(x.shape)} it failed: {error}") from error
        if not isinstance(y, Tensor) or y.shape != x.shape[:1]:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"{expected}; on {tuple(x.shape)} it gave {got}")
        if not bool(torch.isclose(first, y[:1], rtol=1e-4, atol=1e-5, equal_nan=True).all()):
            raise ValueError(
                f"{expected}; the value of a row changes with the other rows (BatchNorm?)"
            )

    def raw(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """Log f(x), whatever beta is."""
        if self.f is None:
            return torch.zeros_like(x[:, 0])
        with torch.no_grad():
            return self._clean(self.f(x.to(self.dtype)).to(x.dtype))

    def value(self, x: Float[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """Beta log f(x)."""
        return self._tempered(self.raw(x))

    def value_and_gradient(
        self, x: Float[Tensor, "n D"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n D"]]:
        """Beta log f(x) and its gradient in R^D, one backward pass for all rows."""
        if self.f is None:
            return torch.zeros_like(x[:, 0]), torch.zeros_like(x)
        with torch.enable_grad():
            y = x.detach().to(self.dtype).requires_grad_()
            f = self.f(y)
            if not f.requires_grad:
                raise ValueError(
                    "expected a log_density that autograd can differentiate, got one whose value "
                    "does not depend on its input; use random_walk, which needs no gradient"
                )
            (g,) = torch.autograd.grad(f.sum(), y)
        raw = self._clean(f.detach().to(x.dtype))
        return self._tempered(raw), self.beta * g.to(x.dtype)

    def _tempered(self, raw: Tensor) -> Tensor:
        # 0 times -inf is still outside
        return self.beta * raw if self.beta > 0 else torch.where(raw == -torch.inf, raw, 0.0)

    def _clean(self, f: Tensor) -> Tensor:
        bad = f.isnan()
        if bool(bad.any()):
            self.nan += int(bad.sum())
            f = torch.where(bad, -torch.inf, f)
        if bool((f == torch.inf).any()):
            raise ValueError("expected finite log densities, got +inf; bound log_density above")
        return f
