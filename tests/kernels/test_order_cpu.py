"""The CPU's forms of `order`, beside what every primitive promises: which of them runs, that none of them shows, and
sorts that are hard."""

from itertools import product

import numpy as np
import pytest
import torch

from shapley_kernels.kernels import _marshal, _threads
from shapley_kernels.kernels.order import _numba
from shapley_kernels.kernels.order._sorting_networks import COMPARATORS, fused_network, network
from tests.kernels import rig
from tests.kernels.conftest import INTERPRETED
from tests.kernels.order import Order

if INTERPRETED:
    pytest.skip("of the CPU's kernels", allow_module_level=True)

FORMS = ("lanes", "rows")
DTYPES = (torch.float32, torch.float64)
ORDER = Order()


def case(players, dtype=torch.float32, masked=False, rewards=None, **how):
    """Arguments, with these rewards in place of theirs if they are given; they are as many as there are rows then."""
    arguments = ORDER.case(np.random.default_rng(players), players, dtype, masked, **how)
    return arguments if rewards is None else (torch.tensor(rewards, dtype=dtype), *arguments[1:])


def run(arguments, **options):
    """Credits, and the first bad row."""
    [credits], bad = ORDER.results("numba", arguments, **options)
    return credits, bad


def equal(x, y):
    return torch.equal(rig.bits(x), rig.bits(y))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_that_need_no_order(dtype):
    """Where coefficients fall by equal steps: within the same bound, whatever the order of players and rows."""
    for players in (16, 17, 24, 33, 100):
        for masked, share in product((False, True), (0.0, 0.5, -2.0)):
            arguments = case(players, dtype, masked, per_row=masked, repeats=5)
            near_the_end = torch.arange(len(arguments[0])) % 14 == 13
            (rewards, mask, c, _, _, C, _), _ = ORDER.some(arguments, ~near_the_end)
            k = torch.arange(players + 1, dtype=torch.float64)
            n, k = k[:, None], k[1:]
            A = ((1 + n * abs(share) - share * k) / players).to(dtype)  # a level for each number of live players
            B = (-share * k / players).expand(A.shape).to(dtype).contiguous() if share else None
            tables = A, B, torch.tensor(np.resize(C, players + 1)), torch.arange(players + 1, dtype=torch.int32)
            arguments = (rewards, mask, c, *tables)
            [credits] = ORDER.check("numba", arguments, form="linear")
            back = (rewards.flip(1), None if mask is None else mask.flip(1), c, *tables)
            assert equal(run(back, form="linear")[0].flip(1), credits)
            alone, _ = ORDER.some(arguments, slice(3, 4))
            assert equal(run(alone, form="linear")[0][0], credits[3])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_without_an_order(bad):
    rewards = np.random.default_rng(0).random((5, 20))
    rewards[2, 19] = bad
    arguments = case(20, torch.float64, rewards=rewards)
    ones = torch.ones(3, 20, dtype=torch.float64)
    credits, first = run((*arguments[:3], ones, None, *arguments[5:]), form="linear")
    assert first == 2
    assert credits.isnan().all(1).tolist() == [False, False, True, False, False]
    assert credits[[0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_forms_agree_to_the_bit(dtype):
    for players in (1, 2, 5, 9, 16, 23, 32, 40, 130, 1000):
        for masked, has_b in product((False, True), repeat=2):
            arguments = case(players, dtype, masked, has_b=has_b, per_row=masked, repeats=4)
            credits, others = (run(arguments, form=form)[0] for form in FORMS)
            assert equal(credits, others)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_credit_is_a_negative_zero(dtype):
    """Which tied players could get where others get a positive one."""
    rng = np.random.default_rng(0)
    for players, masked, _ in product((1, 2, 5, 17), (False, True), range(20)):
        arguments = case(players, dtype, masked, has_b=True, rewards=rng.integers(-1, 2, (6, players)))
        rewards, mask, _, *tables = arguments
        small = [torch.tensor(rng.choice([-1.0, -0.0, 0.0, 1.0], x.shape), dtype=dtype) for x in tables[:3]]
        arguments = (rewards, mask, torch.tensor([-0.0], dtype=dtype), *small, *tables[3:])
        credits, others = (run(arguments, form=form)[0] for form in FORMS)
        assert equal(credits, others)
        assert not credits.signbit()[credits == 0].any()


def test_long_rows_are_sorted_by_numpy(monkeypatch):
    monkeypatch.setattr(_numba, "order_of", None)
    ORDER.check("numba", case(_numba.LONGEST))
    with pytest.raises(TypeError, match="not callable"):
        run(case(_numba.LONGEST + 1))


@pytest.mark.parametrize("masked", [False, True])
def test_what_is_bound_for_small_calls_is_run(masked):
    """Rows on several axes, one that is not finite among them; and nothing is bound where something is to be chosen."""
    rewards = np.random.default_rng(0).random((6, 5))
    rewards[4, 2] = np.nan
    (r, mask, c, *tables), (_, kept, _, *_) = case(5, masked=masked, rewards=rewards), case(5, masked=True)
    mask = None if not masked else kept[:6].numpy()
    tables = [None if x is None else x.numpy() for x in tables]
    for c in (np.full(1, 0.5, "float32"), np.linspace(0, 1, 6, dtype="float32")):
        for row in (slice(6), slice(4)):
            outs = np.full((2, len(rewards[row]), 5), 7, "float32")
            some = r.numpy()[row], None if mask is None else mask[row], c if len(c) == 1 else c[row]
            bad = _numba.run(*some, *tables, outs[0])
            work = _numba.bound(outs[0].shape, *tables)
            split = (None if x is None or len(x) == 1 else x.reshape(2, -1, *x.shape[1:]) for x in some)
            split = [x if y is None else y for x, y in zip(some, split, strict=True)]
            assert work(*split, outs[1].reshape(2, -1, 5)) == bad == (4 if row.stop == 6 else -1)
            assert outs[0].tobytes() == outs[1].tobytes()
    assert _numba.bound((6, 5), *tables, form="linear") is _numba.bound((2**16, 5), *tables) is None


@pytest.mark.parametrize("form", FORMS)
def test_a_row_is_its_own(form):
    """Neither its place in the tile nor the rows beside it matter, rows that are not finite included."""
    tile = 16
    for players in (3, 20):
        rewards = np.random.default_rng(0).integers(-4, 5, (2 * tile + 3, players)) / 4
        arguments = case(players, rewards=rewards, has_b=True)
        [whole] = ORDER.check("numba", arguments, form=form)
        for start in (0, 1, tile - 1, 2 * tile, 2 * tile + 2):
            part, _ = ORDER.some(arguments, slice(start, start + 1))
            assert equal(run(part, form=form)[0][0], whole[start])
        spoilt = {tile + 1: (-1, np.nan), tile + 5: (0, -np.inf)}
        for row, (player, value) in spoilt.items():
            arguments[0][row, player] = value
            whole[row] = np.nan
        credits, bad = run(arguments, form=form)
        assert bad == tile + 1
        torch.testing.assert_close(credits, whole, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, "all ones"])
def test_what_is_not_finite_stays_in_its_row(form, bad):
    for dtype, players in product(DTYPES, (1, 5)):
        value = torch.tensor(bad if bad != "all ones" else 0.0, dtype=dtype)
        if bad == "all ones":  # a NaN whose bits are those of -1
            value.view(torch.int32 if dtype == torch.float32 else torch.int64).fill_(-1)
        arguments = case(players, dtype, masked=True, has_b=True, per_row=True)
        clean, _ = run(arguments, form=form)
        for spoilt in ORDER.spoil(arguments, 2, value):
            credits, first = run(spoilt, form=form)
            assert first == 2
            clean[2] = np.nan
            torch.testing.assert_close(credits, clean, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_beside_masked_players(form):
    """Wherever it is, and whoever is masked."""
    alive = np.array([who for who in product((False, True), repeat=4) if any(who)])
    for dtype, bad, player in product(DTYPES, (np.nan, np.inf, -np.inf), range(4)):
        rewards = np.random.default_rng(0).random(alive.shape)
        rewards[:, player] = bad
        arguments = case(4, dtype, rewards=rewards)
        mask = torch.from_numpy(alive)
        credits, first = run((arguments[0], mask, *arguments[2:]), form=form)
        refused = mask[:, player]
        assert first == refused.int().argmax()
        assert credits[refused].isnan().equal(mask[refused])
        assert credits[~refused].isfinite().all()
        assert (credits[~mask] == 0).all()


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


def test_fused_networks_sort():
    """As above; and no step has a player twice, which one comparator would take from another."""
    for players in (*range(1, 13), 31, 34, 100, 128):
        if players <= 12:
            rows = (np.arange(2**players) >> np.arange(players)[:, None]) & 1
        else:
            rows = np.random.default_rng(0).integers(0, 50, (players, 200))
        found = np.concatenate([rows, np.full_like(rows[:1], -1)])
        for kind, *who in fused_network(players):
            those = [player for player in who if player < players]
            assert len({*those}) == len(those)
            for i, j in COMPARATORS[kind]:
                pair = [who[i], who[j]]
                found[pair] = np.sort(found[pair], axis=0)[::-1]
        np.testing.assert_array_equal(found[:-1], -np.sort(-rows, axis=0))
        assert (found[-1] == -1).all()


@pytest.mark.parametrize("players", [5, 40, 1100])
def test_threads_do_not_change_a_bit(players, monkeypatch):
    for module in (_numba, _marshal):
        monkeypatch.setattr(module, "THREADED", 1)
    rewards = np.random.default_rng(0).random((3000 // players * 5 + 1, players))
    rewards[len(rewards) // 2, 3] = np.nan
    arguments, results = case(players, rewards=rewards, has_b=True), []
    for threads in (1, 2, 5):
        monkeypatch.setattr(_threads._State, "limit", threads)
        results.append(run(arguments))
    for credits, bad in results:
        assert bad == len(rewards) // 2
        assert equal(credits, results[0][0])
