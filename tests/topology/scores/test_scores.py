"""Scores of generated samples: known answers, their laws, and what they refuse."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from topogen.errors import InvalidPoints
from topogen.point_cloud.knn import distances
from topogen.topology.persistence.rips import collapsed_graph, rips_diagrams
from topogen.topology.scores import (
    SCORES,
    Score,
    Support,
    cross_barcode,
    geometry_score,
    imd,
    mtop_divergence,
    r_cross_barcode,
    representation_divergence,
    support_precision,
    support_recall,
)
from topogen.topology.scores.heat_traces import TIMES, graph_laplacian, heat_trace, imd_of_traces
from topogen.topology.scores.living_times import _living_times, relative_living_times

SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
ONE_SPACE = [name for name in SCORES if name not in ("geometry_score", "imd")]
SMALL = {"size": 150, "repeats": 2, "seed": 0}


def _quick(name, a, b, **options):
    more = {"draws": 5} if name == "geometry_score" else {}
    more = {"probes": 20} if name == "imd" else more
    more = {"batch": 40} if name.startswith("mtop") else more
    more = {"size": 60} if name == "rtd" else more
    return SCORES[name](a, b, **{**SMALL, **more, **options})


def _torn(cloud, n, seed, width):
    x = cloud("torus", 3 * n, seed)
    return x[np.abs(np.arctan2(x[:, 1], x[:, 0])) >= width / 2][:n]


# ------------------------------------------------------------------------------ cross-barcodes


def test_cross_barcode_is_empty_where_q_contains_p():
    rng = np.random.default_rng(0)
    P = rng.random((30, 3))
    Q = np.concatenate([P, rng.random((20, 3))])
    for degree in (1, 2):
        assert len(cross_barcode(P, Q, degree)) == 0
    assert len(cross_barcode(Q, P, 1)) > 0  # the other direction is another question


def test_cross_barcode_against_a_far_point_is_the_barcode():
    far = np.array([[99.0, 0]])
    assert cross_barcode(SQUARE, far) == pytest.approx(np.array([[1.0, 2**0.5]]))
    P = np.random.default_rng(1).random((40, 2))
    plain = rips_diagrams(collapsed_graph(distances(P), 2.0, 1), 2.0, (2,), 1)[2][1]
    assert np.sort(cross_barcode(P, far), axis=0) == pytest.approx(np.sort(plain, axis=0))


def test_cross_barcode_sees_an_arc_that_q_lacks():
    """P on a line over Q's gap: one class of degree 1, born at the spacing, dead at the middle."""
    line = np.stack([np.linspace(0, 1, 101), np.zeros(101)], axis=1)
    Q = line[(line[:, 0] < 0.255) | (line[:, 0] > 0.745)]
    bars = cross_barcode(line, Q)
    assert bars[bars[:, 1] - bars[:, 0] > 0.02] == pytest.approx(np.array([[0.01, 0.25]]))


@pytest.mark.parametrize("field", [2, 3])
def test_r_cross_barcode_by_hand(field):
    def apart(r):
        return np.array([[0.0, r], [r, 0.0]])

    assert r_cross_barcode(apart(5), apart(1), field=field) == pytest.approx(np.array([[1.0, 5]]))
    assert len(r_cross_barcode(apart(1), apart(5), field=field)) == 0
    w = distances(SQUARE)
    filled = np.minimum(w, 1.0)  # kills the loop of the square: a class of degree 2 of the cone
    assert r_cross_barcode(w, filled, 2, field) == pytest.approx(np.array([[1.0, 2**0.5]]))


