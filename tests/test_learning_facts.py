"""What each credit optimises, by enumeration of all sets in float64, and that the page shows the committed records."""

import itertools

import numpy as np
import pytest
from scipy.stats import fisher_exact

import shapley_kernels as sk
from benchmarks.learning import dice, exact, films, report, runs, simulator
from benchmarks.learning.exact import K, estimate, gradient, random_policy
from benchmarks.learning.runs import TASKS
from benchmarks.learning.schemes import SCHEMES
from benchmarks.learning.simulator import UTILITIES
from shapley_kernels import rl

SEEDS = range(5)
GAMES = pytest.mark.parametrize("game", exact.GAMES)
VALUES = [sk.Shapley(), sk.LeaveOneOut(), sk.Banzhaf(), sk.Banzhaf(0.3), sk.BetaShapley(4, 1), sk.BetaShapley(1, 3)]
VALUES += [sk.Stratum(k) for k in range(1, K + 1)] + [sk.SizeWeights([0.5, 0.1, 0.4, 0.0])]
UNBIASED = {"GRPO", "WorthToGo", "SuffixSwap(1)", "quietest unbiased"}
"""Under every policy; and of independent candidates these too."""
OF_INDEPENDENT = UNBIASED | {"LeaveOneOut", *exact.GROUP_SCHEMES}


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@GAMES
@pytest.mark.parametrize("value", [*VALUES, rl.PrefixMarginals()], ids=lambda v: type(v).__name__)
def test_a_semivalue_of_independent_candidates_optimises_its_mixture(game, value):
    """E[sum_i phi_i score_i] = sum_k w_{k-1} (K/k) grad J_k; Shapley's w are 1/K, so that is sum_k grad J_k / k, and
    that of the marginals in the order of writing is the same."""
    weights = value.size_weights(K) if isinstance(value, sk.Semivalue) else [1 / K] * K
    for seed in SEEDS:
        policy = random_policy(False, seed)
        mixture = sum(weights[k - 1] * K / k * gradient(policy, game, k) for k in range(1, K + 1))
        equal(estimate(policy, game, value)[0], mixture)


@GAMES
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("scheme", exact.ALL)
def test_which_credits_are_unbiased(game, sequential, scheme):
    if not exact.serves(scheme, sequential):
        return
    floors = {"LeaveOneOut": 0.05, **dict.fromkeys(("Shapley", "PrefixMarginals", "WinnerTakesAll", "Stratum(1)"), 0.1)}
    for seed in SEEDS:
        policy = random_policy(sequential, seed)
        found, truth = estimate(policy, game, exact.ALL[scheme])[0], gradient(policy, game)
        if scheme in (UNBIASED if sequential else OF_INDEPENDENT):
            equal(found, truth)
        else:
            assert np.linalg.norm(found - truth) > floors.get(scheme, 0.02) * np.linalg.norm(truth)


@GAMES
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


@pytest.fixture(scope="module")
def evidence():
    return report.Evidence.read()


def test_the_exact_records_are_what_enumeration_gives(evidence):
    expected = [x for x in itertools.product(exact.GAMES, (False, True), exact.ALL) if exact.serves(x[2], x[1])]
    assert [(r["game"], r["sequential"], r["scheme"]) for r in evidence.enumerated] == expected
    for record in evidence.enumerated:
        policy = random_policy(record["sequential"], seed=7)
        for name, number in exact.measure(policy, record["game"], exact.ALL[record["scheme"]]).items():
            np.testing.assert_allclose(record[name][7], number, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("page", [report.PAGE, report.VALUES], ids=lambda page: page.stem)
def test_the_page_is_that_of_the_committed_records(page, evidence):
    text = page.read_text(encoding="utf-8")
    assert text == report.filled(text, evidence), "python -m benchmarks.learning page"
    assert evidence.fingerprint().encode() in report.PICTURE.read_bytes(), "python -m benchmarks.learning page"


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_page_can_be_made_of_any_part_of_the_records(evidence, count):
    parts = (dict(itertools.islice(some.items(), count)) for some in evidence[1:])
    assert "| Shapley |" in report.filled(report.PAGE.read_text(encoding="utf-8"), report.Evidence(evidence[0], *parts))
    with pytest.raises(ValueError, match="'nothing'"):
        report.filled("<!-- learning: nothing -->\n<!-- learning: end -->", evidence)


@pytest.mark.parametrize("its", [simulator, films, dice], ids=lambda its: its.RECORDS.packed.name)
def test_rates_are_at_no_edge(its):
    for record in its.RECORDS.read():
        if not record.get("fixed"):
            assert f"{record['rate']:g}" in list(record["tuning"])[1:-1]
        assert len(record["mean"]) == len(record["final"]) == len(its.REPORTED)
    assert not set(its.TUNING) & set(its.REPORTED)


def test_leads_and_which_of_them_stand():
    found = report.lead(np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0]))
    assert found.mean == pytest.approx(4 / 3)
    assert found.half == pytest.approx(4.302653 / 3, rel=1e-5)  # t(0.975, 2) * (1 / sqrt(3)) / sqrt(3)
    leads = {p: report.Lead(0.0, 0.0, p) for p in (0.03, 0.01, 0.04, 0.001)}
    assert report.holm(leads) == {0.001, 0.01}
    assert report.holm({}) == set()


