"""What a person sees: tables on stdout, progress and notes on stderr."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from shapley_kernels.bench.compare import Comparison, Verdict
from shapley_kernels.bench.records import Record
from shapley_kernels.bench.run import Skipped
from shapley_kernels.bench.scaling import Fit
from shapley_kernels.bench.table import by_point, duration, ours, shape_name

STYLES = {Verdict.SLOWER: "bold red", Verdict.FASTER: "bold green", Verdict.UNDECIDED: "yellow", Verdict.SAME: "dim"}


def out(stderr: bool = False) -> Console:
    """A console that does not squeeze tables when nobody watches."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=160)
    return console


def progress() -> Progress:
    """A bar on stderr that vanishes when done; nothing if stderr is no terminal."""
    console = out(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())


def _table(*heads: str, left: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right", no_wrap=True)
    return table


def measured(records: Iterable[Record]) -> Table:
    """A line per record, points apart; the fastest of a point is bold."""
    table = _table("call", "method", "median", "20 %", "80 %", "of ours", "% of copy", "first call", "error", left=2)
    for found in by_point(records).values():
        own, fastest = ours(found), min(r.median_s for r in found)
        for i, r in enumerate(found):
            name = f"{r.game} {shape_name(r.shape)} {r.dtype}".replace("[", "\\[") if i == 0 else ""
            table.add_row(
                name,
                r.method,
                duration(r.median_s),
                duration(r.q20_s),
                duration(r.q80_s),
                f"{r.median_s / own.median_s:.2f} x" if own else "",
                "" if r.of_roof is None else f"{100 * r.of_roof:.0f}",
                duration(r.first_call_s),
                f"{r.max_error:.0e}",
                style="bold" if r.median_s == fastest else None,
            )
        table.add_section()
    return table


def skipped(found: Sequence[Skipped]) -> list[str]:
    """A line per method and reason."""
    reasons: dict[tuple[str, str], int] = {}
    for s in found:
        reasons[s.method, s.reason] = reasons.get((s.method, s.reason), 0) + 1
    return [f"{method}: {reason} ({n} points)" for (method, reason), n in reasons.items()]


def compared(comparisons: Sequence[Comparison], control: str | None) -> Table:
    """A line per comparison."""
    ratio = "b / a" + (f" over {control}" if control else "")
    table = _table("verdict", "call", "method", "a", "b", ratio, "95 % interval", left=3)
    for c in comparisons:
        game, _, method, dtype, shape, device, threads, clock = c.key
        where = ("" if device == "cpu" else f" {device}") + (f" {threads} threads" if threads > 1 else "")
        where += "" if clock == "wall" else f" {clock} time"
        interval = f"{c.low:.3f} to {c.high:.3f}" if c.high < float("inf") else "too few samples"
        name = f"{game} {shape_name(shape)} {dtype}{where}".replace("[", "\\[")
        cells = (name, method, duration(c.a), duration(c.b), f"{c.ratio:.3f}", interval)
        table.add_row(f"[{STYLES[c.verdict]}]{c.verdict.value}[/]", *cells)
    return table


def fitted(axis: str, found: Iterable[tuple[tuple[str, str], Fit]]) -> Table:
    """A line per exponent."""
    table = _table("game", "method", f"time ~ {axis}^", "95 % interval", "fitted over", left=2)
    for (game, method), fit in found:
        over = f"{fit.first:,.0f} to {fit.last:,.0f}, {fit.points} points"
        table.add_row(
            game, method, f"{fit.exponent:.2f}", "none" if fit.error == float("inf") else f"± {fit.error:.2f}", over
        )
    return table


def pairs(found: dict[str, object]) -> Table:
    """Names and values."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in found.items():
        table.add_row(f"[dim]{name}[/dim]", str("unknown" if value is None else value).replace("[", "\\["))
    return table
