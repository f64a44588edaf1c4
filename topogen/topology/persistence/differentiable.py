r"""Persistence diagrams whose values carry gradients to the points, and losses made of them.

In a Vietoris-Rips filtration a simplex enters with its longest edge, so the ends of a bar are two
distances, :math:`b = |x_i - x_j|` and :math:`d = |x_k - x_l|`. Which edges they are is locally
constant where all distances differ (Carriere et al., 2021, https://arxiv.org/abs/2010.08356; Hofer
et al., 2019, https://arxiv.org/abs/1906.09003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import InvalidPoints
from ...homology import Homology, is_prime
from ...point_cloud.arrays import as_array
from ...point_cloud.landmarks import farthest_points
from .rips import PRIMES_BELOW

MOST_LANDMARKS = (500, 128, 64, 40)  # per max_dim: the whole Rips filtration takes about 0.1 s


def persistence_diagrams(
    points: Tensor,
    *,
    max_dim: int = 1,
    field: int = 2,
    landmarks: int | None = None,
    threshold: float | None = None,
) -> list[Float[Tensor, "b 2"]]:
    r"""Vietoris-Rips persistence of landmarks, differentiable in the points.

    The landmarks are farthest points, the first being the point farthest from the mean; every
    other point has no gradient. A class that is alive at the threshold dies there, and its death
    has no gradient. Bars of length zero are left out.

    Args:
        points: shape (n, D), float32 or float64; the edges are chosen in float64.
        max_dim: the largest degree, at most 3.
        field: a prime p; homology is over Z/p.
        landmarks: at most 5000; by default all points, to 500, 128, 64, 40 for max_dim 0 to 3.
        threshold: the largest edge, in the units of the points; by default the enclosing radius
            :math:`\min_i \max_j |x_i - x_j|`, from which on one component is all that is left,
            or, with more landmarks than by default but not all points, 5 covering radii if less.

    Returns:
        per degree (birth, death) rows (b, 2), longest first, in the units, the dtype and on the
        device of the points.

    Raises:
        InvalidPoints: not a finite float (n, D) tensor with n >= 2.
        ValueError: an argument out of range, or a filtration of too many simplices.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [1, 0], [1, 1], [0, 1]], requires_grad=True)
        >>> loop = persistence_diagrams(square)[1]
        >>> loop.detach()
        tensor([[1.0000, 1.4142]])
        >>> loop[0, 1].backward()
        >>> int((square.grad != 0).any(dim=1).sum())  # the ends of one diagonal
        2
    """
    from scipy.spatial.distance import cdist

    if not isinstance(points, Tensor) or points.dtype not in (torch.float32, torch.float64):
        kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
        raise InvalidPoints(f"points: expected a float32 or float64 tensor, got {kind}")
    x = as_array(points, minimum=2)
    _check_arguments(max_dim, field, landmarks, threshold)
    index, cut = _landmarks(x, max_dim, landmarks, threshold)
    chosen = points[torch.from_numpy(index).to(points.device)]
    D = cdist(x[index], x[index])  # from differences: exactly 0 for equal points
    if threshold is None:
        cut = min(cut, float(D.max(axis=1).min()))
    diagrams = []
    for edges in _generators(D, cut, max_dim, field):
        i, j = torch.from_numpy(edges).to(points.device).unbind(-1)
        length = torch.linalg.vector_norm(chosen[i] - chosen[j], dim=-1)
        diagrams.append(torch.where(i < 0, points.new_full((), cut), length))
    return diagrams


def _check_arguments(
    max_dim: int, field: int, landmarks: int | None, threshold: float | None
) -> None:
    if not 0 <= max_dim < len(MOST_LANDMARKS):
        raise ValueError(f"expected 0 <= max_dim < {len(MOST_LANDMARKS)}, got {max_dim}")
    if not (is_prime(field) and field < PRIMES_BELOW):
        raise ValueError(f"expected a prime below {PRIMES_BELOW} as field, got {field}")
    if landmarks is not None and not 2 <= landmarks <= 5000:
        raise ValueError(f"expected 2 <= landmarks <= 5000, got {landmarks}")
    if threshold is not None and not 0 < threshold < math.inf:
        raise ValueError(f"expected a finite threshold > 0, got {threshold}")


def _landmarks(
    x: np.ndarray, max_dim: int, landmarks: int | None, threshold: float | None
) -> tuple[np.ndarray, float]:
    """Indices of the landmarks, and a bound on the edges (infinite where there is none)."""
    n = len(x)
    m = min(n, landmarks or MOST_LANDMARKS[max_dim])
    cut = math.inf if threshold is None else threshold
    if m == n:
        return np.arange(n), cut
    size = float(np.abs(x).max()) or 1.0
    y = x / size
    y = y - y.mean(axis=0)
    index, radius = farthest_points(y, m, int((y * y).sum(axis=1).argmax()))
    if threshold is None and m > MOST_LANDMARKS[max_dim]:
        cut = 5 * float(radius[-1]) * size
    return index, cut


def _generators(
    D: np.ndarray, cut: float, max_dim: int, field: int, most: int = 5_000_000
) -> list[np.ndarray]:
    """Per degree the edges (b, 2, 2) of births and deaths; (i, i) is length 0, (-1, -1) the cut.

    The complex is not collapsed: that would change which edges the bars are made of.
    """
    from gudhi import SimplexTree

    degree = (D <= cut).sum(axis=1) - 1
    count = sum(math.comb(int(v), k) / (k + 1) for v in degree for k in range(max_dim + 2))
    if count > most:
        raise ValueError(
            f"expected a filtration of at most {most} simplices, got up to {count:.1e} "
            f"on {len(D)} landmarks; give fewer landmarks or a smaller threshold"
        )
    tree = SimplexTree.create_from_array(D, cut)
    tree.expansion(max_dim + 1)
    # without persistence_dim_max, homology in the top dimension of the tree is dropped
    top = tree.dimension() <= max_dim
    tree.compute_persistence(homology_coeff_field=field, persistence_dim_max=top)
    components, regular, roots, essential = tree.flag_persistence_generators()
    # gudhi lists no degree without bars
    none = np.empty((0, 4), dtype=np.int64)
    finite = [components[:, [0, 0, 1, 2]], *regular, *[none] * max_dim]
    alive = [np.stack([roots, roots], axis=1), *essential, *[none[:, :2]] * max_dim]
    result = []
    for k in range(max_dim + 1):
        open_ended = np.pad(alive[k], ((0, 0), (0, 2)), constant_values=-1)
        quads = np.concatenate([open_ended, finite[k]]).astype(np.int64)
        death = np.where(quads[:, 2] < 0, cut, D[quads[:, 2], quads[:, 3]])
        length = death - D[quads[:, 0], quads[:, 1]]
        order = np.argsort(-length, kind="stable")
        order = order[(length[order] > 0) | (quads[order, 2] < 0)]
        result.append(quads[order].reshape(-1, 2, 2))
    return result


class TopologyLoss(nn.Module):
    r"""How far a cloud is from given Betti numbers; add it to any loss over generated points.

    With the bars of degree k in falling order of their strength r,

    .. math:: L = \sum_k \Big( \sum_{i \le \beta_k} (\mu - r_i)_+^2
        + \sum_{i > \beta_k} (r_i)_+^2 \Big):

    the :math:`\beta_k` strongest bars grow up to the margin :math:`\mu`, all others shrink. A
    class that has no bar counts :math:`\mu^2`, without gradient. The strength is

    - "ratio": :math:`r = \ln(d / b)`, for k = 0 :math:`\ln(d / s)` with s the mean death of the
      bars that are no classes. L does not change when the points are scaled;
    - "persistence": :math:`r = d - b`, in the units of the points, as is :math:`\mu` (Gabrielsson
      et al., 2020, https://arxiv.org/abs/1905.12200).

    One component is always there; it has no death, and counts as the first class of degree 0. A
    step moves the ends of few edges: a fresh batch or many small steps spread the motion. A loop
    is lost by filling (an earlier death) or tearing (a later birth), and won by closing a gap or
    widening. `hold` stops the gradient of one of the two in degrees >= 1.

    Args:
        betti: :math:`(\beta_0, \beta_1, \dots)`, None for a degree left alone; or a Homology.
        field: a prime p; homology is over Z/p.
        strength: "ratio" or "persistence".
        margin: :math:`\mu`; ln 3 by default for "ratio", needed for "persistence".
        hold: "births" to fill holes but tear none open; "deaths" to close gaps but widen no loop.
        landmarks: as in :func:`persistence_diagrams`.
        threshold: as in :func:`persistence_diagrams`; too small a one hides classes from the loss.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> t = torch.arange(8) * 2 * torch.pi / 10  # a decagon that lacks two corners
        >>> x = torch.stack([t.cos(), t.sin()], dim=1).requires_grad_()
        >>> loss = TopologyLoss((1, 1))
        >>> before = loss(x)
        >>> before.backward()
        >>> bool(loss(x - 0.05 * x.grad) < before)
        True
    """

    def __init__(
        self,
        betti: Homology | Sequence[int | None],
        *,
        field: int = 2,
        strength: Literal["ratio", "persistence"] = "ratio",
        margin: float | None = None,
        hold: Literal["births", "deaths"] | None = None,
        landmarks: int | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        if strength not in ("ratio", "persistence"):
            raise ValueError(f'expected strength "ratio" or "persistence", got {strength!r}')
        if hold not in (None, "births", "deaths"):
            raise ValueError(f'expected hold "births", "deaths" or None, got {hold!r}')
        if margin is None and strength == "persistence":
            raise ValueError(
                "expected a margin in the units of the points with strength='persistence', "
                "got None"
            )
        self.betti = _numbers(betti, field)
        self.margin = math.log(3.0) if margin is None else float(margin)
        if not 0 < self.margin < math.inf:
            raise ValueError(f"expected a finite margin > 0, got {margin}")
        _check_arguments(len(self.betti) - 1, field, landmarks, threshold)
        self.field, self.strength, self.hold = field, strength, hold
        self.landmarks, self.threshold = landmarks, threshold

    def forward(self, points: Tensor) -> Float[Tensor, ""]:
        """The loss of points of shape (n, D), float32 or float64.

        Raises:
            InvalidPoints: not a finite float (n, D) tensor with n >= 2.
            ValueError: a filtration of too many simplices.
        """
        diagrams = persistence_diagrams(
            points,
            max_dim=len(self.betti) - 1,
            field=self.field,
            landmarks=self.landmarks,
            threshold=self.threshold,
        )
        loss = points[:0].sum()  # zero, with a gradient even where no bar has one
        for k, (diagram, beta) in enumerate(zip(diagrams, self.betti, strict=True)):
            if beta is None:
                continue
            classes = beta - 1 if k == 0 else beta
            r = self._strengths(diagram[1:], classes) if k == 0 else self._strengths(diagram)
            loss = loss + (self.margin - r[:classes]).clamp_min(0).square().sum()
            loss = loss + r[classes:].clamp_min(0).square().sum()
            loss = loss + max(classes - len(r), 0) * self.margin**2
        return loss

    def _strengths(
        self, diagram: Float[Tensor, "b 2"], components: int | None = None
    ) -> Float[Tensor, " b"]:
        """The r of each bar, strongest first; `components` bars of degree 0 are classes."""
        birth, death = diagram.unbind(-1)
        if components is None and self.hold == "births":
            birth = birth.detach()
        if components is None and self.hold == "deaths":
            death = death.detach()
        if self.strength == "persistence":
            r = death - birth
        else:
            tiny = torch.finfo(death.dtype).tiny
            if components is not None and len(death):
                birth = (death[components:] if len(death) > components else death).mean()
            r = death.clamp_min(tiny).log() - birth.clamp_min(tiny).log()
        return r.sort(descending=True, stable=True).values

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.betti}, field={self.field}, {self.strength}, hold={self.hold}"


def _numbers(betti: Homology | Sequence[int | None], field: int) -> tuple[int | None, ...]:
    if isinstance(betti, Homology):
        if field not in betti.fields:
            raise ValueError(f"expected a homology over Z/{field}, got fields {betti.fields}")
        betti = betti.betti[field]
    numbers = tuple(betti)
    if not numbers or any(b is not None and b < (k == 0) for k, b in enumerate(numbers)):
        words = "expected Betti numbers (b_0, b_1, ...) with b_0 >= 1 and the others >= 0, got "
        raise ValueError(f"{words}{numbers}")
    return numbers


def match_diagrams(
    diagrams: Sequence[Tensor], targets: Sequence[Tensor], *, order: float = 2.0
) -> Float[Tensor, ""]:
    r"""Wasserstein distance of diagrams to target diagrams, differentiable in both.

    .. math:: \sum_k W_q^q(P_k, T_k), \qquad
        W_q^q(P, T) = \min_\gamma \sum_{p \in P \cup \Delta} \|p - \gamma(p)\|_q^q

    over the matchings :math:`\gamma` of bars with bars or with the nearest point of the diagonal
    :math:`\Delta`; the best is held fixed for the gradient (Carriere et al., 2021).

    Args:
        diagrams: per degree, shape (b, 2), from :func:`persistence_diagrams`.
        targets: per degree, shape (c, 2), finite.
        order: q >= 1.

    Raises:
        ValueError: other shapes, numbers that are not finite, or q < 1.

    Example:
        >>> bars, target = torch.tensor([[0.5, 1.5]]), torch.tensor([[0.5, 2.0]])
        >>> match_diagrams([bars], [target]), match_diagrams([bars], [target[:0]])
        (tensor(0.2500), tensor(0.5000))
    """
    if not 1 <= order < math.inf:
        raise ValueError(f"expected 1 <= order < infinity, got {order}")
    if len(diagrams) != len(targets) or len(diagrams) == 0:
        counts = f"{len(targets)} and {len(diagrams)}"
        raise ValueError(f"expected as many targets as diagrams, got {counts}")
    for bars in (*diagrams, *targets):
        if bars.ndim != 2 or bars.shape[1] != 2 or not bool(torch.isfinite(bars).all()):
            raise ValueError(
                f"expected finite (birth, death) rows, got shape {tuple(bars.shape)}; clip "
                "classes that never die"
            )
    pairs = zip(diagrams, targets, strict=True)
    return torch.stack([_wasserstein(P, T.to(P), order) for P, T in pairs]).sum()


def _wasserstein(P: Float[Tensor, "b 2"], T: Float[Tensor, "c 2"], q: float) -> Float[Tensor, ""]:
    """W_q^q of two diagrams: everything on the diagonal, minus what the matched pairs save."""
    from scipy.optimize import linear_sum_assignment

    def to_diagonal(bars: Tensor) -> Tensor:
        return 2 * ((bars[:, 1] - bars[:, 0]) / 2).abs().pow(q)

    saved = (P[:, None] - T[None]).abs().pow(q).sum(dim=-1)
    saved = saved - to_diagonal(P)[:, None] - to_diagonal(T)[None]
    i, j = linear_sum_assignment(saved.detach().clamp_max(0).cpu().numpy())
    matched = saved[torch.from_numpy(i), torch.from_numpy(j)].clamp_max(0)
    return to_diagonal(P).sum() + to_diagonal(T).sum() + matched.sum()
