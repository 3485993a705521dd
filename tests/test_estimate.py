"""Black-box games: exact when it can be, unbiased and efficient always, honest about its error, and clear when it
cannot run."""

import asyncio
import builtins
import sys
from math import comb

import numpy as np
import pytest

import shapley_kernels as sk
from benchmarks import estimators
from shapley_kernels.estimate.sample import BEYOND, populations
from shapley_kernels.testing import exact_semivalue

QUALITY = np.array([0.9, 0.25, 0.6, 0.55, -0.2, 0.8, 0.1, 0.45])
PLAYERS = len(QUALITY)
BITS = 1 << np.arange(PLAYERS)


class Judge:
    """A function of coalitions that remembers what it was asked."""

    def __init__(self, worth):
        self.worth, self.calls = worth, []

    def __call__(self, coalitions):
        assert coalitions.ndim == 2
        assert coalitions.dtype == bool
        self.calls.append(coalitions.copy())
        return self.worth(coalitions)

    @property
    def asked(self):
        return np.concatenate(self.calls)


def redundant(coalitions, weight=0.5):
    """Best quality less the mean resemblance of neighbours in the set: no closed form here."""
    rng = np.random.default_rng(7)
    resemblance = np.triu(rng.random((PLAYERS, PLAYERS)), 1)
    size = coalitions.sum(1)
    pairs = ((coalitions @ resemblance) * coalitions).sum(1) / np.maximum(size * (size - 1) / 2, 1)
    return sk.Max(QUALITY).worth(coalitions) - weight * pairs


def table(f, players=PLAYERS):
    return f((np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool))


TABLE = table(redundant)
TRUTH = sk.estimate(redundant, PLAYERS, budget=2**PLAYERS, seed=0).values


def look_up(coalitions):
    return TABLE[coalitions @ BITS]


class TestExact:
    @pytest.mark.parametrize("players", range(1, 10))
    @pytest.mark.parametrize("utility", [sk.Max, sk.Median, lambda r: sk.TopM(r, 2, v_empty=-0.5)])
    def test_all_coalitions(self, players, utility):
        game = utility(np.resize(QUALITY, players) + np.arange(players) / 64)
        judge = Judge(game.worth)
        found = sk.estimate(judge, players, budget=2**players + 5, seed=0)
        assert found.exact
        assert found.evaluations == len(np.unique(judge.asked, axis=0)) == len(judge.asked) == 2**players
        np.testing.assert_allclose(found.values, [float(x) for x in exact_semivalue(game, sk.Shapley())], atol=1e-14)
        np.testing.assert_allclose(found.values, sk.shapley(game), atol=1e-14)
        np.testing.assert_array_equal(found.standard_errors, np.zeros(players))
        np.testing.assert_array_equal(found.interval(), [found.values, found.values])

    def test_one_player_with_a_worth_of_nothing(self):
        found = sk.estimate(lambda c: np.where(c[:, 0], 5.0, 2.0), 1, budget=2, seed=0)
        assert found.values.tolist() == [3.0]
        assert (found.evaluations, found.exact) == (2, True)

    def test_large_offset(self):
        found = sk.estimate(lambda c: 1e8 + look_up(c), PLAYERS, budget=256, seed=0)
        np.testing.assert_allclose(found.values, TRUTH, atol=1e-7)

    @pytest.mark.parametrize("players", [5, 8, 13])
    def test_interactions_of_two(self, players):
        rng = np.random.default_rng(0)
        alone, together = rng.normal(size=players), np.triu(rng.normal(size=(players, players)), 1)
        found = sk.estimate(lambda c: 3 + c @ alone + ((c @ together) * c).sum(1), players, budget=5 * players, seed=0)
        assert not found.exact
        np.testing.assert_allclose(found.values, alone + (together.sum(0) + together.sum(1)) / 2, atol=1e-12)
        assert found.standard_errors.max() < 1e-12


