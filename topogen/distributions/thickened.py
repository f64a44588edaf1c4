"""Distributions on R^D of noisy points: a distribution on M, and Gaussian noise normal to M."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InvalidPoints
from ..manifolds.base import projection_tolerance
from ..manifolds.curvature import shape_operator
from ..manifolds.spaces.euclidean import Euclidean
from ..point_cloud.tensors import as_tensor
from .base import ManifoldDistribution


class NormalNoise(ManifoldDistribution):
    r"""The distribution of x = y + n, y of a distribution p on M, n normal to M at y and Gaussian.

    .. math:: q(x) = \frac{p(y)\, \mathcal{N}(n; 0, s^2 I_{D-d})}{\det(I - S_n)}, \qquad
              S_n = \langle \mathrm{II}(\cdot, \cdot), n \rangle,

    w.r.t. Lebesgue measure on R^D, with y the point of M nearest to x (Weyl, 1939, "On the volume
    of tubes", https://doi.org/10.2307/2371513): a proper likelihood of any x, to be compared with
    distributions on R^D. It is exact up to what lies beyond the reach of M: s must be well below
    it. Where :math:`\det(I - S_n) \le 0` y is not nearest, and q is 0.

    Args:
        distribution: p.
        noise: s, in units of the points; :meth:`of` takes that of given points.
        validate_args: raise on NaN.

    Raises:
        ValueError: s is not positive.

    Example:
        >>> q = NormalNoise(tg.Uniform(tg.Circle()), 0.05)
        >>> q.log_prob(torch.tensor([[1.1, 0.0]], dtype=torch.float64))
        tensor([-1.8564], dtype=torch.float64)
        >>> q.measure, q.dim, q.likelihood
        ('lebesgue', 2, 'thickened')
    """

    def __init__(
        self,
        distribution: ManifoldDistribution,
        noise: float,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not (noise > 0 and math.isfinite(noise)):
            raise ValueError(f"expected noise > 0, got {noise}")
        self.distribution, self.noise = distribution, noise
        super().__init__(
            Euclidean(distribution.manifold.ambient_dim),
            likelihood="thickened",
            log_z_error=distribution.log_z_error,
            validate_args=validate_args,
        )
        self.measure = "lebesgue"

    @classmethod
    def of(
        cls, distribution: ManifoldDistribution, points: Any, *, validate_args: bool | None = None
    ) -> NormalNoise:
        r"""With the noise of points, :math:`s^2 = \overline{|x - y|^2} / (D - d)`.

        The mean is over the points with a nearest point y of M. This is the estimate of largest
        likelihood, up to :math:`\det(I - S_n)`; a little too small where M was fitted to them.

        Args:
            distribution: p.
            points: noisy points, shape (n, D).
            validate_args: as for the class.

        Raises:
            InvalidPoints: they lie on M, or less than half of them have a nearest point.
        """
        M = distribution.manifold
        x = as_tensor(points, ambient_dim=M.ambient_dim)
        projection = M.nearest(x)
        known = projection.converged & projection.value.isfinite().all(-1)
        if 2 * int(known.sum()) < len(x):
            raise InvalidPoints(
                f"expected points near M, got {int(known.sum())} of {len(x)} with a nearest point "
                "on it; pass the noise yourself"
            )
        square = (x - projection.value)[known].square().sum(-1).mean()
        noise = float((square / max(M.ambient_dim - M.dim, 1)).sqrt())
        if not noise > projection_tolerance(torch.float64, M.scale):
            raise InvalidPoints("expected points with noise, got points of M: it has no thickness")
        return cls(distribution, noise, validate_args=validate_args)

    def _log_prob(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        M = self.distribution.manifold
        projection = M.nearest(x)
        # an unfound projection has no density, and must not stop the others
        y = torch.where(projection.converged.unsqueeze(-1), projection.value, math.nan)
        known = y.isfinite().all(-1)
        result = x.new_full(x.shape[:-1], -math.inf)
        if not bool(known.any()):
            return result
        y, n = y[known], (x - projection.value)[known]
        stretch = 1 - torch.linalg.eigvalsh(shape_operator(M, y, n))
        inside = (stretch > 0).all(-1)
        log_det = torch.where(inside.unsqueeze(-1), stretch, 1.0).log().sum(-1)
        log_constant = (M.ambient_dim - M.dim) * math.log(self.noise * math.sqrt(2 * math.pi))
        normal = -0.5 * (n * n).sum(-1) / self.noise**2 - log_constant
        value = self.distribution._log_prob(y) + normal - log_det
        return result.masked_scatter(known, torch.where(inside, value, -math.inf))

    def _sample(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n D"]:
        y = self.distribution._sample(n, generator)
        N = self.distribution.manifold.normal_basis(y)
        z = torch.randn(n, N.shape[-1], 1, generator=generator, dtype=torch.float64).to(y)
        return y + self.noise * (N @ z).squeeze(-1)
