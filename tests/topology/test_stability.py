"""The bootstrap: its rule, its numbers, and the same result from every executor."""

from __future__ import annotations

import functools
import json
import multiprocessing
import operator
import runpy
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from topogen.errors import InvalidPoints, TopogenError
from topogen.topology import bootstrap, resample


class Serial:
    """map gives results."""

    def map(self, f, *iterables):
        return map(f, *iterables)


class Futures:
    """map gives futures, as that of a Dask client does."""

    def map(self, f, *iterables):
        done = []
        for arguments in zip(*iterables, strict=True):
            future = Future()
            future.set_result(f(*arguments))
            done.append(future)
        return done


class Broken:
    def map(self, f, *iterables):
        raise OSError("no worker is left")


mean_of_first = functools.partial(np.mean, axis=0)  # picklable by name


def plain(result):
    """What the result says, without the time it took."""
    data = result.to_dict()
    data.pop("seconds")
    if isinstance(data["estimate"], dict):
        data["estimate"].pop("seconds")
    return data


@pytest.fixture(scope="module")
def circle(cloud):
    return cloud("circle", 2000)


@pytest.fixture(scope="module")
def serial(circle):
    return bootstrap(circle, repeats=8, seed=5, executor=Serial())


FEW = {"repeats": 3, "seed": 5, "fields": (2,)}


@pytest.fixture(scope="module")
def few(circle):
    return plain(bootstrap(circle, executor=Serial(), **FEW))


def test_a_resample_follows_its_rule():
    x = np.random.default_rng(0).random((2000, 2))
    rows = {tuple(row) for row in x}
    with_replacement = resample(x, seed=1)
    assert {tuple(row) for row in with_replacement} <= rows
    assert len(np.unique(with_replacement, axis=0)) == len(with_replacement)
    # (1 - 1/e) n distinct points, standard deviation 0.31 sqrt(n): five of them
    assert abs(len(with_replacement) - (1 - np.exp(-1)) * 2000) < 5 * 0.31 * 2000**0.5
    without = resample(x, seed=1, size=300)
    assert without.shape == (300, 2)
    assert {tuple(row) for row in without} <= rows
    assert (resample(x, seed=1, size=300) == without).all()
    assert not np.array_equal(resample(x, seed=2, size=300), without)
    assert len(resample(np.repeat(x[:50], 4, axis=0), seed=0, size=50)) == 50  # distinct rows


@pytest.mark.slow
def test_the_circle_is_stable(circle, serial):
    assert serial.share[2] == serial.share[3]
    assert serial.share[2][0] == 1.0
    assert serial.share[2][1] >= 0.5
    for per_degree in serial.counts.values():
        assert all(sum(c.values()) == 8 for c in per_degree)
        assert all(set(c) <= {1, None} for c in per_degree)
    # the loop lies beyond the band: it has a partner in every resample
    loop = max(serial.diagrams[2][1], key=lambda bar: bar[1] - bar[0])
    assert 0 < serial.band[2][1] < (loop[1] - loop[0]) / 2


def test_a_torn_circle_has_another_number(circle):
    keep = np.abs(np.arctan2(circle[:, 1], circle[:, 0])) > 0.4
    torn = bootstrap(circle[keep], repeats=6, fields=(2,))
    assert 1 not in torn.counts[2][1]
    assert torn.counts[2][1][0] >= 3


def test_the_band_is_a_quantile_of_the_distances(serial):
    moved = np.sort([distance[2][1] for _, distance in serial.values])
    assert len(moved) == 8
    # 0.95 of 8: the largest
    unit = serial.band[2][1] / moved[-1]
    assert serial.band[2][0] == pytest.approx(
        unit * max(distance[2][0] for _, distance in serial.values)
    )


@pytest.mark.slow
def test_units_do_not_matter(circle, serial):
    scaled = bootstrap(1000.0 * circle, repeats=8, seed=5)
    assert scaled.counts == serial.counts
    assert scaled.band[2] == pytest.approx([1000 * c for c in serial.band[2]], rel=1e-6)


def test_subsamples_of_equal_size_and_other_seeds(circle, serial):
    b = bootstrap(circle, repeats=3, size=1000, seed=1, fields=(2,), max_dim=0)
    assert b.size == 1000
    assert b.counts == {2: ({1: 3},)}
    assert "of 1000 points each" in str(b)
    assert not set(b.seeds) & set(serial.seeds)


@pytest.mark.slow
def test_every_executor_gives_the_same(circle, few):
    with ThreadPoolExecutor(2) as threads, multiprocessing.pool.ThreadPool(2) as pool:
        for executor in (None, threads, pool, Futures()):
            assert plain(bootstrap(circle, executor=executor, **FEW)) == few
    assert plain(bootstrap(circle, workers=1, **FEW)) == few