class TestBudget:
    @pytest.mark.parametrize("players", range(2, 12))
    def test_least(self, players):
        least = min(2**players, 2 + 4 * (players // 2))
        game = sk.Max(np.arange(players) / players)
        found = sk.estimate(game.worth, players, budget=least, seed=0)
        assert found.evaluations == least
        assert np.isfinite(found.standard_errors).all()
        with pytest.raises(
            ValueError, match=rf"budget must be an integer, at least {least} evaluations for {players} players"
        ):
            sk.estimate(game.worth, players, budget=least - 1, seed=0)

    @pytest.mark.parametrize("budget", [18, 19, 40, 101, 200, 254, 255])
    def test_all_of_it_is_used_and_nothing_asked_twice(self, budget):
        judge = Judge(look_up)
        found = sk.estimate(judge, PLAYERS, budget=budget, seed=3)
        assert found.evaluations == budget - budget % 2 == len(judge.asked)
        assert len(np.unique(judge.asked, axis=0)) == len(judge.asked)
        assert not found.exact

    def test_many_players(self):
        game = sk.Max(np.random.default_rng(0).random(40))
        judge = Judge(game.worth)
        found = sk.estimate(judge, 40, budget=400, seed=0)
        assert len(np.unique(judge.asked, axis=0)) == found.evaluations == 400
        low, high = found.interval(0.999)
        assert np.mean((low <= sk.shapley(game)) & (sk.shapley(game) <= high)) >= 0.9
        assert abs(found.values.sum() - game.worth()) < 1e-12

    def test_few_calls_of_equal_size(self):
        judge = Judge(look_up)
        sk.estimate(judge, PLAYERS, budget=64, seed=0)
        assert [len(call) for call in judge.calls] == [64]
        judge = Judge(sk.Max(np.arange(12.0)).worth)
        sk.estimate(judge, 12, budget=4000, seed=0)
        assert [len(call) for call in judge.calls] == [250] * 16


class TestSurrogate:
    @pytest.mark.parametrize("players", [4, 8, 12, 40])
    def test_f_itself_or_affine_in_it(self, players):
        game = sk.TopM(np.random.default_rng(0).random(players), 2)
        for f, scale in ((game.worth, 1), (lambda c: 3 * game.worth(c) + 7, 3), (lambda c: -2 * game.worth(c), -2)):
            found = sk.estimate(f, players, budget=min(2**players - 1, 6 * players), seed=0, surrogate=game)
            np.testing.assert_allclose(found.values, scale * sk.shapley(game), atol=1e-12)
            assert found.standard_errors.max() < 1e-12
            assert not found.exact

    def test_affine_with_noise(self):
        noise = np.random.default_rng(0).normal(0, 1e-3, 256)
        f = lambda c: 3 * sk.Max(QUALITY).worth(c) + noise[c @ BITS]  # noqa: E731
        truth = sk.estimate(f, PLAYERS, budget=256, seed=0).values
        found = sk.estimate(f, PLAYERS, budget=80, seed=0, surrogate=sk.Max(QUALITY))
        assert 1e-5 < found.standard_errors.max() < 1e-3
        assert (np.abs(found.values - truth) < 4 * found.standard_errors).all()

    @pytest.mark.parametrize(
        "game",
        [
            sk.Max(QUALITY, v_empty=-3),
            sk.Max(QUALITY, mask=QUALITY > 0),
            0.5 * sk.Max(QUALITY) + 2 * sk.Median(QUALITY),
            sk.Mean(np.full(PLAYERS, 0.1)),
            sk.TopM(QUALITY, PLAYERS),
            sk.Max(QUALITY * 0),
            sk.KthBest(QUALITY, 8),
        ],
        ids=["v_empty", "mask", "sum", "all alike", "additive", "nothing", "rarely anything"],
    )
    def test_any_game(self, game):
        found = sk.estimate(look_up, PLAYERS, budget=80, seed=2, surrogate=game)
        assert (np.abs(found.values - TRUTH) < 5 * found.standard_errors).all()
        assert abs(found.values.sum() - (TABLE[-1] - TABLE[0])) < 1e-13

    def test_torch(self):
        torch = pytest.importorskip("torch")
        expected = sk.estimate(look_up, PLAYERS, budget=80, seed=2, surrogate=sk.Max(QUALITY))
        rewards = torch.tensor(QUALITY, requires_grad=True)
        found = sk.estimate(
            lambda c: torch.tensor(look_up(c), requires_grad=True), 8, budget=80, seed=2, surrogate=sk.Max(rewards)
        )
        assert isinstance(found.values, np.ndarray)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-12)

    @pytest.mark.parametrize(
        ("surrogate", "error", "message"),
        [
            (QUALITY, TypeError, r"surrogate must be a game such as sk.Max\(rewards\), got numpy.ndarray .*wrap"),
            (sk.Max, TypeError, "surrogate must be a game such as"),
            (
                sk.Max(QUALITY[None]),
                ValueError,
                r"surrogate must be a single game, got batch shape \(1,\); pass one row",
            ),
            (sk.Max(QUALITY[:5]), ValueError, "surrogate must have 8 players, as f, got 5"),
            (sk.Max(QUALITY.astype(np.float16)), TypeError, "surrogate must be float32 or float64, got float16"),
            (sk.Max(QUALITY * np.nan), ValueError, "Max: rewards must be finite, got nan"),
        ],
    )
    def test_refused(self, surrogate, error, message):
        with pytest.raises(error, match=message):
            sk.estimate(look_up, PLAYERS, budget=80, seed=0, surrogate=surrogate)


class TestJudge:
    @pytest.mark.parametrize("convert", [list, lambda x: x.astype(np.float32), lambda x: x > 0.4, np.asfortranarray])
    def test_what_it_may_return(self, convert):
        found = sk.estimate(lambda c: convert(look_up(c)), PLAYERS, budget=256, seed=0)
        truth = sk.estimate(lambda c: np.asarray(convert(look_up(c)), float), PLAYERS, budget=256, seed=0)
        assert found.values.dtype == np.float64
        np.testing.assert_array_equal(found.values, truth.values)

    def test_it_may_write_into_its_argument(self):
        def f(coalitions):
            worth = look_up(coalitions)
            coalitions[:] = False
            return worth

        expected = sk.estimate(look_up, PLAYERS, budget=60, seed=1)
        np.testing.assert_array_equal(sk.estimate(f, PLAYERS, budget=60, seed=1).values, expected.values)

    @pytest.mark.parametrize(
        ("f", "error", "message"),
        [
            (lambda c: look_up(c)[:-1], ValueError, r"f: expected one worth for each of the 40 coalitions.*\(39,\)"),
            (
                lambda c: look_up(c)[:, None],
                ValueError,
                r"shape \(40,\), got shape \(40, 1\); f takes bool \[m, players\]",
            ),
            (lambda c: 1.0, ValueError, r"got shape \(\)"),
            (
                lambda c: np.where(c.any(1), 1.0, np.nan),
                ValueError,
                r"f: worth must be finite, got nan .* players \[\];",
            ),
            (lambda c: np.where(c.all(1), np.inf, 1.0), ValueError, r"got inf .* players \[0, 1, 2, 3, 4, 5, 6, 7\]"),
            (lambda c: ["good"] * len(c), TypeError, "f: expected real numbers"),
            (lambda c: look_up(c) + 1j, TypeError, "f: expected real numbers .* got dtype complex128"),
            (lambda c: None, TypeError, "f: expected a numpy array"),
        ],
    )
    def test_what_it_may_not_return(self, f, error, message):
        with pytest.raises(error, match=message):
            sk.estimate(f, PLAYERS, budget=40, seed=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"f": 3}, TypeError, r"estimate: f must be a function of coalitions, bool \[m, players\], got 3"),
        ({"f": sk.Max(QUALITY)}, TypeError, r"f must be a function .*sk.shapley\(game\) is exact"),
        ({"players": 0}, ValueError, "players must be an integer >= 1, got 0"),
        ({"players": -2}, ValueError, "players must be an integer >= 1, got -2"),
        ({"players": np.int64(64)}, ValueError, "budget must be an integer, at least 130 evaluations for 64 players"),
        ({"players": 8.0}, TypeError, "players must be an integer >= 1, got 8.0"),
        ({"players": True}, TypeError, "players must be an integer >= 1, got True"),
        (
            {"budget": 17},
            ValueError,
            r"an integer, at least 18 evaluations for 8 players \(and 256 make it exact\), got 17",
        ),
        ({"budget": -1}, ValueError, "budget must be an integer, at least 18 .* got -1"),
        ({"budget": 1e3}, TypeError, "budget must be an integer, .* got 1000.0"),
        (
            {"players": 200},
            ValueError,
            r"at least 402 evaluations for 200 players \(and 2\^200 make it exact\), got 40",
        ),
        (
            {"players": 40, "budget": 10**12},
            ValueError,
            "budget must be at most 1717986918 evaluations for 40 players, .* got 1000000000000",
        ),
        ({"players": 10**4, "budget": 10**5000}, ValueError, "at most 6871947 .* 10000 players, .* got more than 2"),
        ({"seed": None}, TypeError, "seed must be an integer >= 0 or a numpy Generator, got None"),
        ({"seed": True}, TypeError, "seed must be"),
        ({"seed": 1.5}, TypeError, "seed must be"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0 or a numpy Generator, got -1"),
    ],
)
def test_arguments_refused(change, error, message):
    arguments = {"f": look_up, "players": PLAYERS, "budget": 40, "seed": 0, **change}
    with pytest.raises(error, match=message):
        sk.estimate(arguments.pop("f"), arguments.pop("players"), **arguments)


