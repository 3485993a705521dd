"""The runs through TRL: their task, and in which order they are done.

Write six expressions, each of two dice and + or *, for a target between 4 and 8. A set is worth its best candidate
alone, or how many different solutions it holds; every target has at least six, among 72 expressions.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import shapley_kernels as sk
from benchmarks.learning.records import Records
from shapley_kernels import BackendUnavailable
from shapley_kernels.bench.machine import commit

RECORDS = Records("transformer")
CANDIDATES = 6
DIGITS = range(1, 7)
TARGETS = range(4, 9)
EXPRESSIONS = [f"{a}{op}{b}" for a in DIGITS for op in "+*" for b in DIGITS]
BLOCK = 5
"""A curve has one point for so many steps, their mean."""
PACKAGES = ("numpy", "torch", "transformers", "trl")


def value_of(expression: str) -> int | None:
    """None: it is none."""
    if expression not in EXPRESSIONS:
        return None
    a, op, b = int(expression[0]), expression[1], int(expression[2])
    return a + b if op == "+" else a * b


def closeness(texts: list[str], target: list[int]) -> list[float]:
    """1 / (1 + distance to the target); 0 for what is no expression."""
    values = map(value_of, texts)
    return [0.0 if v is None else 1 / (1 + abs(v - t)) for v, t in zip(values, target, strict=True)]


def solution(texts: list[str], target: list[int]) -> list[float]:
    """Which solution it is, a number >= 1; 0 for what is none."""
    hits = [value_of(text) == t for text, t in zip(texts, target, strict=True)]
    return [1.0 + EXPRESSIONS.index(text) if hit else 0.0 for text, hit in zip(texts, hits, strict=True)]


def distinct(solutions: Any, mask: Any = None) -> sk.Game:
    """Different solutions in the set, as a share of six."""
    numbers = np.asarray(solutions)
    return sk.Clusters(numbers.astype(int), (numbers > 0).astype(float), mask=mask) * (1 / CANDIDATES)


class Task(NamedTuple):
    """score(texts, target) gives the candidates numbers, the utility turns these into the worth of the set, <= 1."""

    score: Callable[[list[str], list[int]], list[float]]
    utility: Callable[..., sk.Game]


TASKS = {"hit": Task(closeness, sk.Max), "cover": Task(solution, distinct)}


CREDITS = ("GRPO", "SuffixSwap(0.5)", "Shapley", "LeaveOneOut", "CandidateSwap")
SETS, STEPS = 64, 120
"""Per update, and updates."""
RATES = (1e-3, 2e-3, 4e-3)


class Run(NamedTuple):
    """What decides about a run. The seed gives the warm start and the target that is held out, too."""

    task: str
    scheme: str
    learning_rate: float
    seed: int

    @property
    def held_out(self) -> int:
        return TARGETS[self.seed % len(TARGETS)]


def plan(seeds: int = 10) -> Iterator[Run]:
    """Seeds are outermost, so that what is done at any time compares like with like."""
    for seed, task, rate, scheme in product(range(seeds), TASKS, RATES, CREDITS):
        yield Run(task, scheme, rate, seed)


def origin() -> dict[str, Any]:
    """Commit, and versions of the packages that decide about a run.

    Raises:
        BackendUnavailable: one of them is not installed.
    """
    try:
        return {"versions": {name: version(name) for name in PACKAGES}, "commit": commit()}
    except PackageNotFoundError as error:
        raise BackendUnavailable(
            f"training needs {', '.join(PACKAGES)}, found no {error.name}; use `make learning`, which makes the "
            "environment with all of them, .nox/learning, and trains there"
        ) from None
