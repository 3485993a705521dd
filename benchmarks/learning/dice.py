"""The task of `runs` for many small policies at once: what is compared, and what tokens are worth.

The same targets, expressions, tokens and utilities. A list ends with END or after LENGTH tokens; what is behind its
last ";" is no candidate.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from benchmarks.learning.records import Records
from benchmarks.learning.runs import CANDIDATES, CREDITS, DIGITS, EXPRESSIONS, TARGETS, TASKS, value_of

RECORDS = Records("dice")
LENGTH = 2 * CANDIDATES
END, MARKS = 0, "+*;"
PIECES = [f"{digit}{mark}" for digit in DIGITS for mark in MARKS]
"""The tokens from 1 on."""
VALUES = np.array([value_of(expression) for expression in EXPRESSIONS])
TUNING, REPORTED = range(1000, 1008), range(20)
"""Seeds: each gives a warm start, and the target that is held out."""
RATES = (4e-3, 8e-3, 1.6e-2)
UTILITIES = tuple(TASKS)
FURTHER = ("SuffixSwap(0)", "SuffixSwap(0.25)", "SuffixSwap(1)", "Banzhaf", "Shapley, share")


class Cell(NamedTuple):
    """One comparison. sets: per update, in groups of eight; kl: weight of the KL term; fixed: a rate that is not
    tuned."""

    utility: str
    scheme: str
    sets: int
    kl: float = 0.0
    fixed: float | None = None


STEPS = {8: 240, 64: 120}
TABLES: dict[str, tuple[Any, ...]] = {
    "dice, 64 sets": (64,),
    "dice, 8 sets": (8,),
    "dice, rate 0.032": (64, 0.0, 0.032),
    "dice, KL": (64, 0.04),
}
"""What a cell has behind utility and scheme."""


def plan() -> Iterator[Cell]:
    """First what tells most."""
    for rest in TABLES.values():
        for scheme, utility in product(CREDITS + FURTHER if len(rest) == 1 else CREDITS, UTILITIES):
            yield Cell(utility, scheme, *rest)


def held_out(seed: int) -> int:
    """Index of the target that training does not see."""
    return seed % len(TARGETS)


def read(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """tokens [lists, LENGTH] -> of candidates [lists, LENGTH], which of EXPRESSIONS each is, -1 for none of them, and
    the mask; and to which candidate, from 1, each token belongs, 0 for none."""
    digit, mark = np.divmod(tokens - 1, len(MARKS))
    closes = (tokens != END) & (mark == 2)
    number = closes.cumsum(1) - closes  # of the candidate that a token is in, from 0
    count = number[:, -1:] + closes[:, -1:]
    opens = np.pad(closes[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    row, last = np.nonzero(closes)
    first = last - 1
    right = (last > 0) & opens[row, first] & (tokens[row, first] != END) & (mark[row, first] < 2)
    which = np.full(tokens.shape, -1)
    found = (digit[row, first] * 2 + mark[row, first]) * len(DIGITS) + digit[row, last]
    which[row, number[row, last]] = np.where(right, found, -1)
    return which, np.arange(LENGTH) < count, np.where((tokens != END) & (number < count), number + 1, 0)


def rewards(utility: str, which: np.ndarray, target: np.ndarray) -> np.ndarray:
    """which [lists, candidates], target [lists]: as `runs.closeness` and `runs.solution`."""
    miss = np.abs(VALUES[which] - target[:, None])
    found = 1 / (1 + miss) if utility == "hit" else (miss == 0) * (1.0 + which)
    return np.where(which < 0, 0.0, found).astype(np.float32)
