"""Options and help of `shapley-bench`."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from shapley_kernels.bench import cases, machine, peers
from shapley_kernels.bench.cases import Point
from shapley_kernels.bench.methods import COMPILED, FIVE_LINERS, OURS, Method
from shapley_kernels.bench.records import BenchError, Record, read, whole_file
from shapley_kernels.games import GAMES

RESULTS = Path("benchmarks/results")
"""Where the committed records are, in a source tree."""

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="How fast credits are, checked before they are timed, beside what else one could write.\n\n"
    "[bold]shapley-bench run --quick[/bold]\n\n"
    "[bold]shapley-bench run -o before.jsonl[/bold], change something, [bold]shapley-bench run -o after.jsonl[/bold], "
    "[bold]shapley-bench compare before.jsonl after.jsonl[/bold]",
)

GameName = Enum("GameName", {game.__name__: game.__name__ for game in GAMES}, type=str)  # type: ignore[misc]
METHODS = (*OURS, *FIVE_LINERS, COMPILED, *peers.PEERS)
MethodName = Enum("MethodName", {m.name: m.name for m in METHODS}, type=str)  # type: ignore[misc]


class Dtype(str, Enum):
    """Values of --dtype."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Device(str, Enum):
    """Values of --device."""

    CPU = "cpu"
    CUDA = "cuda"


class Axis(str, Enum):
    """Values of --axis."""

    PLAYERS = "players"
    ROWS = "rows"
    THREADS = "threads"


