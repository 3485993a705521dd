"""The picture: time against players and rows, bandwidth under the measured roof, and speed-ups."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from shapley_kernels._command import CommandError
from shapley_kernels.bench.records import Record, pooled
from shapley_kernels.bench.scaling import series
from shapley_kernels.bench.table import by_point, duration, ours, shape_name

OWN = ("numba", "triton", "torch")
COLOURS = {  # Okabe and Ito: told apart by colour-blind eyes
    "numba": "#0072B2",
    "triton": "#0072B2",
    "torch": "#56B4E9",
    "numpy-five-liner": "#D55E00",
    "torch-five-liner": "#E69F00",
    "compiled-five-liner": "#F0E442",
    "numpy-enumeration": "#CC79A7",
    "shapiq": "#009E73",
}
MARKERS = dict(zip(COLOURS, "oo^sDvPX", strict=True))
OTHER = "#7F7F7F"

SHOWN_BARS = 16


def draw(kind: str, records: Sequence[Record], game: str, title: str | None = None) -> bytes:
    """The picture of the records as png, pdf or svg; several of one point are pooled. What has no data has no axes.

    Args:
        game: whose times are drawn.

    Raises:
        CommandError: no records of the game; records of different clocks, which cannot stand in one picture.
    """
    records = pooled(records)
    clocks = sorted({record.clock for record in records})
    if len(clocks) > 1:
        raise CommandError("some records are of wall time and some of CPU time, which no picture compares; draw each")
    its = [record for record in records if record.game == game]
    if not its:
        have = ", ".join(sorted({record.game for record in records}))
        raise CommandError(f"no records of {game}; there are {have}")
    panels: list[Callable[[Axes], None]] = []
    for axis, what in (("players", "candidates per set"), ("rows", "the number of sets")):
        lines = {name: s for name, s in series(its, axis).items() if len(s) > 1}
        if lines:
            panels.append(partial(_times, lines=lines, axis=axis, title=f"Time against {what}: {game}{sizes(lines)}"))
    panels.append(partial(_roofline, records=its, every=records))
    if ratios := _ratios(records):
        panels.append(partial(_speed_ups, points=ratios))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.5 * columns, 4.7 * rows + 0.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for i, panel in enumerate(panels, 1):
        panel(figure.add_subplot(rows, columns, i))
    figure.suptitle(f"{title}\n{provenance(its)}" if title else provenance(its), fontsize=11, parse_math=False)
    drawn = BytesIO()
    figure.savefig(drawn, format=kind)
    return drawn.getvalue()


def provenance(records: Sequence[Record]) -> str:
    """Where, when, and how the time was read."""

    def of(values: Iterable[Any]) -> str:
        return ", ".join(sorted(set(map(str, values))))

    machines = of(r.of.machine["gpu" if r.device != "cpu" else "cpu"] for r in records)
    clock = {"wall": "wall time", "cpu": "CPU time"}[records[0].clock]
    threads, dtypes, days = (of(x) for x in zip(*((r.threads, r.dtype, r.time[:10]) for r in records), strict=True))
    return f"{machines}\n{clock}, threads: {threads}, {dtypes}, {days}"


def sizes(lines: Mapping[Any, Sequence[Record]]) -> str:
    """The shapes of what is drawn, from the first to the last."""
    longest = max(lines.values(), key=len)
    return f", {shape_name(longest[0].shape)} to {shape_name(longest[-1].shape)}"


def _style(method: str) -> dict[str, Any]:
    return {"color": COLOURS.get(method, OTHER), "marker": MARKERS.get(method, "."), "markersize": 5}


def _named(record: Record) -> str:
    """Its method; "torch" alone would be taken for somebody else's."""
    return f"{record.method} (ours)" if record.kind == "ours" else record.method


def _log_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", alpha=0.25)


