"""`order` on the CPU: compiled without the GIL and without threads of its own, so it may be called from many threads at
once and after a fork."""

from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import compiled
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.order._comparators import fused_network
from shapley_kernels.kernels.order._network import refuse, rows_by_network, tile_rows
from shapley_kernels.kernels.order._rolled import rows_rolled
from shapley_kernels.kernels.order._step import kernel as step_kernel

STEP = 8
"""Up to this many players the step form in registers is the fastest."""

ROLLED = 32
"""Up to this many players the rolled step form is."""

NETWORK = 1024
"""Up to this many players rows are sorted by a network over lanes; above, by numpy's argsort."""

THREADED = 1 << 18
"""Elements that are worth a thread: 0.2 ms or more, several times what it takes to wake one."""

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
        variant: "step", "rolled", "network" or "argsort"; None: by the number of players.

    Returns:
        The first row with a non-finite live reward or v_empty, -1 when there is none.
    """
    rows, players = rewards.shape
    tables, mask = (inside, outside, empty, level_of), None if mask is None else mask.view(np.uint8)
    variant = variant or _variant(players)
    kernel = _kernel(variant, players, inside.dtype.char, mask is not None, outside is not None)
    tile = 1
    if variant == "step":

        def work(start: int, stop: int) -> int:
            return _by_steps(kernel, rewards, mask, v_empty, tables, start, stop, out)

    elif variant in ("rolled", "network"):
        tile, steps = tile_rows(players), fused_network(players)
        bits = (rewards.view(np.int32 if rewards.itemsize == 4 else np.int64),) if variant == "network" else ()

        def work(start: int, stop: int) -> int:
            return kernel(rewards, *bits, mask, v_empty, *tables, steps, tile, start, stop, out)

    else:

        def work(start: int, stop: int) -> int:
            return _by_argsort(kernel, rewards, mask, v_empty, tables, start, stop, out)

    return over_rows(work, rows, tile, THREADED // max(1, players))


def warm_up(players: list[int], dtypes: list[str]) -> None:
    """Have the kernels ready for these numbers of players and compute dtypes."""
    for n, dtype, masked, outside in product(players, dtypes, (False, True), (False, True)):
        _kernel(_variant(n), n, np.dtype(dtype).char, masked, outside)


def _variant(players: int) -> str:
    for variant, most in (("step", STEP), ("rolled", ROLLED), ("network", NETWORK)):
        if players <= most:
            return variant
    return "argsort"


def _kernel(variant: str, players: int, *kind: Any) -> Any:
    return _compiled_step(players, *kind) if variant == "step" else _compiled(variant, *kind)


def _by_steps(kernel: Any, rewards: Any, mask: Any, v_empty: Any, tables: Any, start: int, stop: int, out: Any) -> int:
    """Rows start .. stop of few players. Returns the first bad row, or -1."""
    part = slice(start, stop)
    live = None if mask is None else mask[part].reshape(-1)
    c = v_empty[part] if v_empty.size > 1 else v_empty
    if not kernel(rewards[part].reshape(-1), live, c, *tables, out[part].reshape(-1)):
        return -1
    nan = np.isnan(out[part]).any(axis=1)
    return start + int(nan.argmax()) if nan.any() else -1


def _by_argsort(
    kernel: Any, rewards: Any, mask: Any, v_empty: Any, tables: Any, start: int, stop: int, out: Any
) -> int:
    """Rows start .. stop, sorted by numpy. Returns the first bad row, or -1."""
    first_bad = -1
    step = max(1, ARGSORT_CHUNK // rewards.shape[1])
    for first in range(start, stop, step):
        part = slice(first, min(first + step, stop))
        falling = -rewards[part] if mask is None else np.where(mask[part], -rewards[part], np.inf)
        ranks = np.argsort(falling, axis=1)  # masked players last
        bad = kernel(rewards, mask, v_empty, *tables, ranks, first, out)
        if bad >= 0 and first_bad < 0:
            first_bad = bad
    return first_bad


@lru_cache
def _compiled_step(players: int, dtype: str, masked: bool, has_outside: bool) -> Any:
    """The step kernel for one number of players and dtype ("f" or "d")."""
    real = numba.float32 if dtype == "f" else numba.float64
    flat = (_read(real, 1), _read(numba.uint8, 1) if masked else numba.types.none, _read(real, 1))
    signature = numba.boolean(*flat, *_tables(real, has_outside), numba.types.Array(real, 1, "C"))
    return compiled(step_kernel(players, masked, has_outside), signature)


@lru_cache
def _compiled(variant: str, dtype: str, masked: bool, has_outside: bool) -> Any:
    """The kernel of another variant for one dtype."""
    real, integer = (numba.float32, numba.int32) if dtype == "f" else (numba.float64, numba.int64)
    rewards, result = _read(real, 2), numba.types.Array(real, 2, "C")
    game = (_read(numba.uint8, 2) if masked else numba.types.none, _read(real, 1), *_tables(real, has_outside))
    place = (_read(numba.int64, 2), numba.int64, numba.int64, numba.int64)
    if variant == "rolled":
        return compiled(rows_rolled, numba.int64(rewards, *game, *place, result))
    if variant == "network":
        return compiled(rows_by_network, numba.int64(rewards, _read(integer, 2), *game, *place, result))
    return compiled(_rows_by_argsort, numba.int64(rewards, *game, *place[:2], result))


def _tables(real: Any, has_outside: bool) -> tuple[Any, ...]:
    """Types of inside, outside, empty and level_of."""
    outside = _read(real, 2) if has_outside else numba.types.none
    return (_read(real, 2), outside, _read(real, 1), _read(numba.int32, 1))


def _read(kind: Any, dims: int) -> Any:
    """An array that is only read: one signature serves read-only and writable ones."""
    return numba.types.Array(kind, dims, "C", readonly=True)


def _rows_by_argsort(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, inside, outside, empty, level_of, ranks, first, out
):
    """The rows from `first` on whose order is known: ranks [rows, players], best first, masked players last. One row
    after the other: one alone may be longer than the cache."""
    first_bad = -1
    for row in range(len(ranks)):
        b = first + row
        reward, result, rank = rewards[b], out[b], ranks[row]
        c = v_empty[b if v_empty.size > 1 else 0]
        live = 0
        finite = np.isfinite(c)
        for i in range(reward.size):
            if mask is None or mask[b, i]:
                finite &= np.isfinite(reward[i])
                live += 1
        for t in range(live, reward.size):
            result[rank[t]] = 0
        if live == 0:
            continue
        if not finite:
            refuse(mask, b, out)
            first_bad = b if first_bad < 0 else first_bad
            continue
        level = level_of[live]
        lower = reward[rank[live - 1]]
        total, shift = (lower - c) * inside[level, live - 1], c * empty[level]
        result[rank[live - 1]] = total + shift
        for t in range(live - 2, -1, -1):
            upper = reward[rank[t]]
            total += (upper - lower) * inside[level, t]
            result[rank[t]] = total + shift
            lower = upper
        if outside is not None:
            total = rewards.dtype.type(0)
            upper = reward[rank[0]]
            for t in range(1, live):
                lower = reward[rank[t]]
                total += (upper - lower) * outside[level, t - 1]
                result[rank[t]] += total
                upper = lower
    return first_bad
