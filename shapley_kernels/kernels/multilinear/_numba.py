"""`multilinear` on the CPU: compiled without the GIL and without threads of its own, so it may be called from many
threads at once and after a fork. The node form handles LANES rows at a time, one per SIMD lane."""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

LANES = 16
"""Rows that advance together in the node form."""


def run(x: Any, mask: Any, t: Any, weight: Any, sizes: Any, level_of: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, x and out in the compute dtype.

    Returns:
        The first row with a non-finite live x, -1 when there is none.
    """
    if t is not None:
        return _compiled(t.dtype.char, mask is not None, True)(x, mask, t, weight, out)
    return _compiled(sizes.dtype.char, mask is not None, False)(x, mask, sizes, level_of, out)


@lru_cache
def _compiled(dtype: str, masked: bool, nodes: bool) -> Any:
    """The kernel for one dtype ("f" or "d"); one signature serves read-only and writable inputs."""
    real = numba.float32 if dtype == "f" else numba.float64

    def read(kind: Any, dims: int) -> Any:
        return numba.types.Array(kind, dims, "C", readonly=True)

    tables = (read(real, 1), read(real, 1)) if nodes else (read(real, 2), read(numba.int32, 1))
    mask = read(numba.boolean, 2) if masked else numba.types.none
    signature = numba.int64(read(real, 2), mask, *tables, numba.types.Array(real, 2, "C"))
    return numba.njit(signature, nogil=True, error_model="numpy")(_nodes if nodes else _sizes)


def _nodes(x, mask, t, weight, out):  # type: ignore[no-untyped-def]
    rows, players = x.shape
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = np.empty((players, LANES), x.dtype)
    before = np.empty((players, LANES), x.dtype)
    credit = np.empty((players, LANES), x.dtype)
    product = np.empty(LANES, x.dtype)
    first_bad = -1
    for start in range(0, rows, LANES):
        lanes = min(LANES, rows - start)
        for lane in range(lanes):
            b = start + lane
            for i in range(players):
                y[i, lane] = one + x[b, i] if mask is None or mask[b, i] else one
                credit[i, lane] = zero
        for q in range(len(t)):
            join, stay, w = t[q], one - t[q], weight[q]
            product[:lanes] = one
            for i in range(players):
                for lane in range(lanes):
                    before[i, lane] = product[lane]
                    product[lane] *= stay + join * y[i, lane]
            product[:lanes] = w
            for i in range(players - 1, -1, -1):
                for lane in range(lanes):
                    credit[i, lane] += before[i, lane] * product[lane]
                    product[lane] *= stay + join * y[i, lane]
        for lane in range(lanes):
            b = start + lane
            usable = True
            for i in range(players):
                usable &= np.isfinite(y[i, lane])
            if not usable and first_bad < 0:
                first_bad = b
            for i in range(players):
                if mask is not None and not mask[b, i]:
                    out[b, i] = zero
                else:
                    out[b, i] = x[b, i] * credit[i, lane] if usable else np.nan
    return first_bad


def _sizes(x, mask, sizes, level_of, out):  # type: ignore[no-untyped-def]
    rows, players = x.shape
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = np.empty(players, x.dtype)  # of the live players
    who = np.empty(players, np.int64)
    means = np.empty((players + 1, players + 1), x.dtype)  # [k, a]: over the coalitions of a of the first k
    rest = np.empty(players + 1, x.dtype)  # what means[k, a] contributes to the result when the players after i joined
    first_bad = -1
    for b in range(rows):
        live = 0
        usable = True
        for i in range(players):
            out[b, i] = zero
            if mask is None or mask[b, i]:
                usable &= np.isfinite(x[b, i])
                y[live] = one + x[b, i]
                who[live] = i
                live += 1
        if not usable:
            for i in range(live):
                out[b, who[i]] = np.nan
            if first_bad < 0:
                first_bad = b
            continue
        means[0, 0] = one
        for k in range(1, live):
            size = x.dtype.type(k)
            factor = y[k - 1] / size
            means[k, 0] = one
            for a in range(1, k):
                means[k, a] = (size - x.dtype.type(a)) / size * means[k - 1, a] + (
                    x.dtype.type(a) * factor * means[k - 1, a - 1]
                )
            means[k, k] = y[k - 1] * means[k - 1, k - 1]
        for a in range(live):
            rest[a] = sizes[level_of[live], a]
        for k in range(live - 1, -1, -1):  # the player after the first k
            credit = zero
            for a in range(k + 1):
                credit += means[k, a] * rest[a]
            out[b, who[k]] = x[b, who[k]] * credit
            if k > 0:
                size = x.dtype.type(k)
                factor = y[k] / size
                for a in range(k):
                    rest[a] = (size - x.dtype.type(a)) / size * rest[a] + x.dtype.type(a + 1) * factor * rest[a + 1]
    return first_bad
