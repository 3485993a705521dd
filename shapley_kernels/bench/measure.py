"""Times of several calls that alternate, so that whatever disturbs the machine disturbs all of them.

On the CPU one sample is one call. On a GPU one sample is a replay of a graph of calls on buffers that together exceed
its cache, divided by their number: events around a single short call would time the host. Host time is kept apart.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import numpy as np

Call = Callable[[], Any]

BLOCKS = 20
"""Samples that a record keeps."""

FEWEST, MOST = 3, 2000
"""Samples per call, whatever the time."""

LONG = 0.5
"""Seconds from which a call is not warmed up again, and `FEWEST` samples are enough."""


@dataclass
class Timing:
    """Seconds of one call."""

    first: float
    """The first call in this process on these inputs: compilation, allocation and imports included."""
    samples: list[float] = field(default_factory=list)
    host: float | None = None
    """GPU: median until the call returns, the device still at work."""

    @property
    def median(self) -> float:
        return float(np.median(self.samples))

    def quantile(self, q: float) -> float:
        return float(np.quantile(self.samples, q))

    def blocks(self) -> list[float]:
        """Medians of at most `BLOCKS` consecutive parts of the samples: resampling these respects slow drifts."""
        return [
            float(np.median(part)) for part in np.array_split(self.samples, min(BLOCKS, len(self.samples))) if len(part)
        ]


def first_call(call: Call, device: str = "cpu") -> tuple[Any, float]:
    """Result and seconds."""
    start = perf_counter()
    result = call()
    _wait(device)
    return result, perf_counter() - start


def _wait(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def interleaved(timings: Mapping[str, Timing], samplers: Mapping[str, Call], seconds: float) -> None:
    """Add samples to the timings, one of each per round and in an order that changes, until each has taken `seconds`.

    Args:
        timings: by name, with `first` set.
        samplers: by the same names, functions that return the seconds of one sample.
        seconds: per name; `FEWEST` samples are taken even if they take longer, and `MOST` at the most.
    """
    rng = np.random.default_rng(0)
    for name, sampler in samplers.items():
        if timings[name].first < LONG:
            sampler()
    spent = dict.fromkeys(samplers, 0.0)
    active = list(samplers)
    with _no_garbage_collection():
        while active:
            for i in rng.permutation(len(active)):
                name = active[i]
                start = perf_counter()
                timings[name].samples.append(samplers[name]())
                spent[name] += perf_counter() - start
            active = [name for name in active if _goes_on(len(timings[name].samples), spent[name], seconds)]


def _goes_on(samples: int, spent: float, seconds: float) -> bool:
    return samples < FEWEST or (spent < seconds and samples < MOST)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()  # so that the next collection looks at what is new alone
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


SHORT = 1e-3
"""Seconds below which a call is timed right after an untimed one, so that it finds the caches as it left them."""


CLOCKS: dict[str, Callable[[], float]] = {"wall": perf_counter, "cpu": process_time}
"""What a sample on the CPU is read from: the time a user waits, or the time the processor works for this process, which
others on a busy machine do not lengthen."""


def cpu_sampler(call: Call, clock: Callable[[], float] = perf_counter) -> Call:
    """Seconds of one call."""
    last = SHORT

    def sample() -> float:
        nonlocal last
        if last < SHORT:
            call()
        start = clock()
        call()
        last = clock() - start
        return last

    return sample


# -- GPU -------------------------------------------------------------------------------------------------------------

REPLAYED = 20
"""Calls in a graph, at least."""


def gpu_copies(bytes_per_call: int) -> int:
    """How many sets of buffers exceed the level-2 cache three times; at most 64, for inputs so small that a call costs
    what its launch costs."""
    import torch

    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(1, min(64, -(-3 * cache // max(bytes_per_call, 1))))


def gpu_sampler(calls: Sequence[Call]) -> Call:
    """Seconds of one call, from a replay of a graph that makes all the calls in turn.

    A call that cannot be captured, because it looks at results on the host, is timed by events around all the calls.
    """
    import torch

    rounds = max(1, REPLAYED // len(calls))
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def eager() -> None:
        for _ in range(rounds):
            for call in calls:
                call()

    eager()  # whatever compiles has to do so before a capture
    torch.cuda.synchronize()
    run = eager
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            eager()
        run = graph.replay
    except RuntimeError:
        torch.cuda.synchronize()

    def sample() -> float:
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / (rounds * len(calls))

    return sample


def host_sampler(call: Call) -> Call:
    """Seconds until the call returns, the device idle at its start."""
    import torch

    def sample() -> float:
        torch.cuda.synchronize()
        start = perf_counter()
        call()
        return perf_counter() - start

    return sample