@pytest.mark.parametrize("budget", [2**63, 10**400])
def test_any_budget_beyond_all_coalitions_is_exact(budget):
    assert sk.estimate(look_up, PLAYERS, budget=budget, seed=0).evaluations == 2**PLAYERS


@pytest.mark.parametrize("players", [200_000, 10**12, np.int64(2**62)])
@pytest.mark.parametrize("budget", [100, 10**15])
def test_more_players_than_memory_holds(players, budget):
    with pytest.raises(ValueError, match=f"players must be at most 185362, got {players}: the smallest budget"):
        sk.estimate(look_up, players, budget=budget, seed=0)


def test_numbers_of_pairs():
    for players in (1, 2, 3, 8, 9, 60, 61):
        counted = [comb(players, s) // (2 if 2 * s == players else 1) for s in range(1, players // 2 + 1)]
        assert populations(players) == counted
    assert min(populations(100_000)[60:]) >= BEYOND // 2


def test_budget_and_seed_have_no_defaults():
    with pytest.raises(TypeError, match="'budget' and 'seed'"):
        sk.estimate(look_up, PLAYERS)


class TestProgress:
    @pytest.mark.parametrize("missing", [(), ("rich",)], ids=["rich", "tqdm"])
    def test_on_stderr_when_asked(self, missing, monkeypatch, capsys):
        pytest.importorskip("tqdm" if missing else "rich")
        without(monkeypatch, missing)
        found = sk.estimate(look_up, PLAYERS, budget=130, seed=0, progress=True)
        out, err = capsys.readouterr()
        assert out == ""
        assert "evaluations" in err
        assert "100%" in err
        quiet = sk.estimate(look_up, PLAYERS, budget=130, seed=0)
        assert capsys.readouterr() == ("", "")
        np.testing.assert_array_equal(found.values, quiet.values)

    def test_neither_installed(self, monkeypatch):
        without(monkeypatch, ("rich", "tqdm"))
        judge = Judge(look_up)
        with pytest.raises(sk.BackendUnavailable, match="progress=True needs rich or tqdm: pip install rich"):
            sk.estimate(judge, PLAYERS, budget=40, seed=0, progress=True)
        assert not judge.calls


def without(monkeypatch, packages):
    """As if the packages were not installed."""
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name.split(".")[0] in packages:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", fake)


@pytest.mark.parametrize("unit", [2.0**1022, 2.0**700, 2.0**-700])
def test_worths_whose_differences_or_squares_leave_the_range(unit):
    """A game times a power of two has its estimate times that, in every bit."""

    def judge(coalitions):
        return np.where(coalitions.sum(1) > 2, 1.0, -1.0) + 0.5 * coalitions[:, 0] * coalitions[:, 1]

    game = sk.Max(np.arange(5.0) / 5)
    for budget, surrogate in ((20, None), (20, game), (32, None)):
        expected = sk.estimate(judge, 5, budget=budget, seed=0, surrogate=surrogate)
        scaled = None if surrogate is None else unit * surrogate
        found = sk.estimate(lambda sets: judge(sets) * unit, 5, budget=budget, seed=0, surrogate=scaled)
        np.testing.assert_array_equal(found.values, expected.values * unit)
        np.testing.assert_array_equal(found.standard_errors, expected.standard_errors * unit)
        np.testing.assert_allclose(found.degrees_of_freedom, expected.degrees_of_freedom)


def test_values_beyond_the_range():
    with pytest.raises(OverflowError, match=r"estimate: values .* range of float64, which those of player 0 are not"):
        sk.estimate(lambda sets: np.where(sets[:, 0], 1.7e308, -1.7e308), 2, budget=4, seed=0)


@pytest.mark.parametrize("family", [sk.Max, sk.Min, sk.Mean, sk.NoisyOr])
def test_a_masked_surrogate(family):
    """A surrogate that is the game itself makes the estimate exact, masked players included."""
    data = np.array([0.1, 0.2, 0.3, np.nan, 0.4, 0.5, 0.6, 0.7])
    mask = np.isfinite(data)
    game = family(data, mask=mask)
    clean = family(np.where(mask, data, 0.0), mask=mask)
    found = sk.estimate(lambda sets: clean._worth(sets & mask), 8, budget=60, seed=0, surrogate=game)
    np.testing.assert_allclose(found.values, sk.shapley(game), atol=1e-12)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions take notes from 3.11 on")
def test_a_judge_that_raises_is_told_what_judges_get():
    with pytest.raises(ValueError, match="max") as caught:
        sk.estimate(lambda members: max([]), 5, budget=20, seed=0)
    assert "f takes bool [m, players]" in caught.value.__notes__[0]


def squares(weights):
    return lambda coalitions: (coalitions @ np.array(weights)) ** 2


def slowly(judge):
    async def asked(coalitions):
        await asyncio.sleep(0.001 * (len(coalitions) % 3))
        return judge(coalitions)

    return asked


@pytest.mark.parametrize("make", [lambda judge: judge, slowly])
def test_several_games_are_each_alone(make):
    judges = [squares([3.0, 2.0, 1.0]), squares([1.0] * 9)]
    surrogates = [None, sk.Max(np.arange(9.0))]
    found = sk.estimate([make(judge) for judge in judges], [3, 9], budget=60, seed=3, surrogate=surrogates)
    for one, judge, players, surrogate in zip(found, judges, (3, 9), surrogates, strict=True):
        alone = sk.estimate(judge, players, budget=60, seed=3, surrogate=surrogate)
        assert one.values.tolist() == alone.values.tolist()
        assert one.standard_errors.tolist() == alone.standard_errors.tolist()
    assert sk.estimate([], 3, budget=8, seed=0) == []
    with pytest.raises(ValueError, match="players must be one for all, or a list of 2, as f, got 3"):
        sk.estimate(judges, [3, 9, 9], budget=60, seed=3)


def test_calls_of_an_async_judge_run_at_the_same_time():
    running = most = 0

    async def judge(coalitions):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return coalitions.sum(1)

    async def notebook():
        return sk.estimate(judge, 12, budget=640, seed=0)

    sk.estimate(judge, 12, budget=640, seed=0)
    assert most == 10
    assert asyncio.run(notebook()).values == pytest.approx(np.ones(12))


@pytest.mark.parametrize("make", [lambda judge: judge, slowly])
def test_what_was_paid_for_is_kept(make):
    asked = []

    def judge(coalitions):
        asked.append(len(coalitions))
        if len(asked) == 4:
            raise TimeoutError
        return coalitions.sum(1) * 1.0

    known = {}
    with pytest.raises(TimeoutError):
        sk.estimate(make(judge), 12, budget=640, seed=0, known=known)
    paid = len(known)
    assert paid >= 64
    asked.extend([0] * 10)
    before = sum(asked)
    found = sk.estimate(make(judge), 12, budget=640, seed=0, known=known)
    assert sum(asked) - before == 640 - paid
    assert found.values.tolist() == sk.estimate(judge, 12, budget=640, seed=0).values.tolist()
    assert sk.estimate(judge, 12, budget=640, seed=0, known=known).evaluations == 640


def test_tables_of_the_page_are_those_of_the_records():
    page = estimators.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- estimators: end -->") == 4
    assert estimators.filled(page, estimators.read()) == page


def test_said_on_the_page_of_judges():
    records = estimators.read()
    ahead = {
        (judge, players): min(records[judge, players, peer]["error"] for peer in estimators.PEERS)
        / records[judge, players, estimators.OURS]["error"]
        for judge in estimators.judges(8)
        for players in estimators.BUDGETS
    }
    rules = {key: ahead.pop(key) for key in list(ahead) if key[0] == "rules with exceptions"}
    assert rules["rules with exceptions", 8] == pytest.approx(2 / 3, abs=0.05)
    assert 0.85 < rules["rules with exceptions", 32] < 1
    assert min(ahead.values()) > 1
    assert min(x for (judge, _), x in ahead.items() if judge != "rules") > 1.55
    assert min(x for (judge, _), x in ahead.items() if judge == "three pass") > 10


@pytest.mark.parametrize("name", estimators.judges(8))
def test_judges_of_the_benchmark_have_the_values_they_say(name):
    judge = estimators.judges(8)[name]
    found = sk.estimate(judge.worth, 8, budget=2**8, seed=0)
    np.testing.assert_allclose(found.values, judge.values, atol=1e-12)
