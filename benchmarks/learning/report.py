"""The page docs/results/learning.md, and a table of docs/guides/values.md, from the records: tables between markers,
and curves."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning import exact, runs
from benchmarks.learning.runs import BLOCK
from benchmarks.learning.tasks import SCHEMES, TASKS
from shapley_kernels import BackendUnavailable

PAGE = Path(__file__).parents[2] / "docs" / "results" / "learning.md"
PICTURE = PAGE.with_suffix(".png")
VALUES = PAGE.parents[1] / "guides" / "values.md"
"""Another page that shows tables of the records."""
MARKED = re.compile(r"(<!-- learning: ([a-z ]+) -->\n).*?(<!-- learning: end -->)", re.DOTALL)
FINAL = 4
"""The last 20 steps, in points."""
SHARE = 0.9
COLOURS = ("#000000", "#E69F00", "#009E73", "#0072B2", "#56B4E9", "#CC79A7", "#D55E00", "#7F7F7F")  # Okabe and Ito


def interval(samples: np.ndarray, statistic: Any = np.mean) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile bootstrap over the first axis: low and high, of the shape of a sample."""
    drawn = np.random.default_rng(0).integers(len(samples), size=(2000, len(samples)))
    low, high = np.quantile(statistic(samples[drawn], axis=1), (0.025, 0.975), axis=0, method="nearest")
    return low, high


def cell(samples: Iterable[float], statistic: Any = np.mean, digits: str = ".3f") -> str:
    """0.941 [0.932, 0.950]"""
    found = np.asarray(list(samples), float)
    low, high = interval(found, statistic)
    return f"{statistic(found):{digits}} [{low:{digits}}, {high:{digits}}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


# -- exact -----------------------------------------------------------------------------------------------------------


def exact_table(records: Sequence[dict[str, Any]], game: str, sequential: bool) -> str:
    """Medians over the policies."""
    head = ["scheme", "relative bias", "cosine with grad E[worth]", "signal to noise", "credits centred", "by slot"]
    head += [f"gain at {sets}" for sets in exact.SETS_PER_UPDATE] + ["GRPO gains more from"]
    its = [r for r in records if (r["game"], r["sequential"]) == (game, sequential)]
    return table(head, [[r["scheme"], *exact_cells(r)] for r in its])


def exact_cells(record: dict[str, Any]) -> list[str]:
    unbiased = max(record["bias"]) < 1e-9
    cells = ["0" if unbiased else cell(record["bias"], np.median, ".3g")]
    cells += [cell(record[key], np.median, ".3g") for key in ("cosine", "snr", "centred_snr", "slot_snr")]
    cells += [f"{np.median(gains(record, sets)):.3f}" for sets in exact.SETS_PER_UPDATE]
    overtaken = np.median(record["overtaken"])
    if record["scheme"] == "GRPO":
        return [*cells, "–"]
    return [*cells, "never" if np.isinf(overtaken) else f"{overtaken:.0f}" if overtaken else "the start"]


def gains(record: dict[str, Any], sets: int) -> np.ndarray:
    """[policies], credits centred over the group."""
    return exact.gain(np.array(record["cosine"]), np.array(record["centred_snr"]), sets)


def gains_table(records: Sequence[dict[str, Any]]) -> str:
    """For lists: medians over the policies, best candidate / different candidates."""
    shown = ["GRPO", "Shapley", "LeaveOneOut", "CandidateSwap", "SuffixSwap(0.5)", "SuffixSwap(1)"]
    found = {(r["game"], r["scheme"]): r for r in records if r["sequential"]}
    head = ["credit", *(f"gain at B = {sets}" for sets in exact.SETS_PER_UPDATE), "GRPO gains more from"]
    rows = []
    for scheme in shown:
        both = [found[game, scheme] for game in exact.GAMES]
        cells = [" / ".join(f"{np.median(gains(r, sets)):.3f}" for r in both) for sets in exact.SETS_PER_UPDATE]
        rows.append([scheme, *cells, " / ".join(exact_cells(r)[-1] for r in both)])
    return table(head, rows)


