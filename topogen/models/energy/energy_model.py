"""A distribution on a manifold, learned as an energy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ...distributions.energy import EnergyDistribution, Levels, LogZ
from ...errors import UnsupportedError
from ...manifolds.atlas import BaseAtlas
from ...manifolds.base import Manifold
from ...point_cloud.tensors import nearest_row
from ..base import LearnedDistribution, Progress, Stage, part_stages, projections
from ..optimize import weights_in
from ..projected_atlas import ProjectedAtlas
from .contrastive import contrast
from .mcmc_energy import ChainedEnergy, estimate_log_z, uniform_draws
from .network import Energies
from .objectives import (
    MaximumLikelihood,
    NoiseContrast,
    Objective,
    Reference,
    ScoreMatching,
    minimise,
)
from .partition_function import Draws, Method, estimate
from .reference_measure import Measure, find_measure

_MAX_QUADRATURE_DIM = 3
# the quadrature stops here: on a learned manifold a node takes a Newton solve
_MAX_NODES = {1: 20_000, 2: 50_000, 3: 50_000}
_LEAST = 20

Kind = Literal["nce", "maximum_likelihood", "score", "contrastive_divergence"]


class EnergyModel(LearnedDistribution):
    r"""The distribution :math:`p = e^{-E} / Z` on M, E a learned function of x in R^D.

    E is the mean of a few small networks, each trained with another fold of the data held out, on
    which its weights do best: the geometric mean of their distributions is better than the average
    of them. Objectives:

    - ``"nce"``: data against uniform noise on M; gives log Z, which quadrature checks.
    - ``"maximum_likelihood"``: with the expectation under p by quadrature, or by uniform draws.
    - ``"score"``: score matching on M, which must be closed.
    - ``"contrastive_divergence"``: chains of the model against data, one network.

    The last two do not see the masses of the components of M: a constant on each sets these to
    their shares of the data.

    With charts (d <= 3) the distribution is an
    :class:`~topogen.distributions.energy.EnergyDistribution`: log Z by quadrature, exact rejection
    sampling, density 0 where no chart is. Above, it is a
    :class:`~topogen.models.energy.mcmc_energy.ChainedEnergy`. A manifold of unknown volume is
    measured by random lines or by the tube about it, whose error `log_z_error` includes; where
    neither applies, a warning says why, and the distribution is "unnormalized".

    The weights are frozen but during the fit; ``model.requires_grad_()`` lets gradients of log p
    flow into them, those of log Z included.

    Args:
        manifold: the manifold M; fitted first if it has not been.
        atlas: its charts; None takes those of M, else a :class:`ProjectedAtlas` where d <= 3.
        objective: see above.
        width: units of a hidden layer of E.
        depth: its hidden layers.
        networks: how many networks, and folds.
        noise_ratio: of noise to data, for "nce".

    Raises:
        ValueError: an unknown objective, or an atlas of charts alone beside the manifold.

    Attributes:
        constant: "nce" alone: the mean of the free constants of the networks, -log Z of each.
        constant_error: the largest distance of one of them to -log Z by quadrature.
        lost: share of the data that did not project onto M.
        off: share that did, from farther than the tolerance of M; where M is learned p is 0 there.
        atol: how far from a known M points like the data are; None where they lie on it.
        remark: why the distribution is "unnormalized"; empty where it is not.

    Example:
        >>> x = tg.VonMises(0.0, 2.0).sample((500,), generator=torch.Generator().manual_seed(0))
        >>> model = EnergyModel(tg.Circle())
        >>> tg.fit(model, x).status
        'converged'
        >>> distribution = model()
        >>> distribution.likelihood, distribution.sample((100,)).shape
        ('exact', torch.Size([100, 2]))
    """

    _numbers = (
        "constant",
        "constant_error",
        "lost",
        "off",
        "atol",
        "_volume",
        "per_axis",
        "remark",
    )
    manifold: Manifold
    starts: Tensor
    anchors: Tensor
    offset: Tensor
    draws: Tensor

    def __init__(
        self,
        manifold: Manifold,
        atlas: BaseAtlas | None = None,
        objective: Kind = "nce",
        *,
        width: int = 32,
        depth: int = 2,
        networks: int = 5,
        noise_ratio: float = 5.0,
    ) -> None:
        super().__init__()
        if objective not in get_args(Kind):
            raise ValueError(f"expected objective in {get_args(Kind)}, got {objective!r}")
        if min(width, depth, networks) < 1 or not noise_ratio > 0:
            raise ValueError(
                f"expected width, depth, networks >= 1 and noise_ratio > 0, got {width}, {depth}, "
                f"{networks}, {noise_ratio}"
            )
        if atlas is not None and not atlas.describes(manifold):
            raise ValueError("expected an atlas of this manifold; pass Atlas(charts, manifold=M)")
        if atlas is None and not manifold.has_atlas and manifold.dim <= _MAX_QUADRATURE_DIM:
            atlas = ProjectedAtlas(manifold)
        self.atlas = atlas
        if atlas is None:
            self.manifold = manifold
        else:
            # in the atlas: its state is saved once
            object.__setattr__(self, "manifold", atlas.manifold)
        self.objective: Kind = objective
        self.width, self.depth, self.networks = width, depth, networks
        self.noise_ratio = noise_ratio
        count = 1 if objective == "contrastive_divergence" else networks
        self.energy = Energies(count, manifold.ambient_dim, width=width, depth=depth)
        self.energy.requires_grad_(False)
        self.constant = self.constant_error = math.nan
        self.lost, self.off, self.remark = 0.0, 0.0, ""
        self.atol: float | None = None
        self._volume: tuple[float, float, float] | None = None
        self.reserve("starts", "anchors", "offset", "draws")
        self._levels: Levels | None = None
        self._per_axis: int | None = None

    def forward(self, *, temperature: float = 1.0) -> EnergyDistribution | ChainedEnergy:
        r"""The distribution at the current energy; points off M get -inf, not an error.

        Args:
            temperature: T of :math:`e^{-E / T}`; at 1 it is the distribution that was learned.
        """
        self.require_fitted()
        if not temperature > 0:
            raise ValueError(f"expected temperature > 0, got {temperature}")
        log_density = _Tempered(self, temperature)
        charts = self._charts()
        if charts is None:
            M, measure = self.manifold, self._measure()
            return ChainedEnergy(
                M, log_density, self.starts, measure=measure, validate_args=False
            ).within(self.atol)
        levels, nodes = self._levels, _MAX_NODES[charts.dim]
        if levels is None:
            # a loaded distribution has the nodes of the saved one, and so the same sampler: 3/2 c,
            # rounded up, nodes per axis follow c
            levels = Levels.of(charts, None if self._per_axis is None else self._per_axis * 2 // 3)
        distribution = EnergyDistribution(
            charts, log_density, tol=1e-3, max_nodes=nodes, levels=levels, validate_args=False
        )
        if temperature == 1:
            self._levels = distribution.levels
        return distribution.within(self.atol)

    def log_z(
        self, method: Literal["quadrature"] | Method = "quadrature", *, seed: int = 0
    ) -> LogZ:
        r"""Log of :math:`\int_M e^{-E}\, dH^d` by one of four methods.

        All but quadrature use draws: exact ones where there are charts, else those of chains.

        Raises:
            UnsupportedError: quadrature without charts.
            SamplingError: chains raise an alarm.
        """
        distribution = self.forward()
        f = distribution.log_density
        if not isinstance(distribution, EnergyDistribution):
            if method != "quadrature":
                M, measure = self.manifold, self._measure()
                return estimate_log_z(M, f, self.starts, method=method, seed=seed, measure=measure)
            raise UnsupportedError(
                f"expected dimension <= 3 for quadrature, got {self.manifold.dim}; take 'bridge'"
            )
        if method == "quadrature":
            return distribution.log_z
        levels = distribution.levels
        generator = torch.Generator().manual_seed(seed)

        def sampler(t: float, n: int) -> Draws:
            tempered = EnergyDistribution(
                levels.atlas, lambda x: t * f(x), levels=levels, max_nodes=1
            )
            return Draws(f(tempered.sample((n,), generator)), float(n))

        flat = levels.log_integral(lambda x: x.new_zeros(x.shape[0]))
        V = math.exp(flat.value)
        return estimate(sampler, V, method, volume_error=V * flat.error)

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted manifold, of its charts, then the energy."""
        yield from part_stages(points, self.manifold, self.atlas)
        if not self.fitted:
            yield Stage("energy", lambda generator: self._fit(points, generator))

    @property
    def per_axis(self) -> int | None:
        """Nodes per axis of every chart at the finer level of quadrature; None without charts."""
        return self._per_axis if self._levels is None else self._levels.per_axis

    @per_axis.setter
    def per_axis(self, count: int | None) -> None:
        self._levels, self._per_axis = None, count

    def energy_at(self, x: Tensor) -> Tensor:
        """E, with the constant of the component that x lies on."""
        E = self.energy(x)
        if self.anchors.numel() == 0:
            return E
        return E + self.offset[nearest_row(self.anchors, x.detach().to(torch.float64))]

    def _charts(self) -> BaseAtlas | None:
        """The charts that carry the quadrature; None above dimension 3."""
        if self._levels is not None:
            return self._levels.atlas
        if self.manifold.dim > _MAX_QUADRATURE_DIM:
            return None
        return self.manifold.atlas() if self.atlas is None else self.atlas

    def _fit(self, points: Tensor, generator: torch.Generator) -> Progress[bool]:
        M = self.manifold
        found = projections(M, points, _LEAST)
        x, before, self.lost, self.atol = found.on, found.points, found.lost, found.atol
        self.off = float(((x - before).norm(dim=-1) > M.tolerance_at(x)).sum()) / len(points)
        self.starts = x[torch.randperm(x.shape[0], generator=generator)[:500]]
        charts = self._charts()
        self._levels = None if charts is None else Levels.of(charts)
        shares = {"lost": self.lost, "off": self.off}
        yield {"points": x.shape[0], **shares, "moved": found.moved}
        unknown = charts is None and M.volume is None
        noise = self._look_for_measure(x, generator) if unknown else None
        E = self.energy.requires_grad_(True)
        weights_in(E, torch.float64)
        E.start(x, generator)
        if self.objective == "contrastive_divergence":
            done = yield from contrast(E, x, M, generator)
        else:
            weights_in(E, torch.float32)
            objective = self._objective(x, noise, generator)
            done = yield from minimise(E, objective, generator)
            weights_in(E, torch.float64)
            if isinstance(objective, NoiseContrast):
                self._check(objective.constant)
        if self.objective in ("score", "contrastive_divergence"):
            self._balance(x, generator)
        E.requires_grad_(False)
        self.fitted = True
        if charts is not None:
            log_z = self.log_z()
            yield {"log_z": log_z.value, "log_z_error": log_z.error}
        return done

    def _measure(self) -> Measure | None:
        """The volume and the uniform draws that the fit found."""
        if self._volume is None:
            return None
        volume, error, effective = self._volume
        return Measure(self.draws, effective, volume, error)

    def _look_for_measure(self, x: Tensor, generator: torch.Generator) -> Measure | None:
        """Draws for the fit, where there are many; others, that E is not fitted to, for log Z."""
        self._volume, self.draws, self.remark = None, self.draws[:0], ""
        try:
            found = find_measure(self.manifold, x, generator)
        except UnsupportedError as error:
            self.remark = f"the volume of M could not be estimated: {error}"
            warnings.warn(f"EnergyModel is unnormalized; {self.remark}", UserWarning, stacklevel=2)
            return None
        # of a tube's draws there are fewer; chains then give the noise
        noise, rest = found.halves() if found.effective >= 10_000 else (None, found)
        self.draws, self._volume = rest.points, (rest.volume, rest.error, rest.effective)
        return noise

    def _objective(
        self, x: Tensor, noise: Measure | None, generator: torch.Generator
    ) -> Objective:
        E = self.energy
        if self.objective == "score":
            if not self.manifold.closed:
                raise UnsupportedError(
                    "expected a closed manifold for score matching, got one with a boundary, "
                    "where its identity fails; take objective='nce'"
                )
            return ScoreMatching(E, x, self.manifold)
        reference = self._reference(noise, generator)
        if self.objective == "nce":
            return NoiseContrast(E, x, reference, self.noise_ratio)
        return MaximumLikelihood(E, x, reference)

    def _reference(self, noise: Measure | None, generator: torch.Generator) -> Reference:
        """What stands for the uniform distribution of M: quadrature nodes, or draws."""
        if self._levels is not None:
            q = self._levels.fine
            total = q.weights.sum()
            return Reference(q.points, (q.weights / total).log(), float(total.log()))
        if noise is not None:
            u, volume = noise.points, noise.volume
        else:
            u = uniform_draws(self.manifold, 20_000, self.starts, generator)
            measured = 1.0 if self._volume is None else self._volume[0]
            volume = self.manifold.volume or measured
        share = u.new_full((u.shape[0],), -math.log(u.shape[0]))
        return Reference(u, share, math.log(volume))

    @torch.no_grad()
    def _check(self, constant: Tensor) -> None:
        """Compare the free constants of the networks with quadrature."""
        self.constant = float(constant.mean())
        if self._levels is not None:
            q = self._levels.fine
            log_z = (q.weights.log() - self.energy.each(q.points)).logsumexp(-1)
            self.constant_error = float((constant + log_z).abs().max())

    @torch.no_grad()
    def _balance(self, x: Tensor, generator: torch.Generator) -> None:
        """Give each component of M its share of the data, by a constant in E."""
        x = x[torch.randperm(x.shape[0], generator=generator)[:2000]]
        part = self.manifold.components(x)
        # components are numbered by size; a handful of points is none of its own
        small = part.bincount()[part] < _LEAST
        part[small] = part[~small][nearest_row(x[~small], x[small])]
        shares = part.bincount() / part.numel()
        if shares.numel() == 1:
            return
        measure = self._measure()
        if self._levels is None and measure is None:
            raise UnsupportedError(
                f"expected a connected manifold for objective={self.objective!r} above dimension "
                f"3, got {shares.numel()} components, whose masses it does not see; take 'nce'"
            )
        q = self._reference(measure, generator)
        of_node = part[nearest_row(x, q.points)]
        log_mass = q.log_share + q.log_volume - self.energy(q.points)
        masses = [log_mass[of_node == k].logsumexp(0) for k in range(shares.numel())]
        self.anchors, self.offset = x, (torch.stack(masses) - shares.double().log())[part]


@dataclass(frozen=True)
class _Tempered:
    """The log density -E / T of a model; unlike an inner function it can be pickled."""

    model: EnergyModel
    temperature: float

    def __call__(self, x: Tensor) -> Tensor:
        return -self.model.energy_at(x) / self.temperature
