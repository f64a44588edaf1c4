r"""Injective flows on bases of the right topology."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...distributions.base import ManifoldDistribution
from ...errors import InvalidPoints, NotFittedError, TrainingError, UnsupportedError
from ...manifolds.base import Manifold
from ...point_cloud.span import affine_span
from ...point_cloud.tensors import as_tensor, distinct
from ...topology.inference.check import check_topology
from ..base import LearnedDistribution, Progress, Stage
from .base_distributions import BaseDistribution, ImageDistribution, SpectralDistribution
from .base_selection import bases_with
from .bases import FIXED, Base, base_of, from_parts, standard
from .certificate import EmbeddingCertificate, with_proof
from .cover_flow import CoverFlow
from .decoder import Decoder, SpectralDecoder
from .decoder_fit import FittedDecoder
from .image_manifold import ImageManifold
from .model_search import Search
from .residual import ResidualDecoder
from .von_mises_mixture import SIZES, VonMisesMixture

DENSITIES = ("spectral", "splines", "uniform", "von_mises", "mixture")
DECODERS = ("auto", "spectral", "residual")


class InjectiveFlow(LearnedDistribution):
    r"""A distribution on the image of an injective map g of a base B of the right topology.

    .. math:: \log p(x) = \log p_B(b) - \tfrac12 \log\det J^\top J, \qquad x = g(b),

    w.r.t. the area of M = g(B), B a product of circles, spheres and intervals, or a free quotient
    (Klein bottle, Moebius band, projective spaces): no flow on R^d is injective onto a circle.

    g is a combination of eigenfunctions of B. Initial base points of the data come from persistent
    cohomology, made harmonic, and from discrete conformal maps, so that g has the right degree;
    then g and the base points are fitted in turn. The base point of a new x is that of the
    nearest point of M. Whether g is an embedding onto the manifold of the data is checked
    (:attr:`certificate`), with a proof of injectivity where there is one; other numbers of
    landmarks and coordinates are tried until the checks pass.

    Args:
        dim: d.
        ambient_dim: D.
        base: "auto" (by the homology of the data), a name of
            :func:`topogen.models.injective.bases.standard`, or a copy of B as a reference space.
        density: of p_B: "spectral" (:class:`SpectralDistribution`), "splines" (a spline flow on
            the cover of B: slower, for sharp distributions), "uniform" (on M), "von_mises" (a
            product of such distributions, see :class:`VonMisesMixture`) or "mixture" (of these).
        decoder: "spectral", "residual" (with a network, where held-out points get closer by it;
            there is no proof of injectivity) or "auto": residual where the functions of B leave
            smooth data farther away than 1e-4 of their size.
        betti: Betti numbers {p: (b_0, b_1, ...)} of the data over Z/p, None per degree where
            undetermined, for the base "auto"; by :func:`topogen.check_topology` when None.

    Attributes:
        certificate: what was checked of g; None before the fit.
        attempts: one line for every base and choice that was tried.

    Raises:
        ValueError: no such base, a base of another dimension, no such density or decoder.
        UnsupportedError: a base of infinite volume: flows on R^d are
            :class:`topogen.baselines.PublishedFlow`.

    Example:
        >>> t = torch.rand(600, generator=torch.Generator().manual_seed(0)) * 6.2832
        >>> flow = InjectiveFlow(1, 2, base="circle")
        >>> tg.fit(flow, torch.stack([2 * t.cos(), t.sin()], -1)).status
        'converged'
        >>> round(flow.manifold.volume, 3)
        9.688
    """

    _numbers = ("attempts", "found")

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        base: str | Manifold = "auto",
        density: str = "spectral",
        decoder: str = "auto",
        betti: Mapping[int, Sequence[int | None]] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= dim < ambient_dim:
            raise ValueError(
                f"expected 1 <= dim < ambient_dim, got dim={dim}, ambient_dim={ambient_dim}"
            )
        self.dim, self.ambient_dim = dim, ambient_dim
        if density not in DENSITIES:
            raise ValueError(f"expected a density among {DENSITIES}, got {density!r}")
        if decoder not in DECODERS:
            raise ValueError(f"expected a decoder among {DECODERS}, got {decoder!r}")
        self.base, self.density, self.decoder = base, density, decoder
        self.betti = None if betti is None else {int(p): tuple(b) for p, b in betti.items()}
        if isinstance(base, Manifold):
            wanted = base_of(base)
        elif base == "auto":
            wanted = None
        else:
            wanted = standard(base, None if base in FIXED else dim)
        if wanted is not None and wanted.dim != dim:
            raise ValueError(
                f"expected a base of dimension {dim}, got {wanted.name} of dimension "
                f"{wanted.dim}; change dim, or the base"
            )
        self._wanted = wanted
        if wanted is not None and not math.isfinite(wanted.volume):
            raise UnsupportedError(
                f"expected a base of finite volume, got {wanted.name}; take an interval instead "
                "of a line, or topogen.baselines.PublishedFlow, which has flows on R^d"
            )
        self.image: ImageManifold | None = None
        self.distribution: BaseDistribution | None = None
        self.certificate: EmbeddingCertificate | None = None
        self.attempts: list[str] = []

    @property
    def manifold(self) -> Manifold:
        """The learned manifold M.

        Raises:
            NotFittedError: before `fit`.
        """
        return self.forward().manifold

    @property
    def bandwidth(self) -> int | None:
        """The bandwidth K of the decoder.

        Raises:
            NotFittedError: before `fit`.
        """
        return self._parts()[0].decoder.bandwidth

    def forward(self) -> ManifoldDistribution:
        """The distribution at the current parameters; points off M get -inf, not an error.

        Raises:
            NotFittedError: before `fit`.
        """
        self.require_fitted()
        return ImageDistribution(*self._parts(), validate_args=False)

    def measurements(self) -> dict[str, float | str]:
        """What is known of M and of the decoder, for tables."""
        numbers: dict[str, float | str] = {}
        M, c = self.image, self.certificate
        if M is not None and M.volume is not None and M.volume_error is not None:
            numbers |= {"volume of M": M.volume, "volume of M, error": M.volume_error}
        if c is not None:
            numbers |= {"base": c.base, "certificate": c.reason}
            numbers["condition of the decoder"] = c.condition
        return numbers

    def _parts(self) -> tuple[ImageManifold, BaseDistribution]:
        """M and the distribution on its base, once M is known."""
        if self.image is None or self.distribution is None:
            raise NotFittedError(
                "this InjectiveFlow has no base yet; call topogen.fit(injectiveflow, points) first"
            )
        return self.image, self.distribution

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """One for M, one for the distribution on it."""
        if self.fitted:
            return
        x = as_tensor(points, ambient_dim=self.ambient_dim).to(torch.float64)
        if self.image is None:
            yield Stage("manifold", lambda generator: self._fit_manifold(x, generator))
        yield Stage("density", lambda generator: self._fit_density(x, generator))

    def _fit_manifold(self, x: Tensor, generator: torch.Generator) -> Progress[bool]:
        x = distinct(x)
        if len(x) < 100:
            raise InvalidPoints(f"expected at least 100 distinct points, got {len(x)}; give more")
        # more points make the search slower and M hardly better
        x = x[torch.randperm(len(x), generator=generator)[:12_000].to(x.device)]
        centre = x.mean(0)
        unit = (x - centre).square().sum(-1).mean().sqrt()
        rows = x.cpu().numpy()
        span = affine_span(rows, self.dim + 1)
        y = x - centre if span is None else torch.from_numpy(span.inner(rows)).to(x)
        held_out, train = (y / unit).tensor_split([len(x) // 10])
        bases = self._candidates(x, generator) if self._wanted is None else [self._wanted]
        search = Search(self.dim, train, held_out, self.attempts)
        found, certificate = yield from search.best(bases, self.decoder, generator)
        if self._wanted is None and not certificate.accepted:
            raise TrainingError(
                "expected data that are an embedding of a known base, got none that passes the "
                f"checks: {'; '.join(self.attempts)}; use an atlas (tg.AtlasDensity)"
            )
        self.certificate = certificate = with_proof(certificate, found.decoder)
        decoder = found.decoder
        self._build(decoder if span is None else decoder.in_space(torch.from_numpy(span.V).to(x)))
        self._locate(found, certificate, centre, unit)
        if not certificate.accepted:
            warnings.warn(
                f"the decoder is no embedding of {found.decoder.base.name} onto the data: "
                f"{certificate.reason}; try base='auto', or give more points",
                stacklevel=2,
            )
        return certificate.accepted

    def _candidates(self, x: Tensor, generator: torch.Generator) -> list[Base]:
        """The bases with the homology of the points."""
        # drawn where the homology is known, too: the rest of the fit does not depend on that
        seed = int(torch.randint(2**31, (), generator=generator))
        betti = self.betti if self.betti is not None else check_topology(x, seed=seed).betti
        return bases_with(betti, self.dim)

    def _build(self, decoder: Decoder) -> None:
        """M and the family of distributions on its base, not fitted yet."""
        self.image, base = ImageManifold(decoder), decoder.base
        if self.density == "splines":
            self.distribution = CoverFlow(base)
        elif self.density in ("von_mises", "mixture"):
            self.distribution = VonMisesMixture(base, SIZES if self.density == "mixture" else (1,))
        else:
            self.distribution = SpectralDistribution(base, log_r=self.image.log_volume)

    def _locate(
        self, found: FittedDecoder, certificate: EmbeddingCertificate, centre: Tensor, unit: Tensor
    ) -> None:
        """Place M in the units of the data, with its tolerance and its volume."""
        image, _ = self._parts()
        image.centre, image.unit, image.scale = centre, unit, float(unit)
        image.anchor(found.b)
        # ten times the largest distance of held-out points, which show how far M is from the
        # truth; 1e-4 of the largest gap, where there are none; a spacing, where a boundary is
        far = max(10 * float(found.held_out.max()), 1e-4 * certificate.gap) + 1e-12
        if not image.closed:
            far = max(far, certificate.spacing)
        image.tolerance = far * image.scale
        image.fitted = True
        image.volume, image.volume_error = image.measure_volume()

    def _fit_density(self, x: Tensor, generator: torch.Generator) -> Progress[bool]:
        image, distribution = self._parts()
        converged = True
        if self.density == "uniform":
            distribution.set_uniform()
        else:
            found = image.encode(x)
            atol = max(image.atol(torch.float64), 0.1 * image.scale)
            near = (image.decode(found.b) - x).norm(dim=-1) <= atol
            converged = yield from distribution.fit(found.b[near & found.converged], generator)
        self.fitted = True
        return converged

    @property
    def found(self) -> dict[str, Any] | None:
        """What the search found, as plain data for files: base, decoder and certificate."""
        if self.image is None or self.certificate is None:
            return None
        return {
            "base": [list(part) for part in self.image.base.parts],
            "decoder": type(self.image.decoder).__name__,
            "bandwidth": self.image.decoder.bandwidth,
            "certificate": self.certificate.to_dict(),
        }

    @found.setter
    def found(self, data: Mapping[str, Any] | None) -> None:
        if data is not None:
            self.certificate = EmbeddingCertificate.of(data["certificate"])
            base = from_parts([(name, dim) for name, dim in data["base"]])
            decoders = {kind.__name__: kind for kind in (SpectralDecoder, ResidualDecoder)}
            decoder = decoders[data["decoder"]](base, int(data["bandwidth"]), self.ambient_dim)
            self._build(decoder)
