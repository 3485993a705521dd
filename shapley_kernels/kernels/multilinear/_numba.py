"""`multilinear` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork.
The node form handles LANES rows at a time, one per SIMD lane."""

from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import REAL, compiled, read, written
from shapley_kernels.kernels._threads import over_rows

LANES = 16
"""Rows that advance together in the node form."""

THREADED = 1 << 18
"""Factors that are worth a thread: 0.2 ms or more."""


def run(x: Any, mask: Any, t: Any, weight: Any, sizes: Any, level_of: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, x and out in the compute dtype.

    Returns:
        The first row with a non-finite live x, -1 when there is none.
    """
    rows, players = x.shape
    nodes = t is not None
    first, second = (t, weight) if nodes else (sizes, level_of)
    kernel = _compiled(first.dtype.char, mask is not None, nodes)

    def work(start: int, stop: int) -> int:
        return kernel(x, mask, first, second, start, stop, out)

    return over_rows(work, rows, LANES, THREADED // max(1, players * (len(t) if nodes else players)))


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype, masked, nodes in product(dtypes, (False, True), (False, True)):
        _compiled(np.dtype(dtype).char, masked, nodes)


@lru_cache
def _compiled(dtype: str, masked: bool, nodes: bool) -> Any:
    """The kernel for one dtype ("f" or "d")."""
    real = REAL[dtype]
    tables = (read(real, 1), read(real, 1)) if nodes else (read(real, 2), read(numba.int32, 1))
    mask = read(numba.boolean, 2) if masked else numba.types.none
    signature = numba.int64(read(real, 2), mask, *tables, numba.int64, numba.int64, written(real, 2))
    return compiled(_nodes if nodes else _sizes, signature)


def _nodes(x, mask, t, weight, first, stop, out):  # type: ignore[no-untyped-def]
    players = x.shape[1]
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = np.empty((players, LANES), x.dtype)
    before = np.empty((players, LANES), x.dtype)
    credit = np.empty((players, LANES), x.dtype)
    product = np.empty(LANES, x.dtype)
    first_bad = -1
    for start in range(first, stop, LANES):
        lanes = min(LANES, stop - start)
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


def _sizes(x, mask, sizes, level_of, first, stop, out):  # type: ignore[no-untyped-def]
    players = x.shape[1]
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = np.empty(players, x.dtype)  # of the live players
    who = np.empty(players, np.int64)
    means = np.empty((players + 1, players + 1), x.dtype)  # [k, a]: over the coalitions of a of the first k
    rest = np.empty(players + 1, x.dtype)  # what means[k, a] contributes to the result when the players after i joined
    first_bad = -1
    for b in range(first, stop):
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