class Clock(str, Enum):
    """Values of --clock."""

    WALL = "wall"
    CPU = "cpu"


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise typer.BadParameter(f"expected integers >= 1, players last, such as 32,8,5, got {text!r}")
    return shape


Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Where the records go, JSON lines; - is stdout.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace the output file if it exists.")]
Games = Annotated[list[GameName] | None, typer.Option("--game", "-g", help="By default all.", show_default=False)]
Methods = Annotated[
    list[MethodName] | None, typer.Option("--method", "-m", help="By default all that fit.", show_default=False)
]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="N,...,N", help="Players last; may be repeated.", show_default=False),
]
Dtypes = Annotated[list[Dtype], typer.Option("--dtype", help="May be repeated.")]
Threads = Annotated[int, typer.Option("--threads", "-t", min=1, help="For everything that can use more than one.")]
ClockName = Annotated[
    Clock,
    typer.Option("--clock", help="cpu: time the processor worked for us, for busy machines; one thread, no GPU."),
]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", "-s", min=0.0, help="Of samples per method and point.", show_default=False),
]
Passes = Annotated[
    int,
    typer.Option("--passes", min=1, help="Go through all points so often: samples of a point from different minutes."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Small inputs, few samples: about a minute of an idle processor.")]
Records = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Records.", show_default=False)]


@app.command("run")
def run_command(
    games: Games = None,
    methods: Methods = None,
    shapes: Shapes = None,
    dtypes: Dtypes = [Dtype.FLOAT32],  # noqa: B006 (typer wants a list)
    device: Annotated[Device | None, typer.Option(help="By default cuda if there is one.", show_default=False)] = None,
    threads: Threads = 1,
    clock: ClockName = Clock.WALL,
    seconds: Seconds = None,
    passes: Passes = 1,
    quick: Quick = False,
    compiled: Annotated[bool, typer.Option("--compile", help="The torch five-liner under torch.compile, too.")] = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Time every game by every backend, beside the few lines of numpy and torch that one would write instead.

    Credits are checked first, on the very inputs of the timing. Calls alternate.

    Reported are medians, with the 20 % and 80 % quantiles, and, apart, the first call, which compiles.
    """
    with _clean_end():
        where = (Device(_default_device()) if device is None else device).value
        _check_clock(clock, where, threads)
        _check_device(where)
        given = [_shape(text) for text in shapes or []]
        points = [
            Point(game, shape, dtype.value, where, threads, clock.value)
            for game in _names(games)
            for shape in given or cases.standard_shapes(game, where, quick)
            for dtype in dtypes
        ]
        standard = (*OURS, *FIVE_LINERS, *((COMPILED,) if compiled else ()))
        budget = (0.02 if quick else 0.5) if seconds is None else seconds
        _measure(points * passes, _methods(methods, standard), budget, output, force)


@app.command("peers")
def peers_command(
    methods: Methods = None,
    shapes: Shapes = None,
    threads: Threads = 1,
    clock: ClockName = Clock.WALL,
    seconds: Seconds = None,
    passes: Passes = 1,
    quick: Quick = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Time `Max`, float64, beside other packages (those that are installed), five-liners and torch.compile."""
    with _clean_end():
        _check_clock(clock, "cpu", threads)
        chosen = [_shape(text) for text in shapes] if shapes else list(peers.QUICK if quick else peers.SHAPES)
        points = [Point("Max", shape, "float64", threads=threads, clock=clock.value) for shape in chosen]
        lines = (*FIVE_LINERS, *(() if quick else (COMPILED,)))
        budget = (0.02 if quick else 0.5) if seconds is None else seconds
        _measure(points * passes, _methods(methods, (*OURS, *lines, *peers.PEERS)), budget, output, force)


@app.command("scaling")
def scaling_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Records to fit instead of measuring.", show_default=False),
    ] = None,
    games: Games = None,
    methods: Methods = None,
    axes: Annotated[
        list[Axis] | None,
        typer.Option("--axis", help="What grows; by default players, rows and threads.", show_default=False),
    ] = None,
    clock: ClockName = Clock.WALL,
    seconds: Seconds = None,
    passes: Passes = 1,
    quick: Quick = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Fit exponents of time against players, rows and threads.

    The upper half of each range is fitted, since small inputs show the cost of a call.
    """
    with _clean_end():
        from shapley_kernels.bench import report, scaling

        chosen = [axis.value for axis in axes or Axis]
        if clock is Clock.CPU and "threads" in chosen and not files:
            if axes:
                _check_clock(clock, "cpu", 2)
            chosen.remove("threads")
        if files:
            if output:
                raise BenchError("scaling: --output takes measurements, these are records already")
            records = read(files)
        else:
            points = [
                p for axis in chosen for p in _growing(axis, _names(games or [GameName("Max")]), clock.value, quick)
            ]
            these = _methods(methods, (*OURS, *FIVE_LINERS))
            points = list(dict.fromkeys(points)) * passes  # a point of two axes is measured once
            budget = (0.01 if quick else 0.2) if seconds is None else seconds
            records = _measure(points, these, budget, output, force, show=False)
        console = report.out(stderr=output == Path("-"))
        for axis in chosen:
            if found := scaling.fits(records, axis):
                console.print(report.fitted(axis, found))
            else:
                typer.echo(f"{axis}: no two points that differ in it alone", err=True)


def _growing(axis: str, games: Sequence[str], clock: str, quick: bool) -> list[Point]:
    if axis == "threads":
        usable = machine.machine()["usable_cores"]
        rows = 2**12 if quick else 2**17
        return [Point(game, (rows, 16), threads=t) for game in games for t in range(1, usable + 1)]
    if axis == "players":
        shapes = [(16, 2**k) for k in range(2, 8)] if quick else [(256, 2**k) for k in range(2, 11)]
    else:
        shapes = [(2**k, 8) for k in (range(4, 10) if quick else range(4, 19, 2))]
    return [Point(game, shape, clock=clock) for game in games for shape in shapes]


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Records before.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Records after.", show_default=False)],
    margin: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Ratios within 1 - margin and 1 + margin count as the same.")
    ] = 0.05,
    control: Annotated[
        MethodName | None,
        typer.Option(
            help="A method whose code did not change, measured on both sides: what slowed it down is taken off.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Compare records of different machines.")] = False,
) -> None:
    """Answer FASTER, SLOWER, SAME or UNDECIDED for every point of B against A; the exit status is 1 if any is SLOWER.

    The answer comes from a bootstrap interval of the ratio of medians. Records of different machines are refused.
    """
    with _clean_end():
        from shapley_kernels.bench import report
        from shapley_kernels.bench.compare import Verdict, compare, refuse_other_machines

        left, right = read([a]), read([b])
        if not force:
            refuse_other_machines(left, right)
        found = compare(left, right, margin, control and control.value)
        if not found:
            with_control = f" with {control.value} beside it" if control else ""
            clocks = [" and ".join(sorted({r.clock for r in side})) for side in (left, right)]
            why = f": {a} has {clocks[0]} time, {b} has {clocks[1]} time" if clocks[0] != clocks[1] else ""
            raise BenchError(f"{a} and {b} have no point in common{with_control}{why}")
        report.out().print(report.compared(found, control and control.value))
        counts = {v.value: sum(c.verdict is v for c in found) for v in Verdict}
        typer.echo(", ".join(f"{n} {name}" for name, n in counts.items() if n))
        for name, other, records in ((a, b, left), (b, a, right)):
            missing = len({r.key for r in records} - {c.key for c in found})
            if missing:
                typer.echo(f"{missing} points of {name} are not in {other}", err=True)
        if counts["SLOWER"]:
            raise typer.Exit(1)


@app.command("plot")
def plot_command(
    files: Records,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .png, .pdf or .svg.")] = Path(
        "bench.png"
    ),
    game: Annotated[str, typer.Option("--game", "-g", help="Of the pictures of time.")] = "Max",
    force: Force = False,
) -> None:
    """Draw time against players and rows, bandwidth under the measured roof, and speed-ups."""
    with _clean_end():
        from shapley_kernels.bench import plot

        plot.check_name(output)
        records = read(files)
        with whole_file(output, force) as stream:
            plot.draw(stream, output.suffix[1:].lower(), records, game)
        typer.echo(f"written: {output}", err=True)


@app.command("table")
def table_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help=f"Records; by default {RESULTS}/*.jsonl.", show_default=False),
    ] = None,
    write: Annotated[
        list[Path] | None,
        typer.Option(
            "--write", "-w", metavar="FILE", help="A Markdown file with markers; may be repeated.", show_default=False
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit status 1 if a table is stale.")] = False,
) -> None:
    """Make the Markdown tables of the README from records: all of them on stdout, or between the markers of files."""
    with _clean_end():
        from shapley_kernels.bench import table

        names = files or sorted(RESULTS.glob("*.jsonl"))
        if not names:
            raise BenchError(f"no records: {RESULTS}/*.jsonl is empty here, name files")
        records = read(names)
        if not write:
            typer.echo(table.markdown(records))
            return
        for path, text in table.stale(write, records).items():
            if check:
                _fail(f"{path}: stale; shapley-bench table --write {path}", 1)
            with whole_file(path, force=True) as stream:
                stream.write(text.encode())
            typer.echo(f"written: {path}", err=True)


@app.command("machine")
def machine_command(
    as_json: Annotated[bool, typer.Option("--json", help="As it stands in records.")] = False,
) -> None:
    """Show what is recorded with every number: processor, cores, versions, commit, load, and what may disturb."""
    with _clean_end():
        from shapley_kernels.bench import report

        found = {**machine.machine(), "load": machine.load(), "commit": machine.commit()}
        if as_json:
            typer.echo(json.dumps({**found, "versions": machine.versions()}))
            return
        report.out().print(report.pairs({**found, **machine.versions()}))
        for warning in machine.disturbances():
            typer.echo(f"beware: {warning}", err=True)


def _check_clock(clock: Clock, device: str, threads: int) -> None:
    if clock is Clock.CPU and (device != "cpu" or threads > 1):
        raise BenchError("--clock cpu adds up the time of all threads and sees no GPU: use --clock wall")


def _check_device(device: str) -> None:
    if device == "cuda" and machine.machine()["gpu"] is None:
        raise BenchError("--device cuda: torch finds no GPU here (torch.cuda.is_available() is False)")


def _names(games: Sequence[Any] | None) -> list[str]:
    return [game.value for game in games] if games else [game.__name__ for game in GAMES]


def _methods(wanted: Sequence[Any] | None, standard: Sequence[Method]) -> list[Method]:
    if not wanted:
        return list(standard)
    names = {name.value for name in wanted}
    return [method for method in METHODS if method.name in names]


def _default_device() -> str:
    return "cpu" if machine.machine()["gpu"] is None else "cuda"


def _measure(
    points: Sequence[Point],
    methods: Sequence[Method],
    seconds: float,
    output: Path | None,
    force: bool,
    show: bool = True,
) -> list[Record]:
    """Run, write records as they come, and show them."""
    from shapley_kernels.bench import report
    from shapley_kernels.bench.run import Skipped, run

    to_stdout = output == Path("-")
    records: list[Record] = []
    skipped: list[Skipped] = []
    target = (
        nullcontext(sys.stdout.buffer if to_stdout else None)
        if output is None or to_stdout
        else whole_file(output, force)
    )
    for warning in machine.disturbances():
        typer.echo(f"beware: {warning}", err=True)
    try:
        with target as stream, report.progress() as bar:
            task = bar.add_task("", total=len(points))
            for point in points:
                bar.update(task, description=f"{point!s:<28}")
                for result in run(point, methods, seconds):
                    if isinstance(result, Skipped):
                        skipped.append(result)
                        continue
                    records.append(result)
                    if stream is not None:
                        stream.write(result.line().encode() + b"\n")
                        stream.flush()
                bar.advance(task)
    except KeyboardInterrupt:
        kept = f"; {len(records)} records are in {output}" if output and not to_stdout and records else ""
        _fail(f"interrupted{kept}", 130)
    if show:
        report.out(stderr=to_stdout).print(report.measured(records))
    for line in report.skipped(skipped):
        typer.echo(line, err=True)
    if not records:
        raise BenchError("nothing was measured")
    return records


@contextmanager
def _clean_end() -> Iterator[None]:
    """Expected failures become one line and an exit status."""
    from shapley_kernels.bench.gate import GateFailed

    try:
        yield
    except BenchError as error:
        _fail(str(error), 2)
    except GateFailed as error:
        _fail(str(error), 1)
    except BrokenPipeError:  # whoever reads stdout has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, status: int) -> None:
    typer.echo(f"shapley-bench: {message}", err=True)
    raise typer.Exit(status)
