"""What each credit optimises, by enumeration of all sets in float64, and that the page shows the committed records."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import shapley_kernels as sk
from benchmarks.learning import exact, report, runs
from benchmarks.learning.exact import K, estimate, gradient, random_policy
from benchmarks.learning.tasks import SCHEMES, TASKS
from shapley_kernels import rl
from tests import GUARD

SEEDS = range(5)
VALUES = [sk.Shapley(), sk.LeaveOneOut(), sk.Banzhaf(), sk.Banzhaf(0.3), sk.BetaShapley(4, 1), sk.BetaShapley(1, 3)]
VALUES += [sk.Stratum(k) for k in range(1, K + 1)] + [sk.SizeWeights([0.5, 0.1, 0.4, 0.0])]


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def relative_bias(policy, game, value):
    truth = gradient(policy, game)
    return np.linalg.norm(estimate(policy, game, value)[0] - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("game", exact.GAMES)
@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__ if " at 0x" in str(v) else str(v))
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
@pytest.mark.parametrize(
    "value", [rl.Broadcast(), exact.WorthToGo()], ids=lambda v: type(v).__name__ if " at 0x" in str(v) else str(v)
)
def test_unbiased_for_the_expected_worth(game, sequential, value):
    for seed in SEEDS:
        policy = random_policy(sequential, seed)
        equal(estimate(policy, game, value)[0], gradient(policy, game))


@pytest.mark.parametrize("game", exact.GAMES)
@pytest.mark.parametrize("scheme", exact.GROUP_SCHEMES)
def test_credits_that_see_the_group_are_unbiased_for_independent_candidates(game, scheme):
    for seed in SEEDS:
        policy = random_policy(False, seed)
        equal(estimate(policy, game, exact.ALL[scheme])[0], gradient(policy, game))


@pytest.mark.parametrize("game", exact.GAMES)
def test_suffix_swap_is_unbiased_for_lists_at_lam_1_alone(game):
    for seed in SEEDS:
        policy = random_policy(True, seed)
        for scheme in ("SuffixSwap(1)", "quietest unbiased"):
            equal(estimate(policy, game, exact.ALL[scheme])[0], gradient(policy, game))
        for scheme in ("SuffixSwap(0)", "SuffixSwap(0.5)", "CandidateSwap"):
            assert relative_bias(policy, game, exact.ALL[scheme]) > 0.02


@pytest.mark.parametrize("game", exact.GAMES)
def test_no_unbiased_credit_of_one_list_is_less_noisy_than_the_bound(game):
    for seed in SEEDS:
        policy = random_policy(True, seed)
        least = estimate(policy, game, exact.ALL["quietest unbiased"])[1]
        for scheme in ("GRPO", "WorthToGo", "SuffixSwap(1)"):
            for center in ("none", "group", "slot"):
                assert least < estimate(policy, game, exact.ALL[scheme], center=center)[1] * (1 + 1e-12)


@pytest.mark.parametrize(("candidates", "size"), [(2, 2), (3, 2), (2, 3)])
def test_only_the_worth_less_a_function_of_the_prefix_is_unbiased_under_every_policy(candidates, size):
    """Credits A_k(o) whose E[sum_k A_k s_k] is 0 under every policy: as many dimensions as there are prefixes, and so
    none but the functions of o_1 .. o_{k-1}, which are known to do it."""
    sets = list(itertools.product(range(candidates), repeat=size))
    prefixes = [p for k in range(size) for p in itertools.product(range(candidates), repeat=k)]
    rng, equations = np.random.default_rng(0), []
    for _ in range(200):
        p = exact.softmax(2 * rng.normal(size=(len(prefixes), candidates)))
        rows = np.zeros((len(sets), size, *p.shape))
        for (i, o), k in itertools.product(enumerate(sets), range(size)):
            before = prefixes.index(o[:k])
            chance = np.prod([p[prefixes.index(o[:j]), o[j]] for j in range(size)])
            rows[i, k, before] = chance * (np.eye(candidates)[o[k]] - p[before])
        equations.append(rows.reshape(len(sets) * size, -1).T)
    lengths = np.linalg.svd(np.concatenate(equations), compute_uv=False)
    assert (lengths < 1e-9 * lengths[0]).sum() == len(prefixes)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_gain_is_that_of_the_best_step(seed):
    policy, sets = random_policy(True, seed), 16
    truth, (mean, noise) = gradient(policy, "best"), estimate(policy, "best", sk.Shapley())
    steps = np.geomspace(1e-6, 1e2, 200_001) * (truth @ truth) / (mean @ mean)
    progress = steps * (mean @ truth) - steps**2 / 2 * (mean @ mean + noise / sets)
    cosine = mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth)
    found = exact.gain(cosine, mean @ mean / noise, sets)
    np.testing.assert_allclose(found, progress.max() / (truth @ truth / 2), rtol=1e-6, atol=1e-6)
    assert (found > 0) == (seed == 0)  # under the other policy, Shapley credit of one set points away from the gradient


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_best_of_k_of_the_rollouts_and_what_their_mean_mixes_in(k):
    """Rollouts of one candidate as players: center="none" gives G/k grad J_k; the mean puts J_{k-1} for one."""
    policy, rollouts = random_policy(False, 0), 4
    sets, numbers = policy.sets(rollouts), exact.GAMES["best"][0]
    ours, below = gradient(policy, "best", k), gradient(policy, "best", k - 1) if k > 1 else 0.0
    for center, wanted in (("none", rollouts / k * ours), ("group", (rollouts / k - 1) * ours + below)):
        found = rl.rollout_advantages(numbers[sets], value=sk.Stratum(k), center=center)
        equal(np.einsum("s,sk,skp->p", policy.chances(sets), found, policy.scores(sets)), wanted)


def test_where_an_unbiased_estimate_gains_more():
    cosine, snr, unbiased = np.array([0.9, 0.5, 1.0]), np.array([0.2, 0.03, 0.2]), 0.04
    sets = exact.overtaken(cosine, snr, unbiased)
    np.testing.assert_allclose(exact.gain(0.9, 0.2, sets[0]), exact.gain(1.0, unbiased, sets[0]))
    assert sets[1:].tolist() == [0.0, np.inf]


@pytest.mark.parametrize("game", exact.GAMES)
def test_leave_one_out_is_unbiased_for_independent_candidates_alone(game):
    for seed in SEEDS:
        policy = random_policy(False, seed)
        equal(estimate(policy, game, sk.LeaveOneOut())[0], gradient(policy, game))
        assert relative_bias(random_policy(True, seed), game, sk.LeaveOneOut()) > 0.05


@pytest.mark.parametrize("game", exact.GAMES)
@pytest.mark.parametrize(
    "value",
    [sk.Shapley(), rl.PrefixMarginals(), rl.WinnerTakesAll(), sk.Stratum(1)],
    ids=lambda v: type(v).__name__ if " at 0x" in str(v) else str(v),
)
def test_biased_where_candidates_depend_on_those_before(game, value):
    assert min(relative_bias(random_policy(True, seed), game, value) for seed in SEEDS) > 0.1


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("scheme", exact.ALL)
def test_centring_changes_the_noise_alone(sequential, scheme):
    policy, value = random_policy(sequential, 1), exact.ALL[scheme]
    plain, *centred = (estimate(policy, "best", value, center=c)[0] for c in ("none", "group", "slot"))
    equal(centred, [plain, plain])


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


def test_the_exact_records_come_in_one_order():
    expected = [x for x in itertools.product(exact.GAMES, (False, True), exact.ALL) if exact.serves(x[2], x[1])]
    assert [(r["game"], r["sequential"], r["scheme"]) for r in exact.read()] == expected
    assert set(exact.ALL) == {*SCHEMES, "WorthToGo", *exact.GROUP_SCHEMES}


@pytest.mark.parametrize("page", [report.PAGE, report.VALUES], ids=lambda page: page.stem)
def test_the_page_is_that_of_the_committed_records(page):
    text = page.read_text(encoding="utf-8")
    assert text == report.filled(text, runs.read(), exact.read()), "python -m benchmarks.learning page"


def test_the_picture_is_that_of_the_committed_records():
    assert report.fingerprint(runs.read()).encode() in report.PICTURE.read_bytes(), "python -m benchmarks.learning page"


def test_a_page_can_be_made_of_any_part_of_the_records():
    text, done = report.PAGE.read_text(encoding="utf-8"), runs.read()
    for count in (0, 1, 200):
        assert "| Shapley |" in report.filled(text, dict(itertools.islice(done.items(), count)), exact.read())
    with pytest.raises(ValueError, match="'nothing'"):
        report.filled("<!-- learning: nothing -->\n<!-- learning: end -->", {}, [])


# -- what the text says of the tables: if one of these fails after new runs, the text has to be written anew ---------


@pytest.fixture(scope="module")
def done():
    return runs.read()


def medians(scheme, name):
    """One for each of the four tables: best, then distinct, of independent and of sequential candidates."""
    return np.array([np.median(record[name]) for record in exact.read() if record["scheme"] == scheme])


def span(numbers):
    return [round(min(numbers)), round(max(numbers))]


def test_said_of_the_enumeration():
    grpo, own, loo, shapley = (medians(name, "centred_snr") for name in runs.FIRST)
    angles = {name: np.degrees(np.arccos(medians(name, "cosine").clip(max=1))) for name in runs.FIRST}
    assert span(shapley / grpo) == [4, 8]
    assert span(angles["Shapley"]) == [11, 29]
    assert 1.1 < min(own / shapley) < max(own / shapley) < 1.5
    assert span(angles["Stratum(1)"]) == [20, 41]
    assert span(loo / grpo) == [2, 2]
    assert span((shapley / loo)[[0, 2]]) == [3, 4]  # candidates independent (docs/guides/values.md)
    assert angles["LeaveOneOut"].round().tolist() == [0, 15, 0, 15]


def median_gains(sets):
    """[tables, schemes of the sequential tables], and their names."""
    names = [name for name in exact.ALL if exact.serves(name, True) and name != "quietest unbiased"]
    records = {(r["game"], r["sequential"], r["scheme"]): r for r in exact.read()}
    return np.array(
        [[np.median(report.gains(records[game, True, n], sets)) for n in names] for game in exact.GAMES]
    ), names


def test_said_of_sets_per_update():
    independent, lists = [0, 2], [1, 3]
    shapley, loo = medians("Shapley", "overtaken"), medians("LeaveOneOut", "overtaken")
    assert span(shapley[lists]) == [58, 61]
    assert span(shapley[independent]) == [84, 137]
    assert 115 < loo[lists].min() < loo[lists].max() < 150
    assert np.isinf(loo[independent]).all()
    for sets, lead in ((8, 1.5), (64, 0.9), (512, 0.7)):
        found, names = median_gains(sets)
        grpo, its = (found[:, names.index(name)] for name in ("GRPO", "Shapley"))
        assert ((its > lead * grpo) & (its < (lead + 0.5) * grpo)).all()


def test_said_of_suffix_swap():
    lists = [1, 3]
    for sets in exact.SETS_PER_UPDATE:
        found, names = median_gains(sets)
        half = found[:, [names.index("SuffixSwap(0.5)")]]
        others = [i for i, name in enumerate(names) if not name.startswith("SuffixSwap")]
        assert (half > found[:, others] * (0.99 if sets == 8 else 1)).all()
    found, names = median_gains(64)
    assert (found.argmax(1) == names.index("SuffixSwap(0.5)")).all()
    degrees = np.degrees(np.arccos(medians("SuffixSwap(0.5)", "cosine")[lists]))
    assert span(degrees) == [6, 7]
    assert (
        850
        < medians("SuffixSwap(0.5)", "overtaken")[lists].min()
        < medians("SuffixSwap(0.5)", "overtaken")[lists].max()
        < 1450
    )
    share = (medians("SuffixSwap(1)", "snr") / medians("quietest unbiased", "snr"))[lists]
    assert span(100 * share) == [93, 97]
    quieter = (medians("SuffixSwap(0.5)", "snr") / medians("SuffixSwap(1)", "snr"))[lists]
    assert span(quieter) == [2, 2]
    pooled = [np.median(r["snr"]) for r in exact.read() if r["scheme"] == "pooled Stratum(K)"]
    np.testing.assert_allclose(pooled / medians("Shapley", "centred_snr")[[0, 2]], 1.0, atol=0.15)


def test_said_on_the_page_of_values():
    lists = [1, 3]
    centred = {name: medians(name, "centred_snr")[lists] for name in ("GRPO", "Shapley", "SuffixSwap(1)")}
    np.testing.assert_allclose(centred["SuffixSwap(1)"] / centred["GRPO"], 1.4, atol=0.05)
    np.testing.assert_allclose(medians("quietest unbiased", "snr")[lists] / centred["Shapley"], 1 / 3, atol=0.05)
    by_slot = medians("PrefixMarginals", "slot_snr") / medians("PrefixMarginals", "centred_snr")
    assert by_slot[1] > 1.5
    np.testing.assert_allclose(medians("Shapley", "slot_snr"), medians("Shapley", "centred_snr"), rtol=0.02)


def ahead(found):
    """The schemes whose mean over all steps is clear of GRPO's."""
    grpo = report.overall(found["GRPO"])
    return {name for name, its in found.items() if report.difference(report.overall(its), grpo)[1] > 0}


