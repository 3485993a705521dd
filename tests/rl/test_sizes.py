"""Rollouts of different numbers of candidates: `RewardAllocator(sizes=)`."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.rl import sizes
from shapley_kernels.rl.sizes import TimesLive, warn_of_v_empty

EFFICIENT = (sk.Shapley(), rl.WinnerTakesAll(), rl.PrefixMarginals())
REWARDS, MASK = sk.pad([[0.5], [0.5, 0.9], [0.5, 0.9, 0.95], [0.5, 0.6, 0.7, 0.8, 1.0]])
RAW = {"center": "none", "scale": "none", "outside": "zero"}


def coverage(rewards, mask=None):
    return sk.Coverage(np.stack([rewards > 0.55, rewards > 0.75], -1), mask=mask)


UTILITIES = (
    sk.Max,
    lambda r, mask=None: 0.7 * sk.TopM(r, 2, mask=mask, v_empty=0.25) - sk.Range(r, mask=mask),
    coverage,
)


def test_the_best_set_of_all_is_not_pushed_down():
    def of_rollouts(**options):
        return rl.RewardAllocator(**options).advantages(REWARDS, MASK, num_generations=4).sum(-1)

    np.testing.assert_allclose(of_rollouts(), [-0.87, -0.09, 0.17, 0.79], rtol=0, atol=0.005)
    np.testing.assert_allclose(of_rollouts(sizes="share"), [1.11, 1.65, 0.21, -2.96], rtol=0, atol=0.005)


SIXTEENTHS = st.lists(st.integers(-16, 16).map(lambda i: i / 16), max_size=7)


@given(st.sampled_from(UTILITIES), st.sampled_from(EFFICIENT), st.lists(SIXTEENTHS, min_size=1, max_size=5))
def test_the_mean_credit_of_a_rollout_is_what_its_set_is_worth(utility, value, lists):
    """Of any ragged group. The bound: a rounding for each of the n credits and their sum, of numbers below n worth."""
    rewards, mask = sk.pad(lists)
    found = rl.RewardAllocator(utility, value, **RAW).advantages(rewards, mask)
    game = utility(rewards, mask=mask)
    gain = game.worth() - game.worth(np.zeros(mask.shape, bool))
    for row, live, wanted in zip(found, mask, gain, strict=True):
        if live.any():
            bound = 4 * (live.sum() + 2) * np.finfo(float).eps * max(1.0, np.abs(row).sum())
            assert abs(row[live].mean() - wanted) <= bound
        assert (row[~live] == 0).all()


@pytest.mark.parametrize("utility", UTILITIES)
@pytest.mark.parametrize(
    "value",
    [sk.Shapley(), sk.Banzhaf(0.3), sk.LeaveOneOut(), sk.Stratum(2), rl.WinnerTakesAll(), rl.Broadcast()],
    ids=repr,
)
def test_credits_are_multiplied_or_per_candidate_already(value, utility):
    allocator = rl.RewardAllocator(utility, value, **RAW)
    credits = allocator.credits(REWARDS, MASK)
    wanted = credits if value == rl.Broadcast() else credits * MASK.sum(-1, keepdims=True)
    np.testing.assert_allclose(allocator.advantages(REWARDS, MASK), wanted, rtol=1e-15, atol=1e-15)
    shares = rl.RewardAllocator(utility, value, **RAW, sizes="share").advantages(REWARDS, MASK)
    np.testing.assert_array_equal(shares, credits)


def test_a_baseline_of_a_user_says_which_it_is():
    class Half(rl.Baseline):
        def share(self, game, worth):
            return worth[..., None] / 2 + np.zeros(game.players)

    class Split(Half):
        splits_worth = True

    def found(value):
        return rl.RewardAllocator(value=value, **RAW).advantages(REWARDS, MASK)

    np.testing.assert_array_equal(found(Split()), found(Half()) * MASK.sum(-1, keepdims=True))


@pytest.mark.parametrize("game", [sk.Max, sk.Median, sk.Range], ids=lambda game: game.__name__)
@pytest.mark.parametrize(
    "value", [sk.Shapley(), sk.BetaShapley(2, 3), sk.SizeWeights(lambda n: [1.0] * n)], ids=lambda v: type(v).__name__
)
def test_the_factor_in_the_coefficients_keeps_the_bound(game, value):
    """Against 2^n coalitions in rationals, times n."""
    from shapley_kernels.testing import exact_semivalue

    for dtype in (np.float32, np.float64):
        with_data = game(REWARDS.astype(dtype), mask=MASK)
        (term,) = with_data.terms(TimesLive(value))
        found = sk.semivalue(with_data, TimesLive(value))
        for row, live in enumerate(MASK):
            exact = [int(live.sum()) * x for x in exact_semivalue(with_data, value, row=row)]
            bound = term.error_bound()[row, 0] + np.abs(found[row]) * np.finfo(dtype).eps / 2
            assert (np.abs(found[row] - np.array(exact, float)) <= bound).all()


def test_a_fixed_number_of_weights_stays_one():
    value = sk.SizeWeights([0.5, 0.25, 0.25])
    found = rl.RewardAllocator(value=value, **RAW).advantages([[1.0, 0.0, 2.0]])
    np.testing.assert_allclose(found, 3 * sk.semivalue(sk.Max([[1.0, 0.0, 2.0]]), value), rtol=1e-15)
    with pytest.raises(ValueError, match="expected 1 weights for 1 live players, got 3"):
        rl.RewardAllocator(value=value).advantages(REWARDS, MASK)


def test_within_a_graph():
    def run(rewards, mask):
        return rl.RewardAllocator().advantages(rewards, mask)

    given = torch.tensor(REWARDS), torch.tensor(MASK)
    torch.testing.assert_close(torch.compile(run, backend="eager")(*given), run(*given))


# -- lists that earn less than the empty set ---------------------------------------------------------------------------

NEGATIVE = REWARDS - 2


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(sizes, "_told", set())


def told(rewards=NEGATIVE, mask=MASK, utility=sk.Max, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rl.RewardAllocator(utility, **options).advantages(rewards, mask)
    return [str(x.message) for x in caught]


def test_v_empty_above_all_worth_is_told_once(fresh):
    (message,) = told(sizes="share")
    assert message.startswith("RewardAllocator: sets differ in size, and all are worth less than the empty one")
    assert "v_empty=-1.0" in message
    assert not told(sizes="share")


@pytest.mark.parametrize(
    "options",
    [
        {"sizes": "share"},
        {"value": sk.LeaveOneOut()},
        {"utility": lambda r, mask=None: 2 * sk.Max(r, mask=mask) + sk.Min(r, mask=mask), "sizes": "share"},
        {"rewards": torch.tensor(NEGATIVE), "mask": torch.tensor(MASK), "sizes": "share"},
    ],
)
def test_where_v_empty_matters(fresh, options):
    assert len(told(**options)) == 1


def test_a_rollout_without_candidates_would_be_the_best(fresh):
    rewards, mask = sk.pad([[-1.0, -2.0], []])
    assert not told(rewards, mask, outside="zero")
    assert len(told(rewards, mask)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},  # in n times an efficient share it cancels
        {"value": rl.Broadcast(), "sizes": "share"},
        {"rewards": REWARDS, "sizes": "share"},
        {"rewards": np.where(MASK, REWARDS - 0.92, 0), "sizes": "share"},  # the best are above
        {"mask": None, "sizes": "share"},
        {"mask": MASK[:1], "rewards": NEGATIVE[:1], "sizes": "share"},
        {"utility": lambda r, mask=None: sk.Max(r, mask=mask, v_empty=-2.0), "sizes": "share"},
        {"utility": sk.Range, "sizes": "share"},
        {"rewards": torch.tensor(NEGATIVE, device="meta"), "sizes": "share"},
    ],
)
def test_where_it_does_not(fresh, options):
    if "meta" in str(getattr(options.get("rewards"), "device", "")):
        game = sk.Max(torch.tensor(NEGATIVE), mask=torch.tensor(MASK))
        game.rewards = options["rewards"]  # nothing there can be read
        warn_of_v_empty("RewardAllocator", game, sk.Shapley(), "share", "set")
    else:
        assert not told(**options)


def test_products_beyond_the_dtype():
    half = np.array([[40000, 0], [0, 0]], np.float16)
    np.testing.assert_allclose(sk.RewardAllocator().advantages(half), [[1.5, -0.5], [-0.5, -0.5]], rtol=1e-3)
    with pytest.raises(OverflowError, match="credits times the number of candidates must be in the range of float64"):
        sk.RewardAllocator(value=rl.PrefixMarginals()).advantages(np.full((2, 2), 1e308))


def test_a_rank_without_rollouts():
    found = sk.RewardAllocator(value=rl.SuffixSwap()).advantages(np.zeros((0, 3)), stopped=[], group_ids=[])
    assert found.shape == (0, 3)
