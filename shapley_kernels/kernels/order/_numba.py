"""`order` on the CPU: compiled without the GIL and without threads of its own, so it may be called from many threads at
once and after a fork."""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import compiled
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.order._network import lanes, network, rows_by_network, scan

NETWORK = 1024
"""Up to this many players rows are sorted by a network over lanes; above, by numpy's argsort."""

THREADED = 1 << 16
"""Elements that are worth a thread."""

ARGSORT_CHUNK = 1 << 16
"""Elements argsorted at a time, so that the order stays in the cache."""


def run(
    rewards: Any,
    mask: Any,
    v_empty: Any,
    inside: Any,
    outside: Any,
    empty: Any,
    level_of: Any,
    out: Any,
    *,
    variant: str | None = None,
) -> int:
    """See the package docstring; numpy arrays, rewards and out in the compute dtype.

    Args:
        variant: "network" or "argsort"; None: by the number of players.

    Returns:
        The first row with a non-finite live reward or v_empty, -1 when there is none.
    """
    rows, players = rewards.shape
    tables = (inside, outside, empty, level_of)
    if variant is None:
        variant = "network" if players <= NETWORK else "argsort"
    kernel = _compiled(variant, inside.dtype.char, mask is not None, outside is not None)
    if variant == "network":
        bits = rewards.view(np.int32 if rewards.itemsize == 4 else np.int64)
        steps, tile = network(players), lanes(players)

        def work(start: int, stop: int) -> int:
            return kernel(rewards, bits, mask, v_empty, *tables, steps, tile, start, stop, out)
    else:
        tile = 1

        def work(start: int, stop: int) -> int:
            return _by_argsort(kernel, rewards, mask, v_empty, tables, start, stop, out)

    return over_rows(work, rows, tile, THREADED // max(1, players))


def _by_argsort(
    kernel: Any, rewards: Any, mask: Any, v_empty: Any, tables: Any, start: int, stop: int, out: Any
) -> int:
    """Rows start .. stop, sorted by numpy. Returns the first bad row, or -1."""
    first_bad = -1
    step = max(1, ARGSORT_CHUNK // rewards.shape[1])
    for first in range(start, stop, step):
        part = slice(first, min(first + step, stop))
        falling = -rewards[part] if mask is None else np.where(mask[part], -rewards[part], np.inf)
        ranks = np.argsort(falling, axis=1).T  # [players, rows], masked players last
        bad = kernel(rewards, mask, v_empty, *tables, ranks, first, out)
        if bad >= 0 and first_bad < 0:
            first_bad = bad
    return first_bad


@lru_cache
def _compiled(variant: str, dtype: str, masked: bool, has_outside: bool) -> Any:
    """The kernel for one dtype ("f" or "d"); one signature serves read-only and writable inputs."""
    real, integer = (numba.float32, numba.int32) if dtype == "f" else (numba.float64, numba.int64)

    def read(kind: Any, dims: int) -> Any:
        return numba.types.Array(kind, dims, "C", readonly=True)

    none = numba.types.none
    data = (read(numba.boolean, 2) if masked else none, read(real, 1))
    tables = (read(real, 2), read(real, 2) if has_outside else none, read(real, 1), read(numba.int32, 1))
    result = numba.types.Array(real, 2, "C")
    if variant == "network":
        place = (read(numba.int32, 2), numba.int64, numba.int64, numba.int64)
        signature = numba.int64(read(real, 2), read(integer, 2), *data, *tables, *place, result)
        return compiled(rows_by_network, signature)
    signature = numba.int64(read(real, 2), *data, *tables, numba.types.Array(numba.int64, 2, "A"), numba.int64, result)
    return compiled(_rows_by_argsort, signature)


def _rows_by_argsort(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, inside, outside, empty, level_of, ranks, first, out
):
    """The rows from `first` on whose order is known: ranks [players, rows], best first, masked players last."""
    players, rows = ranks.shape
    live = np.empty(rows, np.int64)
    for lane in range(rows):
        n = 0
        finite = True
        for i in range(players):
            if mask is None or mask[first + lane, i]:
                finite &= np.isfinite(rewards[first + lane, i])
                n += 1
        live[lane] = n if finite else -1
    return scan(rewards, mask, v_empty, inside, outside, empty, level_of, first, rows, ranks, -1, live, out)
