"""`scatter` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import compiled, read, written
from shapley_kernels.kernels._threads import over_rows

THREADED = 1 << 18
"""Tokens that are worth a thread."""


def run(table: Any, ids: Any, starts: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, table and out of any dtype of 2, 4 or 8 bytes, which are moved as they
    are."""
    bits = f"i{table.itemsize}"
    return _over_rollouts(_compiled(ids.dtype.char, bits), ids, starts, table.view(bits), out.view(bits))


def count(ids: Any, starts: Any, counts: Any) -> int:
    """See the package docstring; numpy arrays."""
    return _over_rollouts(_compiled(ids.dtype.char, None), ids, starts, counts)


def _over_rollouts(kernel: Any, ids: Any, starts: Any, table: Any, *out: Any) -> int:
    rollouts = len(table)
    tokens = len(ids) // max(1, rollouts)
    if starts is None:
        starts = np.arange(rollouts + 1) * tokens
    return over_rows(
        lambda first, last: kernel(table, ids, starts, first, last, *out), rollouts, 1, THREADED // max(1, tokens)
    )


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for tables of these dtypes and ids of int64."""
    ids = np.dtype(np.int64).char
    for dtype in dtypes:
        _compiled(ids, f"i{np.dtype(dtype).itemsize}")
    _compiled(ids, None)


@lru_cache
def _compiled(ids: str, bits: str | None) -> Any:
    integer = numba.from_dtype(np.dtype(ids))
    place = (read(integer, 1), read(numba.int64, 1), numba.int64, numba.int64)
    if bits is None:
        return compiled(_count, numba.int64(written(numba.int64, 2), *place))
    moved = numba.from_dtype(np.dtype(bits))
    return compiled(_scatter, numba.int64(read(moved, 2), *place, written(moved, 1)))


# rows and slices of their own: an index that may be negative takes twice the time


def _scatter(table, ids, starts, first, last, out):  # type: ignore[no-untyped-def]
    width = np.uint64(table.shape[1])
    for rollout in range(first, last):
        start, stop = starts[rollout], starts[rollout + 1]
        row, own, result = table[rollout], ids[start:stop], out[start:stop]
        for t in range(len(own)):
            k = np.uint64(own[t])  # below 0 is above all
            if k >= width:
                return start + t
            result[t] = row[k]
    return -1


def _count(counts, ids, starts, first, last):  # type: ignore[no-untyped-def]
    width = np.uint64(counts.shape[1])
    for rollout in range(first, last):
        start, stop = starts[rollout], starts[rollout + 1]
        row, own = counts[rollout], ids[start:stop]
        row[:] = 0
        for t in range(len(own)):
            k = np.uint64(own[t])
            if k >= width:
                return start + t
            row[k] += 1
    return -1
