"""The CPU kernels of `order` against the formula: every form, whole and broken tiles, orders hard to sort."""

from itertools import product

import numba
import numpy as np
import pytest

from shapley_kernels.kernels import _marshal, _threads
from shapley_kernels.kernels.order import _cpu_network, _cpu_registers, _numba
from shapley_kernels.kernels.order._sorting_networks import fused_network, network

FORMS = ("registers", "vectors", "network", "rows")
SIZES = {
    "registers": (1, 2, 5),
    "vectors": (1, 2, 5, 8, 9, 13, 16, 31, 33),
    "network": (1, 2, 5, 8, 9, 13, 16, 33, 64, 100, 257),
    "rows": (1, 2, 5, 8, 9, 32, 33, 64),
}


def reward_rows(rng, players, dtype):
    """One row a kind: random, negative, ties, constant, zeros of both signs, common offsets, sorted either way, and
    rewards that differ in their last bits alone."""
    random = rng.standard_normal(players).astype(dtype)
    near = (1 + rng.permutation(players) * np.finfo(dtype).eps).astype(dtype)
    return np.stack(
        [
            random,
            -np.abs(random) - 0.5,
            rng.integers(-2, 3, players),
            np.full(players, 0.7),
            rng.choice([-0.0, 0.0, 1.0], players),
            1000 + random,
            np.sort(random),
            np.sort(random)[::-1],
            near,
            -near,
            np.where(rng.random(players) < 0.5, near, random),
            random * np.finfo(dtype).tiny,
            random * (np.finfo(dtype).max / 16),
        ]
    ).astype(dtype)


def case(seed, rewards, *, masked=False, outside=False, per_row=False, levels=3):
    """Random tables and arguments of `run` without `out`; at masked players stands what must not matter."""
    rng = np.random.default_rng(seed)
    rows, players = rewards.shape
    rewards, mask = rewards.copy(), None
    if masked:
        mask = rng.random(rewards.shape) < rng.random((rows, 1)) * 1.2
        rewards[~mask] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 5.0], rewards.shape)[~mask]
    v_empty = rng.standard_normal(rows if per_row else 1)
    inside, beyond = rng.standard_normal((2, levels, players)) / players
    tables = (inside, beyond if outside else None, rng.standard_normal(levels))
    real = [None if x is None else x.astype(rewards.dtype) for x in (v_empty, *tables)]
    return (rewards, mask, *real, rng.integers(0, levels, players + 1).astype(np.int32))


def run(args, **options):
    """Credits, in an `out` that was poisoned, and the first bad row."""
    out = np.full(args[0].shape, 77.0, args[0].dtype)
    bad = _numba.run(*args, out, **options)
    return out, bad


def expected(rewards, mask, v_empty, inside, outside, empty, row_of_count):
    """Credits by the formula in extended precision, and the bound of their error [rows]."""
    rows, players = rewards.shape
    credits, allowed = np.zeros(rewards.shape, np.longdouble), np.zeros(rows, np.longdouble)
    eps = np.finfo(rewards.dtype).eps
    for b in range(rows):
        live = np.arange(players) if mask is None else mask[b].nonzero()[0]
        n = len(live)
        if not n:
            continue
        c = np.longdouble(v_empty[b if v_empty.size > 1 else 0])
        who = live[np.argsort(-rewards[b, live], kind="stable")]
        ranked = rewards[b, who].astype(np.longdouble)
        gaps = ranked - np.append(ranked[1:], c)
        level = row_of_count[n]
        a = inside[level, :n].astype(np.longdouble)
        z = np.zeros(n) if outside is None else outside[level, :n].astype(np.longdouble)
        shift = c * empty[level]
        credits[b, who] = np.cumsum((gaps * a)[::-1])[::-1] + np.append(0, np.cumsum(gaps * z)[:-1]) + shift
        size = (np.abs(gaps) * (np.abs(a) + np.abs(z))).sum()
        allowed[b] = (n + 2) * eps / 2 * size + abs(shift) * eps + 2 * n * np.finfo(rewards.dtype).smallest_subnormal
    return credits, allowed + eps / 2 * (np.abs(credits).max(axis=1, initial=0) + allowed)


