"""Markdown tables from records, and the files that hold them between two markers."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shapley_kernels._command import CommandError
from shapley_kernels.bench.cases import Point
from shapley_kernels.bench.records import Record, pooled

NAMES = {
    "numba": "`shapley_kernels`",
    "triton": "`shapley_kernels`, Triton",
    "torch": '`backend="torch"`',
    "tensors": "`shapley_kernels`, tensors",
    "numpy-five-liner": "numpy five-liner",
    "torch-five-liner": "torch five-liner",
    "compiled-five-liner": "torch five-liner, compiled",
    "numpy-enumeration": "2^n in numpy",
    "shap": "shap (tree)",
}
"""Column heads, in this order; other methods keep their names."""

START = re.compile(r"<!-- shapley-bench: (five-liners|peers|sorts|primitives)((?: [A-Za-z]+)*) -->\n")
END = "<!-- shapley-bench: end -->"


def duration(seconds: float) -> str:
    """Two to three significant digits and a unit."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms"), (1.0, "s")):
        number = seconds * factor
        if number < 999.5 or unit == "s":
            return f"{number:.0f} {unit}" if number >= 99.5 else f"{number:.2g} {unit}"
    raise AssertionError


def times(ratio: float) -> str:
    """Two significant digits: 0.053 x, 1.4 x, 27,000 x."""
    return f"{float(f'{ratio:.2g}'):,g} x"


def percent(share: float) -> str:
    """Whole per cent, "<1" instead of 0."""
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"


def shape_name(shape: Iterable[int]) -> str:
    """[32, 8, 5]; large powers of two as such."""
    return "[" + ", ".join(f"2^{n.bit_length() - 1}" if n >= 4096 and n & (n - 1) == 0 else str(n) for n in shape) + "]"


def call_name(point: Point | Record) -> str:
    """Game, shape, dtype, and what is not usual."""
    more = ["masked"] * point.masked + ([] if point.device == "cpu" else [point.device])
    more += [f"{point.threads} threads"] if point.threads > 1 else []
    return ", ".join([f"{point.game} {shape_name(point.shape)} {point.dtype}", *more])


def ours(records: Iterable[Record]) -> Record | None:
    """What backend="auto" takes."""
    by_name = {record.method: record for record in records}
    return by_name.get("triton") or by_name.get("numba") or by_name.get("torch")


def by_point(records: Iterable[Record]) -> dict[tuple[Any, ...], list[Record]]:
    """The records of each point, one per method: several are pooled."""
    points: dict[tuple[Any, ...], list[Record]] = {}
    for record in pooled(records):
        points.setdefault(record.point, []).append(record)
    return points


def markdown(records: Sequence[Record]) -> str:
    """A table with a line per point: the median of each method, and how many times that of ours it is.

    The fastest of a line is bold. Behind our time: its share of a copy of as many bytes, for large inputs.
    """
    columns = sorted({r.method for r in records}, key=lambda m: (list(NAMES).index(m) if m in NAMES else 99, m))
    head = ["call", *(NAMES.get(method, method) for method in columns)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * len(columns)]
    for at_point in by_point(records).values():
        by_name = {record.method: record for record in at_point}
        fastest, own = min(r.median_s for r in at_point), ours(at_point)
        cells = [_cell(by_name.get(method), own, fastest) for method in columns]
        lines.append(f"| {call_name(at_point[0])} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", provenance(records)])


def _cell(record: Record | None, own: Record | None, fastest: float) -> str:
    if record is None:
        return "–"
    text = duration(record.median_s)
    if record is own:
        notes = [] if record.of_roof is None else [f"{percent(record.of_roof)} % of a copy"]
    else:
        notes = [] if own is None else [times(record.median_s / own.median_s)]
    text = f"**{text}**" if record.median_s == fastest else text
    return f"{text} ({notes[0]})" if notes else text


def sorts(records: Sequence[Record]) -> str:
    """A table of nanoseconds a reward, with a line per number of players and dtype: a copy of as many bytes and
    `np.sort` of the same rows, measured in the same rounds as our time, which is shown in both of them, too.

    Args:
        records: of games of sorted rewards; those of other methods than ours are left out. Masked ones stand beside
            those without a mask.
    """
    found = {(r.players, r.dtype, r.masked): r for r in pooled(records) if r.kind == "ours" and r.sort_s}
    lines = ["| players | | copy | `np.sort` | ours | masked |", "|---:|---|---:|---:|---:|---:|"]
    for players, dtype, masked in found:
        if not masked:
            plain, other = found[players, dtype, False], found.get((players, dtype, True))
            copy, sort, own = plain.roof_s, plain.sort_s or 0.0, plain.median_s
            ours_ = f"{_each(own, plain)} ({times(own / copy)}, {times(own / sort)})"
            masks = f"{_each(other.median_s, other)} ({times(other.median_s / own)})" if other else "–"
            lines.append(f"| {players} | {dtype} | {_each(copy, plain)} | {_each(sort, plain)} | {ours_} | {masks} |")
    return "\n".join([*lines, "", provenance(records)])


