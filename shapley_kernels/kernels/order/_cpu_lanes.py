"""A vector of rows at a time, one row per lane: sorted by a network whose swaps are kept, credited by rank, and put
back by the same swaps, the last one first.

    out_j = T_j + c C + H_j,      T_j = sum_{k >= j} (s_k - s_{k+1}) A_k,      H_j = sum_{k < j} (s_k - s_{k+1}) B_k,

with s = x sorted, best first, and s_{m+1} = c. So no player has to travel with its reward, no reward is looked up by
rank and no credit scattered: a comparator is a comparison and two choices between vectors, and undone by two choices.

What numba compiles takes milliseconds for each statement. So `enter`, `look_up` and `credit`, most of the work, are
written in instructions of LLVM (`_cpu_lanes_llvm`), which take half a second for all numbers of players, with and
without a mask; and here once more in numpy, which says what they do and runs under NUMBA_DISABLE_JIT=1.
"""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._simd import aligned
from shapley_kernels.kernels.order import _cpu_lanes_llvm as llvm
from shapley_kernels.kernels.order._cpu_lanes_llvm import (
    BOTTOM,
    BYTES,
    COUNT,
    FIELDS,
    LIVE,
    OF_BEST,
    OF_EMPTY,
    OF_OTHERS,
    SORTED,
    whole,
)
from shapley_kernels.kernels.order._sorting_networks import COMPARATORS, fused_network


@lru_cache
def steps_of(players: int, itemsize: int) -> Any:
    """Of `fused_network`, as `credit` takes them, [steps, kind + places of the players + comparators before]."""
    table = fused_network(players)
    kinds, who = table[:, :1], table[:, 1:]
    lanes = BYTES // itemsize
    places = np.where(who < players, who, whole(players, lanes)) * (FIELDS * lanes)
    sizes = np.array([len(COMPARATORS[kind]) for kind in kinds[:, 0]], np.int32)
    before = (sizes.cumsum() - sizes)[:, None]
    return np.concatenate([kinds, places, before], axis=1, dtype=np.int32)


def rows_in_lanes(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, steps, work, start, stop, out
):
    """Rows start .. stop of `order`; steps as of `steps_of`, and `room` in `work`. Returns the first row with a credit
    that is not finite, or -1."""
    lanes, players, first_bad = BYTES // A.itemsize, rewards.shape[1], -1
    work = work[aligned(work) :]
    block = lanes // 2
    bottom = ((players + block - 1) // block * block * FIELDS + BOTTOM) * lanes
    for first in range(start, stop, lanes):
        rows = min(lanes, stop - first)
        tile = (players, first, rows, stop)
        enter(work, rewards, mask, tile)
        if v_empty.size > 1 or first == start:
            for lane in range(lanes):
                work[bottom + lane] = v_empty[first + min(lane, rows - 1) if v_empty.size > 1 else 0]
        if mask.size:
            look_up(work, A, B, C, row_of_count, players)
        bad = credit(work, steps, mask, A, B, C, row_of_count, out, tile)
        if bad < rows and first_bad < 0:
            first_bad = first + bad
    return first_bad


def _fields(work: Any, players: int) -> tuple[Any, Any]:
    """[players, FIELDS, lanes], and the vectors behind the last player."""
    lanes = BYTES // work.itemsize
    fields = work[: (whole(players, lanes) + 1) * FIELDS * lanes].reshape(-1, FIELDS, lanes)
    return fields[:players], fields[-1]


def _enter(work: Any, rewards: Any, mask: Any, tile: tuple[int, ...]) -> None:
    """Rewards of the rows of a tile, (players, first row, rows, the row behind the last one), to vectors, those of
    masked players as -inf; with a mask, how many are live. Lanes without a row repeat the last one."""
    players, first, rows, _ = tile
    fields, end = _fields(work, players)
    row = first + np.minimum(np.arange(fields.shape[-1]), rows - 1)
    fields[:, SORTED] = rewards[row].T
    if mask.size:
        x, fields[:, LIVE] = fields[:, SORTED], mask[row].T
        fields[:, SORTED] = np.where(fields[:, LIVE] > 0, np.where(x == -np.inf, np.nan, x), -np.inf)
        end[COUNT] = fields[:, LIVE].sum(0)


def _look_up(work: Any, A: Any, B: Any, C: Any, row_of_count: Any, players: int) -> None:
    """The coefficients of as many players as are live in each lane."""
    fields, end = _fields(work, players)
    row = row_of_count[np.maximum(1, end[COUNT]).astype(int)]
    fields[:, OF_BEST], end[OF_EMPTY] = A[row].T, C[row]
    if B.size:
        fields[:, OF_OTHERS] = B[row].T


@np.errstate(over="ignore", invalid="ignore")
def _credit(
    work: Any, steps: Any, mask: Any, A: Any, B: Any, C: Any, row_of_count: Any, out: Any, tile: tuple[int, ...]
) -> int:
    """Credits of the rows of a tile. Returns the first lane with one that is not finite, and how many
    lanes there are for none."""
    players, first, rows, _ = tile
    fields, end = _fields(work, players)
    x, lanes, row = fields[:, SORTED], fields.shape[-1], row_of_count[players]
    s, order = np.sort(x, axis=0)[::-1], np.argsort(-x, axis=0, kind="stable")
    zero, c = x.dtype.type(0), end[BOTTOM]
    shift = c * (end[OF_EMPTY] if mask.size else C[row]) + zero
    if mask.size:
        s = np.where(s != -np.inf, s, c)
    gaps = s - np.concatenate([s[1:], c[None]])[:players]  # 0 between masked players
    gains = gaps * (fields[:, OF_BEST] if mask.size else A[row][:, None])
    shares = np.add.accumulate(gains[::-1])[::-1] + shift
    if B.size:
        losses = gaps * (fields[:, OF_OTHERS] if mask.size else B[row][:, None])
        shares[1:] += np.add.accumulate(losses[:-1])
    credits = np.empty_like(s)
    np.put_along_axis(credits, order, shares, axis=0)
    finite = np.isfinite(credits).all(0)
    credits = np.where(finite, credits, np.nan)
    out[first : first + rows] = (np.where(fields[:, LIVE] > 0, credits, zero) if mask.size else credits).T[:rows]
    bad = np.flatnonzero(~finite)
    return int(bad[0]) if bad.size else lanes


_PYTHON = bool(getattr(numba.config, "DISABLE_JIT", 0))
enter = _enter if _PYTHON else llvm.enter
look_up = _look_up if _PYTHON else llvm.look_up
credit = _credit if _PYTHON else llvm.credit
