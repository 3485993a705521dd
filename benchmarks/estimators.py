"""`sk.estimate` beside other estimators, at an equal budget, on judges that score sets of sentences.

    python benchmarks/estimators.py                           # 1,000 runs each, minutes
    python benchmarks/estimators.py --quick --budget large    # 100 runs

A judge pays the best quality in the set, less a penalty for sentences that resemble each other (cosine of TF-IDF
vectors): the sum or the mean over the pairs in the set. The surrogate is `sk.Max(quality)`. Columns: mean squared error
of textbook permutation sampling divided by that of the row; how often the 95 % interval of a player holds its Shapley
value, on average and for the worst player. Peers (shapiq) get a twentieth of the runs and give no
intervals.
"""

import argparse
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from math import comb
from typing import Any
from zlib import crc32

import numpy as np

import shapley_kernels as sk

SENTENCES = {
    "Store the file in the cache and check its age before you download it again.": 0.71,
    "Check the age of the cached file before downloading the file again.": 0.68,
    "Download the file once a day and keep it in the cache.": 0.55,
    "Ask the server whether the file has changed, with the date of the cached copy.": 0.83,
    "Send the date of the cached copy, and the server answers whether the file changed.": 0.80,
    "Delete the cache when the disk is full.": 0.21,
    "Keep the files that are asked for most often, and delete the others when the disk is full.": 0.62,
    "Compress old files to save space on the disk.": 0.34,
    "Let the user choose how long a copy is kept.": 0.40,
    "Let every user choose how long copies of a file are kept in the cache.": 0.47,
    "Name the copies by a hash of their content, so that equal files are stored once.": 0.77,
    "Store equal files once, under a hash of what they contain.": 0.74,
    "Print a warning when a copy is older than a week.": 0.30,
    "Try again after a pause if the server does not answer.": 0.52,
    "If the server does not answer, pause, then try again.": 0.50,
    "Download nothing, and read the file over the network every time.": 0.12,
}
BUDGETS = {"small": {8: 40, 12: 60, 16: 80}, "large": {8: 128, 12: 400, 16: 640}}
PENALTY = {"sum": 0.1, "mean": 1.0}
SURROGATES = {"Max": lambda quality, cosine: sk.Max(quality)}
"""Name -> game, from the quality [players] and the cosines [players, players]."""


