r"""Charts psi: U -> M with U a ball or a box of R^d, and their inverses phi."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .. import calculus
from ..errors import ChartDomainError
from ..storable import Storable


def smooth_step(t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""C-infinity: 0 for t <= 0, 1 for t >= 1, or :math:`e^{-1/t}/(e^{-1/t} + e^{-1/(1-t)})`."""
    # within 1e-3 of the ends it is 0 or 1 to the last bit, and 1/t^2 would overflow in gradients
    inside = (t > 1e-3) & (t < 1 - 1e-3)
    s = torch.where(inside, t, 0.5)
    return torch.where(inside, torch.sigmoid(1 / (1 - s) - 1 / s), (t >= 0.5).to(t.dtype))


def midpoints(low: Float[Tensor, " d"], high: Float[Tensor, " d"], n: int) -> Float[Tensor, "m d"]:
    """The centres of the n^d cells of a box, the last axis fastest."""
    ticks = torch.arange(n, dtype=low.dtype, device=low.device) + 0.5
    places = torch.cartesian_prod(*[ticks] * low.numel()).reshape(-1, low.numel())
    return low + (high - low) / n * places


class Domain(Storable, ABC):
    """An open, contractible set U of R^d on which a chart is defined."""

    dim: int

    @abstractmethod
    def depth(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Depth of z in U: 1 at the centre, 0 on the boundary, negative outside; continuous."""

    @abstractmethod
    def bounding_box(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Lower and upper corner of the smallest box around U."""

    def centre(self) -> Float[Tensor, " d"]:
        """The midpoint of the bounding box."""
        low, high = self.bounding_box()
        return (low + high) / 2

    def contains(self, z: Float[Tensor, "*batch d"]) -> Bool[Tensor, "*batch"]:
        """Whether z lies in the open set U."""
        return self.depth(z) > 0

    def bump(self, z: Float[Tensor, "*batch d"], width: float = 0.5) -> Float[Tensor, "*batch"]:
        """Smooth function: 1 at depth >= width, vanishing with all derivatives at the boundary."""
        return smooth_step(self.depth(z) / width)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw n points, uniform in U."""
        low, high = self.bounding_box()
        accepted = low.new_zeros(0, self.dim)
        while accepted.shape[0] < n:
            u = torch.rand(2 * n + 16, self.dim, generator=generator, dtype=low.dtype)
            z = low + (high - low) * u.to(low.device)
            accepted = torch.cat([accepted, z[self.contains(z)]])
        return accepted[:n]

    def near_boundary(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """Points at depth .01 on n random rays from the centre, by bisection."""
        low, high = self.bounding_box()
        u = torch.randn(n, self.dim, generator=generator, dtype=low.dtype).to(low.device)
        inner, outer = torch.zeros_like(u[:, :1]), torch.full_like(u[:, :1], 2.0)
        reach, centre = u / u.abs().amax(-1, keepdim=True) * (high - low) / 2, self.centre()
        for _ in range(30):
            middle = (inner + outer) / 2
            deep = (self.depth(centre + middle * reach) > 1e-2).unsqueeze(-1)
            inner, outer = torch.where(deep, middle, inner), torch.where(deep, outer, middle)
        return centre + inner * reach

    def grid(self, per_axis: int) -> tuple[Float[Tensor, "m d"], float]:
        """Midpoint rule: nodes inside U of a grid on the bounding box, and the volume of a cell.

        It converges faster than any power where the integrand vanishes smoothly at the boundary.
        """
        low, high = self.bounding_box()
        z = midpoints(low, high, per_axis)
        return z[self.contains(z)], float(((high - low) / per_axis).prod())


class Ball(Domain):
    """Open ball of R^dim about the origin.

    Example:
        >>> Ball(2, radius=3.0).contains(torch.tensor([[0.0, 2.9], [2.9, 2.9]]))
        tensor([ True, False])
    """

    radius: Tensor

    def __init__(self, dim: int, radius: float = 1.0) -> None:
        super().__init__()
        if dim < 1 or not radius > 0:
            raise ValueError(f"expected dim >= 1 and radius > 0, got dim={dim}, radius={radius}")
        self.dim = dim
        self.register_buffer("radius", torch.tensor(float(radius), dtype=torch.float64))

    def depth(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """1 - |z|^2 / radius^2."""
        return 1 - (z * z).sum(-1) / self.radius**2

    def bounding_box(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """The cube of half-width radius."""
        high = self.radius.expand(self.dim)
        return -high, high

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.dim}, radius={float(self.radius):g}"


class Box(Domain):
    """Open box lo < z < hi of R^d.

    Example:
        >>> Box([0.0, -1.0], [1.0, 1.0]).depth(torch.tensor([0.5, 0.0]))
        tensor(1., dtype=torch.float64)
    """

    lo: Tensor
    hi: Tensor

    def __init__(
        self, lo: float | Sequence[float] | Tensor, hi: float | Sequence[float] | Tensor
    ) -> None:
        super().__init__()
        low, high = (torch.as_tensor(b, dtype=torch.float64).reshape(-1) for b in (lo, hi))
        if low.shape != high.shape or not bool((low < high).all()):
            raise ValueError(
                f"expected lo < hi of the same length, got lo={low.tolist()}, hi={high.tolist()}"
            )
        self.dim = low.numel()
        self.register_buffer("lo", low)
        self.register_buffer("hi", high)

    def depth(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The product over axes of 4 (z - lo)(hi - z) / (hi - lo)^2, made negative outside."""
        t = 4 * (z - self.lo) * (self.hi - z) / (self.hi - self.lo) ** 2
        return torch.where((t > 0).all(-1), t.clamp_min(0).prod(-1), t.clamp_max(0).sum(-1))

    def bounding_box(self) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """The box itself."""
        return self.lo, self.hi

    def extra_repr(self) -> str:
        """Shown by repr."""
        return f"{self.lo.tolist()}, {self.hi.tolist()}"


class Chart(Storable, ABC):
    r"""Embedding psi = `decode`: U -> M with inverse phi = `encode` on psi(U).

    To implement one, set `domain` and `ambient_dim` and write, row-wise, `_decode(z)` for z in U
    and `_encode(x)`: latent coordinates, and whether x is in psi(U). Check it with
    :func:`topogen.testing.check_chart`.
    """

    domain: Domain
    ambient_dim: int

    @abstractmethod
    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        """psi(z); only rows in the domain matter."""

    @abstractmethod
    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        """Latent coordinates of x and whether x, a point of M, lies in psi(U)."""

    @property
    def dim(self) -> int:
        """Dimension d of the domain."""
        return self.domain.dim

    def decode(
        self, z: Float[Tensor, "*batch d"], *, throw: bool = False
    ) -> Float[Tensor, "*batch D"]:
        """psi(z), shape (..., D); NaN where z is outside the domain.

        Raises:
            ChartDomainError: `throw` is set and some z is outside.
        """
        inside = self.domain.contains(z)
        if throw and not bool(inside.all()):
            raise ChartDomainError(
                f"{int((~inside).sum())} of {inside.numel()} latent points lie outside the domain "
                f"{self.domain}; clip them, or decode them in another chart"
            )
        return torch.where(inside.unsqueeze(-1), self._decode(z), math.nan)

    def encode(
        self, x: Float[Tensor, "*batch D"], *, throw: bool = False
    ) -> Float[Tensor, "*batch d"]:
        """phi(x), shape (..., d); NaN where x, a point of M, is not in the image of the chart.

        Raises:
            ChartDomainError: `throw` is set and some x is outside.
        """
        z, inside = self._encode(x)
        if throw and not bool(inside.all()):
            raise ChartDomainError(
                f"{int((~inside).sum())} of {inside.numel()} points lie outside the image of the "
                "chart; encode them in another chart (Atlas.weights tells which)"
            )
        return torch.where(inside.unsqueeze(-1), z, math.nan)

    def contains(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """Whether x, a point of M, lies in the image of the chart."""
        return self._encode(x)[1]

    def gap(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        r""":math:`|\psi(\varphi(x)) - x|`, 0 in the image; NaN where phi(x) is not in U."""
        return (self.decode(self._encode(x)[0]) - x).norm(dim=-1)

    def may_contain(self, x: Float[Tensor, "*batch D"]) -> Bool[Tensor, "*batch"]:
        """A cheap bound on :meth:`contains`: where it is False, so is that. True by default."""
        return x.new_ones(x.shape[:-1], dtype=torch.bool)

    def value_and_jacobian(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D d"]]:
        """:meth:`decode` and :meth:`jacobian` in one pass."""
        x, J = calculus.value_and_jacobian(self._decode, z)
        return torch.where(self.domain.contains(z).unsqueeze(-1), x, math.nan), J

    def jacobian(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D d"]:
        """J = D psi(z), shape (..., D, d)."""
        return self.value_and_jacobian(z)[1]

    def log_volume(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        r""":math:`\tfrac12 \log\det J^\top J` of psi at z: log area of M per unit dz, in nats."""
        return calculus.log_gram(self.jacobian(z))

    def jacobian_on(
        self, z: Float[Tensor, "*batch d"], Q: Float[Tensor, "*batch D d"]
    ) -> Float[Tensor, "*batch D d"]:
        """:meth:`jacobian`, where an orthonormal tangent basis Q at psi(z) is at hand already."""
        return self.jacobian(z)


class FunctionChart(Chart):
    r"""A chart from two plain row-wise functions.

    Args:
        decode: psi, (..., d) to (..., D), an embedding of the domain.
        encode: phi, (..., D) to (..., d), its inverse on the image, and anything elsewhere.
        domain: where psi is defined.
        atol: x is in the image when phi(x) is in the domain and |psi(phi(x)) - x| <= atol; None
            takes 1e-6 times (1 + |x|), for float32 2e-3.

    Example:
        >>> upper = FunctionChart(
        ...     lambda z: torch.cat([z, (1 - (z * z).sum(-1, keepdim=True)).sqrt()], -1),
        ...     lambda x: x[..., :2], domain=Ball(2, 0.9))
        >>> upper.encode(torch.tensor([[0.6, 0.0, 0.8], [0.6, 0.0, -0.8]]))
        tensor([[0.6000, 0.0000],
                [   nan,    nan]])
    """

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        encode: Callable[[Tensor], Tensor],
        *,
        domain: Domain,
        atol: float | None = None,
    ) -> None:
        super().__init__()
        self.psi, self.phi, self.domain, self._atol = decode, encode, domain, atol
        x = decode(domain.centre().unsqueeze(0))
        if x.ndim != 2 or x.shape[0] != 1:
            raise ValueError(
                f"expected decode to take (..., {domain.dim}) to (..., D), "
                f"got shape {tuple(x.shape)} for (1, {domain.dim})"
            )
        self.ambient_dim = x.shape[-1]

    def arguments(self) -> dict[str, Any]:
        """See :class:`~topogen.storable.Storable`."""
        return {"decode": self.psi, "encode": self.phi, "domain": self.domain, "atol": self._atol}

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        return self.psi(z)

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        z, atol = self.phi(x), self._atol
        inside = self.domain.contains(z)
        # the decoder is asked only about points of its domain
        centre = self.domain.centre().to(z.dtype)
        back = self.psi(torch.where(inside.unsqueeze(-1), z, centre))
        if atol is None:
            atol = (1e-6 if x.dtype == torch.float64 else 2e-3) * (1 + x.detach().norm(dim=-1))
        return z, inside & ((back - x).norm(dim=-1) <= atol)
