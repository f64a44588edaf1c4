"""A distribution on a set, learned as a flow by flow matching."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...distributions.base import ManifoldDistribution
from ...distributions.mixture import Mixture
from ...distributions.uniform import Uniform
from ...errors import UnsupportedError
from ...manifolds.atlas import BaseAtlas
from ...manifolds.base import Manifold
from ..base import LearnedDistribution, Progress, Stage, part_stages, projections
from ..optimize import Adam, Best
from ..projected_atlas import ProjectedAtlas
from .field import Field
from .flow_distribution import FlowDistribution
from .kernel_density import KernelMixture, joined, logs_left_out, stacked
from .options import MatchingOptions
from .pairs import Pool

_MAX_CHARTED_DIM = 3
_BLOCK = 256  # points that are paired at once: the cost of a pair grows with its square
# held-out points that are scored during the fit, fewer where a retraction takes a solver, and
# the tolerance
_SCORED, _SCORED_SLOW, _COARSE = 400, 100, 1e-3
# of drawn and of training points so many are compared at two tolerances; fewer likewise
_COMPARED, _COMPARED_SLOW = 100, 20
_PRIOR = 30.0  # the weights of kernels without a flow count as much as so many held-out points


class FlowMatching(LearnedDistribution):
    r"""A distribution on M as the flow of a learned tangent field, from the uniform distribution.

    :math:`v_t(x) = P(x) f_\theta(x, t)`, P the tangent projector of M and f a network on the
    ambient coordinates, minimises

    .. math:: \mathrm{E}_{t, x_0, x_1} |v_t(x_t) - \dot x_t|^2, \qquad x_0 \sim p_0,\ x_1 \sim
              \text{data},

    over paths :math:`x_t` on M: geodesics of spheres, flat tori, SO(3) and the projective plane;
    elsewhere retracted chords, or routes over landmarks where a chord meets the medial axis.
    Nothing is simulated in training. The distribution is a :class:`FlowDistribution`.

    With `kernels` it is the mixture of that flow and of von Mises-Fisher kernels about the points,
    of 10 concentrations from 4 to 1e6, for details much finer than the rest. Their weights do best
    on the points held out from the flow, where a kernel about the point itself does not count.

    A tenth of the points is held out; the averaged weights with the best likelihood on it are
    kept. The fit has converged where the last quarter of the steps gained less than .02 nats.

    R. T. Q. Chen and Y. Lipman, Flow matching on general geometries (2024),
    https://arxiv.org/abs/2302.03660.

    Args:
        manifold: a connected closed set M, fitted first if it has not been; or an atlas, or a
            fitted distribution, on it.
        atlas: its charts, for the uniform distribution; None takes what M knows of itself, else
            puts a :class:`ProjectedAtlas` on M where d <= 3.
        base: p_0, the uniform distribution by default; a model with another cannot be saved.
        kernels: mix the flow with kernels; on spheres and circles only.
        width: units of a hidden layer of f.
        depth: its hidden layers.
        features: Fourier features of x.
        finest: their highest frequency, over the inverse size of the data.
        tol: of the integration, see :class:`FlowDistribution`.
        options: of the training.

    Raises:
        UnsupportedError: M has a boundary, several components, or infinite volume; or `kernels`
            are asked for on another set than a sphere.
        ValueError: a size that makes no sense, or kernels with no points held out.
        TypeError: `manifold` is none, and has none.

    Attributes:
        score: mean log density of the held-out points under the flow, in nats w.r.t. H^d.
        weights: of flow, uniform distribution and kernels, wide to narrow; (1,) without kernels.
        lost: share of the data that did not project onto M.
        atol: how far from M points like the data are; None where they lie on it.
        lost_pairs: share of the pairs between which no path was found.
        integration_error: see :class:`FlowDistribution`; on drawn and on training points.

    Example:
        >>> x = tg.VonMises(0.0, 2.0).sample((500,), generator=torch.Generator().manual_seed(0))
        >>> few = MatchingOptions(steps=300)
        >>> model = FlowMatching(tg.Circle(), width=32, depth=2, options=few)
        >>> tg.fit(model, x).status
        'converged'
        >>> distribution = model()
        >>> distribution.likelihood, distribution.sample((100,)).shape
        ('exact', torch.Size([100, 2]))
    """

    _numbers = ("score", "lost", "lost_pairs", "integration_error", "atol")
    manifold: Manifold
    weights: Tensor
    centres: Tensor

    def __init__(
        self,
        manifold: Manifold | BaseAtlas | LearnedDistribution,
        atlas: BaseAtlas | None = None,
        *,
        base: ManifoldDistribution | None = None,
        kernels: bool = False,
        width: int = 128,
        depth: int = 3,
        features: int = 32,
        finest: float = 6.0,
        tol: float = 1e-5,
        options: MatchingOptions = MatchingOptions(),
    ) -> None:
        super().__init__()
        manifold, atlas = _set_of(manifold, atlas)
        if min(width, depth) < 1 or features < 0:
            raise ValueError(
                f"expected width, depth >= 1 and features >= 0, got {width}, {depth}, {features}"
            )
        if not (tol > 0 and finest > 0):
            raise ValueError(f"expected tol > 0 and finest > 0, got {tol} and {finest}")
        if kernels and not manifold.round_sphere:
            raise UnsupportedError(
                f"expected a sphere or a circle for kernels, got {type(manifold).__name__}; "
                "leave them out"
            )
        if kernels and options.held_out == 0:
            raise ValueError("expected held_out > 0 with kernels, which it weighs; got 0")
        require_flows(manifold)
        if base is not None and base.manifold is not manifold:
            raise ValueError("expected a base distribution on this manifold, got one on another")
        own = manifold.has_sampler or manifold.volume == math.inf
        if atlas is None and base is None and not own and manifold.dim <= _MAX_CHARTED_DIM:
            atlas = ProjectedAtlas(manifold)
        self.atlas = atlas
        if atlas is None:
            self.manifold = manifold
        else:
            # in the atlas: its state is saved once
            object.__setattr__(self, "manifold", atlas.manifold)
        self.base, self.kernels = base, kernels
        self.width, self.depth, self.features, self.finest = width, depth, features, finest
        self.tol, self.options = tol, options
        self.field = Field(
            manifold.ambient_dim, width=width, depth=depth, features=features, finest=finest
        )
        self.field.requires_grad_(False)
        self.register_buffer("weights", torch.ones(1, dtype=torch.float64))
        self.register_buffer("centres", torch.zeros(0, manifold.ambient_dim).double())
        self.score = self.integration_error = math.nan
        self.lost = self.lost_pairs = 0.0
        self.atol: float | None = None
        self._start: ManifoldDistribution | None = base

    def forward(self) -> FlowDistribution | Mixture:
        """The distribution at the current field; points off M get -inf, not an error.

        With kernels it is a mixture, the flow its first component.
        """
        self.require_fitted()
        flow = self._flow(self.tol, self.integration_error)
        if not self.kernels:
            return flow.within(self.atol)
        w, rest = self.weights[0], self.weights[1:]
        kernels = KernelMixture(self.manifold, self.centres, rest, validate_args=False)
        mixture = Mixture([float(w), 1 - float(w)], [flow, kernels], validate_args=False)
        return mixture.within(self.atol)

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted manifold, of its charts, then the flow."""
        yield from part_stages(points, self.manifold, self.atlas)
        if not self.fitted:
            yield Stage("flow", lambda generator: self._fit(points, generator), self.options.steps)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        super().set_extra_state(state)
        self._start = self.base

    def _base(self) -> ManifoldDistribution:
        """p_0, made once."""
        if self._start is None:
            self._start = Uniform(self.manifold if self.atlas is None else self.atlas)
        return self._start

    def _flow(self, tol: float, error: float = 0.0) -> FlowDistribution:
        """The distribution of the flow alone."""
        return FlowDistribution(
            self._base(), self.field, tol=tol, error=error, validate_args=False
        )

    def _fit(self, points: Tensor, generator: torch.Generator) -> Progress[bool]:
        M = self.manifold
        require_flows(M)  # a learned manifold knows its edges only now
        found = projections(M, points)
        x, self.lost, self.atol = found.on, found.lost, found.atol
        x = x[torch.randperm(x.shape[0], generator=generator)]
        held, train = x.tensor_split([round(self.options.held_out * x.shape[0])])
        base, field, o = self._base(), self.field, self.options
        pool = Pool(
            M,
            lambda n, g: base.sample((n,), g),
            train,
            pairing=o.pairing,
            block=min(o.batch, _BLOCK),
            late=o.late,
            generator=generator,
        )
        counts = {"points": train.shape[0], "held_out": held.shape[0]}
        yield {**counts, "lost": self.lost, "moved": found.moved}
        field.start(train, generator)
        field.to(torch.float32).requires_grad_(True)
        done = yield from self._match(pool, held, generator)
        field.requires_grad_(False).to(torch.float64)
        self.lost_pairs = pool.lost / max(pool.tried, 1)
        if self.kernels:
            self._weigh(x, held.shape[0])
        distribution = self._flow(self.tol)
        count = _COMPARED if M.exact_retraction else _COMPARED_SLOW
        drawn = distribution.push(base.sample((count,), generator).to(torch.float64))
        compared = torch.cat([drawn.end[drawn.converged], x[:count]])
        self.integration_error = error = distribution.integration_error(compared)
        carried = float(drawn.converged.double().mean())
        self.fitted = True
        yield {"lost_pairs": self.lost_pairs, "carried": carried, "integration_error": error}
        return done and carried == 1 and math.isfinite(error)

    def _weigh(self, x: Tensor, held: int) -> None:
        """Weights of the flow and of kernels about x, of which the first rows are held out."""
        logs, flowed = logs_left_out(self.manifold, x), self._flow(_COARSE).log_density(x[:held])
        known = ~flowed.isnan()
        self.weights = joined(flowed[known], logs[:held][known], _PRIOR * stacked(logs))
        self.centres = x

    def _score(self, x: Tensor) -> float:
        """Mean log density at x with the weights as they are, coarsely."""
        value = self._flow(_COARSE).log_density(x).to(x.dtype)
        mean = float(value[~value.isnan()].mean())  # a few steep rows do not undo the others
        return mean if math.isfinite(mean) else -math.inf

    def _match(self, pool: Pool, held: Tensor, generator: torch.Generator) -> Progress[bool]:
        """Minimise the loss; keep the averaged weights that score best, the last without a score.

        Returns:
            Whether the last quarter gained less than .02 nats.
        """
        steps, scored = self.options.steps, len(held) > 0
        held = held[: _SCORED if self.manifold.exact_retraction else _SCORED_SLOW]
        adam = Adam(
            self.field.parameters(),
            2e-3,
            period=steps,
            warm_up=100,
            decay=(0.9, 0.99),
            clip=1.0,
            average=lambda t: 1 - min(0.995, (1 + t) / (10 + t)),
        )
        best = Best(adam.mean)
        for step, rows in enumerate(pool.stream(self.options.batch, steps, generator), 1):
            f = self.field(rows.x, rows.t)
            loss = ((rows.Q.mT @ f.unsqueeze(-1)).squeeze(-1) - rows.u).square().sum(-1).mean()
            record = {"loss": adam.step(loss)}
            if scored and step % max(1, steps // 8) == 0:
                with adam.averaged():
                    value = record["held_out"] = self._score(held)
                best.look(step, steps, torch.tensor(-value, dtype=torch.float64), adam.mean)
            yield record
        adam.load(best.weights if best.at else adam.mean)
        self.score = -float(best.score) if scored else math.nan
        return not scored or best.late - float(best.score) < 0.02


def _set_of(manifold: object, atlas: BaseAtlas | None) -> tuple[Manifold, BaseAtlas | None]:
    """M and its atlas, of an atlas or a distribution too."""
    M = manifold if isinstance(manifold, Manifold) else None
    for charts in (manifold, atlas):
        if isinstance(charts, BaseAtlas) and not charts.describes(M):
            raise ValueError("expected an atlas of this manifold; pass Atlas(charts, manifold=M)")
    if isinstance(manifold, Manifold):
        return manifold, atlas
    if isinstance(manifold, BaseAtlas):
        return manifold.manifold, manifold if atlas is None else atlas
    if isinstance(manifold, LearnedDistribution) and manifold.fitted:
        return manifold().manifold, atlas
    raise TypeError(
        f"expected a manifold, an atlas or a fitted distribution, got {type(manifold).__name__}; "
        "fit it first and pass its .manifold, or pass tg.NeuralImplicit(dim, ambient_dim)"
    )


def require_flows(manifold: Manifold) -> None:
    """Raise where flows of tangent fields are known not to carry p_0 to every distribution.

    Raises:
        UnsupportedError: M has a boundary, or several components, or infinite volume.
    """
    name = type(manifold).__name__
    if not manifold.closed:
        raise UnsupportedError(
            f"expected a closed set, got {name}, which has a boundary: tangent fields leave it "
            "there, and the density would be lost; take tg.EnergyModel or tg.AtlasDensity"
        )
    if manifold.volume is not None and not 0 < manifold.volume < math.inf:
        raise UnsupportedError(
            f"expected a set of finite volume, got {name} with volume {manifold.volume}"
        )
    if manifold.homology is not None:
        pieces = manifold.homology.betti_number(0, manifold.homology.fields[0])
        if pieces != 1:
            raise UnsupportedError(
                f"expected a connected set, got {name} with {pieces} components; no flow moves "
                "mass between them: fit one flow on each and join them with tg.Mixture"
            )
