"""Coefficients A, B and C of the order family, for the live counts that occur."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from shapley_kernels.games.tables import Entries, Tables, by_live_count, kept
from shapley_kernels.values import Semivalue

GENERIC_PLAYERS = 512
"""Above this the O(n^3) coefficients of a generic `OWA[n, n]` are refused."""

Coefficients = tuple[np.ndarray, np.ndarray, float]
"""A [n], B [n] (entry k - 1 serves the k best) and C, float64."""

Recipe = tuple[tuple[float, Any, tuple[Any, ...]], ...]
"""(scale, utility class, its params), ...: a hashable sum of utilities on the same data."""


def order_tables(recipe: Recipe, value: Semivalue, players: int, counts: tuple[int, ...]) -> Tables:
    """The tables of the `order` primitive (kernels/order) for some live counts."""
    return by_live_count(order_entries, (recipe, value), players, counts, vectors=2, scalars=1)


@lru_cache
def counts_alike(recipe: Recipe, players: int) -> bool:
    """`OrderGame.counts_alike` of a sum."""
    return all(utility.counts_alike(players, *params) for _, utility, params in recipe)


def order_entries(recipe: Recipe, value: Semivalue, n: int) -> Entries:
    A, B, C = np.zeros(n), np.zeros(n), 0.0
    for scale, utility, params in recipe:
        a, b, c = coefficients(utility, params, value, n)
        A += scale * a
        B += scale * b
        C += scale * c
    return A, B, C


def coefficients(utility: Any, params: tuple[Any, ...], value: Semivalue, n: int) -> Coefficients:
    """`utility.coefficients`, cached: utilities are scaled and added in many ways."""
    A, B, C = kept(_coefficient_arrays, utility, params, value, n).arrays
    return A, B, float(C)  # type: ignore[arg-type, return-value]


def _coefficient_arrays(utility: Any, params: tuple[Any, ...], value: Semivalue, n: int) -> tuple[np.ndarray, ...]:
    A, B, C = utility.coefficients(value, n, *params)
    return A, B, np.array(C)


def generic_coefficients(weights: Callable[[int], np.ndarray], value: Semivalue, n: int) -> Coefficients:
    """A, B, C by summing over coalition sizes and the number of the k best in the coalition. O(n^3), O(n^2) memory."""
    if n > GENERIC_PLAYERS:
        raise ValueError(
            f"OWA: weights [n, n] cost O(n^3) = {n**3:.1e} steps for {n} live players, "
            f"more than the {GENERIC_PLAYERS} allowed; "
            "use a named utility, or [n] weights that do not depend on |S|"
        )
    below = np.zeros((n + 1, n + 1))  # below[s, a]: weight on the a best of s
    for s in range(1, n + 1):
        below[s, 1 : s + 1] = np.cumsum(weights(s))
        below[s, s + 1 :] = below[s, s]
    size_weights = value.size_weights(n)
    group = np.arange(n)[:, None]  # g of the n - 1 others are marked
    a = np.arange(n)[None, :]  # a of them present
    prob = np.zeros((n, n))  # [g, a]: P(a | s present), hypergeometric, one more present at a time
    prob[:, 0] = 1.0
    A, B = np.zeros(n), np.zeros(n)
    for s in range(n):
        A += size_weights[s] * (prob @ (below[s + 1, 1:] - below[s, :-1]))  # g = k - 1
        B += size_weights[s] * (prob @ (below[s + 1, :-1] - below[s, :-1]))  # g = k
        if s < n - 1:
            stay = prob * np.clip(n - 1 - group - (s - a), 0, None)
            stay[:, 1:] += (prob * np.clip(group - a, 0, None))[:, :-1]
            prob = stay / (n - 1 - s)
    total = np.diagonal(below).copy()
    total[0] = 1.0
    return A, np.append(B[1:], 0.0), float(size_weights @ np.diff(total))
