"""The picture: what changes against plain GRPO, and who gets the credit."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shapley_kernels.cli.compute import Sample
from shapley_kernels.cli.rows import InputError

SAMPLED_ROLLOUTS = 3000
SHOWN_RANKS = 12
SHOWN_POINTS = 6000

KEPT, TURNED, FLAT = "#0072B2", "#D55E00", "#7F7F7F"  # Okabe and Ito: told apart by colour-blind eyes, and in grey


def kind(name: str) -> str:
    """The picture format of a file name.

    Raises:
        InputError: matplotlib does not write it.
    """
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    if suffix not in ("png", "pdf", "svg"):
        raise InputError(f"--plot {name}: expected a file name that ends in .png, .pdf or .svg")
    return suffix


def draw(stream: IO[bytes], suffix: str, sample: Sample, found: Mapping[str, float], value: str) -> None:
    """Write the picture of the sampled rollouts.

    Args:
        value: name of the value that shared the credit, such as "Shapley".
    """
    figure = Figure(figsize=(12.5, 6.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _advantages(left, sample, value)
    _ranks(right, sample, value)
    keys = ("rollouts", "groups", "free_riders", "candidates")
    rollouts, groups, riders, candidates = (found[f"shapley/{key}"] for key in keys)
    figure.suptitle(
        f"{rollouts:,.0f} rollouts of {groups:,.0f} prompts: advantage of the other sign for {riders:,.0f} "
        f"of {candidates:,.0f} candidates",
        fontsize=13,
    )
    drawn = BytesIO()  # since an error of the stream would make matplotlib stumble over itself
    figure.savefig(drawn, format=suffix)
    stream.write(drawn.getbuffer())


def _advantages(axes: Axes, sample: Sample, value: str) -> None:
    """Plain GRPO's advantage against the candidate's own, the quadrants of opposite sign shaded."""
    x, y = sample.joined("grpo"), sample.joined("advantage")
    chosen = np.random.default_rng(0).permutation(len(x))[:SHOWN_POINTS]
    x, y = x[chosen], y[chosen]
    axes.set_title(f"What changes against plain GRPO ({len(x):,} candidates shown)")
    axes.set_xlabel("plain GRPO: advantage of the candidate's set")
    axes.set_ylabel(f"{value}: advantage of the candidate")
    (x0, x1), (y0, y1) = _around_zero(x), _around_zero(y)
    axes.set(xlim=(x0, x1), ylim=(y0, y1))
    for a, b in (((0, x1), (y0, 0)), ((x0, 0), (0, y1))):
        axes.fill_between(a, b[0], b[1], color=TURNED, alpha=0.08, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    turned = x * y < 0
    flat = (x == 0) & (y != 0)
    size = 28 if len(x) < 1000 else 9
    for these, colour, marker, label in (
        (~turned & ~flat, KEPT, "o", "same sign"),
        (flat, FLAT, "s", "plain GRPO gives 0"),
        (turned, TURNED, "^", "another sign"),
    ):
        if these.any():
            axes.scatter(
                x[these],
                y[these],
                s=size,
                c=colour,
                marker=marker,
                alpha=0.55,
                linewidths=0,
                label=label,
                rasterized=True,
                zorder=3,
            )
    _quadrant(axes, 0.98, 0.02, "bottom", "right", "carried by the others", turned & (x > 0))
    _quadrant(axes, 0.02, 0.98, "top", "left", "held back by the others", turned & (x < 0))
    if len(x):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False, markerscale=1.5)


def _around_zero(x: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that holds `x` and has room for words on both sides of 0."""
    low, high = min(0.0, float(x.min(initial=0))), max(0.0, float(x.max(initial=0)))
    span = (high - low) or 1.0
    return min(1.15 * low, -0.35 * span), max(1.25 * high, 0.35 * span)


def _quadrant(axes: Axes, x: float, y: float, vertical: str, horizontal: str, name: str, inside: np.ndarray) -> None:
    text = f"{name}: {100 * inside.mean() if len(inside) else 0:.1f} %"
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        va=vertical,
        ha=horizontal,
        fontsize=10,
        color="#8A3B00",
        weight="bold",
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def _ranks(axes: Axes, sample: Sample, value: str) -> None:
    """Credit by rank in the rollout, next to the worth of the set that plain GRPO gives to every candidate."""
    rank, credit, worth = (sample.joined(name) for name in ("rank", "credit", "broadcast"))
    axes.set_title("Who gets the credit")
    axes.set_xlabel("rank of the candidate within its rollout (1 = best reward)")
    axes.set_ylabel("credit, in units of reward")
    shown = np.arange(1, min(SHOWN_RANKS, int(rank.max(initial=0))) + 1)
    if not len(shown):
        return
    boxes = axes.boxplot(
        [credit[rank == k] for k in shown],
        positions=shown,
        widths=0.55,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        medianprops={"color": "black", "linewidth": 1.6},
    )
    for box in boxes["boxes"]:
        box.set(facecolor=KEPT, alpha=0.45)
    medians = [np.median(worth[rank == k]) for k in shown]
    (line,) = axes.plot(shown, medians, color=TURNED, marker="D", linestyle="--", markersize=5)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(shown, [str(k) for k in shown])
    axes.legend(
        [boxes["boxes"][0], line],
        [
            f"{value}: median, quartiles, 5th and 95th percentile",
            "plain GRPO: the set's worth goes to every candidate (median)",
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        frameon=False,
    )