def test_no_seed_has_a_say_in_its_own_rate():
    done, rewards = {}, {0.001: (0.5, 0.5, 0.5), 0.002: (0.0, 0.9, 0.9)}
    for rate, seed in itertools.product(runs.RATES, range(3)):
        run = runs.Run("hit", "GRPO", rate, seed)
        done[run] = {**run._asdict(), "set_reward": [rewards.get(rate, (0.1,) * 3)[seed]] * 4}
    found = report.trained(done, "hit", "GRPO")
    assert [r["learning_rate"] for r in found.chosen] == [0.002, 0.001, 0.001]
    del done[runs.Run("hit", "GRPO", 0.004, 2)]
    assert report.trained(done, "hit", "GRPO") is None


# -- what the text says of the tables: if one of these fails after new runs, the text has to be written anew ---------

INDEPENDENT, LISTS = [0, 2], [1, 3]
TRAINED = ("8 sets", "64 sets", "free", "cost")


@pytest.fixture(scope="module")
def medians(evidence):
    """One for each of the four tables: best, then distinct, of independent and of sequential candidates."""
    return lambda scheme, name: np.array([np.median(r[name]) for r in evidence.enumerated if r["scheme"] == scheme])


@pytest.fixture(scope="module")
def gains(evidence):
    """Scheme -> those of the two tables of lists, for so many sets per update; of all that see sets, not the bound."""
    found = {(r["scheme"], r["game"]): r for r in evidence.enumerated if r["sequential"]}
    names = [name for name in exact.ALL if exact.serves(name, True) and name != "quietest unbiased"]
    return lambda sets: {n: np.array([np.median(report.gains(found[n, g], sets)) for g in exact.GAMES]) for n in names}


def span(numbers):
    return [round(min(numbers)), round(max(numbers))]


def angles(medians, scheme):
    return np.degrees(np.arccos(medians(scheme, "cosine").clip(max=1)))


def test_said_of_the_enumeration(medians):
    four = ("GRPO", "Stratum(1)", "LeaveOneOut", "Shapley")
    grpo, own, loo, shapley = (medians(name, "centred_snr") for name in four)
    assert span(shapley / grpo) == [4, 8]
    assert span(angles(medians, "Shapley")) == [11, 29]
    assert 1.1 < min(own / shapley) < max(own / shapley) < 1.5
    assert span(angles(medians, "Stratum(1)")) == [20, 41]
    assert span(loo / grpo) == [2, 2]
    assert span((shapley / loo)[INDEPENDENT]) == [3, 4]  # docs/guides/values.md
    assert angles(medians, "LeaveOneOut").round().tolist() == [0, 15, 0, 15]


def test_said_of_sets_per_update(medians, gains):
    shapley, loo = medians("Shapley", "overtaken"), medians("LeaveOneOut", "overtaken")
    assert span(shapley[LISTS]) == [58, 61]
    assert span(shapley[INDEPENDENT]) == [84, 137]
    assert 115 < loo[LISTS].min() < loo[LISTS].max() < 150
    assert np.isinf(loo[INDEPENDENT]).all()
    for sets, lead in ((8, 1.5), (64, 0.9), (512, 0.7)):
        ratio = gains(sets)["Shapley"] / gains(sets)["GRPO"]
        assert lead < ratio.min() < ratio.max() < lead + 0.5