def test_representation_divergence_laws():
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 2)), rng.random((40, 5))
    w, v = distances(x), distances(y)
    value = representation_divergence(w, v)
    assert value > 0.1
    assert representation_divergence(w, w) == 0
    assert representation_divergence(v, w) == pytest.approx(value)
    assert representation_divergence(7 * w, 0.1 * v) == pytest.approx(value)
    order = rng.permutation(40)  # pairs stay together
    assert representation_divergence(
        w[np.ix_(order, order)], v[np.ix_(order, order)]
    ) == pytest.approx(value)
    assert representation_divergence(w, v[np.ix_(order, order)]) != pytest.approx(value)


# ------------------------------------------------------------------------------------ IMD


@pytest.mark.parametrize("n", [30, 101])
def test_heat_trace_of_a_cycle(n):
    t = np.arange(n) * 2 * np.pi / n
    L = graph_laplacian(np.stack([np.cos(t), np.sin(t)], axis=1), k=2)
    exact = np.exp(-np.outer(TIMES, 1 - np.cos(t))).sum(axis=1)
    assert heat_trace(L, np.eye(n), steps=n) == pytest.approx(exact, rel=1e-10)
    probes = np.random.default_rng(0).standard_normal((n, 1000))
    assert heat_trace(L, probes) == pytest.approx(exact, rel=0.03)


def test_heat_trace_of_a_path():
    x = np.cumsum(np.linspace(1.0, 1.1, 25))[:, None]
    L = graph_laplacian(x, k=1)  # each point's neighbour is the one before it
    exact = np.exp(-np.outer(TIMES, 1 - np.cos(np.pi * np.arange(25) / 24))).sum(axis=1)
    assert heat_trace(L, np.eye(25), steps=25) == pytest.approx(exact, rel=1e-10)


def test_imd_is_that_of_the_eigenvalues(cloud):
    traces, exact = [], []
    for name in ("circle", "ball"):
        L = graph_laplacian(cloud(name, 300, 0))
        probes = np.random.default_rng(0).standard_normal((300, 100))
        traces.append(heat_trace(L, probes) / 300)
        exact.append(np.exp(-np.outer(TIMES, np.linalg.eigvalsh(L.toarray()))).mean(axis=1))
    assert traces[0] == pytest.approx(exact[0], rel=0.01)
    assert imd_of_traces(*traces) == pytest.approx(imd_of_traces(*exact), rel=0.05)
    assert imd_of_traces(*traces) == imd_of_traces(*traces[::-1])
    assert imd_of_traces(traces[0], traces[0]) == 0


# -------------------------------------------------------------------------- Geometry Score


