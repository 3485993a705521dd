"""What each credit optimises, by enumeration of all sets in float64, and that the page shows the committed records."""

import itertools
import json

import numpy as np
import pytest

import shapley_kernels as sk
from benchmarks.learning import exact, report, runs
from benchmarks.learning.exact import K, estimate, gradient, random_policy
from shapley_kernels import rl

SEEDS = range(5)
VALUES = [sk.Shapley(), sk.LeaveOneOut(), sk.Banzhaf(), sk.Banzhaf(0.3), sk.BetaShapley(4, 1), sk.BetaShapley(1, 3)]
VALUES += [sk.Stratum(k) for k in range(1, K + 1)] + [sk.SizeWeights([0.5, 0.1, 0.4, 0.0])]


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def relative_bias(policy, game, value):
    truth = gradient(policy, game)
    return np.linalg.norm(estimate(policy, game, value)[0] - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("game", exact.GAMES)
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_semivalue_of_independent_candidates_optimises_its_mixture(game, value):
    """E[sum_i phi_i score_i] = sum_k w_{k-1} (K/k) grad J_k; Shapley's w are 1/K, so that is sum_k grad J_k / k."""
    weights = value.size_weights(K)
    for seed in SEEDS:
        policy = random_policy(False, seed)
        mixture = sum(weights[k - 1] * K / k * gradient(policy, game, k) for k in range(1, K + 1))
        equal(estimate(policy, game, value)[0], mixture)


@pytest.mark.parametrize("game", exact.GAMES)
def test_shapley_of_independent_candidates_optimises_the_harmonic_mixture(game):
    policy = random_policy(False, 0)
    expected = sum(gradient(policy, game, m) / m for m in range(1, K + 1))
    equal(estimate(policy, game, sk.Shapley())[0], expected)
    equal(estimate(policy, game, rl.PrefixMarginals())[0], expected)
    assert relative_bias(policy, game, sk.Shapley()) > 0.1


@pytest.mark.parametrize("game", exact.GAMES)
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("value", [rl.Broadcast(), exact.WorthToGo()], ids=str)
def test_unbiased_for_the_expected_worth(game, sequential, value):
    for seed in SEEDS:
        policy = random_policy(sequential, seed)
        equal(estimate(policy, game, value)[0], gradient(policy, game))


@pytest.mark.parametrize("game", exact.GAMES)
def test_leave_one_out_is_unbiased_for_independent_candidates_alone(game):
    for seed in SEEDS:
        policy = random_policy(False, seed)
        equal(estimate(policy, game, sk.LeaveOneOut())[0], gradient(policy, game))
        assert relative_bias(random_policy(True, seed), game, sk.LeaveOneOut()) > 0.05


@pytest.mark.parametrize("game", exact.GAMES)
@pytest.mark.parametrize("value", [sk.Shapley(), rl.PrefixMarginals(), rl.WinnerTakesAll(), sk.Stratum(1)], ids=str)
def test_biased_where_candidates_depend_on_those_before(game, value):
    assert min(relative_bias(random_policy(True, seed), game, value) for seed in SEEDS) > 0.1


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("value", exact.ALL.values(), ids=str)
def test_centring_changes_the_noise_alone(sequential, value):
    policy = random_policy(sequential, 1)
    plain, centred = (estimate(policy, "best", value, centred=c)[0] for c in (False, True))
    equal(plain, centred)


def test_the_moments_are_those_of_samples():
    policy, value, (numbers, utility) = random_policy(True, 2), sk.Shapley(), exact.GAMES["best"]
    sets, rng = policy.sets(K), np.random.default_rng(0)
    drawn = sets[rng.choice(len(sets), size=40_000, p=policy.chances(sets))]
    g = np.einsum("sk,skp->sp", sk.semivalue(utility(numbers[drawn]), value), policy.scores(drawn))
    mean, noise = estimate(policy, "best", value)
    np.testing.assert_allclose(g.mean(0), mean, rtol=0, atol=5 * np.sqrt(noise / len(drawn)))
    np.testing.assert_allclose(g.var(0).sum(), noise, rtol=0.05)


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_exact_records_are_what_enumeration_gives():
    for record in exact.read():
        policy = random_policy(record["sequential"], seed=7)
        for name, number in exact.measure(policy, record["game"], exact.ALL[record["scheme"]]).items():
            np.testing.assert_allclose(record[name][7], number, rtol=1e-3, atol=1e-9)


def test_the_page_is_that_of_the_committed_records():
    text = report.PAGE.read_text(encoding="utf-8")
    assert text == report.filled(text, runs.read(), exact.read()), "python -m benchmarks.learning page"


def made_up(run, reward):
    curve = [reward] * 4
    return {**run._asdict(), "set_reward": curve, "candidate_reward": curve, "distinct": curve, "candidates": curve}


def test_runs_are_resumed_and_tuned_on_other_seeds(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert runs.read(path) == {}
    done = {}
    first, second = itertools.islice(runs.phases(done, 2, ["GRPO"]), 2)
    assert second == []  # not before the first are done
    for run in first:
        done[run] = made_up(run, run.learning_rate * (1 + (run.task == "hit")))
    plan = runs.phases(done, 2, ["GRPO"])
    assert next(plan) == first
    rate = max(runs.LEARNING_RATES)
    assert set(next(plan)) == {runs.Run(task, "GRPO", rate, seed) for task in ("hit", "cover") for seed in range(2)}
    lines = [json.dumps(record) for record in done.values()]
    path.write_text("\n".join(lines)[:-5])  # an interrupt cut the last one
    assert list(runs.read(path)) == first[:-1]


def test_numbers_of_a_run():
    slow, fast = made_up(runs.Run("hit", "GRPO", 1e-3, 0), 0.0), made_up(runs.Run("hit", "GRPO", 1e-3, 1), 0.0)
    slow["set_reward"], fast["set_reward"] = [0.0, 0.1, 0.2, 0.3], [0.2, 0.5, 0.5, 0.6]
    assert report.steps_to([slow, fast], 0.5).tolist() == [np.inf, 10.0]
    assert report.speed_cell(np.array([np.inf, 10.0, 15.0])).startswith("15 [10, never], 2 of 3")
    assert report.cell([0.5, 0.5]) == "0.500 [0.500, 0.500]"
    assert report.difference_cell(np.array([0.5, 0.5]), np.array([0.25])) == "+0.250 [+0.250, +0.250]"