# -- runs ------------------------------------------------------------------------------------------------------------


def reported(done: dict[runs.Run, dict[str, Any]], task: str) -> dict[str, list[dict[str, Any]]]:
    """Scheme -> its runs at the tuned learning rate, seeds other than those it was tuned on."""
    found = {}
    for scheme in SCHEMES:
        rate = runs.best_learning_rate(done, task, scheme)
        its = [r for run, r in done.items() if run[:3] == (task, scheme, rate) and run.seed not in runs.TUNING_SEEDS]
        if len(its) > 1:
            found[scheme] = its
    return found


def curves(records: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """[seeds, points]"""
    return np.array([r[name] for r in records])


def middles(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """[points]: the steps at which to draw them."""
    return BLOCK * (0.5 + np.arange(len(records[0]["set_reward"])))


def final(records: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """[seeds], over the last 20 steps."""
    return np.array([np.mean(r[name][-FINAL:]) for r in records])


def overall(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """[seeds], over all steps."""
    return np.array([runs.mean_reward(r) for r in records])


def fallen(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """[seeds]: whether the set reward ends lower than it began."""
    return final(records, "set_reward") < curves(records, "set_reward")[:, 0]


def lost(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """[seeds]: whether the format was lost at some time, a point of the set reward under a tenth of the first."""
    points = curves(records, "set_reward")
    return points.min(1) < 0.1 * points[:, 0]


def back(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """[seeds]: whether it was lost, and the set reward ends at half of where it began or more."""
    return lost(records) & (final(records, "set_reward") >= 0.5 * curves(records, "set_reward")[:, 0])


def threshold(found: dict[str, list[dict[str, Any]]]) -> float:
    """90 % of the final set reward of the best scheme."""
    return SHARE * max(final(its, "set_reward").mean() for its in found.values())


def steps_to(records: Sequence[dict[str, Any]], level: float) -> np.ndarray:
    """[seeds]: steps until a point of the curve reaches the level; infinite where none does."""
    reached = curves(records, "set_reward") >= level
    return np.where(reached.any(1), BLOCK * (1.0 + reached.argmax(1)), np.inf)


def speed_cell(steps: np.ndarray) -> str:
    """The median, where it is finite, and how many seeds arrive."""
    arrived = f"{np.isfinite(steps).sum()} of {len(steps)}"
    low, high = interval(steps, lambda x, axis: np.quantile(x, 0.5, axis=axis, method="inverted_cdf"))
    middle = np.quantile(steps, 0.5, method="inverted_cdf")
    shown = [f"{x:.0f}" if np.isfinite(x) else "never" for x in (middle, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}], {arrived}"


def difference(its: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:
    """Of the means, with the bootstrap over both: middle, low, high."""
    rng = np.random.default_rng(0)
    drawn = [x[rng.integers(len(x), size=(2000, len(x)))].mean(1) for x in (its, others)]
    low, high = np.quantile(drawn[0] - drawn[1], (0.025, 0.975))
    return float(its.mean() - others.mean()), float(low), float(high)


def difference_cell(its: np.ndarray, others: np.ndarray) -> str:
    """+0.106 [+0.017, +0.213]"""
    if min(len(its), len(others)) < 2:
        return "–"
    middle, low, high = difference(its, others)
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"


def result_table(done: dict[runs.Run, dict[str, Any]], task: str) -> str:
    """A row per scheme, in the order of `SCHEMES`."""
    found = reported(done, task)
    if "GRPO" not in found:
        return "GRPO, which the others are compared with, has not been run yet.\n"
    level = threshold(found)
    head = ["scheme", "seeds", "final set reward", "mean over all steps", "that less GRPO's", f"steps to {level:.3f}"]
    head += ["end below start", "candidate's own reward", "different candidates", "candidates"]
    grpo = overall(found["GRPO"])
    rows = []
    for scheme, its in found.items():
        cells = [str(len(its)), cell(final(its, "set_reward")), cell(overall(its))]
        cells += ["–" if scheme == "GRPO" else difference_cell(overall(its), grpo), speed_cell(steps_to(its, level))]
        cells += [f"{fallen(its).sum()} of {len(its)}", cell(final(its, "candidate_reward"))]
        cells += [cell(final(its, name), digits=".2f") for name in ("distinct", "candidates")]
        rows.append([scheme, *cells])
    return table(head, rows)


def at_rates(done: dict[runs.Run, dict[str, Any]], task: str, scheme: str) -> dict[float, list[dict[str, Any]]]:
    """Learning rate -> its runs on all seeds, those for tuning included."""
    return {rate: [r for run, r in done.items() if run[:3] == (task, scheme, rate)] for rate in runs.LEARNING_RATES}


def at_the_best_rate(done: dict[runs.Run, dict[str, Any]], task: str, scheme: str) -> list[dict[str, Any]]:
    """Its runs at the rate with the highest mean over all seeds, in hindsight."""
    return max(at_rates(done, task, scheme).values(), key=lambda its: overall(its).mean() if len(its) > 1 else 0.0)


def rates_table(done: dict[runs.Run, dict[str, Any]], task: str) -> str:
    """Mean set reward over all steps at every learning rate, and the number of seeds."""
    rows = []
    for scheme in runs.FIRST:
        cells = [
            f"{cell(overall(its))}, {len(its)}" if len(its) > 1 else "–"
            for its in at_rates(done, task, scheme).values()
        ]
        rows.append([scheme, *cells])
    return table(["scheme", *(f"{rate:g}" for rate in runs.LEARNING_RATES)], rows)


def leads(done: dict[runs.Run, dict[str, Any]], task: str, scheme: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The scheme's means over all steps and GRPO's [seeds]: at each learning rate, then each at its best one; last, the
    final set rewards of these."""

    def columns(name: str) -> list[np.ndarray]:
        best = at_the_best_rate(done, task, name)
        return [*map(overall, at_rates(done, task, name).values()), overall(best), final(best, "set_reward")]

    return [*zip(columns(scheme), columns("GRPO"), strict=True)]


def leads_table(done: dict[runs.Run, dict[str, Any]]) -> str:
    """What `rates_table` shows, less GRPO's."""
    pairs = [(task, scheme) for task in TASKS for scheme in runs.FIRST if scheme != "GRPO"]
    head = ["task, scheme", *(f"{rate:g}" for rate in runs.LEARNING_RATES), "each at its best", "the same, final"]
    return table(head, [[", ".join(pair), *(difference_cell(*x) for x in leads(done, *pair))] for pair in pairs])


def lost_table(done: dict[runs.Run, dict[str, Any]]) -> str:
    """At every learning rate: runs that lost the format / of these, back in the end / that end below their start."""
    rows = []
    for task in TASKS:
        for scheme in runs.FIRST:
            found = at_rates(done, task, scheme).values()
            cells = [f"{lost(x).sum()} / {back(x).sum()} / {fallen(x).sum()} of {len(x)}" if x else "–" for x in found]
            rows.append([f"{task}, {scheme}", *cells])
    return table(["task, scheme", *(f"{rate:g}" for rate in runs.LEARNING_RATES)], rows)


def tuning_table(done: dict[runs.Run, dict[str, Any]]) -> str:
    """Mean set reward over all steps and the tuning seeds; the chosen one is bold."""
    head = ["task, scheme", *(f"{rate:g}" for rate in runs.LEARNING_RATES)]
    rows = []
    for task in TASKS:
        for scheme in SCHEMES:
            best = runs.best_learning_rate(done, task, scheme)
            if best is None:
                continue
            means = {
                rate: np.mean([runs.mean_reward(done[runs.Run(task, scheme, rate, s)]) for s in runs.TUNING_SEEDS])
                for rate in runs.LEARNING_RATES
            }
            cells = [f"**{mean:.3f}**" if rate == best else f"{mean:.3f}" for rate, mean in means.items()]
            rows.append([f"{task}, {scheme}", *cells])
    return table(head, rows)


def origin(done: dict[runs.Run, dict[str, Any]]) -> str:
    """With what, and at what cost."""
    records = list(done.values())
    if not records:
        return "No run is done yet.\n"
    packages = sorted({", ".join(f"{name} {v}" for name, v in r["versions"].items()) for r in records})
    commits = ", ".join(sorted({str(r["commit"]) for r in records}))
    hours = sum(r["cpu_s"] for r in records) / 3600
    weights = ", ".join(sorted({r["weights"] for r in records}))
    return (
        f"{len(records)} runs, {np.median([r['cpu_s'] for r in records]):.0f} s of one core each ({hours:.1f} h); "
        f"{'; '.join(packages)}; commit {commits}; weights after the warm start {weights}.\n"
    )


# -- page ------------------------------------------------------------------------------------------------------------


def filled(text: str, done: dict[runs.Run, dict[str, Any]], enumerated: Sequence[dict[str, Any]]) -> str:
    """The text with what stands between its markers made anew."""

    def part(name: str) -> str:
        match name.split():
            case ["exact", game, candidates]:
                return exact_table(enumerated, game, candidates == "sequential")
            case ["gains"]:
                return gains_table(enumerated)
            case ["runs", task]:
                return result_table(done, task)
            case ["rates", task]:
                return rates_table(done, task)
            case ["leads"]:
                return leads_table(done)
            case ["lost"]:
                return lost_table(done)
            case ["tuning"]:
                return tuning_table(done)
            case ["origin"]:
                return origin(done)
        raise ValueError(f"{PAGE}: no table is called {name!r}")

    return MARKED.sub(lambda match: match[1] + part(match[2]) + match[3], text)


def fingerprint(done: dict[runs.Run, dict[str, Any]]) -> str:
    """Stands in the picture, so that one of other records is found out."""
    return "records " + hashlib.sha256(json.dumps(list(done.values())).encode()).hexdigest()[:16]


def draw(path: Path, done: dict[runs.Run, dict[str, Any]]) -> None:
    """Curves with intervals: a row per task.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo
    except ImportError as error:
        raise BackendUnavailable(
            f"the picture needs matplotlib ({error}); pip install matplotlib, or `make learning`, which makes the page "
            "in an environment that has it"
        ) from None

    shown = {
        "set_reward": "set reward",
        "candidate_reward": "candidate's own reward",
        "distinct": "different candidates",
    }
    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    canvas, comment = FigureCanvasAgg(figure), PngInfo()
    for row, task in zip(figure.subplots(len(TASKS), len(shown), sharex=True), TASKS, strict=True):
        for axes, (name, words) in zip(row, shown.items(), strict=True):
            for scheme, its in reported(done, task).items():
                colour, points = COLOURS[list(SCHEMES).index(scheme)], curves(its, name)
                axes.plot(middles(its), points.mean(0), color=colour, label=scheme)
                if scheme in runs.FIRST:  # more bands hide each other
                    axes.fill_between(middles(its), *interval(points), color=colour, alpha=0.12, linewidth=0)
            if its := at_the_best_rate(done, task, "GRPO"):
                axes.plot(middles(its), curves(its, name).mean(0), "k--", label="GRPO at its best rate, in hindsight")
            axes.set_title(f"{task}: {words}")
            axes.grid(True, alpha=0.25)
        row[0].axhline(TASKS[task].alone, color="black", linestyle=":", label="one right candidate, repeated")
    for axes in figure.axes[-len(shown) :]:
        axes.set_xlabel("step")
    lines, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    canvas.draw()
    comment.add_text("Comment", fingerprint(done))
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(128).save(path, pnginfo=comment, optimize=True)  # a third of the bytes
