"""The loop over points: inputs, gate, times, records."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from shapley_kernels.backends import BackendUnavailable
from shapley_kernels.bench import machine, measure
from shapley_kernels.bench.cases import Inputs, Point, Unsuited
from shapley_kernels.bench.gate import check
from shapley_kernels.bench.measure import Timing
from shapley_kernels.bench.methods import ROOF, Method
from shapley_kernels.bench.records import Record


@dataclass(frozen=True)
class Skipped:
    """A method that does not take part at a point."""

    point: Point
    method: str
    reason: str


def run(point: Point, methods: Sequence[Method], seconds: float) -> Iterator[Record | Skipped]:
    """Measure the methods at a point, `seconds` of samples each.

    Raises:
        GateFailed: a method gave wrong credits.
    """
    try:
        inputs = Inputs(point)
    except Unsuited as reason:
        yield Skipped(point, "all methods", str(reason))
        return
    calls = [(method, _prepared(method, inputs)) for method in methods]
    with machine.limited_to(point.threads):
        yield from _measured(inputs, [*calls, (ROOF, ROOF.call(inputs))], seconds)


def _measured(inputs: Inputs, calls: Sequence[tuple[Method, Any]], seconds: float) -> Iterator[Record | Skipped]:
    device = inputs.point.device
    timings: dict[str, Timing] = {}
    errors: dict[str, float] = {}
    taking_part = []
    for method, call in calls:
        first = call if isinstance(call, Skipped) else _first(method, inputs, call)
        if isinstance(first, Skipped):
            yield first
            continue
        credits, timings[method.name] = first
        errors[method.name] = 0.0 if method is ROOF else check(method, inputs, credits)
        taking_part.append((method, call))
    if len(taking_part) == 1:  # the roof alone
        return
    measure.interleaved(timings, _samplers(inputs, taking_part), seconds)
    for method, call in taking_part:
        timing = timings[method.name]
        if device != "cpu":
            timing.host = measure.host_seconds(call)
        if method is not ROOF:
            yield _record(inputs, method, timing, timings[ROOF.name].median, errors[method.name])


def _first(method: Method, inputs: Inputs, call: Any) -> Any:
    """Result and timing of the first call, or why there is none."""
    try:
        credits, seconds = measure.first_call(call, inputs.point.device)
    except BackendUnavailable as reason:
        return Skipped(inputs.point, method.name, str(reason))
    return credits, Timing(seconds)


def _prepared(method: Method, inputs: Inputs) -> Any:
    """The call, or why there is none."""
    try:
        return method.call(inputs)
    except Unsuited as reason:
        return Skipped(inputs.point, method.name, str(reason))


def _samplers(inputs: Inputs, taking_part: Sequence[tuple[Method, Any]]) -> dict[str, Callable[[], Any]]:
    if inputs.point.device == "cpu":
        clock = measure.CLOCKS[inputs.point.clock]
        return {method.name: measure.cpu_sampler(call, clock) for method, call in taking_part}
    more = [Inputs(inputs.point, seed) for seed in range(1, measure.gpu_copies(inputs.bytes))]
    return {
        method.name: measure.gpu_sampler([call, *(method.call(other) for other in more)])
        for method, call in taking_part
    }


def _record(inputs: Inputs, method: Method, timing: Timing, roof: float, error: float) -> Record:
    point = inputs.point
    return Record(
        game=point.game,
        value="Shapley",
        method=method.name,
        kind=method.kind,
        dtype=point.dtype,
        shape=point.shape,
        device=point.device,
        threads=point.threads,
        clock=point.clock,
        median_s=timing.median,
        q20_s=timing.quantile(0.2),
        q80_s=timing.quantile(0.8),
        samples=len(timing.samples),
        blocks_s=tuple(timing.blocks()),
        first_call_s=timing.first,
        host_s=timing.host,
        bytes=inputs.bytes,
        roof_s=roof,
        max_error=error,
        machine=machine.machine(),
        versions=machine.versions(),
        load=machine.load(),
        commit=machine.commit(),
        command=machine.command(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
