"""`sk.estimate` beside other estimators of Shapley values, at equal budgets, on judges of sets whose values are known.

    python -m benchmarks.estimators                  # measures what the records lack (an hour), then fills the page
    python -m benchmarks.estimators --again sk.estimate "sk.estimate, surrogate"

A judge is a black box to all of them. Its estimators run one after another on each seed, so that whatever else the
machine does strikes all alike. shapiq's (OddSHAP, RegressionMSR and ProxySHAP need shapiq 1.8, Python 3.12, xgboost
and lightgbm) get fewer runs and give no intervals. Set OMP_NUM_THREADS=1: CPU time is what all threads take.
"""

import argparse
import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import product
from math import comb
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import shapley_kernels as sk

RECORDS = Path(__file__).with_suffix(".jsonl")
PAGE = Path(__file__).parents[1] / "docs" / "guides" / "judges.md"
MARKED = re.compile(r"(<!-- estimators: (\w+) -->\n).*?(<!-- estimators: end -->)", re.DOTALL)
RUNS = {8: 400, 16: 200, 32: 100}
PEER_RUNS = 20
BUDGETS = {8: 100, 16: 400, 32: 1600}
"""By the number of players; of 8, all but 156 coalitions."""
TEXTBOOK, OURS, OURS_SURROGATE = "permutations", "sk.estimate", "sk.estimate, surrogate"
PEERS = ("shapiq KernelSHAP", "shapiq OddSHAP", "shapiq RegressionMSR", "shapiq ProxySHAP")
Record = dict[str, Any]


class Judge(NamedTuple):
    """What a set is worth, bool [m, players] -> [m]; its Shapley values; and a game that resembles it."""

    worth: Callable[[np.ndarray], np.ndarray]
    values: np.ndarray
    surrogate: sk.Game | None = None