def check(args, **options):
    found, bad = run(args, **options)
    credits, allowed = expected(*args)
    assert bad == -1
    assert np.isfinite(found).all()
    error = np.abs(found - credits).max(axis=1)
    assert (error <= allowed).all(), (options, error / allowed)
    if args[1] is not None:
        assert (found[~args[1]] == 0).all()
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_formula(form, dtype):
    for players in SIZES[form]:
        rewards = np.concatenate([reward_rows(np.random.default_rng(seed), players, dtype) for seed in range(3)])
        for masked in (False, True):
            for outside in (False, True):
                check(case(players, rewards, masked=masked, outside=outside, per_row=masked), form=form)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_need_no_order(dtype):
    """Where coefficients fall by equal steps: within the same bound, whatever the order of players and rows."""
    for players in (16, 17, 24, 33, 100):
        rows = [reward_rows(np.random.default_rng(seed), players, dtype)[:-1] for seed in range(5)]
        for masked, share in product((False, True), (0.0, 0.5, -2.0)):
            rewards, mask, c, _, _, C, _ = case(1, np.concatenate(rows), masked=masked, per_row=masked)
            n = np.arange(players + 1)[:, None]  # a level for each number of live players
            A = ((1 + n * abs(share) - share * np.arange(1, players + 1)) / players).astype(dtype)
            B = (-share * np.broadcast_to(np.arange(1, players + 1), A.shape) / players).astype(dtype)
            own, C = np.arange(players + 1, dtype=np.int32), np.resize(C, players + 1)
            args = (rewards, mask, c, A, B if share else None, C, own)
            found = check(args, form="linear")
            back = (rewards[:, ::-1].copy(), None if mask is None else mask[:, ::-1].copy(), *args[2:])
            np.testing.assert_array_equal(run(back, form="linear")[0], found[:, ::-1])
            alone = [None if x is None else x[3:4] for x in args[:2]]
            one = run((*alone, c[3:4] if masked else c, *args[3:]), form="linear")[0]
            np.testing.assert_array_equal(one[0], found[3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_without_an_order(bad):
    rewards = np.random.default_rng(0).random((5, 20))
    rewards[2, 19] = bad
    args = case(0, rewards)
    found, first = run((*args[:3], np.ones((3, 20)), None, *args[5:]), form="linear")
    assert first == 2
    np.testing.assert_array_equal(np.isnan(found).all(1), [False, False, True, False, False])
    assert np.isfinite(np.delete(found, 2, 0)).all()


def test_step_form_of_most_players():
    rewards = np.concatenate([reward_rows(np.random.default_rng(seed), 8, np.float32) for seed in range(100)])
    check(case(8, rewards, masked=True, outside=True, per_row=True), form="registers")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forms_agree_to_the_bit(dtype):
    """Those that serve one number of players: which of them runs is a matter of the size of the call."""
    for players in (1, 2, 5, 9, 16, 23, 32, 40, 130):
        rewards = np.concatenate([reward_rows(np.random.default_rng(seed), players, dtype) for seed in range(30)])
        forms = ["rows", *(form for form, longest in _numba.LONGEST.items() if players <= longest)]
        forms = forms[: 3 if players <= 8 else 2]  # a network adds up in another order than the two before it
        for masked, outside in product((False, True), repeat=2):
            args = case(0, rewards, masked=masked, outside=outside, per_row=masked)
            first, *others = (run(args, form=form)[0] for form in forms)
            for credits in others:
                np.testing.assert_array_equal(credits, first)
                assert credits.tobytes() == first.tobytes()


def test_the_number_of_players_and_the_size_of_the_call_choose(monkeypatch):
    """A call of many rewards compiles the form that is the fastest; one of fewer takes what there is, and a small one
    does not look for vectors."""
    chosen = []
    monkeypatch.setattr(_numba, "_ready", lambda form, *key: chosen.append((form, key[-1])))
    rng = np.random.default_rng(0)
    for players in (8, 9, 32, 33, 1024, 1025):
        check(case(0, rng.random((2, players), dtype=np.float32)))
    assert chosen == [("registers", False), ("network", False), ("network", False)]
    chosen.clear()
    for players in (8, 9, 32):
        check(case(0, rng.random((_numba.SMALL // players + 1, players), dtype=np.float32)))
    assert chosen == [("registers", False), ("vectors", False), ("vectors", False)]
    chosen.clear()
    run(case(0, np.zeros((_numba.PAYS // 8, 8), np.float32)))
    assert chosen == [("registers", True)]


def test_a_small_call_takes_what_was_compiled_before(monkeypatch):
    monkeypatch.setattr(_numba, "_READY", {})
    made = []
    monkeypatch.setattr(_numba, "compiled", lambda f, signature, make=True: made.append(make) or (f if make else None))
    args = (3, "f", False, False)
    assert _numba._ready("registers", *args, False) is None
    assert _numba._ready("registers", *args, False) is None
    assert made == [False]  # the disk is asked once
    kernel = _numba._ready("registers", *args, True)
    assert _numba._ready("registers", *args, False) is kernel is not None
    assert made == [False, True]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_is_its_own(form):
    """Neither its place in the tile nor the rows beside it matter, NaN rows included; ties are bitwise equal."""
    rng = np.random.default_rng(0)
    for players in (5,) if form == "registers" else (3, 20):
        tile = _cpu_registers._TILE if form == "registers" else _cpu_network.TILE * 16
        rewards = (rng.integers(-4, 5, (2 * tile + 3, players)) / 4).astype(np.float32)
        args = case(1, rewards, outside=True)
        whole = check(args, form=form)
        for start in (0, 1, tile - 1, 2 * tile, 2 * tile + 2):
            alone, _ = run((rewards[start : start + 1].copy(), *args[1:]), form=form)
            np.testing.assert_array_equal(alone[0], whole[start])
        for row, found in zip(rewards, whole, strict=True):
            for reward in np.unique(row):
                assert len(set(found[row == reward].tolist())) == 1
        rewards[tile + 1, -1] = np.nan
        rewards[tile + 5, 0] = -np.inf
        found, bad = run((rewards, *args[1:]), form=form)
        assert bad == tile + 1
        assert np.isnan(found[[tile + 1, tile + 5]]).all()
        good = ~np.isnan(rewards).any(axis=1) & np.isfinite(rewards).all(axis=1)
        np.testing.assert_array_equal(found[good], whole[good])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "all ones"])
def test_what_is_not_finite_stays_in_its_row(form, bad):
    for dtype in (np.float32, np.float64):
        for players in (1, 5):
            rewards = np.random.default_rng(0).random((5, players)).astype(dtype)
            args = case(0, rewards, masked=True, outside=True, per_row=True)
            rewards, mask, v_empty = args[:3]
            mask[3, 0] = mask[4, 0] = True
            rewards[3, 0] = rewards[4, 0] = 0.5
            clean, _ = run(args, form=form)
            value = bad
            if bad == "all ones":  # a NaN whose bits are those of -1
                value = np.array(-1, np.int32 if dtype == np.float32 else np.int64).view(dtype)
            rewards[3, 0] = value
            v_empty[4] = value
            found, first = run(args, form=form)
            assert first == 3
            np.testing.assert_array_equal(np.isnan(found), mask & (np.arange(5) >= 3)[:, None])
            np.testing.assert_array_equal(found[:3], clean[:3])
            assert (found[~mask] == 0).all()


def test_orders_that_only_a_merge_sort_ends():
    """All rewards agree in the leading bits, so that the network says nothing."""
    rng = np.random.default_rng(0)
    for dtype, players in ((np.float32, 700), (np.float64, 1024)):
        rewards = np.stack([1 + rng.permutation(players) * np.finfo(dtype).eps for _ in range(5)]).astype(dtype)
        args = case(0, rewards, masked=True, outside=True)
        np.testing.assert_array_equal(check(args, form="network"), run(args, form="rows")[0])


def test_networks_sort():
    """All 0-1 rows up to 12 players (the 0-1 principle), random rows above."""
    for players in (*range(1, 13), 31, 100, 128):
        if players <= 12:
            rows = (np.arange(2**players)[:, None] >> np.arange(players)) & 1
        else:
            rows = np.random.default_rng(0).integers(0, 50, (200, players))
        found = rows.copy()
        for i, j in network(players):
            found[:, i], found[:, j] = found[:, [i, j]].min(axis=1), found[:, [i, j]].max(axis=1)
        np.testing.assert_array_equal(found, np.sort(rows, axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_networks_sort(dtype):
    """As above, by the compiled steps: rows are lanes."""
    compiled = numba.njit(
        getattr(_cpu_network.sort, "py_func", _cpu_network.sort)
    )  # a helper has no entrance from Python
    for players in (*range(1, 13), 31, 33, 100, 128):
        if players <= 12:
            rows = (np.arange(2**players) >> np.arange(players)[:, None]) & 1
        else:
            rows = np.random.default_rng(0).integers(0, 50, (players, 200))
        keys = np.zeros((players + 1, rows.shape[1] + 16), dtype)
        keys[:players, : rows.shape[1]] = rows
        keys[players] = -1
        compiled(keys.reshape(-1), players, keys.shape[1], fused_network(players), rows.shape[1])
        np.testing.assert_array_equal(keys[:players, : rows.shape[1]], -np.sort(-rows, axis=0))
        assert (keys[players] == -1).all()


@pytest.mark.parametrize("players", [5, 40, 1100])
def test_threads_do_not_change_a_bit(players, monkeypatch):
    for module in (_numba, _marshal):
        monkeypatch.setattr(module, "THREADED", 1)
    rewards = np.random.default_rng(0).random((3000 // players * 5 + 1, players), dtype=np.float32)
    rewards[len(rewards) // 2, 3] = np.nan
    args = case(0, rewards, outside=True)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(_threads._State, "limit", threads)
        found.append(run(args))
    for credits, bad in found:
        assert bad == len(rewards) // 2
        np.testing.assert_array_equal(credits, found[0][0])