def test_said_of_suffix_swap(medians, gains):
    for sets in exact.SETS_PER_UPDATE:
        others = [x for name, x in gains(sets).items() if not name.startswith("SuffixSwap")]
        assert (gains(sets)["SuffixSwap(0.5)"] > np.max(others, 0) * (0.99 if sets == 8 else 1)).all()
    found = gains(64)
    best = np.max(list(found.values()), 0)
    assert (best == np.maximum(found["SuffixSwap(0.25)"], found["SuffixSwap(0.5)"])).all()
    assert (found["SuffixSwap(0.5)"] > 0.99 * best).all()
    assert span(angles(medians, "SuffixSwap(0.5)")[LISTS]) == [6, 7]
    overtaken = medians("SuffixSwap(0.5)", "overtaken")[LISTS]
    assert 850 < overtaken.min() < overtaken.max() < 1450
    unbiased, bound, half = (
        medians(n, "snr")[LISTS] for n in ("SuffixSwap(1)", "quietest unbiased", "SuffixSwap(0.5)")
    )
    assert span(100 * unbiased / bound) == [93, 97]
    assert span(half / unbiased) == [2, 2]
    pooled = medians("pooled Stratum(K)", "snr")
    np.testing.assert_allclose(pooled / medians("Shapley", "centred_snr")[INDEPENDENT], 1.0, atol=0.15)


def test_said_on_the_page_of_values(medians):
    grpo, shapley, swap = (medians(name, "centred_snr")[LISTS] for name in ("GRPO", "Shapley", "SuffixSwap(1)"))
    np.testing.assert_allclose(swap / grpo, 1.4, atol=0.05)
    np.testing.assert_allclose(medians("quietest unbiased", "snr")[LISTS] / shapley, 1 / 3, atol=0.05)
    assert (medians("PrefixMarginals", "slot_snr") / medians("PrefixMarginals", "centred_snr"))[1] > 1.5
    np.testing.assert_allclose(medians("Shapley", "slot_snr"), medians("Shapley", "centred_snr"), rtol=0.02)


@pytest.fixture(scope="module")
def said(evidence):
    """The tables of training by name."""
    return evidence.compared


def standing(compared, scheme):
    """The utilities on which its lead over GRPO stands, and those on which its lag does."""
    leads = compared.leads()
    stands = [key for key in report.holm(leads) if key[0] == scheme]
    return tuple({u for _, u in stands if (leads[scheme, u].mean > 0) == ahead} for ahead in (True, False))


def test_said_of_the_six_utilities(said):
    assert standing(said("8 sets"), "SuffixSwap(0.5)") == (set(UTILITIES), set())
    assert standing(said("64 sets"), "SuffixSwap(0.5)")[1] == set()
    for name, table in zip(TRAINED, map(said, TRAINED), strict=True):
        lead = table.percent()
        for utility in UTILITIES:
            ahead = {s for s in ("Shapley", "Banzhaf") if lead[s, utility] > lead["SuffixSwap(0.5)", utility]}
            assert ahead == ({"Shapley", "Banzhaf"} if utility == "pass@k" and name != "cost" else set())
    for table in map(said, ("8 sets", "64 sets")):
        lead = table.percent()
        assert {"hit", "facility"} <= standing(table, "Shapley")[1]
        assert lead["Stratum(1)", "cover"] < -50
        assert max(lead[s, "redundancy"] for s in ("Stratum(1)", "WinnerTakesAll")) < -50


@pytest.mark.parametrize("name", TRAINED)
def test_said_of_lam(said, name):
    mean = {s: said(name).overall(s).mean for s in said(name).schemes()}
    none, half, one = (mean.pop(f"SuffixSwap({lam})") for lam in ("0", "0.5", "1"))
    assert 0 < none - half < 0.55
    assert 0.7 < half - one < 3
    assert half > max(mean.values()) - 0.05  # and no other is ahead of it on average


