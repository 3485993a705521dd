"""Voting games whose coalitions are counted: double majorities, and quotas too large for the primitive `knapsack`."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.games import voting

EU = np.array(
    [832, 674, 592, 474, 380, 192, 175, 115, 107, 107, 105, 104, 97, 89, 69, 58, 55, 55, 50, 40, 28, 21, 19, 13]
)
EU = np.append(EU, [9, 6, 5])
"""Populations of the 27 members of 2021, in 100,000."""
EU_QUOTA = -(-65 * int(EU.sum()) // 100)


def exact_swings(weights, quota, i):
    """Of member i: the coalitions of s others that lose, and win with it, by integers."""
    counts = [[0] * quota for _ in weights]
    counts[0][0] = 1
    for j, w in enumerate(weights):
        if j != i:
            for s in range(len(weights) - 1, 0, -1):
                for x in range(w, quota):
                    counts[s][x] += counts[s - 1][x - w]
    return [sum(of_size[max(0, quota - weights[i]) :]) for of_size in counts]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.85])
def test_large_quotas_against_integers(share):
    """64 members have up to 9e17 coalitions of a size, more than float64 counts."""
    weights = np.random.default_rng(0).integers(0, 5, 64)
    quota, factor = int(share * weights.sum()), 10_007
    found = sk.shapley(sk.WeightedVoting(weights * factor, quota=quota * factor - 3))
    assert quota * factor > voting.COUNTED
    for i in (0, int(weights.argmax())):
        swings = exact_swings(weights.tolist(), quota, i)
        expected = sum(Fraction(x, 64 * comb(63, s)) for s, x in enumerate(swings))
        assert abs(Fraction(float(found[i])) - expected) <= expected * Fraction(1e-13)


@pytest.mark.parametrize("value", [sk.Shapley(), sk.Banzhaf(0.2), sk.LeaveOneOut(), sk.Stratum(3)])
def test_counting_equals_the_primitive(value, monkeypatch):
    rng = np.random.default_rng(1)
    game = sk.WeightedVoting(rng.integers(0, 30, (4, 20)), quota=110, mask=rng.random((4, 20)) < 0.8)
    expected = sk.semivalue(game, value)
    monkeypatch.setattr(voting, "COUNTED", 0)
    np.testing.assert_allclose(sk.semivalue(game, value), expected, rtol=1e-12, atol=1e-15)


def test_as_many_votes_as_in_the_international_monetary_fund():
    """A tenth: 184 members, 220,000 votes, one of them with a sixth."""
    weights = np.append(np.random.default_rng(2).integers(70, 1_900, 183), 0)
    weights[-1] = weights.sum() // 5
    credits = sk.shapley(sk.WeightedVoting(weights, quota=int(weights.sum()) // 2 + 1))
    np.testing.assert_allclose(credits.sum(), 1.0, rtol=1e-11)
    assert (np.diff(credits[np.argsort(weights)]) >= -1e-16).all()
    assert credits[-1] > weights[-1] / weights.sum()


def test_the_council_of_the_european_union():
    """13.2 % of the coalitions win (Koczy and others on the qualified majority, populations of about these years): what
    a member without whom nobody wins has under Banzhaf."""
    veto = 10**5
    game = sk.DoubleMajority(np.append(EU, veto), quota=EU_QUOTA + veto, members=16)
    assert abs(sk.semivalue(game, sk.Banzhaf())[-1] - 0.132) < 5e-4
    council = sk.shapley(sk.DoubleMajority(EU, quota=EU_QUOTA, members=15, blocking=4))
    # to the percentage of population, the largest and the smallest have more, the middle has less
    excess = council - EU / EU.sum()
    assert excess[0] < 0.0 < excess[-1]
    np.testing.assert_allclose(council.sum(), 1.0, rtol=1e-14)
    without = sk.shapley(sk.DoubleMajority(EU, quota=EU_QUOTA, members=15))
    assert 0 < np.abs(council - without).max() < 3e-3


def test_majorities_that_are_none():
    weights = np.array([[4, 2, 1, 0], [1, 1, 1, 1]])
    plain = sk.shapley(sk.WeightedVoting(weights, quota=4))
    np.testing.assert_allclose(sk.shapley(sk.DoubleMajority(weights, quota=4, members=0)), plain, atol=1e-16)
    by_number = sk.shapley(sk.DoubleMajority(weights, quota=1, members=3, mask=[[True, True, True, False], [True] * 4]))
    np.testing.assert_allclose(by_number, [[1 / 3, 1 / 3, 1 / 3, 0], [1 / 4] * 4], rtol=1e-15)
    assert (sk.shapley(sk.DoubleMajority(weights, quota=100, members=0)) == 0).all()
    np.testing.assert_allclose(sk.shapley(sk.DoubleMajority(weights, quota=100, members=0, blocking=1)), 1 / 4)
    np.testing.assert_allclose(sk.shapley(sk.DoubleMajority(weights, quota=100, members=9, blocking=9)), 1 / 4)


def test_tensors_get_tensors():
    game = sk.DoubleMajority(torch.tensor([3, 2, 1, 1]), quota=5, members=3)
    assert sk.shapley(game).dtype == torch.get_default_dtype()
    torch.testing.assert_close(sk.shapley(game), torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6]))


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda: sk.DoubleMajority([1.0], quota=1, members=1), TypeError, "weights must be integers"),
        (lambda: sk.DoubleMajority([1], quota=0, members=1), ValueError, "quota must be an integer >= 1, got 0"),
        (lambda: sk.DoubleMajority([1], quota=1, members=-1), ValueError, "members must be an integer >= 0, got -1"),
        (lambda: sk.DoubleMajority([-1], quota=1, members=1), ValueError, "weights must be >= 0"),
        (
            lambda: sk.WeightedVoting([10**9] * 50, quota=2 * 10**10),
            ValueError,
            r"got 50 members and 750,000,000,025 numbers, 6,000,000,000,200 bytes; divide quota and weights",
        ),
        (
            lambda: sk.WeightedVoting([100] * 1001, quota=70_000),
            ValueError,
            "at most 1000 members, .* got 1001 members",
        ),
        (lambda: sk.WeightedVoting([1], quota=2**70), ValueError, f"quota must be at most {2**48}, got {2**70}"),
        (lambda: sk.BudgetCap([1], budget=2**21), ValueError, "budget must be at most 1048576, got 2097152"),
    ],
)
def test_refused(build, kind, message):
    with pytest.raises(kind, match=message):
        sk.shapley(build())