def differences(done, task, scheme):
    """To GRPO: at the four rates, each at its best, and that at the end."""
    return np.array([report.difference(*pair) for pair in report.leads(done, task, scheme)])


def test_said_of_hit(done):
    found, best = report.reported(done, "hit"), report.at_the_best_rate(done, "hit", "GRPO")
    assert ahead(found) == {"LeaveOneOut", "Shapley", "WinnerTakesAll", "Banzhaf", "BetaShapley(4, 1)"}
    steps = [np.median(report.steps_to(found[name], report.threshold(found))) for name in ("GRPO", "Shapley")]
    assert 0 <= steps[0] - steps[1] <= 5
    assert runs.best_learning_rate(done, "hit", "GRPO") == max(runs.LEARNING_RATES)
    assert report.lost(found["GRPO"]).sum() > 2
    assert best[0]["learning_rate"] == 0.002
    assert not report.lost(best).any()
    for scheme in runs.FIRST[1:]:
        assert (differences(done, "hit", scheme)[-2:, 0] < 0).all()
    assert (np.abs(differences(done, "hit", "Shapley")[-2:, 0]) < 0.01).all()
    assert report.curves(best, "set_reward")[:, 0].mean() == pytest.approx(0.7, abs=0.02)


def test_said_of_cover(done):
    found = report.reported(done, "cover")
    end = {name: report.final(its, "set_reward").mean() for name, its in found.items()}
    assert ahead(found) == {"PrefixMarginals"}
    for scheme in ("LeaveOneOut", "Banzhaf", "Shapley"):
        assert (report.lost(found[scheme]) & ~report.back(found[scheme])).sum() == 1
    best = report.at_the_best_rate(done, "cover", "GRPO")
    for scheme, share in (("Shapley", 0.1), ("LeaveOneOut", 0.2)):
        over_all, last = differences(done, "cover", scheme)[-2:, 0]
        assert over_all / report.overall(best).mean() == pytest.approx(share, abs=0.03)
        assert last / report.final(best, "set_reward").mean() == pytest.approx(share, abs=0.03)
    assert (differences(done, "cover", "Shapley")[-2:, 1] > 0).all()
    assert (differences(done, "cover", "LeaveOneOut")[-2:, 1] < 0.001).all()
    assert end["Stratum(1)"] < 1 / 6
    assert {name for name in end if end[name] > 1 / 6} == {"LeaveOneOut", "Banzhaf", "PrefixMarginals"}
    right, different = (
        {scheme: report.final(its, name).mean() for scheme, its in found.items()}
        for name in ("candidate_reward", "distinct")
    )
    assert right["Stratum(1)"] > 0.5
    assert different["Stratum(1)"] < 1.5
    assert different["Shapley"] < 2
    assert min(right, key=right.get) == max(different, key=different.get) == "GRPO"