def test_said_of_lists_that_end_where_they_like(said):
    free, cost = said("free"), said("cost")
    assert standing(free, "SuffixSwap(0.5)") == standing(cost, "SuffixSwap(0.5)") == (set(UTILITIES), set())
    lengths = {key: r["candidates"] for key, r in free.found.items()}
    assert min(lengths["SuffixSwap(0.5)", u] for u in UTILITIES) > 5.9
    assert max(lengths[s, "hit"] for s in ("LeaveOneOut", "PrefixMarginals")) < 2
    for utility in UTILITIES:
        assert free.leads()["Shapley, share", utility].mean <= free.leads()["Shapley", utility].mean + 0.0005
    assert min(free.overall(s).mean for s in ("Shapley", "Banzhaf")) > 2.5


def test_said_of_the_scale(said):
    scaled, plain = said("8 sets"), said("scale none")
    assert plain.schemes() == scaled.schemes()
    for scheme in plain.schemes()[1:]:
        assert abs(plain.overall(scheme).mean - scaled.overall(scheme).mean) < 1.5
        (ahead, behind), (leads, lags) = standing(scaled, scheme), standing(plain, scheme)
        assert not ahead & lags
        assert not behind & leads


def test_said_of_when_none_helps(said):
    end = said("64 sets").percent("final")
    assert max(end.values()) < 2
    assert round(end["SuffixSwap(0.5)", "cover"], 1) == -1.6
    for utility in ("hit", "facility"):
        assert max(x for (_, u), x in said("8 sets").percent().items() if u == utility) < 1.5


def test_said_of_shapley_credit_and_leave_one_out(said):
    found = said("8 sets").found
    for utility in UTILITIES:
        shapley, loo = (np.mean(found[s, utility]["mean"]) for s in ("Shapley", "LeaveOneOut"))
        assert (shapley > loo) == (utility == "pass@k")
    different = [found[s, "facility"]["distinct"] for s in ("Shapley", "LeaveOneOut", "GRPO")]
    np.testing.assert_allclose(different, [2.5, 5.1, 5.8], atol=0.06)


def test_said_of_films(said):
    table = said("films")
    lead, mean = table.percent(), {s: table.overall(s).mean for s in table.schemes()}
    assert abs(mean.pop("SuffixSwap(0)") - mean["SuffixSwap(0.5)"]) < 0.25
    assert max(mean, key=mean.get) == "SuffixSwap(0.5)"
    assert standing(table, "SuffixSwap(0.5)") == (set(films.UTILITIES), set())
    for scheme, utility in itertools.product(
        ("SuffixSwap(0.5)", "CandidateSwap", "LeaveOneOut"), ("neighbours", "genres")
    ):
        assert utility in standing(table, scheme)[0]
        assert 2 < lead[scheme, utility] < 4
        assert table.updates(scheme, utility) in ("40", "60")
    assert max(lead["Shapley", u] for u in ("neighbours", "genres")) < 0
    assert standing(table, "Shapley") == ({"best", "discounted"}, {"genres"})  # README.md
    for scheme in ("Shapley", "Banzhaf", "Stratum(1)"):
        assert "best" in standing(table, scheme)[0]
        assert 1 < lead[scheme, "best"] < 1.5
    assert lead["SuffixSwap(0.5)", "best"] < 1
    assert max(abs(x) for (_, u), x in lead.items() if u == "discounted") < 1
    curve = table.found["GRPO", "discounted"]["curve"]
    assert max(curve) < 1.01 * curve[0]


