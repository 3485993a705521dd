"""The loop over points: inputs, gate, times, records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache

from shapley_kernels.backends import BackendUnavailable
from shapley_kernels.bench import machine, measure
from shapley_kernels.bench.cases import Call, Inputs, Point
from shapley_kernels.bench.gate import check
from shapley_kernels.bench.lines import Unsuited
from shapley_kernels.bench.measure import Timing
from shapley_kernels.bench.methods import COPY, PRODUCT, ROOFS, SORT, Method, products
from shapley_kernels.bench.records import Record, Run
from shapley_kernels.bench.training import inputs_of

HOST_SECONDS = 0.01
"""Of samples of the time until a call on a GPU returns."""


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
        inputs = inputs_of(point)
    except Unsuited as reason:
        yield Skipped(point, "all methods", str(reason))
        return
    with machine.limited_to(point.threads):
        yield from _measured(inputs, [*methods, *ROOFS], seconds)


def _measured(inputs: Inputs, methods: Sequence[Method], seconds: float) -> Iterator[Record | Skipped]:
    point = inputs.point
    timings: dict[str, Timing] = {}
    calls: dict[str, Call] = {}
    errors: dict[str, float] = {}
    for method in methods:
        try:
            call = method.call(inputs)
            result, first = measure.first_call(call, point.device)
        except (Unsuited, BackendUnavailable) as reason:
            if method not in ROOFS:
                yield Skipped(point, method.name, str(reason))
            continue
        errors[method.name] = 0.0 if method in ROOFS else check(method, inputs, result)
        calls[method.name], timings[method.name] = call, Timing(first)
    measured = [method for method in methods if method.name in calls and method not in ROOFS]
    if not measured:
        return
    measure.interleaved(timings, _samplers(inputs, methods, calls), seconds)
    hosts = {name: Timing(0.0) for name in calls if point.device != "cpu"}
    if hosts:
        measure.interleaved(hosts, {name: measure.host_sampler(calls[name]) for name in hosts}, HOST_SECONDS)
    for method in measured:
        host = hosts[method.name].median if hosts else None
        yield _record(inputs, method, timings, host, errors[method.name])


def _samplers(inputs: Inputs, methods: Sequence[Method], calls: Mapping[str, Call]) -> dict[str, Call]:
    if inputs.point.device == "cpu":
        clock = measure.CLOCKS[inputs.point.clock]
        return {name: measure.cpu_sampler(call, clock) for name, call in calls.items()}
    more = [inputs_of(inputs.point, seed) for seed in range(1, measure.gpu_copies(inputs.bytes))]
    return {
        method.name: measure.gpu_sampler([calls[method.name], *(method.call(other) for other in more)])
        for method in methods
        if method.name in calls
    }


@cache
def this_run(clock: str, threads: int) -> Run:
    """What the records of this process share."""
    return Run(
        machine=machine.machine(),
        versions=machine.versions(),
        clock=clock,  # type: ignore[arg-type]
        threads=threads,
        commit=machine.commit(),
        command=machine.command(),
        date=_now(),
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _record(inputs: Inputs, method: Method, timings: Mapping[str, Timing], host: float | None, error: float) -> Record:
    point, timing = inputs.point, timings[method.name]
    sort, product = timings.get(SORT.name), timings.get(PRODUCT.name)
    return Record(
        game=point.game,
        method=method.name,
        kind=method.kind,
        dtype=point.dtype,
        shape=point.shape,
        device=point.device,
        masked=point.masked,
        median_s=timing.median,
        q20_s=timing.quantile(0.2),
        q80_s=timing.quantile(0.8),
        samples=len(timing.samples),
        blocks_s=tuple(timing.blocks()),
        first_call_s=timing.first,
        host_s=host,
        bytes=inputs.bytes,
        roof_s=timings[COPY.name].median,
        sort_s=sort.median if sort else None,
        product_s=product.median * products(inputs) if product else None,
        max_error=error,
        load=machine.load(),
        time=_now(),
        run=this_run(point.clock, point.threads),
    )
