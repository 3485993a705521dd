"""What a person sees: tables on stdout, progress and notes on stderr."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from shapley_kernels.bench.cases import Point
from shapley_kernels.bench.compare import Comparison
from shapley_kernels.bench.records import Record
from shapley_kernels.bench.run import Skipped
from shapley_kernels.bench.scaling import Fit
from shapley_kernels.bench.table import by_point, call_name, duration, ours, percent, times

STYLES = {"SLOWER": "bold red", "FASTER": "bold green", "UNDECIDED": "yellow", "SAME": "dim"}


def out(stderr: bool = False) -> Console:
    """A console that does not squeeze tables when nobody watches."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=160)
    return console


def _columns(widths: dict[str, int], left: int, show_header: bool) -> Table:
    """Columns of fixed widths, so that tables under each other look like one."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=show_header)
    for i, (head, width) in enumerate(widths.items()):
        table.add_column(head, justify="left" if i < left else "right", width=width, no_wrap=True)
    return table


MEASURED = {"": 20, "median": 7, "20 to 80 %": 17, "of ours": 8, "% of copy": 9, "of sort": 8, "first call": 10}
"""Columns and their widths."""


def measured(records: Iterable[Record]) -> Group:
    """A table per point; the fastest method is bold."""
    parts: list[RenderableType] = []
    for at_point in by_point(records).values():
        table = _columns(MEASURED, left=1, show_header=not parts)
        own, fastest = ours(at_point), min(r.median_s for r in at_point)
        for r in at_point:
            table.add_row(
                f"  {r.method}",
                duration(r.median_s),
                f"{duration(r.q20_s)} to {duration(r.q80_s)}",
                times(r.median_s / own.median_s) if own else "",
                "" if r.of_roof is None else percent(r.of_roof),
                "" if r.of_roof is None or not r.sort_s else times(r.median_s / r.sort_s),
                duration(r.first_call_s),
                style="bold" if r.median_s == fastest else None,
            )
        parts += [Text(call_name(at_point[0]), style="bold cyan"), table]
    return Group(*parts)


def skipped(skips: Sequence[Skipped]) -> list[str]:
    """A line per method and reason."""
    reasons: dict[tuple[str, str], int] = {}
    for s in skips:
        reasons[s.method, s.reason] = reasons.get((s.method, s.reason), 0) + 1
    return [f"{method}: {reason} ({n} points)" for (method, reason), n in reasons.items()]


COMPARED = {"": 11, "method": 20, "a": 7, "b": 7, "b / a": 7, "95 % interval": 16}


def compared(comparisons: Sequence[Comparison], control: str | None) -> Group:
    """A line per comparison under the name of its call; equal verdicts together, as they come."""
    parts: list[RenderableType] = []
    for (_, (game, dtype, shape, device, masked, threads, clock)), alike in groupby(
        comparisons, lambda c: (c.verdict, c.key[1:])
    ):
        table = _columns(COMPARED, left=2, show_header=not parts)
        for c in alike:
            interval = f"{c.low:.3f} to {c.high:.3f}" if c.high < float("inf") else "too few samples"
            verdict = Text(f"  {c.verdict}", style=STYLES[c.verdict])
            table.add_row(verdict, c.key[0], duration(c.a), duration(c.b), f"{c.ratio:.3f}", interval)
        parts += [Text(call_name(Point(game, shape, dtype, device, threads, clock, masked)), style="bold cyan"), table]
    if control:
        parts.append(Text(f"b / a and intervals over those of {control}", style="dim"))
    return Group(*parts)


def fitted(axis: str, exponents: Iterable[tuple[tuple[str, str], Fit]]) -> Table:
    """A line per exponent."""
    heads = ("game", "method", f"time ~ {axis}^", "95 %", "fitted over")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < 2 else "right", no_wrap=True)
    for (game, method), fit in exponents:
        over = f"{fit.first:,.0f} to {fit.last:,.0f}, {fit.points} pts"
        table.add_row(
            game, method, f"{fit.exponent:.2f}", "none" if fit.error == float("inf") else f"± {fit.error:.2f}", over
        )
    return table


def pairs(values: dict[str, object]) -> Table:
    """Names and values."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in values.items():
        table.add_row(f"[dim]{name}[/dim]", str("unknown" if value is None else value).replace("[", "\\["))
    return table
