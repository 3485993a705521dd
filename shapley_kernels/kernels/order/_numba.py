"""`order` on the CPU: one row at a time, compiled without the GIL and without threads of its own, so it may be called
from many threads at once and after a fork."""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

INSERTION_SORT = 32
"""Up to this many players a row is sorted in the kernel; above, numpy's vectorised argsort is faster."""

ARGSORT_CHUNK = 1 << 16
"""Elements argsorted at a time, so that the order stays in the cache."""


def run(rewards: Any, mask: Any, v_empty: Any, inside: Any, outside: Any, empty: Any, level_of: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, rewards and out in the compute dtype.

    Returns:
        The first row with a non-finite live reward or v_empty, -1 when there is none.
    """
    rows, players = rewards.shape
    tables = (inside, outside, empty, level_of)
    if players <= INSERTION_SORT:
        kernel = _compiled(inside.dtype.char, mask is not None, outside is not None, False)
        return kernel(rewards, mask, v_empty, *tables, None, out)
    kernel = _compiled(inside.dtype.char, mask is not None, outside is not None, True)
    step = max(1, ARGSORT_CHUNK // players)
    first_bad = -1
    for start in range(0, rows, step):
        part = slice(start, start + step)
        live = None if mask is None else mask[part]
        ascending = np.argsort(rewards[part] if live is None else np.where(live, rewards[part], -np.inf), axis=1)
        c = v_empty[part] if v_empty.size > 1 else v_empty
        bad = kernel(rewards[part], live, c, *tables, ascending, out[part])
        if bad >= 0 and first_bad < 0:
            first_bad = start + bad
    return first_bad


@lru_cache
def _compiled(dtype: str, masked: bool, has_outside: bool, sorted_before: bool) -> Any:
    """The kernel for one dtype ("f" or "d"); one signature serves read-only and writable inputs."""
    real = numba.float32 if dtype == "f" else numba.float64

    def read(kind: Any, dims: int) -> Any:
        return numba.types.Array(kind, dims, "C", readonly=True)

    none = numba.types.none
    signature = numba.int64(
        read(real, 2),
        read(numba.boolean, 2) if masked else none,
        read(real, 1),
        read(real, 2),
        read(real, 2) if has_outside else none,
        read(real, 1),
        read(numba.int32, 1),
        read(numba.int64, 2) if sorted_before else none,
        numba.types.Array(real, 2, "C"),
    )
    return numba.njit(signature, nogil=True, error_model="numpy")(_order)


def _order(rewards, mask, v_empty, inside, outside, empty, level_of, ascending, out):  # type: ignore[no-untyped-def]
    rows, players = rewards.shape
    zero = rewards.dtype.type(0)
    key = np.empty(players, rewards.dtype)  # live rewards, descending
    who = np.empty(players, np.int64)
    credit = np.empty(players, rewards.dtype)
    first_bad = -1
    for b in range(rows):
        c = v_empty[b if v_empty.size > 1 else 0]
        live = 0
        usable = np.isfinite(c)
        for i in range(players):
            out[b, i] = zero
            if mask is None or mask[b, i]:
                r = rewards[b, i]
                usable &= np.isfinite(r)
                key[live] = r
                who[live] = i
                live += 1
        if not usable and live > 0:
            for t in range(live):
                out[b, who[t]] = np.nan
            if first_bad < 0:
                first_bad = b
            continue
        if ascending is None:
            _sort_descending(key, who, live)
        else:  # masked players stand first
            for t in range(live):
                who[t] = ascending[b, players - 1 - t]
                key[t] = rewards[b, who[t]]
        level = level_of[live]
        # gaps of tied rewards are 0, and adding 0 keeps their credits bitwise equal
        total = zero
        lower = c
        for t in range(live - 1, -1, -1):
            total += (key[t] - lower) * inside[level, t]
            credit[t] = total
            lower = key[t]
        if outside is not None:
            total = zero
            for t in range(live - 1):
                total += (key[t] - key[t + 1]) * outside[level, t]
                credit[t + 1] += total
        shift = c * empty[level]
        for t in range(live):
            out[b, who[t]] = credit[t] + shift
    return first_bad


@numba.njit(nogil=True, error_model="numpy")
def _sort_descending(key, who, live):  # type: ignore[no-untyped-def]
    for t in range(1, live):
        r, i = key[t], who[t]
        u = t - 1
        while u >= 0 and key[u] < r:
            key[u + 1] = key[u]
            who[u + 1] = who[u]
            u -= 1
        key[u + 1] = r
        who[u + 1] = i
