"""`sk.estimate` beside other estimators of Shapley values, at equal budgets, on judges of sets whose values are known.

    python benchmarks/estimators.py                         # minutes; shapiq's take most of it
    python benchmarks/estimators.py --players 8 --runs 100

A judge is a black box to all of them. Rows: the mean squared error over players and runs, divided by that of textbook
permutation sampling (less is better); how often the 95 % interval of a player holds its value, on average and for the
worst player; CPU time of a run. shapiq's (OddSHAP, RegressionMSR and ProxySHAP need shapiq 1.8, Python 3.12, xgboost
and lightgbm) get a tenth of the runs and give no intervals.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import shapley_kernels as sk

BUDGETS = {8: 100, 16: 400, 32: 1600}
"""By the number of players; of 8, all but 156 coalitions."""


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
        "best less mean likeness": Judge(
            lambda sets: best.worth(sets) - mean_of_pairs(likeness, sets),
            sk.shapley(best) - values_of_mean_of_pairs(likeness),
            best,
        ),
        "rules": Judge(lambda sets: (sets @ rules.T == 4) @ pays, pays @ rules / 4),
        **{name: Judge(game.worth, sk.shapley(game), surrogate) for name, (game, surrogate) in games.items()},
    }


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
        import shapiq
    except ImportError:
        print("shapiq is not installed (pip install 'shapley_kernels[peers]'): left out", file=sys.stderr)
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

    yield from ((f"shapiq {name}", runner(make)) for name, make in known.items() if hasattr(shapiq, name))


def measure(run: Run, values: np.ndarray, runs: int) -> tuple[float, str, float]:
    """Mean squared error, the coverage in words, CPU seconds of a run."""
    start, found = time.process_time(), [run(seed) for seed in range(runs)]
    seconds = (time.process_time() - start) / runs
    errors = np.array([x for x, _ in found]) - values
    if found[0][1] is None:
        return float(np.square(errors).mean()), "–", seconds
    held = (np.abs(errors) <= np.array([half for _, half in found]) + 1e-12).mean(0)  # up to rounding
    return float(np.square(errors).mean()), f"{100 * held.mean():.1f} %, {100 * held.min():.1f} %", seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--judges", nargs="+", choices=judges(8), default=list(judges(8)))
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    print("| judge | players, budget | estimator | error | coverage, mean and worst | CPU ms |")
    print("|---|---|---|---:|---:|---:|")
    for players in args.players:
        budget = BUDGETS[players]
        for name, judge in ((name, judges(players)[name]) for name in args.judges):
            estimators = {
                "permutations": textbook(judge, players, budget),
                "sk.estimate": ours(judge, players, budget),
                **dict(peers(judge, players, budget)),
            }
            if judge.surrogate is not None:
                estimators["sk.estimate, surrogate"] = ours(judge, players, budget, judge.surrogate)
            reference = None
            for estimator, run in estimators.items():
                error, coverage, seconds = measure(run, judge.values, args.runs // (10 if "shapiq" in estimator else 1))
                reference = reference or error
                ratio = f"{error / reference:.4f}" if error > 1e-24 else "exact"
                cells = (name, f"{players}, {budget}", estimator, ratio, coverage, f"{1000 * seconds:.0f}")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