def sentences(players: int) -> tuple[np.ndarray, np.ndarray]:
    """quality [players], cosines of the TF-IDF vectors [players, players]."""
    bags = [Counter(crc32(word.encode()) % 512 for word in re.findall(r"\w+", text.lower())) for text in SENTENCES]
    counts = np.array([[bag[column] for column in range(512)] for bag in bags], float)
    vectors = counts * np.log((1 + len(bags)) / (1 + (counts > 0).sum(0)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    quality = np.array(list(SENTENCES.values()))
    return quality[:players], (vectors @ vectors.T)[:players, :players]


def worth_table(players: int, penalty: str) -> np.ndarray:
    """v of all coalitions [2^players], player 0 the lowest bit."""
    quality, cosine = sentences(players)
    coalitions = (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)
    best = sk.Max(quality).worth(coalitions)
    pairs = ((coalitions @ np.triu(cosine, 1)) * coalitions).sum(1)
    if penalty == "mean":
        size = coalitions.sum(1)
        pairs = pairs / np.maximum(size * (size - 1) / 2, 1)
    return best - PENALTY[penalty] * pairs


def exact(table: np.ndarray, players: int) -> np.ndarray:
    index = np.arange(len(table))
    size = sum(index >> i & 1 for i in range(players))
    phi = []
    for i in range(players):
        without = index[(index >> i & 1) == 0]
        weights = np.array([1 / (players * comb(players - 1, s)) for s in range(players)])[size[without]]
        phi.append((weights * (table[without | 1 << i] - table[without])).sum())
    return np.array(phi)


Run = Callable[[int], tuple[np.ndarray, np.ndarray | None]]
"""Seed -> values [players] and, where there are any, the half widths of the 95 % intervals [players]."""


def textbook(table: np.ndarray, players: int, budget: int) -> Run:
    """Independent permutations; the empty and the full coalition are paid for once, no other repetition is noticed."""

    def run(seed: int) -> tuple[np.ndarray, None]:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(np.arange(players), ((budget - 2) // (players - 1), 1)), axis=1)
        return marginals(table, orders).mean(0), None

    return run


def antithetic(table: np.ndarray, players: int, budget: int) -> Run:
    """Permutations and their reverses, repetitions free; Student's t over the pairs."""

    def run(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        seen, pairs = {0, len(table) - 1}, []
        while True:
            order = rng.permutation(players)
            prefixes = np.cumsum(1 << order)[:-1]
            new = ({int(x) for x in prefixes} | {int(len(table) - 1 - x) for x in prefixes}) - seen
            if len(seen) + len(new) > budget:
                break
            seen |= new
            pairs.append(marginals(table, np.array([order, order[::-1]])).mean(0))
        spread = np.std(pairs, axis=0, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.full(players, np.nan)
        half = sk.Estimate(np.zeros(players), spread, 0, False, np.full(players, max(len(pairs) - 1.0, 1.0)))
        return np.mean(pairs, axis=0), half.interval()[1]

    return run


def marginals(table: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """[orders, players]"""
    prefixes = np.cumsum(1 << orders, axis=1)
    worth = table[np.concatenate([np.zeros((len(orders), 1), int), prefixes], axis=1)]
    found = np.empty(orders.shape)
    np.put_along_axis(found, orders, np.diff(worth, axis=1), axis=1)
    return found


def ours(table: np.ndarray, players: int, budget: int, surrogate: sk.Game | None) -> Run:
    def run(seed: int) -> tuple[np.ndarray, np.ndarray]:
        found = sk.estimate(judge_of(table, players), players, budget=budget, seed=seed, surrogate=surrogate)
        return found.values, found.interval()[1] - found.values

    return run


def judge_of(table: np.ndarray, players: int) -> Callable[[np.ndarray], np.ndarray]:
    bits = 1 << np.arange(players)
    return lambda coalitions: table[np.atleast_2d(coalitions) @ bits]  # peers also call with one coalition [players]


def peers(table: np.ndarray, players: int, budget: int) -> dict[str, Run]:
    try:
        import shapiq
    except ImportError:
        print("shapiq is not installed (pip install 'shapley_kernels[peers]'): left out", file=sys.stderr)
        return {}

    def runner(make: Callable[[int], Any]) -> Run:
        def run(seed: int) -> tuple[np.ndarray, None]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = make(seed).approximate(budget, judge_of(table, players))
            return np.array([found[(i,)] for i in range(players)]), None

        return run

    return {
        "shapiq PermutationSamplingSV": runner(lambda s: shapiq.PermutationSamplingSV(players, random_state=s)),
        "shapiq SVARM": runner(lambda s: shapiq.SVARM(players, random_state=s)),
        "shapiq KernelSHAP": runner(lambda s: shapiq.KernelSHAP(players, random_state=s)),
        "shapiq KernelSHAP, paired": runner(lambda s: shapiq.KernelSHAP(players, random_state=s, pairing_trick=True)),
    }


def measure(run: Run, phi: np.ndarray, seeds: Iterable[int]) -> tuple[float, str]:
    """Mean squared error, and the coverage in words."""
    errors, inside = [], []
    for seed in seeds:
        values, half = run(seed)
        errors.append(values - phi)
        if half is not None:
            inside.append(np.abs(errors[-1]) <= half + 1e-12)  # up to rounding
    if not inside:
        return float(np.mean(np.square(errors))), ""
    by_player = np.mean(inside, axis=0)
    return float(np.mean(np.square(errors))), f"{100 * by_player.mean():5.1f} %  {100 * by_player.min():5.1f} %"


def bar(shown: bool) -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        return nullcontext()
    return Progress(console=Console(stderr=True), transient=True, disable=not (shown and sys.stderr.isatty()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, nargs="+", choices=(8, 12, 16), default=[8, 12, 16])
    parser.add_argument("--budget", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--penalty", nargs="+", choices=PENALTY, default=list(PENALTY))
    parser.add_argument("--surrogate", choices=SURROGATES, default="Max")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="100 runs")
    parser.add_argument("--no-progress", action="store_true")
    args = parser.parse_args()
    runs = 100 if args.quick else args.runs
    cases = [
        (players, BUDGETS[size][players], penalty)
        for size in args.budget
        for players in args.players
        for penalty in args.penalty
    ]
    print("| players | budget | penalty | estimator | error ratio | coverage, mean and worst player |")
    print("|---|---|---|---|---|---|")
    with bar(not args.no_progress) as progress:
        task = progress and progress.add_task("cases", total=len(cases))
        for players, budget, penalty in cases:
            table = worth_table(players, penalty)
            phi = exact(table, players)
            quality, cosine = sentences(players)
            surrogate = SURROGATES[args.surrogate](quality, cosine)
            estimators = {
                "permutations, textbook": textbook(table, players, budget),
                "permutations, antithetic pairs": antithetic(table, players, budget),
                "sk.estimate": ours(table, players, budget, None),
                f"sk.estimate, surrogate {args.surrogate}": ours(table, players, budget, surrogate),
                **peers(table, players, budget),
            }
            reference = None
            for name, run in estimators.items():
                error, coverage = measure(run, phi, range(runs // 20 if name.startswith("shapiq") else runs))
                reference = reference or error
                ratio = f"{reference / error:.2f}" if error > 1e-24 else "exact"
                print(f"| {players} | {budget} | {penalty} | {name} | {ratio} | {coverage} |", flush=True)
            if progress:
                progress.advance(task)


if __name__ == "__main__":
    main()
