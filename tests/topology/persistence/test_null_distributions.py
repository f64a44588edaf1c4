"""The null tables: quantiles in, p-values and cut-offs out, and what tables must look like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topogen.topology.persistence.null_distributions import (
    RIPS_NULL,
    NoiseRatio,
    gumbel_quantile,
    rips_noise,
)

distribution = settings(max_examples=60, deadline=None, derandomize=True)
medians = st.floats(1.02, 3.0)
rises = st.floats(1.01, 1.6)
LEVELS = (0.1, 0.05, 0.01, 1e-3, 1e-5)


def cut_off(level, *key):
    return rips_noise(*key).cut_off(level)


def p_value(ratio, *key):
    return rips_noise(*key).p_value(ratio)


@distribution
@given(medians, rises)
def test_the_distribution_goes_through_both_quantiles(median, rise):
    high = median * rise
    assert NoiseRatio(median, high).p_value(median) == pytest.approx(0.5)
    assert NoiseRatio(median, high).p_value(high) == pytest.approx(0.01)
    assert NoiseRatio(median, high).cut_off(0.5) == pytest.approx(median)
    assert NoiseRatio(median, high).cut_off(0.01) == pytest.approx(high)


@distribution
@given(medians, rises, st.floats(2e-6, 0.9))
def test_p_value_and_cut_off_invert_each_other(median, rise, level):
    ratio = NoiseRatio(median, median * rise).cut_off(level)
    if ratio > 1:  # smaller ratios do not exist, and count as 1
        assert NoiseRatio(median, median * rise).p_value(ratio) == pytest.approx(level, rel=1e-6)


@distribution
@given(medians, rises)
def test_the_quantile_is_the_cut_off_of_what_is_not_a_ratio(median, rise):
    high = median * rise
    assert gumbel_quantile(0.5, median, high) == pytest.approx(median)
    assert gumbel_quantile(0.01, median, high) == pytest.approx(high)
    assert math.exp(gumbel_quantile(0.2, math.log(median), math.log(high))) == pytest.approx(
        NoiseRatio(median, high).cut_off(0.2)
    )


@distribution
@given(medians, rises, st.lists(st.floats(0.5, 1e6), min_size=2, max_size=6))
def test_p_values_are_probabilities_that_fall(median, rise, ratios):
    p = [NoiseRatio(median, median * rise).p_value(r) for r in sorted(ratios)]
    assert p == sorted(p, reverse=True)
    assert all(1e-6 <= v <= 1 for v in p)


@distribution
@given(st.floats(0.1, 1.0))
def test_a_ratio_below_one_counts_as_one(ratio):
    for (dim, degree), _ in RIPS_NULL.items():
        assert p_value(ratio, dim, degree) == p_value(1.0, dim, degree)


@pytest.mark.parametrize(("dim", "degree"), RIPS_NULL)
@pytest.mark.parametrize("resolution", [0, 1])
def test_cut_offs_rise_as_levels_fall(dim, degree, resolution):
    cuts = [cut_off(level, dim, degree, resolution) for level in LEVELS]
    assert cuts == sorted(cuts)
    assert cuts[0] > 1
    assert cut_off(0.01, dim, degree, resolution) == pytest.approx(
        RIPS_NULL[dim, degree][resolution][1]
    )


def test_the_table_is_a_table_of_noise():
    assert set(RIPS_NULL) == {(d, k) for d in range(1, 5) for k in range(min(d, 3) + 1)}
    for (dim, degree), (fine, coarse) in RIPS_NULL.items():
        for median, high in (fine, coarse):
            assert 1 < median < high < 3
        # coarse landmarks are a smaller share of the points, so more regular: within 3 %
        assert coarse[0] <= 1.03 * fine[0]
        assert coarse[1] <= 1.03 * fine[1]
        if degree >= 2:  # higher classes are born closer to their death
            assert fine[1] < RIPS_NULL[dim, degree - 1][0][1]
        if (dim + 1, degree) in RIPS_NULL and 1 <= degree < dim:  # more directions fill sooner
            assert RIPS_NULL[dim + 1, degree][0][1] < fine[1]


@pytest.mark.parametrize("resolution", [0, 1])
def test_dimensions_beyond_the_table_use_its_ends(resolution):
    assert cut_off(0.01, 9, 2, resolution) == cut_off(0.01, 4, 2, resolution)
    assert cut_off(0.01, 0, 0, resolution) == cut_off(0.01, 1, 0, resolution)
    # a degree above the dimension is noise of a thickened set
    assert cut_off(0.01, 1, 3, resolution) == cut_off(0.01, 3, 3, resolution)
    assert math.isclose(p_value(1.5, 1, 2, resolution), p_value(1.5, 2, 2, resolution))


def test_p_values_fall_and_invert_the_cut_off():
    for d in (1, 2, 3, 4, 9):
        for k in range(4):
            for level in (0.1, 0.01, 0.001):
                assert p_value(cut_off(level, d, k), d, k) == pytest.approx(level, rel=1e-6)
            p = [p_value(r, d, k) for r in (1.0, 1.2, 1.5, 2.0, 3.0)]
            assert p == sorted(p, reverse=True)