@pytest.mark.parametrize("copies", range(1, 7))
def test_said_of_copies(copies):
    earned = {
        name: rl.RewardAllocator(sk.Clusters, SCHEMES[name]).credits(np.ones((1, copies), int))[0]
        for name in ("Stratum(1)", "BetaShapley(4, 1)", "Shapley", "PrefixMarginals", "Banzhaf", "LeaveOneOut")
    }
    m = copies
    equal([x.sum() for x in earned.values()], [m, 4 * m / (m + 3), 1, 1, m / 2 ** (m - 1), m == 1])
    assert earned["PrefixMarginals"][0] == 1


def test_said_of_learning_rates(done):
    counts = {}
    for task, scheme in itertools.product(TASKS, runs.FIRST):
        found = report.at_rates(done, task, scheme)
        counts[scheme] = counts.get(scheme, 0) + np.array(
            [[f(its).sum() for f in (report.lost, report.back)] for its in found.values()]
        )
        assert not report.lost(found[0.0005]).any()
        assert report.lost(found[0.004]).any()
        assert report.fallen(found[0.002]).any() == (scheme != "GRPO")
        if scheme in ("LeaveOneOut", "Shapley"):
            assert (differences(done, task, scheme)[:2, 1] > 0).all()
    lost, back = np.array([x.sum(0) for x in counts.values()]).T  # [schemes]
    assert lost[0] > max(lost[1:])
    assert back[0] > lost[0] / 2
    assert (back[1:] < lost[1:] / 2).all()
    for rate in (0.001, 0.002):
        grpo = report.at_rates(done, "cover", "GRPO")[rate]
        assert report.lost(grpo).any()
        assert (report.back(grpo) == report.lost(grpo)).all()


