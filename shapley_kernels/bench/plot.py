"""The picture: time against players and rows, bandwidth under the measured roof, and speed-ups."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from shapley_kernels.bench.records import BenchError, Record, pooled
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


def check_name(path: Path) -> None:
    """Raise a BenchError for a format that matplotlib does not write."""
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise BenchError(f"{path}: expected a file name that ends in .png, .pdf or .svg")


def draw(stream: IO[bytes], suffix: str, records: Sequence[Record], game: str) -> None:
    """Write the picture of the records; several of one point are pooled.

    Args:
        game: whose times are drawn.
    """
    records = pooled(records)
    its = [record for record in records if record.game == game]
    if not its:
        have = ", ".join(sorted({record.game for record in records}))
        raise BenchError(f"no records of {game}; there are {have}")
    figure = Figure(figsize=(13, 9.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    (players, rows), (roof, speed) = figure.subplots(2, 2)
    _times(players, its, "players", f"Time against candidates per set: {game}")
    _times(rows, its, "rows", f"Time against the number of sets: {game}")
    _roofline(roof, its)
    _speed_ups(speed, records)
    machines = sorted({str(r.machine.get("gpu") if r.device != "cpu" else r.machine.get("cpu")) for r in records})
    figure.suptitle("; ".join(machines), fontsize=12)
    figure.savefig(stream, format=suffix)


def _style(method: str) -> dict[str, Any]:
    return {"color": COLOURS.get(method, OTHER), "marker": MARKERS.get(method, "."), "markersize": 5}


def _log_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", alpha=0.25)


def _times(axes: Axes, records: Sequence[Record], axis: str, title: str) -> None:
    """Medians with the band of the 20 % and 80 % quantiles."""
    axes.set_title(title)
    _log_axes(axes, {"players": "candidates per set", "rows": "sets"}[axis], "time of a call")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))
    found = {name: s for name, s in series(records, axis).items() if len(s) > 1}
    if not found:
        _nothing(axes, f"no records that differ in {axis} alone: shapley-bench scaling -o FILE")
        return
    for (_, method), s in sorted(found.items()):
        x = [getattr(r, axis) for r in s]
        axes.plot(x, [r.median_s for r in s], label=method, **_style(method))
        axes.fill_between(x, [r.q20_s for r in s], [r.q80_s for r in s], color=COLOURS.get(method, OTHER), alpha=0.15)
    s = next(iter(found.values()))
    axes.plot([getattr(r, axis) for r in s], [r.roof_s for r in s], color="black", linestyle=":", label="copy")
    axes.legend(frameon=False, fontsize=8)


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=9, color=OTHER)


def _roofline(axes: Axes, records: Sequence[Record]) -> None:
    """Unavoidable bytes per second; a copy of as many bytes, measured in the same rounds, is the roof."""
    axes.set_title("Bandwidth under the measured roof")
    _log_axes(axes, "bytes read and written, at least", "GB/s")
    for method in dict.fromkeys(r.method for r in records if r.kind != "peer"):
        its = [r for r in records if r.method == method]
        style = {**_style(method), "linestyle": "none"}
        axes.plot([r.bytes for r in its], [r.bytes / r.median_s / 1e9 for r in its], label=method, **style)
    sizes = sorted({r.bytes for r in records})
    roofs = [np.median([r.bytes / r.roof_s for r in records if r.bytes == size]) / 1e9 for size in sizes]
    axes.plot(sizes, roofs, color="black", linestyle=":", label="copy (roof)")
    axes.legend(frameon=False, fontsize=8)


def _speed_ups(axes: Axes, records: Sequence[Record]) -> None:
    """How many times faster than the best five-liner; bars to the left of 1 are losses."""
    axes.set_title("Speed-up over the better five-liner")
    found = []
    for its in by_point(records).values():
        lines = [r for r in its if r.kind == "five-liner" and r.method != "compiled-five-liner"]
        own = ours(its)
        if own and lines:
            best = min(lines, key=lambda r: r.median_s)
            found.append((f"{own.game} {shape_name(own.shape)}", best.median_s / own.median_s, best.method))
    if not found:
        _nothing(axes, "no point with a five-liner beside ours")
        return
    found = sorted(found, key=lambda item: item[1])
    if len(found) > SHOWN_BARS:  # evenly over the range, both ends included
        axes.set_title(f"Speed-up over the better five-liner ({SHOWN_BARS} of {len(found)} points)")
        found = [found[i] for i in np.linspace(0, len(found) - 1, SHOWN_BARS).astype(int)]
    place = np.arange(len(found))
    ratios = np.array([ratio for _, ratio, _ in found])
    axes.barh(place, ratios - 1, left=1, color=[COLOURS[method] for *_, method in found], alpha=0.8)
    axes.set_yticks(place, [name for name, *_ in found], fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.axvline(1, color="black", linewidth=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} x"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
    for y, ratio in zip(place, ratios, strict=True):
        axes.annotate(f"{ratio:.2f} x", (max(ratio, 1), y), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlabel("time of the five-liner (orange: numpy, yellow: torch) / ours")
