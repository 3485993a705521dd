"""Coefficients are kept by number of players: batches of ever other live counts leave nothing behind."""

import gc
import tracemalloc

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.games import tables as kept
from shapley_kernels.games.order.pairs import pair_tables
from shapley_kernels.games.order.tables import order_tables

PLAYERS = 70
"""More than those whose live counts are not looked at."""


@pytest.fixture(autouse=True)
def nothing_kept():
    kept.KEPT.clear()
    yield
    kept.KEPT.clear()


class Run:
    """In place of kernels: takes the coefficients, and gives zeros."""

    dtype, traced = np.dtype(np.float64), False

    def __call__(self, primitive, arrays, tables, shape, dtype=None, form=None):
        tables.on("numpy", "float32", "cpu")
        return np.zeros(shape)


R, STRATUM = np.ones((3, PLAYERS)), sk.Stratum(2)

TERMS = {
    "order": (lambda mask: sk.Mean(R, mask=mask), sk.Shapley()),
    "multilinear": (lambda mask: sk.NoisyOr(R, mask), STRATUM),
    "knapsack": (lambda mask: sk.WeightedVoting(R.astype(int), quota=1, mask=mask), STRATUM),
    "pairwise": (lambda mask: sk.Pairwise(np.ones((3, PLAYERS, PLAYERS)), mask=mask), sk.Shapley()),
}


def credits_of(name):
    make, value = TERMS[name]
    return lambda mask: make(mask).terms(value)[0].credits(Run())


CALLS = {name: credits_of(name) for name in TERMS} | {
    "pairs": lambda mask: pair_tables(sk.Max, (), sk.Shapley(), PLAYERS, sk.Max(R, mask=mask).live_counts(STRATUM))
}


@pytest.mark.parametrize("name", CALLS)
def test_two_thousand_ragged_batches(name):
    """A set of live counts each, mostly a new one: memory stays what it was when every count had occurred."""
    call, rng = CALLS[name], np.random.default_rng(1)

    def batch():
        call(np.arange(PLAYERS) < rng.integers(1, PLAYERS + 1, 3)[:, None])

    for n in range(1, PLAYERS + 1):
        call(np.arange(PLAYERS) < np.array([[n], [max(1, n - 1)], [PLAYERS]]))
        call(np.arange(PLAYERS) < np.array([[n], [n], [n]]))
    batch()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(2000):
            batch()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def kept_bytes():
    return sum(tables.nbytes for tables in kept.KEPT.tables.values())


def test_all_that_is_kept_is_bounded(monkeypatch):
    """Weights that change with every step make tables of their own: the oldest go, those in use stay."""
    monkeypatch.setattr(kept, "KEPT_BYTES", 1 << 18)
    lives = tuple(range(20))
    used = order_tables(((1.0, sk.Median, ()),), sk.Shapley(), 20, lives)
    for step in range(500):
        order_tables(((1.0 + step, sk.Median, ()),), sk.Shapley(), 20, lives).on("numpy", "float32", "cpu")
        assert kept_bytes() < 2 << 18
        assert order_tables(((1.0, sk.Median, ()),), sk.Shapley(), 20, lives) is used
    assert kept_bytes() > 1 << 16


def test_tables_that_are_too_large_are_not_kept(monkeypatch):
    """They have the levels of this batch alone, and bitwise the same entries."""
    rng = np.random.default_rng(0)
    batches = [tuple(sorted({*rng.integers(1, 201, 8).tolist()})) for _ in range(6)]
    key = ((1.0, sk.Range, ()),), sk.Shapley(), 200
    expected = order_tables(*key, tuple(range(201)))
    monkeypatch.setattr(kept, "KEPT_BYTES", 1 << 17)
    kept.KEPT.clear()
    for lives in batches:
        tables = order_tables(*key, lives)
        assert tables.counts == {0, *lives}
        for n in lives:
            for x, y in zip(tables.arrays[:3], expected.arrays[:3], strict=True):
                assert (x[tables.arrays[3][n]] == y[expected.arrays[3][n]]).all()
        assert kept_bytes() < 2 << 17


def test_levels_are_added():
    """Entries of a live count are the same whatever else is kept; one count alone has tables of one level."""
    key = ((1.0, sk.Range, ()),), sk.Banzhaf(0.3), 9
    first = order_tables(*key, (0, 3, 5))
    more = order_tables(*key, (2, 3, 9))
    assert first.counts == {0, 3, 5}
    assert more.counts == {0, 2, 3, 5, 9}
    assert order_tables(*key, (2, 5)) is more
    for n in (3, 5):
        for old, new in zip(first.arrays[:3], more.arrays[:3], strict=True):
            assert (old[first.arrays[3][n]] == new[more.arrays[3][n]]).all()
    alone = order_tables(*key, (9,))
    assert alone.arrays[0].shape == (1, 9)
    assert (alone.arrays[0][0] == more.arrays[0][more.arrays[3][9]]).all()