def test_said_of_expressions(said):
    tables = [said("dice, 8 sets"), said("dice, 64 sets")]
    for table in tables:
        both = set(table.utilities)
        for lam in ("0", "0.25", "0.5"):
            assert standing(table, f"SuffixSwap({lam})") == (both, set())
            lead = table.percent()
            assert 3 < lead[f"SuffixSwap({lam})", "hit"] < 9.5  # README.md
            assert 30.5 < lead[f"SuffixSwap({lam})", "cover"] < 43.5
        assert 31.5 < lead["SuffixSwap(0.5)", "cover"] < 41.5  # README.md
        assert standing(table, "Shapley") == (set(), set())
        kept = {key: record["unseen"] for key, record in table.found.items()}
        assert all(x < kept["GRPO", u] for (s, u), x in kept.items() if s != "GRPO")
    assert standing(tables[0], "Banzhaf") == (both, set())
    near = [standing(table, s)[0] for table in tables for s in ("CandidateSwap", "LeaveOneOut")]
    assert near == [{"cover"}, {"cover"}, {"cover"}, both]
    end, stands = tables[1].percent("final"), report.holm(tables[1].leads("final"))
    assert round(end["SuffixSwap(0.5)", "cover"]) == 30
    assert ("SuffixSwap(0.5)", "cover") in stands
    assert not {key for key in stands if key[1] == "hit"}
    assert max(x for (_, u), x in end.items() if u == "hit") < 0
    assert round(end["Shapley", "hit"]) == -4
    before = [r["unseen_before"] for r in tables[1].found.values()]
    np.testing.assert_allclose(sorted(set(before)), [0.10, 0.72], atol=0.005)


def test_said_of_expressions_with_a_kl_term(said):
    table = said("dice, KL")
    lead, others = table.percent(), ("LeaveOneOut", "CandidateSwap", "SuffixSwap(0.5)")
    for scheme in (*others, "Shapley"):
        assert standing(table, scheme) == ({"hit", "cover"}, set())
        assert 6.5 < lead[scheme, "hit"] < 8.5
        assert all(lead[scheme, u] > said("dice, 64 sets").percent()[scheme, u] for u in table.utilities)
    assert round(lead["Shapley", "cover"]) == 28
    assert span([lead[s, "cover"] for s in others]) == [55, 59]
    end, stands = table.percent("final"), report.holm(table.leads("final"))
    assert all(0.49 < end[s, "hit"] / lead[s, "hit"] < 0.6 for s in (*others, "Shapley"))
    assert all(end[s, "cover"] / lead[s, "cover"] > 0.75 for s in others)
    assert set(end) - stands == {("Shapley", "cover")}


def test_said_of_a_rate_that_is_too_high(said):
    table = said("dice, rate 0.032")
    lost = {s: round(sum(20 * table.found[s, u]["lost"] for u in table.utilities)) for s in table.schemes()}
    assert lost == {"GRPO": 7, "Shapley": 4, "LeaveOneOut": 4, "CandidateSwap": 3, "SuffixSwap(0.5)": 1}
    assert round(float(fisher_exact([[1, 39], [7, 33]]).pvalue), 2) == 0.06
    chosen = {key: record["rate"] for key, record in said("dice, 64 sets").found.items()}
    times = {s: {round(0.032 / chosen[s, u]) for u in table.utilities} for s in table.schemes()}
    assert times == {
        "GRPO": {8},
        "Shapley": {4, 8},
        "LeaveOneOut": {4},
        "CandidateSwap": {2, 4},
        "SuffixSwap(0.5)": {4},
    }


def test_said_of_the_runs_through_trl(evidence):
    leads = report.trained_leads(evidence.trained)
    stands = {key for key in report.holm(leads) if key[2] == "mean"}
    assert stands == {(s, "cover", "mean") for s in ("SuffixSwap(0.5)", "CandidateSwap")}
    worth = {t: np.mean([report.overall(r) for r in report.trained(evidence.trained, t, "GRPO").chosen]) for t in TASKS}
    percent = {key[:2]: round(100 * x.mean / worth[key[1]]) for key, x in leads.items() if key[2] == "mean"}
    assert [percent[s, "cover"] for s in ("SuffixSwap(0.5)", "CandidateSwap")] == [35, 35]
    assert [percent[s, "hit"] for s in ("SuffixSwap(0.5)", "CandidateSwap")] == [11, 7]
    assert max(abs(percent["Shapley", task]) for task in TASKS) <= 1


@pytest.mark.parametrize("m", range(1, 7))
def test_said_of_copies(m):
    earned = [
        rl.RewardAllocator(sk.Clusters, SCHEMES[name].value).credits(np.ones((1, m), int))[0]
        for name in ("Stratum(1)", "BetaShapley(4, 1)", "Shapley", "PrefixMarginals", "Banzhaf", "LeaveOneOut")
    ]
    equal([x.sum() for x in earned], [m, 4 * m / (m + 3), 1, 1, m / 2 ** (m - 1), m == 1])
    assert earned[3][0] == 1
