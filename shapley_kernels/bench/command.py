"""Options and help of `shapley-bench`."""

import gc
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from shapley_kernels._command import CommandError, GivenOnce, Steps, ending, picture_kind
from shapley_kernels._files import whole_file
from shapley_kernels.bench import cases, machine, peers
from shapley_kernels.bench.cases import Point
from shapley_kernels.bench.gpu_forms import FORMS
from shapley_kernels.bench.methods import COMPILED, FIVE_LINERS, OURS, TENSORS, Method
from shapley_kernels.bench.records import Record, lines, read
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


class Command(GivenOnce, TyperCommand):
    """See `GivenOnce`."""


WORKS = (*(game.__name__ for game in GAMES), *cases.TRAINING)
METHODS = {method.name: method for method in (*OURS, TENSORS, *FIVE_LINERS, COMPILED, *peers.PEERS, *FORMS)}

DTYPES = ("float64", "float32", "float16", "bfloat16")
Device = Literal["cpu", "cuda"]
Clock = Literal["wall", "cpu"]


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise CommandError(f"--shape: expected integers >= 1, players last, such as 32,8,5, got {text!r}")
    return shape


def _known(option: str, names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The names, all of them where none is given."""
    for name in names or []:
        if name not in known:
            raise CommandError(f"{option}: expected one of {', '.join(known)}, got {name!r}")
    return list(names or known)


Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Where the records go, JSON lines; - is stdout.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace the output file if it exists.")]
Games = Annotated[
    list[str] | None,
    typer.Option(
        "--game",
        "-g",
        metavar="NAME",
        help="Or a piece of training, such as advantages; by default all.",
        show_default=False,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", metavar="NAME", help="By default all that fit.", show_default=False),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="N,...,N", help="Players last; may be repeated.", show_default=False),
]
Dtypes = Annotated[list[str], typer.Option("--dtype", help="float64, float32, float16, bfloat16; may be repeated.")]
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


@app.command("run", cls=Command)
@ending("shapley-bench")
def run_command(
    games: Games = None,
    methods: Methods = None,
    shapes: Shapes = None,
    dtypes: Dtypes = ["float32"],  # noqa: B006 (typer wants a list)
    device: Annotated[Device | None, typer.Option(help="By default cuda if there is one.", show_default=False)] = None,
    threads: Threads = 1,
    clock: ClockName = "wall",
    seconds: Seconds = None,
    passes: Passes = 1,
    quick: Quick = False,
    compiled: Annotated[bool, typer.Option("--compile", help="The torch five-liner under torch.compile, too.")] = False,
    forms: Annotated[bool, typer.Option("--forms", help="Every form of the Triton kernel, for Max.")] = False,
    masked: Annotated[bool, typer.Option("--masked", help="With a fifth of the players masked.")] = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Time every game by every backend, beside the few lines of numpy and torch that one would write instead.

    Credits are checked first, on the very inputs of the timing. Calls alternate.

    Reported are medians, with the 20 % and 80 % quantiles, and, apart, the first call, which compiles.
    """
    where = device or ("cpu" if machine.machine()["gpu"] is None else "cuda")
    _check_clock(clock, where, threads)
    if where == "cuda" and machine.machine()["gpu"] is None:
        raise CommandError("--device cuda: torch finds no GPU here (torch.cuda.is_available() is False)")
    given = [_shape(text) for text in shapes or []]
    points = [
        Point(game, shape, dtype, where, threads, clock, masked)
        for game in _known("--game", games, WORKS)
        for shape in given or cases.standard_shapes(game, where, quick)
        for dtype in _known("--dtype", dtypes, DTYPES)
    ]
    standard = (*OURS, TENSORS, *FIVE_LINERS, *((COMPILED,) if compiled else ()), *(FORMS if forms else ()))
    budget = (0.01 if quick else 0.5) if seconds is None else seconds
    _measure(points * passes, _methods(methods, standard), budget, output, force)


@app.command("peers", cls=Command)
@ending("shapley-bench")
def peers_command(
    methods: Methods = None,
    shapes: Shapes = None,
    threads: Threads = 1,
    clock: ClockName = "wall",
    seconds: Seconds = None,
    passes: Passes = 1,
    quick: Quick = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Time games in float64 beside the packages that know them (those that are installed), and five-liners.

    `Max` of growing size, where torch.compile takes part, too, and games of other families.
    """
    _check_clock(clock, "cpu", threads)
    of_max = [_shape(text) for text in shapes] if shapes else list(peers.QUICK if quick else peers.SHAPES)
    families = {} if shapes or quick else peers.FAMILIES
    pairs = [("Max", shape) for shape in of_max] + [(game, shape) for game, its in families.items() for shape in its]
    points = [Point(game, shape, "float64", threads=threads, clock=clock) for game, shape in pairs]
    standard = (*OURS, *FIVE_LINERS, *(() if quick else (COMPILED,)), *peers.PEERS)
    budget = (0.01 if quick else 0.5) if seconds is None else seconds
    _measure(points * passes, _methods(methods, standard), budget, output, force)


@app.command("roofs", cls=Command)
@ending("shapley-bench")
def roofs_command(
    threads: Threads = 1,
    clock: ClockName = "wall",
    seconds: Seconds = 0.2,
    passes: Passes = 1,
    output: Output = None,
    force: Force = False,
) -> None:
    """Time `Max` beside a copy and a sort of the same rows, for 4 to 1024 players, in float32 and float64, with and
    without a mask; and games of the other primitives, each beside a copy, or a matrix product of as many steps. Calls
    alternate."""
    from shapley_kernels.bench import table

    _check_clock(clock, "cpu", threads)
    points = [
        Point("Max", (2**18 // players, players), dtype, threads=threads, clock=clock, masked=masked)
        for players in (2**k for k in range(2, 11))
        for dtype in ("float32", "float64")
        for masked in (False, True)
    ]
    points += [
        Point(game, shape, dtype, threads=threads, clock=clock)
        for game, shapes in cases.PRIMITIVES.items()
        for shape in shapes
        for dtype in ("float32", "float64")
    ]
    records = _measure(points * passes, [METHODS["numba"]], seconds or 0.0, output, force, show=False)
    for made in (table.sorts, table.primitives):
        typer.echo(f"{made(records)}\n", err=output == Path("-"))


@app.command("scaling", cls=Command)
@ending("shapley-bench")
def scaling_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Records to fit instead of measuring.", show_default=False),
    ] = None,
    games: Games = None,
    methods: Methods = None,
    axes: Annotated[
        list[str] | None,
        typer.Option("--axis", help="What grows; by default players, rows and threads.", show_default=False),
    ] = None,
    clock: ClockName = "wall",
    seconds: Seconds = None,
    passes: Passes = 1,
    quick: Quick = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """Fit exponents of time against players, rows and threads.

    The upper half of each range is fitted, since small inputs show the cost of a call.
    """
    from shapley_kernels.bench import report, scaling

    chosen = _known("--axis", axes, scaling.AXES)
    if clock == "cpu" and "threads" in chosen and not files:
        if axes:
            _check_clock(clock, "cpu", 2)
        chosen.remove("threads")
    if files:
        if output:
            raise CommandError("scaling: --output takes measurements, these are records already")
        records = read(files)
    else:
        of = _known("--game", games, WORKS) if games else ["Max"]
        points = [point for axis in chosen for point in _growing(axis, of, clock, quick)]
        points = list(dict.fromkeys(points)) * passes  # a point of two axes is measured once
        budget = (0.01 if quick else 0.2) if seconds is None else seconds
        records = _measure(points, _methods(methods, (*OURS, *FIVE_LINERS)), budget, output, force, show=False)
    console = report.out(stderr=output == Path("-"))
    for axis in chosen:
        if exponents := scaling.fits(records, axis):
            console.print(report.fitted(axis, exponents))
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


@app.command("compare", cls=Command)
@ending("shapley-bench")
def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Records before.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Records after.", show_default=False)],
    margin: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Ratios within 1 - margin and 1 + margin count as the same.")
    ] = 0.05,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="A method whose code did not change, measured on both sides: what slowed it down is taken off.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Compare records of different machines.")] = False,
) -> None:
    """Answer FASTER, SLOWER, SAME or UNDECIDED for every point of B against A; the exit status is 1 if any is SLOWER.

    The answer comes from a bootstrap interval of the ratio of medians. Records of different machines are refused.
    """
    from shapley_kernels.bench import report
    from shapley_kernels.bench.compare import compare, missing, refuse_other_machines

    if control:
        _known("--control", [control], list(METHODS))
    left, right = read([a]), read([b])
    if not force:
        refuse_other_machines(left, right)
    comparisons = compare(left, right, margin, control)
    if not comparisons:
        with_control = f" with {control} beside it" if control else ""
        clocks = [" and ".join(sorted({r.clock for r in side})) for side in (left, right)]
        why = f": {a} has {clocks[0]} time, {b} has {clocks[1]} time" if clocks[0] != clocks[1] else ""
        raise CommandError(f"{a} and {b} have no point in common{with_control}{why}")
    report.out().print(report.compared(comparisons, control))
    counts = {verdict: sum(c.verdict == verdict for c in comparisons) for verdict in report.STYLES}
    typer.echo(", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n))
    for line in missing({str(a): left, str(b): right}, comparisons, control):
        typer.echo(line, err=True)
    if counts["SLOWER"]:
        raise typer.Exit(1)


@app.command("plot", cls=Command)
@ending("shapley-bench")
def plot_command(
    files: Records,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .png, .pdf or .svg.")] = Path(
        "bench.png"
    ),
    game: Annotated[str, typer.Option("--game", "-g", help="Of the pictures of time.")] = "Max",
    title: Annotated[str | None, typer.Option(help="Of the picture.", show_default=False)] = None,
    force: Force = False,
) -> None:
    """Draw time against players and rows, bandwidth under the measured roof, and speed-ups."""
    from shapley_kernels.bench import plot

    kind = picture_kind(output)
    drawn = plot.draw(kind, read(files), game, title)
    with whole_file(output, force) as stream:
        stream.write(drawn)
    typer.echo(f"written: {output}", err=True)


@app.command("table", cls=Command)
@ending("shapley-bench")
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
    """Make the Markdown tables of the docs from records: all of them on stdout, or between the markers of files."""
    from shapley_kernels.bench import table

    names = files or sorted(RESULTS.glob("*.jsonl"))
    if not names:
        raise CommandError(f"no records: {RESULTS}/*.jsonl is empty here, name files")
    records = read(names)
    if not write:
        typer.echo(table.markdown(records))
        return
    for path, text in table.stale(write, records).items():
        if check:
            typer.echo(f"{path}: stale; shapley-bench table --write {path}", err=True)
            raise typer.Exit(1)
        with whole_file(path, force=True) as stream:
            stream.write(text.encode())
        typer.echo(f"written: {path}", err=True)


@app.command("machine", cls=Command)
@ending("shapley-bench")
def machine_command(
    as_json: Annotated[bool, typer.Option("--json", help="As it stands in records.")] = False,
) -> None:
    """Show what is recorded with every run: processor, cores, versions, commit, load, and what may disturb."""
    from shapley_kernels.bench import report

    facts = {**machine.machine(), "load": machine.load(), "commit": machine.commit()}
    if as_json:
        typer.echo(json.dumps({**facts, "versions": machine.versions()}))
        return
    report.out().print(report.pairs({**facts, **machine.versions()}))
    for warning in machine.disturbances():
        typer.echo(f"beware: {warning}", err=True)


def _check_clock(clock: Clock, device: str, threads: int) -> None:
    if clock == "cpu" and (device != "cpu" or threads > 1):
        raise CommandError("--clock cpu adds up the time of all threads and sees no GPU: use --clock wall")


def _methods(wanted: Sequence[str] | None, standard: Sequence[Method]) -> list[Method]:
    return [METHODS[name] for name in _known("--method", wanted, list(METHODS))] if wanted else list(standard)


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
    for warning in machine.disturbances():
        typer.echo(f"beware: {warning}", err=True)
    here = sys.stdout.buffer if to_stdout else None
    try:
        with whole_file(output, force) if output and not to_stdout else nullcontext(here) as stream, Steps() as steps:
            advance = steps.start("measuring", len(points))
            for point in points:
                results = list(run(point, methods, seconds))
                skipped += [result for result in results if isinstance(result, Skipped)]
                new = [result for result in results if isinstance(result, Record)]
                if stream is not None:
                    stream.writelines(lines(new, after=records[-1] if records else None))
                    stream.flush()
                records += new
                advance(1)
    except KeyboardInterrupt:
        kept = f"{len(records)} records are in {output}" if output and not to_stdout and records else ""
        raise KeyboardInterrupt(kept) from None
    gc.unfreeze()  # what `measure` froze
    if show:
        report.out(stderr=to_stdout).print(report.measured(records))
    for line in report.skipped(skipped):
        typer.echo(line, err=True)
    if not records:
        raise CommandError("nothing was measured")
    return records
