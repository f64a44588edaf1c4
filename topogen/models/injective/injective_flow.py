r"""Injective flows on bases of the right topology."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Iterator, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ...baselines.injective import HeldOutScore, PublishedFlow
from ...distributions.base import ManifoldDistribution
from ...errors import InvalidPoints, NotFittedError, TrainingError, UnsupportedError
from ...manifolds.base import Manifold
from ...point_cloud.tensors import as_tensor, distinct
from ..base import LearnedDistribution, Stage
from .base_distributions import BaseDistribution, ImageDistribution, SpectralDistribution
from .base_selection import propose, seed_of
from .bases import FIXED, Base, base_of, from_parts, standard
from .certificate import EmbeddingCertificate, with_proof
from .cover_flow import CoverFlow
from .decoder import SpectralDecoder
from .image_manifold import ImageManifold
from .model_search import Search
from .residual import ResidualDecoder
from .von_mises_mixture import SIZES, VonMisesMixture

DENSITIES = ("spectral", "splines", "uniform", "von_mises", "mixture")
DECODERS = ("auto", "spectral", "residual")

_MOST_POINTS = 12_000
_LEAST_POINTS = 100
_HELD_OUT = 10  # one point of so many
_BETWEEN = 1e-4  # the tolerance of M in the largest gap of the data
_MARGIN = 10.0  # the tolerance of M in largest distances of held-out points


class InjectiveFlow(LearnedDistribution):
    r"""A distribution on the image of an injective map g of a base B of the right topology.

    .. math:: \log p(x) = \log p_B(b) - \tfrac12 \log\det J^\top J, \qquad x = g(b),

    w.r.t. the area of M = g(B), B a product of circles, spheres and intervals, or a free quotient
    (Klein bottle, Moebius band, projective spaces): no flow on R^d is injective onto a circle.

    g is a combination of eigenfunctions of B. First base points of the data come from persistent
    cohomology, made harmonic, and from discrete conformal maps, so that g has the right degree;
    then g and the base points are fitted in turn. The base point of a new x is that of the
    nearest point of M. p_B is an exponential family, normalised by quadrature. Whether g is an
    embedding onto the set of the data is checked (:attr:`certificate`), with a proof of
    injectivity where there is one; other numbers of landmarks and coordinates are tried until the
    checks pass.

    Args:
        dim: d.
        ambient_dim: D.
        base: "auto" (by the homology of the data), a name of
            :func:`topogen.models.injective.bases.standard`, or a reference space that B is a copy
            of.
        objective: "two_phase" (the above), or the name of a published objective, with networks
            of its own: see :class:`PublishedFlow`. The base "euclidean" has only these.
        density: of p_B: "spectral" (the exponential family), "splines" (a spline flow on the
            cover of B: slower, for sharp distributions), "uniform" (on M), "von_mises" (a product
            of von Mises and von Mises-Fisher distributions, see :class:`VonMisesMixture`) or
            "mixture" (of these).
        decoder: "spectral", "residual" (with a network that starts at 0, kept where held-out
            points get closer by it) or "auto": residual where the functions of B leave smooth
            data farther away than 1e-4 of their size. There is no proof of injectivity for it.
        settings: of a published objective, where they differ from the defaults of
            :class:`PublishedFlow`, by the names of its arguments: `{"steps": 6000, "noise": 0.1}`.

    Attributes:
        certificate: what was checked of g; None before the fit.
        attempts: one line for every base and choice that was tried.

    Raises:
        ValueError: no such base, a base of another dimension, a density or decoder for one of
            the published objectives, or settings without one.
        UnsupportedError: a base with lines and other factors, or an objective that has no meaning.

    Example:
        >>> t = torch.rand(600, generator=torch.Generator().manual_seed(0)) * 6.2832
        >>> flow = InjectiveFlow(1, 2, base="circle")
        >>> tg.fit(flow, torch.stack([2 * t.cos(), t.sin()], -1)).status
        'converged'
        >>> round(flow.manifold.volume, 3)
        9.688
    """

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        base: str | Manifold = "auto",
        objective: str = "two_phase",
        density: str = "spectral",
        decoder: str = "auto",
        settings: Mapping[str, Any] | None = None,
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
        self.base, self.objective, self.density, self.decoder = base, objective, density, decoder
        self.settings = None if settings is None else dict(settings)
        self.published: PublishedFlow | None = None
        wanted = None if base == "auto" else _base(base, dim)
        if wanted is not None and wanted.dim != dim:
            raise ValueError(
                f"expected a base of dimension {dim}, got {wanted.name} of dimension "
                f"{wanted.dim}; change dim, or the base"
            )
        self._wanted = wanted
        if objective != "two_phase" or (wanted is not None and not math.isfinite(wanted.volume)):
            if base == "auto":
                raise ValueError(
                    f"expected a named base for the objective {objective!r}, got 'auto'; pass "
                    "base='torus', say, or objective='two_phase'"
                )
            if (density, decoder) != ("spectral", "auto"):
                raise ValueError(
                    f"expected no density and no decoder for the objective {objective!r} on "
                    f"{base!r}, whose networks are those of PublishedFlow, got {density!r} and "
                    f"{decoder!r}; name its own in settings={{'density': ..., 'network': ...}}"
                )
            self.published = _published(dim, ambient_dim, base, objective, settings or {})
        elif settings:
            raise ValueError(
                "expected settings with a published objective only, got "
                f"{dict(settings)!r} for the fit of spectral decoders; for networks trained in "
                "two phases use topogen.baselines.injective.PublishedFlow"
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
    def bandwidth(self) -> int:
        """The bandwidth K of the decoder.

        Raises:
            NotFittedError: before `fit`.
            UnsupportedError: the decoder is another one.
        """
        self.require_fitted()
        return self._bandwidth()

    def _bandwidth(self) -> int:
        image = self.image
        if image is None or not isinstance(image.decoder, SpectralDecoder | ResidualDecoder):
            raise UnsupportedError(
                f"expected a spectral decoder, which has a bandwidth, got that of {self.objective}"
            )
        return image.decoder.bandwidth

    def forward(self) -> ManifoldDistribution:
        """The distribution at the current parameters.

        Raises:
            NotFittedError: before `fit`.
        """
        self.require_fitted()
        if self.published is not None:
            return self.published()
        return ImageDistribution(*self._parts())

    def measurements(self) -> dict[str, float | str]:
        """What is known of M and of the decoder, for tables."""
        numbers: dict[str, float | str] = {}
        M, certificate, published = self.image, self.certificate, self.published
        if published is not None and published.numbers:
            M, score = published.image, HeldOutScore(**published.numbers)
            numbers |= {"base": M.base.name, "objective": self.objective, "NLL": score.nll}
            for name in ("reconstruction", "reconstruction_p99"):
                share = getattr(score, name) / score.diameter
                numbers[f"{name.replace('_p99', ', 99 %')} / diameter"] = share
        if M is not None and M.volume is not None and M.volume_error is not None:
            numbers |= {"volume of M": M.volume, "volume of M, error": M.volume_error}
        if certificate is not None:
            numbers["base"] = certificate.base
            numbers["certificate"] = certificate.reason
            numbers["condition of the decoder"] = certificate.condition
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
        if self.published is not None:
            yield from self.published.stages(points)
            self.attempts = list(self.published.attempts)
            self.fitted = True
            return
        x = as_tensor(points, ambient_dim=self.ambient_dim).to(torch.float64)
        if self.image is None:
            yield Stage("manifold", lambda generator: self._fit_manifold(x, generator))
        yield Stage("density", lambda generator: self._fit_density(x, generator))

    def _fit_manifold(
        self, x: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        x = distinct(x)
        if len(x) < _LEAST_POINTS:
            raise InvalidPoints(
                f"expected at least {_LEAST_POINTS} distinct points, got {len(x)}; give more"
            )
        x = x[torch.randperm(len(x), generator=generator)[:_MOST_POINTS].to(x.device)]
        centre = x.mean(0)
        unit = (x - centre).square().sum(-1).mean().sqrt()
        y = (x - centre) / unit
        held, train = y[: len(y) // _HELD_OUT], y[len(y) // _HELD_OUT :]
        if self._wanted is None:
            bases, _ = propose(x, self.dim, seed_of(generator))
        else:
            bases = [self._wanted]
        search = Search(self.dim, train, held, self.attempts)
        found, certificate = yield from search.best(bases, self.decoder, generator)
        if self._wanted is None and not certificate.accepted:
            raise TrainingError(
                "expected data that are an embedding of a known base, got none that passes the "
                f"checks: {'; '.join(self.attempts)}; use an atlas (tg.AtlasDensity)"
            )
        certificate = with_proof(certificate, found.decoder)
        self.certificate = certificate
        self._build(found.decoder)
        image, _ = self._parts()
        image.centre, image.unit = centre, unit
        image.anchor(found.b)
        image.scale = float(unit)
        # held-out points tell how far M is from the truth, the spacing of points how far a
        # boundary is, the largest gap where there are none
        far = max(_MARGIN * float(found.held_out.max()), _BETWEEN * certificate.gap) + 1e-12
        if not found.decoder.base.closed:
            far = max(far, certificate.spacing)
        image.tolerance = far * float(unit)
        image.fitted = True
        image.volume, image.volume_error = image.measure_volume()
        if not certificate.accepted:
            warnings.warn(
                f"the decoder is no embedding of {found.decoder.base.name} onto the data: "
                f"{certificate.reason}; try base='auto', or give more points",
                stacklevel=2,
            )
        return certificate.accepted

    def _build(self, decoder: SpectralDecoder | ResidualDecoder) -> None:
        self.image, base = ImageManifold(decoder), decoder.base
        if self.density == "splines":
            self.distribution = CoverFlow(base)
        elif self.density in ("von_mises", "mixture"):
            self.distribution = VonMisesMixture(
                base, (1,) if self.density == "von_mises" else SIZES
            )
        else:
            self.distribution = SpectralDistribution(base, image=self.image)

    def _fit_density(
        self, x: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        image, distribution = self._parts()
        projections = image.encode(x)
        near = (image.decode(projections.b) - x).norm(dim=-1) <= max(
            image.atol(torch.float64), 0.1 * image.scale
        )
        if self.density == "uniform" and isinstance(distribution, SpectralDistribution):
            distribution.spread()
            ended = True
        else:
            ended = yield from distribution.fit(
                projections.b[near & projections.converged], generator
            )
        self.fitted = True
        return ended

    def get_extra_state(self) -> dict[str, Any]:
        """Plain data kept beside the buffers: the base and the bandwidth that were found."""
        state: dict[str, Any] = {"fitted": self.fitted, "attempts": self.attempts}
        if self.image is not None:
            state["base"] = [list(part) for part in self.image.base.parts]
            state["bandwidth"] = self._bandwidth()
            state["residual"] = isinstance(self.image.decoder, ResidualDecoder)
        if self.certificate is not None:
            state["certificate"] = self.certificate.to_dict()
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        super().set_extra_state(state)
        self.attempts = list(state["attempts"])
        if "certificate" in state:
            self.certificate = EmbeddingCertificate.of(state["certificate"])
        if "base" in state:
            base = from_parts([(name, dim) for name, dim in state["base"]])
            kind = ResidualDecoder if state["residual"] else SpectralDecoder
            self._build(kind(base, int(state["bandwidth"]), self.ambient_dim))


def _published(
    dim: int, ambient_dim: int, base: str | Manifold, objective: str, settings: Mapping[str, Any]
) -> PublishedFlow:
    known = [
        name for name, p in signature(PublishedFlow).parameters.items() if p.kind is p.KEYWORD_ONLY
    ]
    known.remove("objective")
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(f"expected settings among {', '.join(known)}, got {unknown}")
    return PublishedFlow(dim, ambient_dim, base, objective=objective, **settings)


def _base(base: str | Manifold, dim: int) -> Base:
    if isinstance(base, Manifold):
        return base_of(base)
    return standard(base, None if base in FIXED else dim)