def test_said_of_what_is_better_than_shapley(done):
    for task in TASKS:
        found = report.reported(done, task)
        for numbers in (report.overall, lambda its: report.final(its, "set_reward")):
            middle, low, _ = report.difference(numbers(found["Banzhaf"]), numbers(found["Shapley"]))
            assert low < 0 < middle
    found = report.reported(done, "cover")
    middle, low, _ = report.difference(report.overall(found["LeaveOneOut"]), report.overall(found["Shapley"]))
    assert low < 0 < middle


# -- how runs are planned and counted --------------------------------------------------------------------------------


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
    assert report.difference_cell(np.array([0.5, 0.5]), np.array([0.25, 0.25])) == "+0.250 [+0.250, +0.250]"
    assert report.difference_cell(np.array([0.5, 0.5]), np.array([0.25])) == "–"


def test_the_format_of_a_run_is_lost_and_comes_back():
    curves = [0.7, 0.5, 0.8, 0.9], [0.7, 0.06, 0.3, 0.5], [0.7, 0.3, 0.01, 0.0], [0.7, 0.08, 0.08, 0.08]
    its = [made_up(runs.Run("hit", "GRPO", 1e-3, 0), 0.0) | {"set_reward": curve} for curve in curves]
    assert report.lost(its).tolist() == [False, True, True, False]
    assert report.back(its).tolist() == [False, True, False, False]
    assert report.fallen(its).tolist() == [False, True, True, True]


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs `python -m benchmarks.learning` on a copy of the records: exit status, and what it says."""
    pytest.importorskip("rich")
    from benchmarks.learning import __main__ as program

    for module, name in ((runs, "RECORDS"), (report, "PAGE"), (report, "VALUES"), (report, "PICTURE")):
        path = getattr(module, name)
        (tmp_path / path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr(module, name, tmp_path / path.name)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["learning", *arguments])
        try:
            program.main()
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


def test_no_page_is_written_without_matplotlib(command, monkeypatch):
    report.PAGE.write_text("<!-- learning: origin -->\n<!-- learning: end -->")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, said = command("page")
    assert status == 1
    assert said.startswith("benchmarks.learning: the picture needs matplotlib (")
    assert "pip install matplotlib" in said
    assert report.PAGE.read_text() == "<!-- learning: origin -->\n<!-- learning: end -->"


def test_training_names_the_package_that_is_missing(command, monkeypatch):
    monkeypatch.setattr(runs, "PACKAGES", ("numpy", "no-such-package"))
    before = runs.RECORDS.read_bytes()
    status, said = command("run")
    assert status == 1
    assert said.splitlines()[-1].startswith(
        "benchmarks.learning: training needs numpy, no-such-package, found no no-such"
    )
    assert "`make learning`" in said
    assert runs.RECORDS.read_bytes() == before


def test_training_is_told_of_where_there_is_no_bar(command, monkeypatch):
    monkeypatch.setattr(runs, "run_all", lambda seeds, schemes, workers, tell: [tell(i, 3) for i in range(1, 4)])
    lines = [
        f"{len(runs.read())} runs are in runs.jsonl; what is missing is trained",
        "3 of the 3 runs of this phase are done",
    ]
    assert command("run") == (0, "".join(f"benchmarks.learning: {line}\n" for line in lines))


ENDLESS = """
import signal, sys, time
from benchmarks.learning import __main__ as program, runs

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test run in the background ignores

def run_all(*_):
    with runs.pool(2) as processes:
        processes.map(abs, range(9))
        print("ready", flush=True)
        processes.map(time.sleep, [7200, 7200])

runs.run_all = run_all
sys.argv = ["learning", "run"]
program.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_ends_in_one_line():
    pytest.importorskip("rich")
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        try:
            _, said = process.communicate(timeout=GUARD)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert [line.split(";")[0] for line in said.splitlines()[1:]] == ["benchmarks.learning: interrupted"]
