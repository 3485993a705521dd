"""What is learned: write six expressions, each of two dice and + or *, for a target between 5 and 8.

The tasks differ in what a set is worth, and were chosen by that, before any run: the best candidate alone, or how many
different solutions it holds. Every target has at least six, among 72 expressions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels import rl

CANDIDATES = 6
DIGITS = range(1, 7)
TARGETS = range(5, 9)
EXPRESSIONS = [f"{a}{op}{b}" for a in DIGITS for op in "+*" for b in DIGITS]


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


@dataclass(frozen=True)
class Task:
    """score(texts, target) gives the candidates numbers, the utility turns these into the worth of the set, <= 1."""

    score: Callable[[list[str], list[int]], list[float]]
    utility: Callable[..., sk.Game]
    alone: float  # what the set is worth that is its best candidate alone
    words: str


TASKS = {
    "hit": Task(closeness, sk.Max, 1.0, "the best candidate's closeness to the target, 1 / (1 + distance)"),
    "cover": Task(solution, distinct, 1 / CANDIDATES, "the number of different solutions in the set, divided by six"),
}

SCHEMES: dict[str, sk.Semivalue | rl.Baseline] = {
    "GRPO": rl.Broadcast(),
    "Stratum(1)": sk.Stratum(1),
    "LeaveOneOut": sk.LeaveOneOut(),
    "Shapley": sk.Shapley(),
    "WinnerTakesAll": rl.WinnerTakesAll(),
    "PrefixMarginals": rl.PrefixMarginals(),
    "Banzhaf": sk.Banzhaf(),
    "BetaShapley(4, 1)": sk.BetaShapley(4, 1),
}
"""All are one argument of `RewardAllocator`; GRPO is its `Broadcast()`."""
