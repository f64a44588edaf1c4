"""Monotone rational-quadratic splines of the unit interval and of the circle R / Z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_MIN_WIDTH, _MIN_HEIGHT = 0.3, 1e-3  # of a bin, as shares of an even one
_BEND = 2.0  # largest log of a slope at a knot over the geometric mean of h / w on both sides


@dataclass(frozen=True)
class Spline:
    r"""An increasing map S of [0, 1] onto itself, rational-quadratic between knots.

    With knots :math:`(x_k, y_k)`, slopes :math:`d_k`, and in bin k :math:`w = x_{k+1} - x_k`,
    :math:`h = y_{k+1} - y_k`, :math:`s = h / w`, :math:`\xi = (x - x_k) / w`,

    .. math:: S(x) = y_k + h\, \frac{s \xi^2 + d_k\, \xi (1 - \xi)}
              {s + (d_k + d_{k+1} - 2s)\, \xi (1 - \xi)} .

    S is once continuously differentiable and S' > 0: the distribution that S takes to the uniform
    one has the continuous density S'. Where the end slopes agree, so it is on the circle R / Z.

    Leading axes are rows of splines, and broadcast against those of the arguments.

    Args:
        x: knots from 0 to 1, increasing, shape (..., B + 1).
        y: their values from 0 to 1, increasing, shape (..., B + 1).
        slope: derivatives d_k > 0 at the knots, shape (..., B + 1).

    C. Durkan et al., Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032; D. Rezende et
    al., Normalizing Flows on Tori and Spheres, 2020, https://arxiv.org/abs/2002.02428.

    Example:
        >>> zero = torch.zeros(4)
        >>> S = Spline.circle(zero, zero, torch.tensor([1.0, 0.0, 0.0, 0.0]))
        >>> S(torch.tensor([0.0, 0.1, 0.5]))
        tensor([0.0000, 0.1401, 0.5000])
        >>> S.inverse(S(torch.tensor([0.3])))
        tensor([0.3000])
    """

    x: Float[Tensor, "*batch knots"]
    y: Float[Tensor, "*batch knots"]
    slope: Float[Tensor, "*batch knots"]

    @staticmethod
    def interval(
        width: Float[Tensor, "*batch B"],
        height: Float[Tensor, "*batch B"],
        slope: Float[Tensor, "*batch knots"],
    ) -> Spline:
        r"""The spline of unconstrained numbers, with free slopes at both ends; zeros give x -> x.

        The slope at a knot is :math:`\sqrt{s s'} e^{2 \tanh(r / 2)}`, s and s' the h / w of the
        bins that meet there: one far above both would be a narrow spike.

        Args:
            width: of the bins, by softmax, shape (..., B).
            height: of the bins, by softmax, shape (..., B).
            slope: r at the B + 1 knots, shape (..., B + 1).

        Raises:
            ValueError: the shapes do not fit each other.
        """
        B = width.shape[-1]
        if height.shape[-1] != B or slope.shape[-1] != B + 1:
            raise ValueError(
                f"expected B widths, B heights and B + 1 slopes, got {B}, {height.shape[-1]} and "
                f"{slope.shape[-1]}; for B slopes take Spline.circle"
            )
        return _spline(width, height, slope)

    @staticmethod
    def circle(
        width: Float[Tensor, "*batch B"],
        height: Float[Tensor, "*batch B"],
        slope: Float[Tensor, "*batch B"],
    ) -> Spline:
        """The same with B slopes, the first of them at both ends: a map of the circle R / Z.

        Raises:
            ValueError: the shapes do not fit each other.
        """
        if slope.shape[-1] != width.shape[-1]:
            raise ValueError(
                f"expected as many slopes as bins on a circle, got {slope.shape[-1]} and "
                f"{width.shape[-1]}; for free end slopes take Spline.interval"
            )
        return _spline(width, height, torch.cat([slope, slope[..., :1]], -1), circular=True)

    def __call__(self, x: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """S(x), for x in [0, 1]."""
        return self.value_and_log_slope(x)[0]

    def inverse(self, y: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        r"""The x with S(x) = y, for y in [0, 1].

        The root of :math:`a \xi^2 + b \xi + c` in the form
        :math:`2c / (-b - \sqrt{b^2 - 4ac})`, which loses no digits.
        """
        (x, w), (y0, h), (d0, d1) = self._bin(y, self.y)
        s, rise = h / w, y - y0
        bend = rise * (d0 + d1 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * rise
        root = (b * b - 4 * a * c).clamp_min(0).sqrt()
        return x + w * (2 * c / (-b - root)).clamp(0, 1)

    def value_and_log_slope(
        self, x: Float[Tensor, "*rows"]
    ) -> tuple[Float[Tensor, "*rows"], Float[Tensor, "*rows"]]:
        """S(x) and log S'(x), for x in [0, 1]."""
        (x0, w), (y, h), (d0, d1) = self._bin(x, self.x)
        s, t = h / w, ((x - x0) / w).clamp(0, 1)
        both = t * (1 - t)
        below = s + (d0 + d1 - 2 * s) * both
        above = d1 * t * t + 2 * s * both + d0 * (1 - t) * (1 - t)
        value = y + h * (s * t * t + d0 * both) / below
        return value, 2 * (s.log() - below.log()) + above.log()

    def _bin(
        self, at: Tensor, knots: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Start and size of the bin that contains `at`, in x and in y, and its two slopes."""
        k = (at.detach().unsqueeze(-1) >= knots.detach()[..., 1:-1]).sum(-1, keepdim=True)

        def ends(values: Tensor) -> tuple[Tensor, Tensor]:
            values = values.expand(*k.shape[:-1], values.shape[-1])
            return values.gather(-1, k).squeeze(-1), values.gather(-1, k + 1).squeeze(-1)

        (x0, x1), (y0, y1) = ends(self.x), ends(self.y)
        return (x0, x1 - x0), (y0, y1 - y0), ends(self.slope)


def _spline(width: Tensor, height: Tensor, r: Tensor, *, circular: bool = False) -> Spline:
    x, y = _knots(width, _MIN_WIDTH), _knots(height, _MIN_HEIGHT)
    s = y.diff(dim=-1) / x.diff(dim=-1)
    first, last = s[..., :1], s[..., -1:]
    before, after = (last, first) if circular else (first, last)
    left, right = torch.cat([before, s], -1), torch.cat([s, after], -1)
    return Spline(x, y, (left * right).sqrt() * (_BEND * (r / _BEND).tanh()).exp())


def _knots(raw: Tensor, least: float) -> Tensor:
    """Knots from 0 to 1 with gaps of at least `least` / B."""
    gaps = least / raw.shape[-1] + (1 - least) * raw.softmax(-1)
    end = torch.zeros_like(raw[..., :1])
    return torch.cat([end, gaps[..., :-1].cumsum(-1), end + 1], -1)