def _times(axes: Axes, lines: Mapping[tuple[str, str], Sequence[Record]], axis: str, title: str) -> None:
    """Medians with the band of the 20 % and 80 % quantiles."""
    axes.set_title(title, fontsize=10)
    _log_axes(axes, {"players": "candidates per set", "rows": "sets"}[axis], "time of a call")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))
    for (_, method), s in sorted(lines.items()):
        x = [getattr(r, axis) for r in s]
        axes.plot(x, [r.median_s for r in s], label=_named(s[0]), **_style(method))
        axes.fill_between(x, [r.q20_s for r in s], [r.q80_s for r in s], color=COLOURS.get(method, OTHER), alpha=0.15)
    s = next(iter(lines.values()))
    axes.plot([getattr(r, axis) for r in s], [r.roof_s for r in s], color="black", linestyle=":", label="copy")
    if sorts := [(getattr(r, axis), r.sort_s) for r in s if r.sort_s]:
        axes.plot(*zip(*sorts, strict=True), color="black", linestyle="-.", label="np.sort")
    axes.legend(frameon=False, fontsize=8)


def _roofline(axes: Axes, records: Sequence[Record], every: Sequence[Record]) -> None:
    """Unavoidable bytes per second; the roof are copies of as many bytes, grey dots whose spread is its noise."""
    axes.set_title("Bandwidth under the measured roof", fontsize=10)
    _log_axes(axes, "bytes read and written, at least", "GB/s")
    for method in dict.fromkeys(r.method for r in records if r.kind != "peer"):
        its = [r for r in records if r.method == method]
        style = {**_style(method), "linestyle": "none"}
        axes.plot([r.bytes for r in its], [r.bytes / r.median_s / 1e9 for r in its], label=_named(its[0]), **style)
    copies = np.array(sorted({(r.bytes, r.bytes / r.roof_s / 1e9) for r in every}))
    low, high = min(r.bytes for r in records) / 2, max(r.bytes for r in records) * 2
    copies = copies[(copies[:, 0] >= low) & (copies[:, 0] <= high)]
    axes.plot(*copies.T, color=OTHER, marker=".", markersize=4, linestyle="none", alpha=0.5, label="a copy")
    bins = np.round(np.log2(copies[:, 0]))
    middle = np.array([np.median(copies[bins == b], axis=0) for b in np.unique(bins)])
    axes.plot(*middle.T, color="black", linestyle=":", label="copies: median")
    axes.legend(frameon=False, fontsize=8)


def _ratios(records: Sequence[Record]) -> list[tuple[str, float, str]]:
    """Name of the point, how many times faster than the better five-liner, and which that is; the least first."""
    ratios = []
    for its in by_point(records).values():
        lines = [r for r in its if r.kind == "five-liner" and r.method != "compiled-five-liner"]
        if (own := ours(its)) and lines:
            best = min(lines, key=lambda r: r.median_s)
            name = f"{own.game} {shape_name(own.shape)}{' masked' * own.masked}"
            ratios.append((name, best.median_s / own.median_s, best.method))
    return sorted(ratios, key=lambda item: item[1])


def _speed_ups(axes: Axes, points: Sequence[tuple[str, float, str]]) -> None:
    """How many times faster than the better five-liner; bars to the left of 1 are losses."""
    title = "Speed-up over the better five-liner"
    if len(points) > SHOWN_BARS:  # evenly over the range, both ends included
        title += f" ({SHOWN_BARS} of {len(points)} points)"
        points = [points[i] for i in np.linspace(0, len(points) - 1, SHOWN_BARS).astype(int)]
    axes.set_title(title, fontsize=10)
    place = np.arange(len(points))
    ratios = np.array([ratio for _, ratio, _ in points])
    axes.barh(place, ratios - 1, left=1, color=[COLOURS[method] for *_, method in points], alpha=0.8)
    axes.set_yticks(place, [name for name, *_ in points], fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.axvline(1, color="black", linewidth=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} x"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
    for y, ratio in zip(place, ratios, strict=True):
        axes.annotate(f"{ratio:.2f} x", (max(ratio, 1), y), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlabel("time of the five-liner (orange: numpy, yellow: torch) / ours")
