"""Which runs there are, which of them are done, and doing the rest: `runs.jsonl` holds a line per finished run."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.learning.tasks import SCHEMES, TASKS
from shapley_kernels import BackendUnavailable
from shapley_kernels.bench.machine import commit

RECORDS = Path(__file__).with_name("runs.jsonl")
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
TUNING_SEEDS = (1000, 1001, 1002, 1003)
BLOCK = 5
"""A curve has one point for so many steps, their mean."""
PACKAGES = ("numpy", "torch", "transformers", "trl")
FIRST = ("GRPO", "Stratum(1)", "LeaveOneOut", "Shapley")
"""These are run before the other schemes, which follow one by one, and at every learning rate on some seeds more."""
GRID_SEEDS = range(6)


class Run(NamedTuple):
    """What decides about a run."""

    task: str
    scheme: str
    learning_rate: float
    seed: int


def read(path: Path = RECORDS) -> dict[Run, dict[str, Any]]:
    """The finished runs. A last line that an interrupt cut is not one."""
    found = {}
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            record = json.loads(line)
            found[Run(*(record[name] for name in Run._fields))] = record
    return found


def mean_reward(record: dict[str, Any]) -> float:
    """The set reward, averaged over all steps: what learning rates are chosen by."""
    return float(np.mean(record["set_reward"]))


def best_learning_rate(done: dict[Run, dict[str, Any]], task: str, scheme: str) -> float | None:
    """The one with the highest `mean_reward` over the tuning seeds; None until all of these runs are done."""
    needed = {rate: [Run(task, scheme, rate, seed) for seed in TUNING_SEEDS] for rate in LEARNING_RATES}
    if not all(run in done for runs in needed.values() for run in runs):
        return None
    return max(LEARNING_RATES, key=lambda rate: sum(mean_reward(done[run]) for run in needed[rate]))


def phases(done: dict[Run, dict[str, Any]], seeds: int, schemes: Iterable[str]) -> Iterator[list[Run]]:
    """The runs that can be done at a time: those that tune; when these are in `done`, those that are reported; for the
    schemes that come first, those that show what other learning rates do."""
    chosen = [scheme for scheme in SCHEMES if scheme in schemes]
    for some in ([s for s in chosen if s in FIRST], *([s] for s in chosen if s not in FIRST)):
        yield [Run(*run) for run in product(TASKS, some, LEARNING_RATES, TUNING_SEEDS)]
        rates = {pair: best_learning_rate(done, *pair) for pair in product(TASKS, some)}
        yield [Run(*pair, rate, seed) for seed in range(seeds) for pair, rate in rates.items() if rate]
        grid = product(GRID_SEEDS, rates, LEARNING_RATES) if some[0] in FIRST else ()
        yield [Run(*pair, rate, seed) for seed, pair, rate in grid if seed < seeds]


def do(run: Run) -> dict[str, Any]:
    """In a process of a worker."""
    import warnings

    import torch

    warnings.simplefilter("ignore")  # of the frameworks
    torch.set_num_threads(1)
    from benchmarks.learning.train import train

    return {**run._asdict(), **train(*run)}


def versions() -> dict[str, str]:
    """Of the packages that decide about a run.

    Raises:
        BackendUnavailable: one of them is not installed.
    """
    try:
        return {name: version(name) for name in PACKAGES}
    except PackageNotFoundError as error:
        raise BackendUnavailable(
            f"training needs {', '.join(PACKAGES)}, found no {error.name}; use `make learning`, which makes the "
            "environment with all of them, .nox/learning, and trains there"
        ) from None


def pool(workers: int) -> Pool:
    """Of processes that leave Ctrl-C to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which they inherit
    try:
        return multiprocessing.get_context("spawn").Pool(workers)
    finally:
        signal.signal(signal.SIGINT, before)


def run_all(seeds: int, schemes: Iterable[str], workers: int, tell: Callable[[int, int], None]) -> None:
    """Do what is not done yet, a line per run as soon as it is finished. tell: finished runs, and all, of a phase.

    Stopped at any time, it goes on where it was.

    Raises:
        BackendUnavailable: as `versions`.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    origin = {"versions": versions(), "commit": commit()}
    done = read()
    RECORDS.write_text("".join(json.dumps(record) + "\n" for record in done.values()))  # without a cut line
    with pool(workers) as processes, RECORDS.open("a") as stream:
        for runs in phases(done, seeds, schemes):
            missing = [run for run in runs if run not in done]
            for finished, record in enumerate(processes.imap_unordered(do, missing), 1):
                record |= origin
                stream.write(json.dumps(record) + "\n")
                stream.flush()
                done[Run(*(record[name] for name in Run._fields))] = record
                tell(finished, len(missing))
