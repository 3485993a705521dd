"""The page docs/learning.md from the records: tables between markers, and the curves."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning import runs
from benchmarks.learning.tasks import SCHEMES, TASKS

PAGE = Path(__file__).parents[2] / "docs" / "learning.md"
MARKED = re.compile(r"(<!-- learning: ([a-z ]+) -->\n).*?(<!-- learning: end -->)", re.DOTALL)
BLOCK = 5
"""Steps per point of a curve."""
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
    head = ["scheme", "relative bias", "cosine with grad E[worth]", "signal to noise", "the same, credits centred"]
    its = [r for r in records if (r["game"], r["sequential"]) == (game, sequential)]
    return table(
        head,
        [
            [r["scheme"], "0" if max(r["bias"]) < 1e-9 else cell(r["bias"], np.median, ".3g")]
            + [cell(r[key], np.median, ".3g") for key in ("cosine", "snr", "centred_snr")]
            for r in its
        ],
    )


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


def final(records: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """[seeds], over the last 20 steps."""
    return curves(records, name)[:, -FINAL:].mean(1)


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


def difference_cell(its: np.ndarray, others: np.ndarray) -> str:
    """Difference of the means, with the bootstrap over both."""
    rng = np.random.default_rng(0)
    drawn = [x[rng.integers(len(x), size=(2000, len(x)))].mean(1) for x in (its, others)]
    low, high = np.quantile(drawn[0] - drawn[1], (0.025, 0.975))
    return f"{its.mean() - others.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def result_table(done: dict[runs.Run, dict[str, Any]], task: str) -> str:
    """A row per scheme, in the order of `SCHEMES`."""
    found = reported(done, task)
    if "GRPO" not in found:
        return "GRPO, which the others are compared with, has not been run yet.\n"
    level = threshold(found)
    head = ["scheme", "seeds", "final set reward", "mean over all steps", "that less GRPO's", f"steps to {level:.3f}"]
    head += ["end below start", "candidate's own reward", "different candidates", "candidates"]
    grpo = curves(found["GRPO"], "set_reward").mean(1)
    rows = []
    for scheme, its in found.items():
        overall = curves(its, "set_reward").mean(1)
        cells = [str(len(its)), cell(final(its, "set_reward")), cell(overall)]
        cells += ["–" if scheme == "GRPO" else difference_cell(overall, grpo), speed_cell(steps_to(its, level))]
        fallen = final(its, "set_reward") < curves(its, "set_reward")[:, 0]
        cells += [f"{fallen.sum()} of {len(its)}", cell(final(its, "candidate_reward"))]
        cells += [cell(final(its, name), digits=".2f") for name in ("distinct", "candidates")]
        rows.append([scheme, *cells])
    return table(head, rows)


def rates_table(done: dict[runs.Run, dict[str, Any]], task: str) -> str:
    """Mean set reward over all steps and all seeds, those for tuning included, at every learning rate."""
    rows = []
    for scheme in runs.FIRST:
        cells = []
        for rate in runs.LEARNING_RATES:
            its = [runs.mean_reward(r) for run, r in done.items() if run[:3] == (task, scheme, rate)]
            cells.append(f"{cell(its)}, {len(its)}" if len(its) > 1 else "–")
        rows.append([scheme, *cells])
    return table(["scheme", *(f"{rate:g}" for rate in runs.LEARNING_RATES)], rows)


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
            case ["runs", task]:
                return result_table(done, task)
            case ["rates", task]:
                return rates_table(done, task)
            case ["tuning"]:
                return tuning_table(done)
            case ["origin"]:
                return origin(done)
        raise ValueError(f"{PAGE}: no table is called {name!r}")

    return MARKED.sub(lambda match: match[1] + part(match[2]) + match[3], text)


def draw(path: Path, done: dict[runs.Run, dict[str, Any]]) -> None:
    """Curves with intervals: a row per task."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {
        "set_reward": "set reward",
        "candidate_reward": "candidate's own reward",
        "distinct": "different candidates",
    }
    figure = Figure(figsize=(13, 7.5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    for row, task in zip(figure.subplots(len(TASKS), len(shown), sharex=True), TASKS, strict=True):
        for axes, (name, words) in zip(row, shown.items(), strict=True):
            for scheme, its in reported(done, task).items():
                colour, points = COLOURS[list(SCHEMES).index(scheme)], curves(its, name)
                steps = BLOCK * (0.5 + np.arange(points.shape[1]))
                axes.plot(steps, points.mean(0), color=colour, label=f"{scheme} ({len(its)} seeds)")
                if scheme in runs.FIRST:  # more bands hide each other
                    axes.fill_between(steps, *interval(points), color=colour, alpha=0.15, linewidth=0)
            axes.set_title(f"{task}: {words}")
            axes.grid(True, alpha=0.25)
        row[0].legend(frameon=False, fontsize=8)
    for axes in figure.axes[-len(shown) :]:
        axes.set_xlabel("step")
    figure.savefig(path, metadata={"Software": None})
