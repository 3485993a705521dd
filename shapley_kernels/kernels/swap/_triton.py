"""`swap` on the GPU: one launch, for groups of any sizes.

A program holds a tile [rollouts, places, topics] of the own lists, looks at one other rollout of each group after the
other, and adds up what the own lists are worth above the mixed ones; the running maxima of others are made anew for
each, which takes less than to write them down and read them.
"""

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch
from shapley_kernels.kernels.swap import KINDS

MAX_PLAYERS = 63
"""The mixing of D_1 .. D_K+1 is a tile of that many places, rounded up to a power of two, squared: beyond, registers
spill."""

_TILE = 512
"""Elements of a program, at least: 4 per lane of 4 warps."""

_TOPICS = 8
"""Topics at a time, at most."""


def run(x: Any, count: Any, weights: Any, empty: Any, order: Any, starts: Any, mix: Any, kind: int, out: Any) -> None:
    """See the package docstring; torch tensors of any float dtype each on one CUDA device, or on the CPU when triton
    interprets, at most MAX_PLAYERS players.

    Cost: one launch; for groups that differ in size or do not stand together, three small arrays are brought to the
        device first. Compiles once per power of two of players and of topics, dtypes, kind, with or without mix.
    """
    if out.numel() == 0:
        return
    call(x, count, weights, empty, order, starts, mix, kind, out).on(out)


def call(
    x: Any, count: Any, weights: Any, empty: Any, order: Any, starts: Any, mix: Any, kind: int, out: Any
) -> Launch:
    rollouts, players, topics = x.shape
    sizes = np.diff(starts)
    largest, places = int(sizes.max(initial=1)), triton.next_power_of_2(players + 1)
    groups: tuple[Any, ...] = (None, None, None)
    if order is not None or (sizes != largest).any():
        order = np.arange(rollouts) if order is None else order
        arrays = (order, np.repeat(starts[:-1], sizes), np.repeat(sizes, sizes))
        groups = tuple(torch.from_numpy(np.ascontiguousarray(array)).to(x.device) for array in arrays)
    width = min(_TOPICS, triton.next_power_of_2(topics))
    rows = max(1, _TILE // (places * max(width, places if mix.numel() else 1)))
    numbers = (rollouts, players, topics, largest, int(weights.shape[0] > 1), int(empty.shape[0] > 1))
    options = {
        "ROWS": rows,
        "PLACES": places,
        "TOPICS": width,
        "SUFFIX": KINDS[kind] == "suffix",
        "MIXED": mix.numel() > 0,
        "num_warps": 4,
        "enable_fp_fusion": False,
    }
    arguments = (x, count, weights, empty, *groups, mix, out, *numbers)
    return Launch(_swap, (triton.cdiv(rollouts, rows),), arguments, options)


@triton.jit
def _larger(a, b):  # type: ignore[no-untyped-def]
    return tl.maximum(a, b)


@triton.jit(do_not_specialize=["rollouts", "players", "topics", "largest", "by_row", "empty_by_row"])
def _swap(  # type: ignore[no-untyped-def]
    x,  # [rollouts, players, topics]
    count,  # [rollouts]
    weights,  # [rollouts or 1, topics]
    empty,  # [rollouts or 1]
    order,  # [rollouts], or None: groups of `largest`, one after the other
    starts,  # [rollouts], of the group, by place in `order`
    sizes,  # [rollouts], the same
    mix,  # [players + 1, players + 1]
    out,  # [rollouts, players + 1]
    rollouts,
    players,
    topics,
    largest,
    by_row,
    empty_by_row,
    ROWS: tl.constexpr,
    PLACES: tl.constexpr,
    TOPICS: tl.constexpr,
    SUFFIX: tl.constexpr,
    MIXED: tl.constexpr,
):
    real = mix.dtype.element_ty
    at = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    in_bounds = at < rollouts
    if order is None:
        first = at // largest * largest
        size = first * 0 + largest
        own = at
    else:
        first = tl.load(starts + at, mask=in_bounds, other=0)
        size = tl.load(sizes + at, mask=in_bounds, other=1)
        own = tl.load(order + at, mask=in_bounds, other=0)
    n = tl.load(count + own, mask=in_bounds, other=0)
    c = tl.load(empty + own * empty_by_row, mask=in_bounds, other=0.0).to(real)[:, None, None]
    place = tl.arange(0, PLACES)  # [PLACES]
    sums = tl.zeros([ROWS, PLACES], real)
    for begin in range(0, topics, TOPICS):
        topic = begin + tl.arange(0, TOPICS)  # [TOPICS]
        known = in_bounds[:, None, None] & (topic < topics)[None, None, :]
        heads = _running(x, own, n, known, place - 1, topic, players, topics, real, False)
        weighed = in_bounds[:, None] & (topic < topics)[None, :]
        w = tl.load(weights + (own * by_row)[:, None] * topics + topic[None, :], mask=weighed, other=0.0)
        best = tl.max(heads, axis=1)[:, None, :]  # [ROWS, 1, TOPICS], of the whole list
        total = tl.where(best == float("-inf"), c, best)
        if not SUFFIX:
            heads = tl.maximum(heads, _running(x, own, n, known, place + 1, topic, players, topics, real, True))
        for step in range(1, largest):
            there = in_bounds & (step < size)
            h = first + (at - first + step) % size
            if order is not None:
                h = tl.load(order + h, mask=there, other=0)
            m = tl.load(count + h, mask=there, other=0)
            given = known & there[:, None, None]
            if SUFFIX:
                tails = _running(x, h, m, given, place, topic, players, topics, real, True)
            else:
                tails = _entries(x, h, m, given, place, topic, players, topics, real)
            mixed = tl.maximum(heads, tails)
            gain = w.to(real)[:, None, :] * (total - tl.where(mixed == float("-inf"), c, mixed))
            sums += tl.where(there[:, None], tl.sum(gain, axis=2), 0.0)
    last = n + 1 if SUFFIX else n
    used = (place[None, :] < last[:, None]) & (size > 1)[:, None]
    result = tl.where(used, sums / tl.maximum(size - 1, 1).to(real)[:, None], 0.0)
    if MIXED:
        inside = (place <= players)[:, None] & (place <= players)[None, :]
        share = tl.load(mix + place[:, None] * (players + 1) + place[None, :], mask=inside, other=0.0)
        result = tl.sum(result[:, :, None] * share[None, :, :], axis=1)
    shown = in_bounds[:, None] & (place <= players)[None, :]
    result = tl.where(used, result, 0.0).to(out.dtype.element_ty)
    tl.store(out + own[:, None] * (players + 1) + place[None, :], result, mask=shown)


@triton.jit
def _entries(x, row, n, known, place, topic, players, topics, real: tl.constexpr):  # type: ignore[no-untyped-def]
    """[ROWS, PLACES, TOPICS]: those of candidates at `place`, -inf where there is none."""
    live = known & (place >= 0)[None, :, None] & (place[None, :] < n[:, None])[:, :, None]
    where = (row[:, None] * players + place[None, :])[:, :, None] * topics + topic[None, None, :]
    return tl.load(x + where, mask=live, other=float("-inf")).to(real)


@triton.jit
def _running(  # type: ignore[no-untyped-def]
    x, row, n, known, place, topic, players, topics, real: tl.constexpr, REVERSE: tl.constexpr
):
    """The running maximum of `_entries` over the places, forwards or backwards."""
    return tl.associative_scan(
        _entries(x, row, n, known, place, topic, players, topics, real), 1, _larger, reverse=REVERSE
    )