def primitives(records: Sequence[Record]) -> str:
    """A table of our times beside the roof of each game that is not sorted: a matrix product of as many steps, where
    the time is arithmetic, else a copy of as many bytes; measured in the same rounds."""
    lines = ["| call | ours | roof | | of it |", "|---|---:|---|---:|---:|"]
    for r in pooled(records):
        if r.kind == "ours" and not r.sort_s:
            roof, name = (r.product_s, "product") if r.product_s else (r.roof_s, "copy")
            cells = call_name(r), duration(r.median_s), name, duration(roof), f"{roof / r.median_s:.2f}"
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", provenance(records)])


def _each(seconds: float, record: Record) -> str:
    return f"{float(f'{seconds / (record.rows * record.players) * 1e9:.2g}'):g} ns"


def provenance(records: Sequence[Record]) -> str:
    """On what, with what and when."""
    machines = sorted({r.of.machine["gpu" if r.device != "cpu" else "cpu"] for r in records}, key=str)
    packages = ("python", "numpy", "numba", "torch", "triton")
    versions = sorted({", ".join(f"{p} {r.of.versions[p]}" for p in packages if p in r.of.versions) for r in records})
    loads = [r.load for r in records if r.load is not None]
    load = f", load average up to {max(loads):.1f}" if loads else ""
    commits = ", ".join(sorted({r.of.commit or "no commit" for r in records}))
    days = ", ".join(sorted({r.time[:10] for r in records}))
    threads = ", ".join(map(str, sorted({r.threads for r in records})))
    clocks = " and ".join(sorted({{"wall": "wall time", "cpu": "CPU time"}.get(r.clock, r.clock) for r in records}))
    parts = (
        f"Medians of alternating calls, {clocks}, threads: {threads}",
        "; ".join(map(str, machines)) + load,
        *versions,
        f"{days}, commit {commits}.",
    )
    return "; ".join(parts)


def filled(text: str, records: Sequence[Record], name: str = "text") -> str:
    """The text with the tables between its markers made anew.

        <!-- shapley-bench: five-liners Max -->      points without peers, of these games (none named: all)
        <!-- shapley-bench: peers -->                points with peers
        <!-- shapley-bench: sorts Max -->            beside a copy and a sort, see `sorts`
        <!-- shapley-bench: primitives Table -->     beside a copy or a matrix product, see `primitives`
        <!-- shapley-bench: end -->

    Raises:
        CommandError: there is no marker, one is not closed, or a table would be empty.
    """
    pieces, position = [], 0
    while start := START.search(text, position):
        end = text.find(END, start.end())
        if end < 0:
            raise CommandError(f"{name}: {start.group().strip()} is not closed by {END}")
        chosen = _chosen(records, start.group(1), start.group(2).split())
        if not chosen:
            raise CommandError(f"{name}: no records for {start.group().strip()}")
        made = {"sorts": sorts, "primitives": primitives}.get(start.group(1), markdown)(chosen)
        pieces += [text[position : start.end()], made, "\n"]
        position = end
    if not pieces:
        raise CommandError(f"{name}: no marker such as <!-- shapley-bench: five-liners Max --> in it")
    return "".join([*pieces, text[position:]])


def _chosen(records: Sequence[Record], kind: str, games: Sequence[str]) -> list[Record]:
    points = by_point(records)
    with_peers = {point for point, at_point in points.items() if any(r.kind == "peer" for r in at_point)}
    return [
        record
        for point, at_point in points.items()
        for record in at_point
        if (point in with_peers) == (kind == "peers") and (not games or record.game in games)
    ]


def stale(paths: Iterable[Path], records: Sequence[Record]) -> dict[Path, str]:
    """The files that are not what `filled` makes of them, with what they should be."""
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    new = {path: filled(text, records, str(path)) for path, text in texts.items()}
    return {path: new[path] for path, text in texts.items() if text != new[path]}