@pytest.mark.slow
def test_processes_give_the_same(circle, few):
    means = bootstrap(circle, mean_of_first, repeats=5)
    context = multiprocessing.get_context("spawn")  # to fork beside threads is not safe
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        assert plain(bootstrap(circle, executor=processes, **FEW)) == few
        b = bootstrap(circle, mean_of_first, repeats=5, executor=processes)
        assert np.array_equal(b.values, means.values)
        with pytest.raises(TopogenError, match="top of a module"):
            bootstrap(circle, lambda x: len(x), repeats=2, executor=processes)
        # an error in the worker comes back with the seed
        with pytest.raises(TopogenError, match=r"seed \d+ \(IndexError"):
            bootstrap(circle, operator.itemgetter(1999), repeats=1, executor=processes)
    assert not multiprocessing.active_children()


def test_dask_gives_the_same(circle, few):
    from dask.distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
    )
    with cluster, Client(cluster) as client:
        assert len(client.nthreads()) == 2
        assert plain(bootstrap(circle, executor=client, **FEW)) == few
        with pytest.raises(TopogenError, match=r"seed \d+ \(ZeroDivisionError"):
            bootstrap(circle, lambda x: 1 / (len(x) == 2000), repeats=2, executor=client)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_the_dask_example_runs(capsys):
    example = Path(__file__).parents[2] / "examples" / "bootstrap_dask.py"
    made = runpy.run_path(str(example))
    assert "2 workers" in capsys.readouterr().out
    assert made["result"].estimate.betti == {2: (1, 0, 1)}
    assert len(made["figure"].axes) == 3
    assert not multiprocessing.active_children()


def test_a_statistic_of_ones_own(circle):
    b = bootstrap(circle, len, repeats=20)
    assert b.estimate == 2000
    assert len(b.values) == 20
    assert all(1100 < n < 1400 for n in b.values)
    assert b.values == tuple(len(resample(circle, s)) for s in b.seeds)
    assert b.counts is b.share is b.band is b.diagrams is None
    assert "of the whole cloud: 2000" in str(b)
    assert b.to_dict()["values"] == list(b.values)
    assert bootstrap(circle, len, repeats=20).values == b.values
    assert bootstrap(circle, len, repeats=20, seed=1).values != b.values


def test_an_error_comes_back_with_its_seed_and_its_place(circle):
    def fails_without_the_first_point(x):
        if not np.array_equal(x[0], circle[0]):
            raise RuntimeError("the first point is missing")
        return 0.0

    with pytest.raises(TopogenError, match="the first point is missing") as caught:
        bootstrap(circle, fails_without_the_first_point, repeats=20)
    seed = int(str(caught.value).split("seed ")[1].split()[0])
    assert not np.array_equal(resample(circle, seed)[0], circle[0])
    assert "fails_without_the_first_point" in caught.value.__notes__[0]


def test_text_and_dictionary(serial):
    assert "8 resamples with replacement" in str(serial)
    assert "Z/3 degree 1  Betti 1  share" in str(serial)
    data = json.loads(json.dumps(serial.to_dict()))
    assert data["repeats"] == 8
    assert data["counts"]["2"][0] == {"1": 8}
    assert data["share"]["3"][0] == 1.0
    assert data["estimate"]["betti"] == {"2": [1, 1], "3": [1, 1]}
    assert len(data["band"]["2"]) == 2


def test_bad_input_is_refused(circle):
    for arguments, match in (
        ({"repeats": 0}, "repeats"),
        ({"alpha": 1.0}, "alpha"),
        ({"workers": 0}, "workers"),
        ({"workers": 2, "executor": Serial()}, "got both"),
        ({"executor": object()}, "method map"),
        ({"size": 5}, "10 <= size <= 2000"),
        ({"size": 2001}, "10 <= size <= 2000"),
        ({"fields": (4,)}, "expected primes"),
    ):
        with pytest.raises(ValueError, match=match):
            bootstrap(circle, **arguments)
    with pytest.raises(ValueError, match="1 <= size <= 2000"):
        resample(circle, 0, size=0)
    with pytest.raises(InvalidPoints, match="at least 30 distinct points"):
        bootstrap(circle[:20])
    with pytest.raises(InvalidPoints, match="NaN"):
        bootstrap(np.full((50, 2), np.nan))
    with pytest.raises(InvalidPoints, match="NaN"):
        bootstrap(np.full((50, 2), np.nan), len)
    with pytest.raises(TopogenError, match="0 came back before it failed with OSError"):
        bootstrap(circle, len, repeats=3, executor=Broken())


@pytest.mark.slow
def test_a_torus_is_stable(cloud):
    b = bootstrap(cloud("torus", 4000), repeats=20)
    for share in b.share.values():
        assert all(s >= 0.9 for s in share)
    for k, classes in enumerate((1, 2, 1)):
        bars = b.diagrams[2][k]
        length = np.sort(bars[:, 1] - bars[:, 0])[::-1] / 2
        assert length[classes - 1] > b.band[2][k]
