"""The picture: what changes against plain GRPO, and who gets the credit."""

from io import BytesIO
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from shapley_kernels.cli.compute import Results

SHOWN_POINTS = 6000
SAMPLED_ROLLOUTS = 3000
MOST_BOXES = 16
"""Ranks that have a box each; more are drawn as bands."""

FAR = 3
"""Times the credits from which the worth of a set is told instead of drawn, since little else could be seen."""

QUANTILES = (5, 25, 50, 75, 95)

KEPT, TURNED, FLAT = "#0072B2", "#D55E00", "#7F7F7F"  # Okabe and Ito: told apart by colour-blind eyes, and in grey
BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "frameon": False}


def draw(stream: IO[bytes], kind: str, results: Results, title: str, value: str) -> None:
    """Write the picture of some of the rollouts, the same ones in every run.

    Args:
        kind: png, pdf or svg.
        value: name of the value that shared the credit, such as "shapley".
    """
    value = value[:1].upper() + value[1:]
    figure = Figure(figsize=(12.5, 6.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _advantages(left, results, value)
    _ranks(right, results, value)
    keys = ("rollouts", "groups", "free_riders", "candidates")
    rollouts, groups, riders, candidates = (results.diagnostics[f"shapley/{key}"] for key in keys)
    counts = (
        f"{rollouts:,.0f} rollouts of {groups:,.0f} prompts; advantage of the other sign than under plain GRPO for "
        f"{riders:,.0f} of {candidates:,.0f} candidates"
    )
    shown = title if len(title) <= 100 else title[:97] + "..."
    figure.suptitle(f"{shown}\n{counts}", fontsize=12, parse_math=False)
    drawn = BytesIO()  # since an error of the stream would make matplotlib stumble over itself
    figure.savefig(drawn, format=kind)
    stream.write(drawn.getbuffer())


def _chosen(total: int, wanted: int) -> np.ndarray:
    """At most so many of 0 .. total - 1, in order."""
    return np.sort(np.random.default_rng(0).permutation(total)[:wanted])


def _advantages(axes: Axes, results: Results, value: str) -> None:
    """Plain GRPO's advantage against the candidate's own, the quadrants of opposite sign shaded."""
    total = len(results.advantages)
    chosen = _chosen(total, SHOWN_POINTS)
    y, x = results.advantages[chosen], results.grpo[np.repeat(np.arange(len(results.lengths)), results.lengths)[chosen]]
    some = f"{len(x):,} of {total:,} candidates" if len(x) < total else f"{total:,} candidates"
    axes.set_title(f"What changes against plain GRPO\n{some}", fontsize=11)
    axes.set_xlabel("plain GRPO: advantage of the candidate's set")
    axes.set_ylabel(f"{value}: advantage of the candidate")
    (x0, x1), (y0, y1) = _limits(x, 0.06), _limits(y, 0.17)  # words stand above and below all points
    axes.set(xlim=(x0, x1), ylim=(y0, y1))
    for a, b in (((0, x1), (y0, 0)), ((x0, 0), (0, y1))):
        axes.fill_between(a, b[0], b[1], color=TURNED, alpha=0.08, linewidth=0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    turned = x * y < 0
    flat = (x == 0) & (y != 0)
    for these, colour, marker, label in (
        (~turned & ~flat, KEPT, "o", "same sign"),
        (flat, FLAT, "s", "plain GRPO gives 0"),
        (turned, TURNED, "^", "the other sign"),
    ):
        if these.any():
            style: dict[str, Any] = {"marker": marker, "alpha": 0.55, "rasterized": True, "zorder": 3}
            axes.scatter(x[these], y[these], 28 if len(x) < 1000 else 9, colour, label=label, linewidths=0, **style)
    _quadrant(axes, 0.98, 0.02, "bottom", "right", "carried", turned & (x > 0))
    _quadrant(axes, 0.02, 0.98, "top", "left", "held back", turned & (x < 0))
    if len(x):
        axes.legend(ncols=3, markerscale=1.5, **BELOW)


def _limits(x: np.ndarray, margin: float) -> tuple[float, float]:
    """Of an axis that holds `x` with margins, in parts of all, and has a third of its length or more beside 0."""
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    beside = margin * ((high - low) or 1.0) / (1 - 2 * margin)
    low, high = low - beside, high + beside
    return min(low, -high / 2), max(high, -low / 2)


def _quadrant(axes: Axes, x: float, y: float, vertical: str, horizontal: str, name: str, inside: np.ndarray) -> None:
    text = f"{name} by\nthe others: {100 * inside.mean() if len(inside) else 0:.1f} %"
    place: dict[str, Any] = {"va": vertical, "ha": horizontal, "multialignment": horizontal}
    place["transform"] = axes.transAxes
    box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0}
    axes.text(x, y, text, fontsize=10, color="#8A3B00", weight="bold", bbox=box, zorder=4, **place)


def by_rank(results: Results) -> tuple[np.ndarray, np.ndarray]:
    """Credits [rollouts, ranks], those of the best reward first, and the worth of the sets [rollouts].

    The ranks of rollouts with at least so many candidates, so that all ranks are of the same rollouts: what differs
    from rank to rank is not who has that many. Their number is the one with most candidates in the picture.
    """
    lengths = results.lengths
    counts = np.cumsum(np.bincount(lengths, minlength=1)[::-1])[::-1]  # rollouts with at least so many candidates
    ranks = int(np.argmax(counts * np.arange(len(counts))))
    rows = np.flatnonzero(lengths >= max(ranks, 1))
    rows = rows[_chosen(len(rows), SAMPLED_ROLLOUTS)]
    starts = np.cumsum(lengths) - lengths
    credits = np.empty((len(rows), ranks))
    for own, start, length in zip(credits, starts[rows], lengths[rows], strict=True):
        order = np.argsort(-results.rewards[start : start + length], kind="stable")
        own[:] = results.credits[start : start + length][order[:ranks]]
    return credits, results.worth[rows]


def _ranks(axes: Axes, results: Results, value: str) -> None:
    """Credit by rank in the rollout, next to the worth of the set that plain GRPO gives to every candidate."""
    credits, worth = by_rank(results)
    rollouts, ranks = credits.shape
    with_as_many = int((results.lengths >= ranks).sum())
    some = f"{rollouts:,} of {with_as_many:,}" if rollouts < with_as_many else f"the {rollouts:,}"
    in_all = f", of {len(results.lengths):,} in all" if with_as_many < len(results.lengths) else ""
    what = f"{some} rollouts with at least {ranks} candidates{in_all}" if rollouts else "there are no candidates"
    axes.set_title(f"Who gets the credit\n{what}", fontsize=11)
    axes.set_xlabel(f"rank of the candidate within its rollout (1 = best reward), n = {rollouts:,} at each rank")
    axes.set_ylabel("credit, in units of reward")
    axes.axhline(0, color="black", linewidth=0.8)
    if not rollouts:
        return
    place, quantiles = np.arange(1, ranks + 1), np.percentile(credits, QUANTILES, axis=0)
    if ranks <= MOST_BOXES:
        median = {"color": "black", "linewidth": 1.6}
        style: dict[str, Any] = {"whis": (5, 95), "showfliers": False, "patch_artist": True, "medianprops": median}
        boxes = axes.boxplot(list(credits.T), positions=place, widths=0.55, **style)["boxes"]
        for box in boxes:
            box.set(facecolor=KEPT, alpha=0.45)
        shown = boxes[0]
        axes.set_xticks(place, map(str, place))
    else:
        axes.fill_between(place, quantiles[0], quantiles[4], color=KEPT, alpha=0.2, linewidth=0)
        shown = axes.fill_between(place, quantiles[1], quantiles[3], color=KEPT, alpha=0.45, linewidth=0)
        axes.plot(place, quantiles[2], color="black", linewidth=1.6)
    axes.set_xlim(0.4, ranks + 0.6)
    middle, how = float(np.median(worth)), "median"
    dashes: dict[str, Any] = {"color": TURNED, "linestyle": "--", "linewidth": 1.6}
    if middle <= FAR * quantiles.max():
        axes.axhline(middle, **dashes)
    else:
        how = f"median {middle:.3g}, above what is shown"
    names = [f"{value}: median, quartiles, 5th and 95th percentile", f"plain GRPO: the set's worth, to each ({how})"]
    axes.legend([shown, Line2D([], [], **dashes)], names, **BELOW)
