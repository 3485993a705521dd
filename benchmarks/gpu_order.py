"""`order` on a GPU by number of players: every form and size of program, beside a copy and the five lines of torch.

    python benchmarks/gpu_order.py [--players 4,8,16] [--elements 67108864] [--output forms.jsonl]

Uniform random rewards; the time of a launch in a CUDA graph, on buffers that together exceed the cache, interleaved,
medians; each result is checked before it is timed. "auto" is what `sk.shapley` launches. Below the table: gradients
beside the forward kernel, and host time of small calls.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
import triton
import triton.language as tl

import shapley_kernels as sk
from shapley_kernels.bench.machine import commit
from shapley_kernels.bench.measure import Timing, gpu_copies, gpu_sampler, host_seconds, interleaved
from shapley_kernels.bench.methods import torch_rows
from shapley_kernels.kernels.order import _triton, _triton_backward
from shapley_kernels.rl import RewardAllocator

PLAYERS = (2, 4, 5, 8, 12, 16, 24, 32, 48, 64, 100, 128, 256, 512, 1024)
SMALL = (32, 8, 5)
HEIGHTS = (64, 128, 256)
"""Rows per program of the forms with a row per thread."""
SECONDS = 0.06

Case = tuple[int, str, bool]
"""Players, dtype, with or without a mask."""


def forms(case: Case) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and arguments of `_triton.launch` of what is compared."""
    players, dtype, masked = case
    yield "auto", {}
    limit = 64 if dtype != "float64" and not masked else 32
    if players <= limit:
        for form in ("unrolled", "rolled") if 4 < players <= 16 else ("unrolled" if players <= 4 else "rolled",):
            for height in HEIGHTS:
                yield f"{form} {height}", {"form": form, "rows_per_program": height}
    if players >= 16:
        width = triton.next_power_of_2(players)
        for elements in (512, 1024, 2048):
            if elements >= width:
                yield f"tile {elements}", {"form": "tile", "rows_per_program": elements // width}


def tables(players: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """inside, outside, empty and level_of of `Max`."""
    real = torch.promote_types(dtype, torch.float32)
    inside = torch.zeros(players + 1, players, dtype=real, device="cuda")
    for m in range(1, players + 1):  # of m live players, the k-th best
        inside[m, :m] = 1 / torch.arange(1, m + 1, device="cuda")
    empty = torch.zeros(players + 1, dtype=real, device="cuda")
    return inside, None, empty, torch.arange(players + 1, dtype=torch.int32, device="cuda")


def data(case: Case, rows: int, seed: int = 0) -> tuple[Any, ...]:
    """Arguments of `_triton.launch`."""
    players, name, masked = case
    dtype = getattr(torch, name)
    torch.manual_seed(seed)
    rewards = torch.rand(rows, players, device="cuda", dtype=torch.float32).to(dtype)
    mask = torch.rand(rows, players, device="cuda") < 0.8 if masked else None
    c = torch.zeros(1, dtype=torch.promote_types(dtype, torch.float32), device="cuda")
    return rewards, mask, c, *tables(players, dtype), torch.empty_like(rewards)


def compile_case(job: tuple[Case, dict[str, Any]]) -> None:
    """Fills triton's cache, in a process of its own."""
    case, choices = job
    _triton.launch(*data(case, 64), **choices)


def timed(calls: dict[str, list[Callable[[], Any]]]) -> dict[str, float]:
    """Median seconds of each, the lists being calls on different buffers."""
    samplers = {name: gpu_sampler(its) for name, its in calls.items()}
    timings = {name: Timing(1.0) for name in calls}
    interleaved(timings, samplers, SECONDS)
    return {name: t.median for name, t in timings.items()}


def measure(case: Case, elements: int, lines: bool) -> dict[str, float]:
    """Seconds of every form, of a copy, and with `lines` of the five-liners."""
    players, dtype, masked = case
    rows = elements // players // 64 * 64  # a copy of an odd number of bytes is slow
    size = rows * players * (2 * getattr(torch, dtype).itemsize + masked)
    buffers = [data(case, rows, seed) for seed in range(gpu_copies(size))]
    inside = tables(players, getattr(torch, dtype))[0][players].flip(0)
    sample = buffers[0]
    expected = None if masked else torch_rows(sample[0][:4096].double(), inside.double())
    calls: dict[str, list[Callable[[], Any]]] = {"copy": [partial(b[-1].copy_, b[0]) for b in buffers]}
    for name, choices in forms(case):
        _triton.launch(*sample, **choices)
        if expected is not None:
            tolerance = {"bfloat16": 1e-2, "float16": 1e-3, "float32": 1e-5, "float64": 1e-12}[dtype]
            torch.testing.assert_close(sample[-1][:4096].double(), expected, rtol=0, atol=tolerance)
        calls[name] = [partial(_triton.launch, *b, **choices) for b in buffers]
    if lines:
        compiled = torch.compile(torch_rows, dynamic=False)
        weights = inside.to(sample[0].dtype)
        calls["eager"] = [partial(torch_rows, b[0], weights) for b in buffers]
        calls["compiled"] = [partial(compiled, b[0], weights) for b in buffers]
    return timed(calls)


def gradients(players: int, elements: int) -> dict[str, float]:
    """Seconds of the forward and the backward kernel, float32."""
    case = (players, "float32", False)
    buffers = [data(case, elements // players, seed) for seed in range(2)]
    backward = [partial(_triton_backward.launch, b[0], *b, None) for b in buffers]  # rewards as incoming gradient, too
    return timed({"forward": [partial(_triton.launch, *b) for b in buffers], "backward": backward})


@triton.jit
def _nothing(x, y, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.arange(0, BLOCK)
    tl.store(y + place, tl.load(x + place))


def host() -> dict[str, float]:
    """Seconds until small calls return."""
    rewards = torch.rand(SMALL, device="cuda")
    out, inside = torch.empty_like(rewards), tables(SMALL[-1], torch.float32)[0][-1].flip(0)
    flat = data((SMALL[-1], "float32", False), 256)
    allocator = RewardAllocator(sk.Max)
    wants = rewards.clone().requires_grad_()

    def advantages() -> torch.Tensor:
        credits = torch_rows(rewards, inside)
        return (credits - credits.mean((1, 2), keepdim=True)) / (credits.std((1, 2), keepdim=True) + 1e-4)

    calls: dict[str, Callable[[], Any]] = {
        "a launch of triton": lambda: _nothing[(1,)](rewards, out, BLOCK=1024),
        "kernel order": lambda: _triton.launch(*flat),
        "sk.shapley(sk.Max(x))": lambda: sk.shapley(sk.Max(rewards)),
        "the same with gradient": lambda: sk.shapley(sk.Max(wants)),
        "five lines of torch": lambda: torch_rows(rewards, inside),
        "allocator.advantages(x)": lambda: allocator.advantages(rewards),
        "five lines, mean and std": advantages,
    }
    for call in calls.values():
        call()
    return {name: host_seconds(call, 200) for name, call in calls.items()}


def told(case: Case, elements: int, found: dict[str, float]) -> str:
    """One line of the table."""
    others = ("copy", "eager", "compiled")
    moved = elements // case[0] // 64 * 64 * case[0] * 2 * getattr(torch, case[1]).itemsize
    shares = [f"{name} {found['copy'] / s:.0%}" for name, s in found.items() if name not in others]
    lines = [f"{name} {found[name] / found['auto']:.1f}x" for name in others[1:] if name in found]
    return f"{case[0]} {case[1]}{' masked' * case[2]}: {moved / found['copy'] / 1e9:.0f} GB/s; " + ", ".join(
        shares + lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--players", type=lambda s: [int(k) for k in s.split(",")], default=PLAYERS)
    parser.add_argument("--elements", type=int, default=2**26)
    parser.add_argument("--output", type=argparse.FileType("w"))
    options = parser.parse_args()
    rest = (("float32", True), ("bfloat16", False), ("float64", False))
    cases = [(n, "float32", False) for n in options.players]
    cases += [(n, *kind) for n in (8, 16, 32, 64) if n in options.players for kind in rest]
    jobs = [(case, choices) for case in cases for _, choices in forms(case)]
    with ProcessPoolExecutor(12, get_context("spawn")) as pool:
        list(pool.map(compile_case, jobs))
    device = torch.cuda.get_device_name()
    origin = {"device": device, "torch": torch.__version__, "triton": triton.__version__, "commit": commit()}

    def keep(what: Any, elements: int, found: dict[str, float]) -> None:
        if options.output:
            record = {**origin, "what": what, "elements": elements, "seconds": found}
            print(json.dumps(record), file=options.output, flush=True)

    print(f"{device}; GB/s of a copy, then percent of it; eager and compiled: times the time of auto", flush=True)
    for case in cases:
        keep(case, options.elements, found := measure(case, options.elements, case[1:] == ("float32", False)))
        print(told(case, options.elements, found), flush=True)
    for players in options.players:
        keep([players, "gradients"], options.elements // 4, found := gradients(players, options.elements // 4))
        print(f"{players}: backward / forward {found['backward'] / found['forward']:.2f}", flush=True)
    keep("host", 1280, found := host())
    print("host time: " + ", ".join(f"{name} {s * 1e6:.1f} us" for name, s in found.items()))


if __name__ == "__main__":
    main()
