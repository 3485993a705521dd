"""`scatter` on the GPU: a thread reads and writes neighbouring tokens, the table stays in the cache."""

from typing import Any

import torch
import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch

MAX_PLAYERS = 1023
"""Candidates of a rollout, at most: the bins of a histogram are those, one for no candidate, up to a power of two."""

_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}

_BLOCK = 1024
"""Tokens that a program takes at a time: 8 to a lane of 4 warps, two loads of 16 bytes for ids of int32."""


def run(table: Any, ids: Any, starts: Any, out: Any) -> int:
    """See the package docstring; tensors on one CUDA device, or on the CPU when triton interprets.

    Cost: one launch, and one for a number that the host waits for.
    """
    return _launch(scatter_call, ids, table, starts, out)


def count(ids: Any, starts: Any, counts: Any) -> int:
    """See the package docstring. A program counts a rollout; costs as `run`."""
    return _launch(count_call, ids, counts, starts)


def _launch(call: Any, ids: Any, table: Any, starts: Any, *out: Any) -> int:
    if len(table) == 0:
        return -1
    bad = ids.new_full((1,), len(ids), dtype=torch.int64)
    launch = call(table, ids, starts, *out, bad)
    if launch.grid[0]:
        launch.on(ids)
    place = int(bad)
    return -1 if place == len(ids) else place


def scatter_call(table: Any, ids: Any, starts: Any, out: Any, bad: Any) -> Launch:
    rollouts, tokens = len(table), len(ids)
    numbers = (rollouts, rollouts.bit_length(), table.shape[1], max(1, tokens // rollouts), tokens)
    arguments = (table, ids, starts, out, bad, *numbers)
    return Launch(_scatter, (-(-tokens // _BLOCK),), arguments, {"BLOCK": _BLOCK, **_OPTIONS})


def count_call(counts: Any, ids: Any, starts: Any, bad: Any) -> Launch:
    rollouts, width = counts.shape
    bins = max(2, triton.next_power_of_2(width))
    arguments = (counts, ids, starts, bad, width, len(ids) // rollouts)
    return Launch(_count, (rollouts,), arguments, {"BLOCK": _BLOCK, "BINS": bins, **_OPTIONS})


@triton.jit(do_not_specialize=["rollouts", "steps", "width", "length", "tokens"])
def _scatter(  # type: ignore[no-untyped-def]
    table,  # [rollouts, width]
    ids,  # [tokens]
    starts,  # [rollouts + 1] or None
    out,  # [tokens]
    bad,  # [1]
    rollouts,
    steps,
    width,
    length,
    tokens,
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    token = first + tl.arange(0, BLOCK)
    in_bounds = token < tokens
    if starts is None:
        lane = tl.arange(0, BLOCK)
        left = tl.minimum(length - first % length, BLOCK).to(tl.int32)  # of the rollout that the first token is in
        later = 1 + (lane - left) // tl.minimum(length, BLOCK).to(tl.int32)
        rollout = first // length + tl.where(lane < left, 0, later)
    else:
        rollout = _search(starts, rollouts, steps, token)
    candidate = tl.load(ids + token, mask=in_bounds, other=0)
    wrong = (candidate < 0) | (candidate >= width)
    tl.atomic_min(bad + tl.zeros_like(token), token, mask=wrong, sem="relaxed")
    number = tl.load(table + rollout * width + candidate, mask=in_bounds & ~wrong, other=0)
    tl.store(out + token, number, mask=in_bounds)


@triton.jit
def _search(starts, rollouts, steps, token):  # type: ignore[no-untyped-def]
    """The last rollout that starts at or before a token; 2^steps >= rollouts."""
    low = tl.zeros_like(token).to(tl.int32)
    high = low + rollouts  # starts[low] <= token < starts[high]
    for _ in range(steps):
        middle = (low + high) // 2
        before = tl.load(starts + middle) <= token
        low = tl.where(before, middle, low)
        high = tl.where(before, high, middle)
    return low.to(tl.int64)


@triton.jit(do_not_specialize=["width", "length"])
def _count(  # type: ignore[no-untyped-def]
    counts,  # [rollouts, width]
    ids,  # [tokens]
    starts,  # [rollouts + 1] or None
    bad,  # [1]
    width,
    length,
    BLOCK: tl.constexpr,
    BINS: tl.constexpr,
):
    rollout = tl.program_id(0).to(tl.int64)
    if starts is None:
        first, end = rollout * length, rollout * length + length
    else:
        first, end = tl.load(starts + rollout), tl.load(starts + rollout + 1)
    bins = tl.arange(0, BINS)
    total = tl.zeros([BINS], tl.int64)
    for start in range(first, end, BLOCK):
        token = start + tl.arange(0, BLOCK)
        in_bounds = token < end
        candidate = tl.load(ids + token, mask=in_bounds, other=0)
        wrong = (candidate < 0) | (candidate >= width)
        tl.atomic_min(bad + tl.zeros_like(token), token, mask=wrong, sem="relaxed")
        total += tl.histogram(candidate.to(tl.int32), BINS, mask=in_bounds & ~wrong)
    tl.store(counts + rollout * width + bins, total, mask=bins < width)
