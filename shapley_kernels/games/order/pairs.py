"""Pair interactions of the order family: closed forms over the gaps of the sorted row
(docs/explanation/mathematics.md).

The game of level k sees a coalition through its size and its number of the k best, so a pair interacts at level k in
one of three ways: both of them are among the k best (P_k), one of them (Q_k), or none (R_k).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, Ops
from shapley_kernels.games.order.tables import GENERIC_PLAYERS
from shapley_kernels.games.tables import Entries, by_live_count
from shapley_kernels.values import Semivalue

PairCoefficients = tuple[np.ndarray, np.ndarray, np.ndarray, float]
"""P, Q, R [n] (entry k - 1 serves the k best) and E, the interaction of a pair through v_empty."""


PairTables = tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray, np.ndarray]
"""P, Q, R [rows, players] (the latter two None when all 0), E [rows], float64; and row_of_count [players + 1]."""


def pairs(ops: Ops, rewards: Array, mask: Array | None, v_empty: Array, tables: PairTables) -> Array:
    """For players of ranks i < j: sum_{k >= j} D_k P_k + sum_{i <= k < j} D_k Q_k + sum_{k < i} D_k R_k + v_empty E.

    Args:
        rewards: [..., players]; mask: [..., players] bool or None; v_empty: [...]; all in one dtype.
        tables: of `pair_tables`.

    Returns:
        [..., players, players], symmetric; what stands on the diagonal and at masked players means nothing.

    Cost: O(players^2) per row; a second array of that size where only the worse of the two matters (Q = R = 0: the
        weights of the ranks do not depend on |S|), else a third.
    """
    xp, players, integers = ops.xp, rewards.shape[-1], ops.dtype("int64")
    both, one, none, empty, row_of_count = tables
    if mask is None:
        live, key = ops.array_like(np.full((), players), rewards, integers), rewards
    else:
        live, key = mask.sum(-1), xp.where(mask, rewards, -float("inf"))
    order = xp.argsort(-key, -1)
    row = ops.array_like(row_of_count, rewards, integers)[live]
    c = v_empty[..., None]
    rank = ops.array_like(np.arange(players), rewards, integers)
    ranked = xp.where(rank < live[..., None], ops.take(key, order), c)  # after the last live player follows v_empty
    gaps = ranked - xp.concatenate([ranked[..., 1:], c], -1)

    def weighted(table: Any) -> Array:
        return gaps * ops.array_like(table, rewards, rewards.dtype)[row]

    ranks = xp.argsort(order, -1)
    i, j = ranks[..., :, None], ranks[..., None, :]
    worse, better = xp.maximum(i, j), xp.minimum(i, j)
    flat = (*worse.shape[:-2], players * players)
    below = xp.flip(xp.cumsum(xp.flip(weighted(both), (-1,)), -1), (-1,))
    result = ops.take(below, worse.reshape(flat))
    if one is not None:
        start = xp.where(rank[:, None] <= rank, weighted(one)[..., None, :], 0.0)  # [..., i, k]
        between = _shifted(xp, xp.cumsum(start, -1))  # [..., i, j]
        result = result + ops.take(between.reshape(flat), (better * players + worse).reshape(flat))
    if none is not None:
        result = result + ops.take(_shifted(xp, xp.cumsum(weighted(none), -1)), better.reshape(flat))
    shift = v_empty * ops.array_like(empty, rewards, rewards.dtype)[row]
    return (result + shift[..., None]).reshape(worse.shape)


def _shifted(xp: Any, x: Array) -> Array:
    """A running sum that leaves out the entry itself."""
    return xp.concatenate([xp.zeros_like(x[..., :1]), x[..., :-1]], -1)


def pair_tables(
    utility: Any, params: tuple[Any, ...], value: Semivalue, players: int, counts: tuple[int, ...]
) -> PairTables:
    """The coefficients of `pairs` for the live counts that occur; cached."""
    key = utility, params, value
    return by_live_count(_pair_entries, key, players, counts, vectors=3, scalars=1).arrays  # type: ignore[return-value]


def _pair_entries(utility: Any, params: tuple[Any, ...], value: Semivalue, n: int) -> Entries:
    if n < 2:
        return np.zeros(n), np.zeros(n), np.zeros(n), 0.0
    return utility.pair_coefficients(value, n, *params)


def fixed_pairs(weights: np.ndarray, of_empty: Sequence[float], value: Semivalue, n: int) -> PairCoefficients:
    """P, Q, R and E of n >= 2 live players where the weights w of the places do not depend on |S|, in O(n^2): P_k is
    the expectation of w_{a+2} - w_{a+1}, a of the k - 2 others among the k best being present, and Q = R = 0.

    Args:
        of_empty: the coefficient of v_empty of sets of 1 .. n players.
    """
    drop = np.diff(np.append(weights, 0.0))[: n - 1]
    both = np.append(0.0, value.expectations(drop, n - 1))
    return both, np.zeros(n), np.zeros(n), _interaction_of_v_empty(of_empty, value.size_weights(n - 1))


def generic_pairs(
    name: str, weights: Callable[[int], np.ndarray], of_empty: Sequence[float], value: Semivalue, n: int
) -> PairCoefficients:
    """As `fixed_pairs` for any weights, in O(n^3): from the second differences of W(s, a), the weight of the a best of
    s. Coalitions of the n - 2 others are drawn by the size weights of `value` for n - 1 players."""
    if n > GENERIC_PLAYERS:
        raise ValueError(
            f"interactions: {name} costs O(n^3) = {n**3:.1e} steps for {n} live players, more than the "
            f"{GENERIC_PLAYERS} allowed; mask players, or use a utility of fixed weights (Max, TopM, Discounted)"
        )
    sizes = value.size_weights(n - 1)
    return (*_generic(weights, sizes, n), _interaction_of_v_empty(of_empty, sizes))


def _interaction_of_v_empty(of_empty: Sequence[float], sizes: np.ndarray) -> float:
    units = np.array([1.0, *of_empty])
    return float(sizes @ (units[2:] - 2 * units[1:-1] + units[:-2]))


def _generic(weights: Any, size_weights: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    below = np.zeros((n + 1, n + 1))  # [s, a]: W(s, a)
    for s in range(1, n + 1):
        below[s, 1 : s + 1] = np.cumsum(weights(s))
        below[s, s + 1 :] = below[s, s]
    marked, a = np.arange(n - 1)[:, None], np.arange(n - 1)[None, :]  # of the n - 2 others; a of them present
    prob = np.zeros((n - 1, n - 1))  # [marked, a]: P(a | s present), one more present at a time
    prob[:, 0] = 1.0
    both, one, none = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)  # [k]
    for s in range(n - 1):
        larger, middle, smaller = below[s + 2], below[s + 1], below[s]
        both[2:] += size_weights[s] * (prob @ (larger[2:] - 2 * middle[1:-1] + smaller[:-2]))  # k = marked + 2
        one[1:-1] += size_weights[s] * (prob @ (larger[1:-1] - middle[1:-1] - middle[:-2] + smaller[:-2]))
        none[:-2] += size_weights[s] * (prob @ (larger[:-2] - 2 * middle[:-2] + smaller[:-2]))
        if s < n - 2:
            stay = prob * np.clip(n - 2 - marked - (s - a), 0, None)
            stay[:, 1:] += (prob * np.clip(marked - a, 0, None))[:, :-1]
            prob = stay / (n - 2 - s)
    return both[1:], one[1:], none[1:]