def judges(players: int) -> dict[str, Judge]:
    rng = np.random.default_rng(players)
    quality, weights = rng.random(players), rng.integers(1, 10, players)
    vectors = np.abs(rng.normal(size=(players, 6)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness, scores = vectors @ vectors.T, rng.random((players, 12)) ** 3
    best, quota = sk.Max(quality), int(0.6 * weights.sum())
    games = {
        "users served": (sk.FacilityLocation(scores), sk.Max(scores.mean(-1))),
        "vote": (sk.WeightedVoting(weights, quota=quota), sk.BudgetCap(weights, budget=quota) * (1 / quota)),
        "three pass": (sk.AtLeast(quality / 2, 3), sk.NoisyOr(quality / 2)),
    }
    rules = np.array([np.bincount(rng.choice(players, 4, replace=False), minlength=players) for _ in range(players)])
    pays = rng.normal(size=players)
    return {
        "rules with exceptions": rules_with_exceptions(players),
        "best less mean likeness": Judge(
            lambda sets: best.worth(sets) - mean_of_pairs(likeness, sets),
            sk.shapley(best) - values_of_mean_of_pairs(likeness),
            best,
        ),
        "rules": Judge(lambda sets: (sets @ rules.T == 4) @ pays, pays @ rules / 4),
        **{name: Judge(game.worth, sk.shapley(game), surrogate) for name, (game, surrogate) in games.items()},
    }


def rules_with_exceptions(players: int) -> Judge:
    """As many rules as players, of two to six conditions each, about a quarter of which ask that a player is out."""
    rng = np.random.default_rng(100 + players)
    wanted, banned = np.zeros((2, players, players), int)
    for rule in range(players):
        members = rng.choice(players, rng.integers(2, 7), replace=False)
        out = rng.random(len(members)) < 0.25
        wanted[rule, members[~out]] = banned[rule, members[out]] = 1
    pays, values = rng.normal(size=players), np.zeros(players)
    for pay, yes, no in zip(pays, wanted, banned, strict=True):
        a, b = int(yes.sum()), int(no.sum())
        values += pay * yes / max(a, 1) / comb(a + b, a) - pay * no / max(b, 1) / comb(a + b, a)
    return Judge(lambda sets: ((sets @ wanted.T == wanted.sum(1)) & (sets @ banned.T == 0)) @ pays, values)


def mean_of_pairs(likeness: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """The mean of likeness over the pairs in a set, 0 for fewer than two members."""
    size = sets.sum(-1)
    return ((sets @ np.triu(likeness, 1)) * sets).sum(-1) / np.maximum(size * (size - 1) / 2, 1)


def values_of_mean_of_pairs(likeness: np.ndarray) -> np.ndarray:
    """Its Shapley values: a mean over the sizes s of the set that i joins, of mean pairs with i and without."""
    n = len(likeness)
    own = (likeness.sum(1) - np.diag(likeness)) / (n - 1)
    others = (np.triu(likeness, 1).sum() - own * (n - 1)) / ((n - 1) * (n - 2) / 2)
    s = np.arange(2, n)[:, None]
    return (own + (2 * own / (s + 1) - 2 * others / (s + 1)).sum(0)) / n


Run = Callable[[int], tuple[np.ndarray, np.ndarray | None]]
"""Seed -> values [players] and, where there are any, the half widths of the 95 % intervals [players]."""


def textbook(judge: Judge, players: int, budget: int) -> Run:
    """Independent permutations; the empty and the full coalition are paid for once, no other repetition is noticed."""

    def run(seed: int) -> tuple[np.ndarray, None]:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(np.arange(players), ((budget - 2) // (players - 1), 1)), axis=1)
        sets = np.arange(players + 1)[:, None] > np.argsort(orders, axis=1)[:, None]  # [orders, members, players]
        worth = judge.worth(sets.reshape(-1, players)).reshape(sets.shape[:2])
        return np.take_along_axis(np.diff(worth, axis=1), np.argsort(orders, axis=1), 1).mean(0), None

    return run


def ours(judge: Judge, players: int, budget: int, surrogate: sk.Game | None = None) -> Run:
    def run(seed: int) -> tuple[np.ndarray, np.ndarray]:
        found = sk.estimate(judge.worth, players, budget=budget, seed=seed, surrogate=surrogate)
        return found.values, found.interval()[1] - found.values

    return run


def peers(judge: Judge, players: int, budget: int) -> Iterator[tuple[str, Run]]:
    try:
        shapiq: Any = import_module("shapiq")
    except ImportError:
        return
    if not getattr(shapiq, "OddSHAP", None):  # of an older version, or without what it needs
        return
    known: dict[str, Callable[..., Any]] = {
        "KernelSHAP": lambda **how: shapiq.KernelSHAP(players, pairing_trick=True, **how),
        "OddSHAP": lambda **how: shapiq.OddSHAP(players, **how),
        "RegressionMSR": lambda **how: shapiq.RegressionMSR(players, "SV", **how),
        "ProxySHAP": lambda **how: shapiq.ProxySHAP(players, max_order=1, index="SV", adjustment=True, **how),
    }

    def runner(make: Callable[..., Any]) -> Run:
        def run(seed: int) -> tuple[np.ndarray, None]:
            found = make(random_state=seed).approximate(budget, lambda sets: judge.worth(np.atleast_2d(sets)))
            return np.array([found[(i,)] for i in range(players)]), None

        return run

    yield from ((f"shapiq {name}", runner(make)) for name, make in known.items())


def measure(runs: dict[str, Run], values: np.ndarray, players: int) -> Iterator[Record]:
    """Mean squared error over players and runs; how often the intervals held, on average and for the worst player; and
    the median of CPU seconds."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray | None, float]]] = {name: [] for name in runs}
    for seed in range(RUNS[players]):
        for name, run in runs.items():
            if name not in PEERS or seed < PEER_RUNS:
                start = time.process_time()
                estimated, half = run(seed)
                found[name].append((np.abs(estimated - values), half, time.process_time() - start))
    for name, each in found.items():
        errors = np.array([error for error, _, _ in each])
        record = {"estimator": name, "runs": len(each), "error": float(np.square(errors).mean())}
        if each[0][1] is not None:
            held = (errors <= np.array([half for _, half, _ in each]) + 1e-12).mean(0)  # up to rounding
            record |= {"held": float(held.mean()), "worst": float(held.min())}
        yield record | {"milliseconds": 1000 * median(seconds for _, _, seconds in each)}


def key(record: Record) -> tuple[str, int, str]:
    return record["judge"], record["players"], record["estimator"]


def read() -> dict[tuple[str, int, str], Record]:
    lines = RECORDS.read_text(encoding="utf-8").splitlines() if RECORDS.exists() else []
    return {key(record): record for record in map(json.loads, lines)}


def write(records: Iterable[Record]) -> None:
    short = ({name: float(f"{x:.4g}") if isinstance(x, float) else x for name, x in one.items()} for one in records)
    RECORDS.write_text("".join(json.dumps(record) + "\n" for record in short), encoding="utf-8")


def measure_what_is_missing(again: Sequence[str]) -> None:
    records = {place: record for place, record in read().items() if place[2] not in again}
    for players, budget in BUDGETS.items():
        for name, judge in judges(players).items():
            runs = {TEXTBOOK: textbook(judge, players, budget), OURS: ours(judge, players, budget)}
            if judge.surrogate is not None:
                runs[OURS_SURROGATE] = ours(judge, players, budget, judge.surrogate)
            runs |= dict(peers(judge, players, budget))
            missing = {estimator: run for estimator, run in runs.items() if (name, players, estimator) not in records}
            for record in measure(missing, judge.values, players):
                record = {"judge": name, "players": players, "budget": budget, **record}
                records[key(record)] = record
            write(records.values())
            print(f"{name}, {players} players: {len(missing)} estimators measured", file=sys.stderr)


# -- the page --------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def error_table(records: dict[tuple[str, int, str], Record]) -> str:
    """In units of the error of permutations; bold is the least of a row."""
    names = (OURS, OURS_SURROGATE, *PEERS)
    rows = []
    for judge, players in product(judges(8), BUDGETS):
        if (judge, players, OURS) not in records:
            continue
        errors = {name: records[judge, players, name]["error"] for name in names if (judge, players, name) in records}
        unit, least = records[judge, players, TEXTBOOK]["error"], min(errors.values())
        cells = {name: f"{error / unit:.2g}" for name, error in errors.items()}
        bold = {name: f"**{cell}**" if errors[name] == least else cell for name, cell in cells.items()}
        rows.append([f"{judge}, {players}", *(bold.get(name, "–") for name in names)])
    return table(["judge, players", *names], rows)


def interval_table(records: dict[tuple[str, int, str], Record]) -> str:
    """How many percent of the 95 % intervals held, and those of the worst player."""
    columns = [(name, players) for name in (OURS, OURS_SURROGATE) for players in BUDGETS]
    rows = []
    for judge in judges(8):
        found = [records.get((judge, players, name)) for name, players in columns]
        rows.append([judge, *(f"{100 * r['held']:.1f}, {100 * r['worst']:.1f}" if r else "–" for r in found)])
    words = [f"{players} players" for _, players in columns[: len(BUDGETS)]]
    return table(["judge", *words, *(f"{word}, surrogate" for word in words)], rows)


def time_table(records: dict[tuple[str, int, str], Record]) -> str:
    """Milliseconds of CPU per run, the median over judges."""
    rows = []
    for name in (OURS, OURS_SURROGATE, *PEERS):
        each = [
            [r["milliseconds"] for r in records.values() if key(r)[1:] == (players, name) and "milliseconds" in r]
            for players in BUDGETS
        ]
        rows.append([name, *(f"{median(found):.0f}" if found else "–" for found in each)])
    return table(["estimator", *(f"{players} players" for players in BUDGETS)], rows)


def runs_line(records: dict[tuple[str, int, str], Record]) -> str:
    """How many runs a cell has; of `sk.estimate`, by the number of players, and of shapiq's."""

    def between(counts: Iterable[int]) -> str:
        found = sorted(set(counts)) or [0]
        return " to ".join(str(count) for count in dict.fromkeys((found[0], found[-1])))

    own = [between(r["runs"] for r in records.values() if r["players"] == n and key(r)[2] == OURS) for n in BUDGETS]
    peers = between(r["runs"] for r in records.values() if r["estimator"] in PEERS)
    words = ", ".join(f"{count} for {players} players" for count, players in zip(own, BUDGETS, strict=True))
    return f"Runs of a cell: {words}; of shapiq's {peers}.\n"


def filled(text: str, records: dict[tuple[str, int, str], Record]) -> str:
    """The text with the tables between its markers made anew."""
    tables = {"errors": error_table, "intervals": interval_table, "times": time_table, "runs": runs_line}
    return MARKED.sub(lambda match: match[1] + tables[match[2]](records) + match[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", nargs="+", default=[], choices=(TEXTBOOK, OURS, OURS_SURROGATE, *PEERS))
    warnings.simplefilter("ignore")  # of the peers
    measure_what_is_missing(parser.parse_args().again)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


if __name__ == "__main__":
    main()
