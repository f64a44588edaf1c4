"""Injective flows as published: one class for every objective, with exact distributions."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import InvalidPoints
from ...manifolds.base import Manifold
from ...models.base import LearnedDistribution, Stage
from ...models.injective.base_distributions import (
    BaseDistribution,
    ImageDistribution,
    SpectralDistribution,
)
from ...models.injective.bases import Base, base_of, standard
from ...models.injective.image_manifold import ImageManifold
from ...models.injective.nearest_points import nearest_points
from ...models.injective.von_mises_mixture import SIZES, VonMisesMixture
from ...point_cloud.arrays import diameter
from ...point_cloud.tensors import as_tensor, distinct
from ..options import DescentOptions, NetworkOptions, VolumeOptions
from .autoencoder import Autoencoder, CouplingAutoencoder, FreeAutoencoder
from .base_densities import GaussianBase, RankSplineBase
from .checks import HeldOutScore, check_meaning, warn_of_fit
from .conformal import ConformalAutoencoder
from .fitting import Trainer
from .graph_autoencoders import GraphAutoencoder, StarAutoencoder
from .objectives import OBJECTIVES
from .trumpet import TrumpetAutoencoder
from .warm_start import Start

DENSITIES = ("auto", "spectral", "uniform", "von_mises", "mixture", "gaussian", "splines")


class PublishedFlow(LearnedDistribution):
    r"""An injective flow trained as one of the published ones, on any base.

    g: B -> R^D and f: R^D -> B are trained on the objective that the name stands for; the density
    p_B is then fitted by maximum likelihood to the base points of the training points, found from
    f by Gauss-Newton. Whatever the objective, the distribution is the exact one on M = g(B),

    .. math:: \log p(x) = \log p_B(b) - \tfrac12 \log\det J^\top J, \qquad x = g(b).

    Objectives, see :mod:`~topogen.baselines.injective.objectives`: "two_phase" (M-flow),
    "rectangular", "conformal", "free_form", "normalizing_autoencoder", "principal", "canonical",
    "relaxed", "denoising" and "spread". Sizes are small, the networks are not the papers'
    (convolutions), and every base but R^d is an addition. On bases of finite volume g and f are
    first fitted to the base points that :class:`InjectiveFlow` starts from, where there are some.

    Joint objectives (all but the first and the last two) start with reconstruction alone, and let
    the likelihood in between a third and two thirds of the steps. Below a reconstruction weight of
    :math:`1 / (2\sigma^2)`, sigma^2 the variance of the residuals then, they have a spurious
    optimum on a wrong set of small volume: they warn, and refuse a tenth of that.

    Args:
        dim: d.
        ambient_dim: D.
        base: B, by name (see :func:`topogen.models.injective.bases.standard`), a reference space,
            or a base; one that is no single standard base cannot be saved.
        objective: one of the above.
        network: of g and f.
        density: p_B. "spectral", an exponential family; "uniform"; "von_mises" or a "mixture" of
            these, see :class:`VonMisesMixture`; "gaussian" and "splines" on R^d. "auto" is
            "spectral", or "splines" on R^d.
        weight: beta of the reconstruction; None takes the published one, at least the bound above.
        noise: standard deviation of noise added to the data, scaled to mean square 1; None takes
            .05 (0 for "two_phase" and "conformal"). Free-form surrogates are wrong without noise.
        volume: how the loss finds the log volume, and how strongly it regularises J.
        descent: steps, batch and rate of the descent; the rate falls to 0.

    Raises:
        ValueError: an unknown name, or sizes that make no sense.
        UnsupportedError: an objective, a network or a density that this base does not have.

    Attributes:
        image: M.
        distribution: p_B.
        numbers: the :class:`HeldOutScore` of points that were held out, as plain numbers.
        used_weight: beta as used.
        residual_variance: sigma^2 as measured, per normal direction, of data of mean square 1.
        attempts: one line for every training: how it started, and whether g is one to one on H_1
            of the data. Where it is not, training starts again, once. A fit that loses loops
            again, or whose score is not `faithful`, warns and is not "converged".
        lost: what loops are lost; empty where none are, None where that is not known.

    Example:
        >>> x = tg.VonMises(0.0, 1.0).sample((600,), generator=torch.Generator().manual_seed(0))
        >>> small = NetworkOptions(width=32)
        >>> flow = PublishedFlow(1, 2, "circle", network=small, descent=DescentOptions(steps=300))
        >>> result = tg.fit(flow, x)
        >>> flow().likelihood, flow.score(x).reconstruction < 0.05
        ('exact', True)
    """

    _numbers = ("numbers", "used_weight", "residual_variance", "attempts", "lost")

    def __init__(
        self,
        dim: int,
        ambient_dim: int,
        base: str | Manifold | Base = "euclidean",
        *,
        objective: str = "two_phase",
        network: NetworkOptions = NetworkOptions(),
        density: str = "auto",
        weight: float | None = None,
        noise: float | None = None,
        volume: VolumeOptions = VolumeOptions(),
        descent: DescentOptions = DescentOptions(),
    ) -> None:
        super().__init__()
        for what, name, known in (
            ("an objective", objective, tuple(OBJECTIVES)),
            ("a density", density, DENSITIES),
        ):
            if name not in known:
                raise ValueError(f"expected {what} among {known}, got {name!r}")
        if not 1 <= dim <= ambient_dim:
            raise ValueError(
                f"expected 1 <= dim <= ambient_dim, got dim={dim} and ambient_dim={ambient_dim}"
            )
        if (weight is not None and not weight >= 0) or (noise is not None and not noise >= 0):
            raise ValueError(f"expected weight >= 0 and noise >= 0, got {weight} and {noise}")
        space = _space(base, dim)
        self.dim, self.ambient_dim, self.base = dim, ambient_dim, _plain(base)
        self.objective, self.network, self.density = objective, network, density
        self.weight, self.noise = weight, noise
        self.volume, self.descent = volume, descent
        check_meaning(objective, space, network.kind, noise)
        self.image = ImageManifold(self._network(space))
        automatic = "spectral" if math.isfinite(space.volume) else "splines"
        self.density_kind = automatic if density == "auto" else density
        self.distribution = self._distribution(space)
        self.numbers: dict[str, float] = {}
        self.used_weight = self.residual_variance = math.nan
        self.attempts: list[str] = []
        self.lost: str | None = None
        self.requires_grad_(False)

    @property
    def manifold(self) -> ImageManifold:
        """M; its homology is that of B if g is injective: only its loops are checked."""
        return self.image

    @property
    def space(self) -> Base:
        """B."""
        return self.image.base

    @property
    def pair(self) -> Autoencoder:
        """Decoder and encoder, in units in which the data have mean 0 and mean square 1."""
        return cast("Autoencoder", self.image.decoder)

    def _network(self, B: Base) -> Autoencoder:
        D, kind = self.ambient_dim, self.network.kind
        width, layers = self.network.width, self.network.layers
        if kind == "auto":
            needed = {"conformal": "conformal", "denoising": "coupling"}
            kind = needed.get(self.objective, "free")
        if kind in ("coupling", "splines"):
            layer = "affine" if kind == "coupling" else "spline"
            return CouplingAutoencoder(B, D, layers=layers, width=width, kind=layer)
        if kind == "conformal":
            return ConformalAutoencoder(B, D, layers=layers)
        if kind == "trumpet":
            return TrumpetAutoencoder(B, D, layers=max(layers // 2, 1), width=width)
        perceptrons = {"free": FreeAutoencoder, "star": StarAutoencoder, "graph": GraphAutoencoder}
        return perceptrons[kind](B, D, width=width, depth=self.network.depth)

    def _distribution(self, B: Base) -> BaseDistribution:
        kind = self.density_kind
        if kind in ("spectral", "uniform"):
            return SpectralDistribution(B)
        if kind in ("von_mises", "mixture"):
            return VonMisesMixture(B, (1,) if kind == "von_mises" else SIZES)
        return GaussianBase(B) if kind == "gaussian" else RankSplineBase(B)

    def forward(self) -> ImageDistribution:
        """The distribution; warns where M is too far from the data for it to mean anything.

        Raises:
            NotFittedError: before `fit`.
        """
        self.require_fitted()
        if self.numbers:
            HeldOutScore(**self.numbers).warn()
        return ImageDistribution(self.image, self.distribution, validate_args=False)

    def score(self, points: Any) -> HeldOutScore:
        """Likelihood and reconstruction of points, together; NotFittedError before `fit`."""
        self.require_fitted()
        return self._score(as_tensor(points, ambient_dim=self.ambient_dim))

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The objective, then the density on base points that no longer change."""
        x = as_tensor(points, ambient_dim=self.ambient_dim)
        if not self.image.fitted:
            yield Stage(self.objective, lambda g: self._fit_manifold(x, g), self.descent.steps)
        if not self.fitted:
            yield Stage("density", lambda g: self._fit_density(x, g))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Training and held-out points."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        held = round(0.1 * len(x))
        return x[order[held:]], x[order[:held]]

    def _fit_manifold(
        self, x: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        if (different := len(distinct(x))) < 20:
            raise InvalidPoints(
                f"expected at least 20 different points, got {different}; give more points"
            )
        train, _ = self._split(x)
        image = self.image
        image.centre = train.mean(0)
        image.unit = (train - image.centre).square().sum(-1).mean().sqrt()
        y = (train - image.centre) / image.unit
        start = Start.of(self.space, y)
        trainer = Trainer(
            self.pair,
            self.distribution,
            self.density_kind in ("spectral", "von_mises", "mixture"),
            OBJECTIVES[self.objective],
            self.volume,
            self.descent,
            self.weight,
            self.noise,
        )
        finite, b, self.lost = yield from self._train(trainer, y, start, generator)
        if self.lost:
            finite, b, self.lost = yield from self._train(trainer, y, start, generator)
        self.used_weight = trainer.used_weight
        self.residual_variance = trainer.residual_variance
        image.anchor(b)
        image.scale = diameter(train.numpy())
        image.fitted = True
        off = (image.decode(image.encode(train).b) - train).norm(dim=-1)
        # every training point has a density
        image.tolerance = float(off.max()) + image.atol(x.dtype)
        if math.isfinite(self.space.volume):
            image.volume, image.volume_error = image.measure_volume()
        return finite

    def _train(
        self, trainer: Trainer, y: Tensor, start: Start, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, tuple[bool, Tensor, str | None]]:
        """Whether the loss stayed finite, base points, and what loops are known to be lost."""
        if len(self.space.group) > 1:
            finite, b = yield from trainer.run_on_anchors(*start.require(), generator)
        else:
            finite = yield from trainer.run(y, start.pairs, generator)
            parts = zip(y.split(2048), self.pair.encode(y).split(2048), strict=True)
            found = [nearest_points(self.pair, p, c, tol=1e-9, max_steps=30).b for p, c in parts]
            b = torch.cat(found)
        lost = start.lost(self.pair)
        said = {None: "loops not checked", "": "no loops are lost"}.get(lost, lost)
        self.attempts.append(f"{start.words}; {said}")
        return finite, b, lost

    def _fit_density(
        self, x: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        train, held = self._split(x)
        kept = self.density_kind == "gaussian" and self.objective != "two_phase"
        ended = True
        if self.density_kind != "uniform" and not kept:
            ended = yield from self.distribution.fit(self.image.encode(train).b, generator)
        self.distribution.fitted = True
        score = self._score(held if len(held) > 1 else train)
        self.numbers = score.to_dict()
        self.fitted = True
        yield {"loss": score.nll, "reconstruction": score.reconstruction}
        return warn_of_fit(score, self.lost) and ended

    def _score(self, x: Float[Tensor, "n D"]) -> HeldOutScore:
        with torch.no_grad():
            image = self.image
            projections = image.encode(x)
            near = back = projections.value * image.unit + image.centre
            nll = -ImageDistribution(image, self.distribution).log_prob_at(projections.b)
            if len(self.space.group) == 1:
                back = image.decode(self.pair.encode((x - image.centre) / image.unit))
            off = (x - back).norm(dim=-1)
            return HeldOutScore(
                nll=float(nll.mean()),
                nll_error=float(nll.std()) / math.sqrt(len(x)),
                reconstruction=float(off.mean()),
                reconstruction_median=float(off.median()),
                reconstruction_p99=float(off.quantile(0.99)),
                distance=float((x - near).norm(dim=-1).mean()),
                diameter=float(image.scale),
            )


def _space(base: str | Manifold | Base, dim: int) -> Base:
    """The base; ValueError where its dimension is another."""
    if isinstance(base, str):
        return standard(base, dim)
    B = base if isinstance(base, Base) else base_of(base)
    if B.dim != dim:
        raise ValueError(f"expected a base of dimension dim={dim}, got {B.name}")
    return B


def _plain(base: str | Manifold | Base) -> str | Manifold | Base:
    """A standard base by its name, which can be saved."""
    return base.parts[0][0] if isinstance(base, Base) and len(base.parts) == 1 else base