def test_living_times_are_those_of_the_definition():
    """Every simplex of every witness, by brute force, for 8 landmarks."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    chosen, gamma = x[:8], 0.2
    d = np.linalg.norm(x[:, None] - chosen, axis=2)
    alpha_max = gamma * d.max()

    def witnessed(s):
        out = [j for j in range(8) if j not in s]
        return max(0.0, float((d[:, s].max(axis=1) - d[:, out].min(axis=1)).min()))

    from gudhi import SimplexTree

    tree = SimplexTree()
    value = {}
    for size in (1, 2, 3):
        for s in itertools.combinations(range(8), size):
            faces = [value[f] for f in itertools.combinations(s, size - 1) if f]
            value[s] = max([witnessed(list(s)), *faces])
            tree.insert(list(s), value[s])
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    bars = tree.persistence_intervals_in_dimension(1).reshape(-1, 2)
    grid = (np.arange(200_000) + 0.5) / 200_000 * alpha_max
    loops = sum(((b <= grid) & (grid < e)).astype(int) for b, e in bars)
    times = np.bincount(loops, minlength=100)[:100] / len(grid)
    assert _living_times(x, chosen, gamma) == pytest.approx(times, abs=1e-3)


def test_living_times_of_known_shapes(cloud):
    rng = np.random.default_rng(0)
    circle = relative_living_times(cloud("circle", 600, 0), rng, landmarks=32, gamma=0.1)
    disc = relative_living_times(cloud("disc", 600, 0), rng, landmarks=32, gamma=0.1)
    for times in (circle, disc):
        assert (times >= 0).all()
        assert times.sum() == pytest.approx(1.0)
    assert circle.argmax() == 1
    assert circle[1] > 0.7
    assert disc.argmax() == 0


# -------------------------------------------------------------------- precision and recall


def test_half_of_the_support(cloud):
    """Data on two discs, samples on one: precision 1, recall one half."""
    disc, other = cloud("disc", 800, 0), cloud("disc", 800, 1)
    data = np.concatenate([disc[:400], disc[400:] + 5.0])
    options = {"size": 300, "repeats": 3}
    assert support_precision(data, other, **options).value > 0.97
    assert support_recall(data, other, **options).value == pytest.approx(0.5, abs=0.06)
    assert support_precision(other, data, **options).value == pytest.approx(0.5, abs=0.06)


def test_outliers_do_not_count(cloud):
    disc = cloud("disc", 800, 0)
    far = np.random.default_rng(0).uniform(-20, 20, (16, 2))
    dirty = np.concatenate([cloud("disc", 784, 1), far])
    assert support_precision(disc, dirty, size=400).value > 0.97
    assert support_recall(dirty, disc, size=400).value > 0.97
    inside = Support(dirty, np.random.default_rng(0)).contains(far)
    assert inside.mean() < 0.2


# ---------------------------------------------------------------------- distributions of all
# scores


@pytest.mark.parametrize("name", SCORES)
def test_equal_distributions_score_the_floor(name, cloud):
    s = _quick(name, cloud("torus", 400, 0), cloud("torus", 400, 1), repeats=4)
    assert abs(s.value - s.floor) <= 4 * (s.spread + s.floor_spread) + 1e-9
    assert s.lower_is_better is not name.startswith("support")
    assert s.size == (60 if name == "rtd" else 150)


@pytest.mark.parametrize("name", SCORES)
def test_moved_and_scaled_together(name, cloud):
    a, b = cloud("torus", 400, 0), cloud("sphere", 400, 1)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]

    def moved(x):
        return 5 * x @ Q + np.array([3.0, -2, 7])

    s, t = _quick(name, a, b), _quick(name, moved(a), moved(b))
    scale = 5 if name.startswith("mtop") else 1
    assert t.value == pytest.approx(scale * s.value, rel=1e-3)
    assert t.ratio == pytest.approx(s.ratio, rel=1e-3)


@pytest.mark.parametrize("name", ["geometry_score", "imd"])
def test_moved_alone_or_to_another_space(name, cloud):
    a, b = cloud("torus", 400, 0), cloud("sphere", 400, 1)
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 3)))[0]
    assert _quick(name, a, 9 * b @ frame.T).value == pytest.approx(
        _quick(name, a, b).value, rel=1e-3
    )


@pytest.mark.parametrize("name", SCORES)
def test_order_of_rows_is_chance_only(name, cloud):
    a, b = cloud("torus", 400, 0), cloud("sphere", 400, 1)
    rng = np.random.default_rng(0)
    s = _quick(name, a, b, repeats=4)
    t = _quick(name, rng.permutation(a), rng.permutation(b), repeats=4)
    assert abs(t.value - s.value) <= 4 * (s.spread + t.spread) + 1e-9


@pytest.mark.parametrize("name", SCORES)
def test_seeded_and_no_global_state(name, cloud):
    a, b = cloud("torus", 300, 0), cloud("sphere", 300, 1)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = _quick(name, a, b)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert _quick(name, a, b) == first
    assert _quick(name, a, b, seed=1) != first or name.startswith("support")


def test_swapped_clouds(cloud):
    """Geometry Score and IMD are symmetric on the same points; MTop-Div swaps its sides."""
    a, b = cloud("torus", 300, 0), cloud("sphere", 300, 1)
    one = {"missed": mtop_divergence(a, b, size=150, repeats=6)}
    one["invented"] = mtop_divergence(b, a, side="invented", size=150, repeats=6)
    assert abs(one["missed"].value - one["invented"].value) <= 4 * (
        one["missed"].spread + one["invented"].spread
    )
    for f, more in ((geometry_score, {"draws": 20}), (imd, {})):
        s, t = (f(*pair, size=150, repeats=4, **more) for pair in ((a, b), (b, a)))
        assert abs(s.value - t.value) <= 4 * (s.spread + t.spread)


@pytest.mark.slow
def test_monotone_in_a_growing_tear(cloud):
    a = cloud("torus", 1200, 0)
    samples = [_torn(cloud, 600, 1, width) for width in (0.0, 0.8, 1.6, 2.4)]
    missed = [mtop_divergence(a, b, size=600, repeats=4) for b in samples]
    values = [s.value for s in missed]
    assert values == sorted(values)
    assert missed[-1].ratio > 4
    recall = [support_recall(a, b, size=500, repeats=3).value for b in samples]
    assert recall == sorted(recall, reverse=True)
    assert recall[-1] < 0.85
    invented = mtop_divergence(a, samples[-1], side="invented", size=600, repeats=4)
    assert invented.ratio < 2
    assert support_precision(a, samples[-1], size=500, repeats=3).value > 0.97


def test_dimension_and_loops_are_seen(cloud):
    circle, ball = cloud("circle", 600, 0), cloud("ball", 600, 0)
    assert imd(circle, ball).ratio > 5
    assert geometry_score(circle, ball, draws=10).ratio > 5


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("b", "match"),
    [
        (np.full((50, 3), np.nan), "b: expected finite numbers"),
        (np.zeros(50), r"b: expected shape \(n, D\)"),
        (np.eye(3), "b: expected at least 10 distinct points, got 3"),
        (np.random.default_rng(0).random((15, 3)), "20 of samples, got 100 and 15"),
    ],
)
def test_bad_points(name, b, match, cloud):
    a = cloud("sphere", 100, 0)
    with pytest.raises(InvalidPoints, match=match):
        SCORES[name](a, b)
    if match.startswith("b:"):
        with pytest.raises(InvalidPoints, match=match.replace("b:", "a:")):
            SCORES[name](b, a)


@pytest.mark.parametrize("name", ONE_SPACE)
def test_unequal_columns(name, cloud):
    with pytest.raises(InvalidPoints, match=r"b: expected points in R\^3, got 2 columns"):
        SCORES[name](cloud("sphere", 100, 0), cloud("circle", 100, 0))


@pytest.mark.parametrize("name", ONE_SPACE)
def test_clouds_that_rounding_would_hide(name, cloud):
    x = cloud("sphere", 100, 0)
    for other in (x + 1e9, 1e-9 * x):
        with pytest.raises(InvalidPoints, match="clouds of like size and place, got diameters"):
            SCORES[name](x, other)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: imd(x, x, size=5), "size >= 20"),
        (lambda x: imd(x, x, repeats=0), "repeats >= 1"),
        (lambda x: imd(x, x, k=0), "expected k, probes, steps >= 1"),
        (lambda x: imd(x, x, k=60), "more than k = 60 points"),
        (lambda x: geometry_score(x, x, gamma=0.0), "gamma > 0"),
        (lambda x: mtop_divergence(x, x, side="both"), 'side "missed" or "invented"'),
        (lambda x: mtop_divergence(x, x, degree=3), "degree <= 2"),
        (lambda x: support_recall(x, x, level=1.0), "level < 1"),
    ],
)
def test_bad_numbers(call, match, cloud):
    with pytest.raises(ValueError, match=match):
        call(cloud("sphere", 100, 0))


def test_ratio_at_a_floor_of_zero():
    def score(value):
        return Score("s", value, 0.0, 0.0, 0.0, True, 20, 1)

    assert score(0.0).ratio == 1.0
    assert score(0.1).ratio == math.inf
