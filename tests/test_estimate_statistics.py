"""Estimates are unbiased and efficient, and honest about their error; and find the rules that a judge goes by."""

from itertools import combinations

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.estimate.rules import _Rules
from shapley_kernels.estimate.sample import Sample, draw, strata_of
from tests.test_estimate import PLAYERS, QUALITY, TABLE, TRUTH, look_up


class TestStatistics:
    @pytest.mark.parametrize(("budget", "surrogate"), [(60, None), (150, None), (100, sk.Max(QUALITY))])
    def test_unbiased_with_honest_errors(self, budget, surrogate):
        runs = 200
        found = [sk.estimate(look_up, PLAYERS, budget=budget, seed=s, surrogate=surrogate) for s in range(runs)]
        errors = np.array([run.values - TRUTH for run in found])
        spread = errors.std(0)
        # the mean of 200 runs; 3.5 standard deviations for the worst of 8 players
        assert (np.abs(errors.mean(0)) < 3.5 * spread / np.sqrt(runs)).all()
        claimed = np.sqrt(np.mean([run.standard_errors**2 for run in found], axis=0))
        assert (np.abs(claimed / spread - 1) < 0.25).all()
        inside = [(low <= TRUTH) & (high >= TRUTH) for low, high in (run.interval() for run in found)]
        assert 0.92 < np.mean(inside) < 0.98
        assert np.mean(inside, axis=0).min() > 0.9

    def test_votes_whose_permutations_are_mostly_alike(self):
        """Marginals are 0 or 1 here, which intervals from permutations do not survive."""
        weights = np.array([1, 2, 3, 4, 5, 6, 7, 9])
        worth = lambda c: (c @ weights > weights.sum() / 2).astype(float)  # noqa: E731
        truth = sk.estimate(worth, 8, budget=256, seed=0).values
        runs = [sk.estimate(worth, 8, budget=80, seed=s).interval() for s in range(100)]
        assert 0.92 < np.mean([(low <= truth) & (truth <= high) for low, high in runs]) < 0.985

    def test_surrogate_pays(self):
        def error(surrogate):
            runs = [sk.estimate(look_up, PLAYERS, budget=80, seed=s, surrogate=surrogate) for s in range(40)]
            return np.mean([(run.values - TRUTH) ** 2 for run in runs])

        plain = error(None)
        assert error(sk.Max(QUALITY)) < plain / 2
        assert error(sk.Max(np.random.default_rng(1).random(PLAYERS))) < plain * 1.3  # one that knows nothing

    @pytest.mark.parametrize("budget", [18, 30, 77, 255])
    def test_efficient_to_rounding(self, budget):
        for surrogate in (None, sk.Max(QUALITY), sk.TopM(QUALITY.astype(np.float32), 2)):
            found = sk.estimate(look_up, PLAYERS, budget=budget, seed=5, surrogate=surrogate)
            assert abs(found.values.sum() - (TABLE[-1] - TABLE[0])) < 1e-14

    def test_equal_seeds_give_equal_results(self):
        one, same, other = (sk.estimate(look_up, PLAYERS, budget=60, seed=s) for s in (1, np.int64(1), 2))
        np.testing.assert_array_equal(one.values, same.values)
        np.testing.assert_array_equal(one.standard_errors, same.standard_errors)
        assert not np.array_equal(one.values, other.values)
        from_generator = sk.estimate(look_up, PLAYERS, budget=60, seed=np.random.default_rng(1))
        np.testing.assert_array_equal(one.values, from_generator.values)

    def test_worth_of_scaled_and_shifted_games(self):
        one = sk.estimate(look_up, PLAYERS, budget=60, seed=1)
        other = sk.estimate(lambda c: 5 - 4 * look_up(c), PLAYERS, budget=60, seed=1)
        np.testing.assert_allclose(other.values, -4 * one.values, atol=1e-13)
        np.testing.assert_allclose(other.standard_errors, 4 * one.standard_errors, atol=1e-13)

    def test_everybody_alike(self):
        found = sk.estimate(lambda c: np.sqrt(c.sum(1)), 9, budget=60, seed=0)
        np.testing.assert_allclose(found.values, np.full(9, 3 / 9), atol=1e-14)
        assert found.standard_errors.max() < 1e-14

    def test_interval(self):
        found = sk.Estimate(np.zeros(4), np.ones(4), 9, False, np.array([1.0, 2.0, 10.0, 1e9]))
        np.testing.assert_allclose(found.interval()[1], [12.7062, 4.30265, 2.22814, 1.96234], rtol=1e-5)
        np.testing.assert_allclose(found.interval(0.99)[0], [-63.6567, -9.92484, -3.16927, -2.58075], rtol=1e-5)
        for error, level in (
            (ValueError, 0),
            (ValueError, 1),
            (ValueError, 95),
            (TypeError, "high"),
            (TypeError, None),
        ):
            with pytest.raises(error, match="interval: level must be a number between 0 and 1"):
                found.interval(level)


class TestRules:
    def test_differences_and_values(self):
        """Over all pairs, the weighted mean of a rule's differences is its Shapley value, less what all get alike."""
        strata = strata_of(7, 63)
        rng = np.random.default_rng(0)
        sample = Sample(7, strata, np.concatenate([draw(7, stratum, rng) for stratum in strata]))
        for k in (3, 4):
            rules = _Rules.of(sample, np.array(list(combinations(range(7), k))))
            shared = [sample.stratum_means(d.astype(float)) for d in rules.differences]
            np.testing.assert_allclose(shared, rules.values(), atol=1e-14)

    @pytest.mark.parametrize("surrogate", [None, sk.Max(np.resize(QUALITY, 12))])
    def test_a_judge_that_is_a_few_rules(self, surrogate):
        """It is exact where all are found, whatever else is additive, of two players, or the surrogate's."""
        all_of = [[0, 1, 2, 3], [2, 5, 7], [4, 6, 8, 11], [1, 9, 10]]

        def judge(sets):
            worth = sets @ np.arange(12.0) + 2 * sets[:, 0] * sets[:, 5] + sum(sets[:, rule].all(1) for rule in all_of)
            worth -= 3 * sets[:, [0, 6, 9]].any(1)
            return worth if surrogate is None else worth + surrogate.worth(sets)

        truth = sk.estimate(judge, 12, budget=2**12, seed=0).values
        found = [sk.estimate(judge, 12, budget=400, seed=seed, surrogate=surrogate) for seed in range(3)]
        errors = [np.abs(one.values - truth).max() for one in found]
        assert np.median(errors) < 1e-9
        assert np.median([one.standard_errors.max() for one in found]) < 1e-9
        assert max(errors) < 0.03  # that of additive controls: 0.08

    def test_of_many_players_none_are_looked_for(self):
        found = sk.estimate(lambda sets: sets[:, :3].all(1), 120, budget=500, seed=0)
        assert found.standard_errors.max() > 1e-4
