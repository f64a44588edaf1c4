"""Published tests beside the verdict: their formulas, and how they err on pure noise."""

from __future__ import annotations

import numpy as np
import pytest

from topogen import check_topology
from topogen.point_cloud.knn import distances
from topogen.topology import CheckOptions
from topogen.topology.inference.published_tests import hausdorff_band, universal_p_values
from topogen.topology.persistence.rips import collapsed_graph, rips_diagrams


def test_a_diagram_worked_out_by_hand():
    # ratios e, e^2, e^4: ln ln = 0, ln 2, 2 ln 2, mean ln 2, so for A = 1
    # l = ln ln pi - gamma - ln 2 and p = exp(-e^-gamma / 2 * (1, 2, 4))
    birth = np.array([1.0, 0.5, 2.0])
    diagram = np.stack([birth, birth * np.exp([1.0, 2.0, 4.0])], axis=1)
    q = np.exp(-np.euler_gamma)  # 0.5615
    assert universal_p_values(diagram) == pytest.approx(np.exp(-q / 2 * np.array([1, 2, 4])))
    assert universal_p_values(diagram) == pytest.approx([0.7553, 0.5704, 0.3253], abs=1e-4)
    half = np.exp(-q * np.sqrt(np.array([1, 2, 4]) / 2))
    assert universal_p_values(diagram, A=0.5) == pytest.approx(half)


def test_p_values_do_not_depend_on_the_unit_and_fall_with_the_ratio():
    rng = np.random.default_rng(0)
    diagram = np.cumsum(rng.random((50, 2)) + 0.01, axis=1)
    p = universal_p_values(diagram)
    assert universal_p_values(1e9 * diagram) == pytest.approx(p)
    assert (np.diff(p[np.argsort(diagram[:, 1] / diagram[:, 0])]) <= 0).all()
    assert ((p >= 0) & (p <= 1)).all()
    # in alpha filtrations squared values change nothing: the mean takes up the shift
    assert universal_p_values(diagram**2, A=0.5) == pytest.approx(
        universal_p_values(diagram, A=0.5)
    )


@pytest.mark.parametrize("bars", [[], [[0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
def test_bars_without_a_ratio_are_no_evidence(bars):
    diagram = np.array(bars, dtype=float).reshape(-1, 2)
    assert universal_p_values(diagram).tolist() == [1.0] * len(bars)


def test_on_uniform_squares_the_universal_distribution_is_conservative_in_degree_one():
    # the family-wise error at 5 % was 0 in 40 squares of 120 points: the distribution's tail is
    # heavier than that of the noise; with a true rate of 5 % fewer than 3 alarms would have P =
    # 0.68
    alarms, smallest = 0, []
    for seed in range(40):
        D = distances(np.random.default_rng(seed).random((120, 2)))
        bars = rips_diagrams(collapsed_graph(D, 0.5, 1), 0.5, (2,), 1)[2][1]
        bars = bars[bars[:, 1] > bars[:, 0]]
        p = universal_p_values(bars)
        smallest.append(p.min() * len(p))
        alarms += smallest[-1] < 0.05
    assert alarms == 0
    assert np.median(smallest) > 0.5


def test_the_band_of_a_grid_is_a_few_spacings():
    x = np.stack(np.meshgrid(np.arange(40), np.arange(40)), axis=-1).reshape(-1, 2) / 40.0
    band = [hausdorff_band(x, alpha, 0) for alpha in (0.01, 0.05, 0.2, 0.5)]
    assert (np.diff(band) <= 0).all()
    # a subsample of n / ln n = 217 of 1600 points has covering radius about sqrt(ln m / (pi m))
    expected = np.sqrt(np.log(217) / (np.pi * 217))
    assert 0.9 * expected < band[1] < 2.5 * expected
    assert hausdorff_band(3 * x, 0.05, 0) == pytest.approx(3 * band[1])
    assert hausdorff_band(x, 0.05, 0) == band[1]


def test_the_band_of_more_points_is_narrower_and_large_clouds_are_thinned():
    rng = np.random.default_rng(0)
    x = rng.random((4000, 2))
    assert hausdorff_band(x, 0.05, 0) < hausdorff_band(x[:400], 0.05, 0)
    assert hausdorff_band(x, 0.05, 0, most=400) > hausdorff_band(x, 0.05, 0)


@pytest.mark.parametrize(("name", "components"), [("circle", 1), ("hopf", 2), ("sphere", 1)])
def test_degree_zero_is_counted_and_what_truncation_hides_is_left_open(cloud, name, components):
    x = cloud(name, 2500)
    report, plain = check_topology(x, options=CheckOptions(extras=True)), check_topology(x)
    for p in ("2", "3"):
        numbers = report.extras["fasy"][p]
        assert numbers[0] == components
        # the diagrams end below the band: a true class is neither seen nor denied
        truth = report.betti[int(p)]
        assert all(n in (None, b) for n, b in zip(numbers[1:], truth[1:], strict=True))
        bobrowski_skraba = report.extras["bobrowski_skraba"][p]
        assert all(n <= b for n, b in zip(bobrowski_skraba, truth[1:], strict=True))
    assert plain.extras == {}
    assert (plain.betti, plain.p_values) == (report.betti, report.p_values)
