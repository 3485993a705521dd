"""`order` on the CPU: which form serves which row. Compiled without the GIL, so it may be called from many threads at
once and after a fork."""

from functools import lru_cache
from itertools import product
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import REAL, building, compiled, read, written
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.order._cpu_argsort import by_argsort, rows_by_argsort
from shapley_kernels.kernels.order._cpu_registers import kernel as step_kernel
from shapley_kernels.kernels.order._sorting_networks import fused_network

STEP = 8
"""Up to this many players the step form in registers is the fastest."""

ROLLED = 32
"""Up to this many players the rolled step form is."""

NETWORK = 1024
"""Up to this many players rows are sorted by a network over lanes; above, by numpy's argsort."""

THREADED = 1 << 18
"""Elements that are worth a thread: 0.2 ms or more, several times what it takes to wake one."""


def tile_rows(players: int) -> int:
    """Rows in a tile of `rolled` and `network`: so many that it stays in the cache of level 2."""
    return 256 if players <= 512 else 128


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
        The first row with a live credit that is not finite, or may not be, -1 when there is none.
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
            return by_argsort(kernel, rewards, mask, v_empty, tables, start, stop, out)

    bad = over_rows(work, rows, tile, THREADED // max(1, players))
    if bad >= 0:
        _spread_nan(out, mask)
    return bad


def _spread_nan(out: Any, mask: Any) -> None:
    """NaN for all live players of the rows with a credit that is not finite."""
    rows = np.flatnonzero(~np.isfinite(out).all(1))
    out[rows] = np.nan if mask is None else np.where(mask[rows], out.dtype.type(np.nan), 0)


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
    odd = ~np.isfinite(out[part]).all(axis=1)
    return start + int(odd.argmax()) if odd.any() else -1


@lru_cache
def _compiled_step(players: int, dtype: str, masked: bool, has_outside: bool) -> Any:
    """The step kernel for one number of players and dtype ("f" or "d")."""
    real = REAL[dtype]
    flat = (read(real, 1), read(numba.uint8, 1) if masked else numba.types.none, read(real, 1))
    signature = numba.boolean(*flat, *_tables(real, has_outside), written(real, 1))
    return compiled(step_kernel(players, masked, has_outside), signature)


@lru_cache
def _compiled(variant: str, dtype: str, masked: bool, has_outside: bool) -> Any:
    """The kernel of another variant for one dtype."""
    real, integer = REAL[dtype], numba.int32 if dtype == "f" else numba.int64
    rewards, result = read(real, 2), written(real, 2)
    game = (read(numba.uint8, 2) if masked else numba.types.none, read(real, 1), *_tables(real, has_outside))
    place = (read(numba.int64, 2), numba.int64, numba.int64, numba.int64)
    if variant == "argsort":
        return compiled(rows_by_argsort, numba.int64(rewards, *game, *place[:2], result))
    with building():  # these need numba's own modules, which a release may move
        from shapley_kernels.kernels.order._cpu_network import rows_by_network
        from shapley_kernels.kernels.order._cpu_vectors import rows_rolled
    if variant == "rolled":
        return compiled(rows_rolled, numba.int64(rewards, *game, *place, result))
    return compiled(rows_by_network, numba.int64(rewards, read(integer, 2), *game, *place, result))


def _tables(real: Any, has_outside: bool) -> tuple[Any, ...]:
    """Types of inside, outside, empty and level_of."""
    outside = read(real, 2) if has_outside else numba.types.none
    return (read(real, 2), outside, read(real, 1), read(numba.int32, 1))
