"""The page docs/results/learning.md, and a table of docs/guides/values.md, from the records: tables between markers,
and a picture."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.learning import dice, exact, films, runs, simulator
from benchmarks.learning.records import Record
from benchmarks.learning.runs import BLOCK, RATES, TASKS, Run
from benchmarks.learning.schemes import SCHEMES
from shapley_kernels import BackendUnavailable

PAGE = Path(__file__).parents[2] / "docs" / "results" / "learning.md"
PICTURE = PAGE.with_suffix(".png")
VALUES = PAGE.parents[1] / "guides" / "values.md"
"""Another page that shows tables of the records."""
MARKED = re.compile(r"(<!-- learning: (.+?) -->\n).*?(<!-- learning: end -->)", re.DOTALL)
FINAL = 20
"""The last steps of a run, which its end is the mean of."""
SHOWN = {"SuffixSwap(0.5)": "#0072B2", "CandidateSwap": "#56B4E9", "LeaveOneOut": "#009E73", "Shapley": "#D55E00"}
"""In the picture, with colours of Okabe and Ito."""
PANELS = {
    "8 sets": "simulated, 8 sets per update",
    "64 sets": "simulated, 64 sets per update",
    "films": "real ratings: five films, 32 sets",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


class Lead(NamedTuple):
    """Of a scheme over GRPO, on the same instances or seeds: the mean difference, half its 95 % interval by Student's
    t, and the p of no difference."""

    mean: float
    half: float
    p: float


def lead(its: np.ndarray, grpo: np.ndarray) -> Lead:
    found = ttest_1samp(its - grpo, 0.0)
    low, high = found.confidence_interval()
    return Lead(float((its - grpo).mean()), float(high - low) / 2, float(found.pvalue))


def holm(leads: dict[Any, Lead], level: float = 0.05) -> set[Any]:
    """The leads that stand when all of these are asked for at once, by Holm's procedure."""
    order = sorted(leads, key=lambda key: leads[key].p)
    fits = [leads[key].p <= level / (len(order) - i) for i, key in enumerate(order)]
    return set(order[: fits.index(False) if False in fits else len(fits)])


def lead_cell(found: Lead, stands: bool) -> str:
    """**+0.131** ± 0.009; bold where it stands."""
    mean = f"{found.mean:+.3f}"
    return f"{f'**{mean}**' if stands else mean} ± {found.half:.3f}"


# -- exact -----------------------------------------------------------------------------------------------------------


def cell(samples: Iterable[float], digits: str = ".3g") -> str:
    """0.941 [0.932, 0.950]: the median and its 95 % percentile bootstrap."""
    found = np.asarray(list(samples), float)
    drawn = np.random.default_rng(0).integers(len(found), size=(2000, len(found)))
    low, high = np.quantile(np.median(found[drawn], axis=1), (0.025, 0.975), method="nearest")
    return f"{np.median(found):{digits}} [{low:{digits}}, {high:{digits}}]"


def exact_table(records: Sequence[dict[str, Any]], game: str, sequential: bool) -> str:
    """Medians over the policies."""
    head = ["scheme", "relative bias", "cosine with grad E[worth]", "signal to noise", "credits centred", "by slot"]
    head += [f"gain at {sets}" for sets in exact.SETS_PER_UPDATE] + ["GRPO gains more from"]
    its = [r for r in records if (r["game"], r["sequential"]) == (game, sequential)]
    return table(head, [[r["scheme"], *exact_cells(r)] for r in its])


def exact_cells(record: dict[str, Any]) -> list[str]:
    unbiased = max(record["bias"]) < 1e-9
    cells = ["0" if unbiased else cell(record["bias"])]
    cells += [cell(record[key]) for key in ("cosine", "snr", "centred_snr", "slot_snr")]
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


# -- simulator and films ---------------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """The cells of a table, by scheme and utility: those of the schemes that have all of its utilities."""

    utilities: Sequence[str]
    found: dict[tuple[str, str], Record]

    def leads(self, column: str = "mean") -> dict[tuple[str, str], Lead]:
        """By scheme and utility; column: the worth over all steps, "mean", or at the end, "final"."""
        worth = {key: np.array(r[column]) for key, r in self.found.items()}
        return {
            (s, u): lead(x, worth["GRPO", u]) for (s, u), x in worth.items() if s != "GRPO" and ("GRPO", u) in worth
        }

    def percent(self, column: str = "mean") -> dict[tuple[str, str], float]:
        """`leads`, in percent of GRPO's worth."""
        worth = {u: np.mean(self.found["GRPO", u][column]) for u in self.utilities}
        return {key: 100 * x.mean / float(worth[key[1]]) for key, x in self.leads(column).items()}

    def schemes(self) -> list[str]:
        return [s for s in SCHEMES if (s, self.utilities[0]) in self.found] if self.utilities else []

    def overall(self, scheme: str) -> Lead:
        """In percent of GRPO's worth over all steps, mean over utilities; an instance of each makes a sample."""
        pairs = [[np.array(self.found[s, u]["mean"]) for s in (scheme, "GRPO")] for u in self.utilities]
        return lead(*(np.mean([100 * pair[i] / pair[1].mean() for pair in pairs], axis=0) for i in (0, 1)))

    def text(self, column: str) -> str:
        """GRPO's worth, and that of the others less GRPO's; or "updates", or another column of the records."""
        leads = self.leads(column) if column in ("mean", "final") else {}
        stands, schemes = holm(leads), self.schemes()

        def cell(scheme: str, utility: str) -> str:
            if (scheme, utility) in leads:
                return lead_cell(leads[scheme, utility], (scheme, utility) in stands)
            if column == "updates":
                return self.updates(scheme, utility)
            x = self.found[scheme, utility][column]
            return f"{np.mean(x):.3f}" if isinstance(x, list) else f"{x:.2f}"

        if "GRPO" not in schemes:
            return "Not run yet.\n"
        return table(["credit", *self.utilities], [[s, *(cell(s, u) for u in self.utilities)] for s in schemes])

    def updates(self, scheme: str, utility: str) -> str:
        """After how many the mean curve reaches what GRPO ends with, at first."""
        end = np.mean(self.found["GRPO", utility]["final"])
        there = np.flatnonzero(np.array(self.found[scheme, utility]["curve"]) >= end)
        return str(films.EVERY * there[0]) if len(there) else "never"


def summary_table(evidence: "Evidence") -> str:
    """`Compared.overall` of seven tables, and of how many utilities the lead, or the lag, stands."""
    shown = {"8 sets": "8 sets per update", "64 sets": "64 sets", "free": "8, length free", "cost": "8, at a cost"}
    shown |= {"films": "five films, 32 sets", "dice, 8 sets": "expressions, 8", "dice, 64 sets": "expressions, 64"}
    tables = {name: evidence.compared(name) for name in shown}
    leads = {name: x.leads() for name, x in tables.items()}

    def text(scheme: str, name: str) -> str:
        stands = [leads[name][key].mean > 0 for key in holm(leads[name]) if key[0] == scheme]
        if scheme == "GRPO" or scheme not in tables[name].schemes():
            return "–"
        found = tables[name].overall(scheme)
        parts = f"{found.mean:+.1f} ± {found.half:.1f} %,", f"{stands.count(True)} : {stands.count(False)}"
        return " ".join(part.replace(" ", "\u00a0") for part in parts)  # a line breaks between them alone

    rows = [[s, *(text(s, name) for name in shown)] for s in SCHEMES]
    return table(["credit", *shown.values()], [row for row in rows if set(row[1:]) != {"–"}])


# -- transformer -----------------------------------------------------------------------------------------------------

Done = dict[runs.Run, dict[str, Any]]


def overall(record: dict[str, Any]) -> float:
    """The set reward, averaged over all steps: what learning rates are chosen by."""
    return float(np.mean(record["set_reward"]))


def final(record: dict[str, Any], name: str = "set_reward") -> float:
    return float(np.mean(record[name][-FINAL // BLOCK :]))


class Trained(NamedTuple):
    """The runs of a scheme on one task. chosen: for each seed, the run at the rate with the highest mean over all steps
    of the *other* seeds, so that no seed has a say in its own rate."""

    seeds: list[int]
    chosen: list[dict[str, Any]]


def trained(done: Done, task: str, scheme: str) -> Trained | None:
    """Of the seeds that were run at all rates, and so was GRPO; None for fewer than three."""
    its = {(r.learning_rate, r.seed): x for r, x in done.items() if r[:2] == (task, scheme)}
    needed = {seed: [Run(task, s, r, seed) for s in (scheme, "GRPO") for r in RATES] for _, seed in its}
    seeds = sorted(seed for seed, all_of in needed.items() if all(run in done for run in all_of))
    if len(seeds) < 3:
        return None
    grid = [[its[rate, s] for s in seeds] for rate in RATES]
    means = np.array([[overall(r) for r in row] for row in grid])
    best = (means.sum(1, keepdims=True) - means).argmax(0)
    return Trained(seeds, [grid[rate][i] for i, rate in enumerate(best)])


MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {"mean": overall, "final": final}


def trained_leads(done: Done) -> dict[tuple[str, str, str], Lead]:
    """By scheme, task and measure, with the rates that `Trained` chooses, on the seeds that the scheme has."""
    found = {}
    for scheme, task in product((s for s in SCHEMES if s != "GRPO"), TASKS):
        its, grpo = (trained(done, task, s) for s in (scheme, "GRPO"))
        if its and grpo:
            among = [grpo.chosen[grpo.seeds.index(seed)] for seed in its.seeds]
            for name, of in MEASURES.items():
                found[scheme, task, name] = lead(*(np.array([of(r) for r in x]) for x in (its.chosen, among)))
    return found


def transformer_table(done: Done) -> str:
    """A row per task and scheme."""
    leads = trained_leads(done)
    stands, rows = holm(leads), []
    for task, scheme in product(TASKS, SCHEMES):
        if (its := trained(done, task, scheme)) is None:
            continue
        cells = [str(len(its.seeds))]
        for name, of in MEASURES.items():
            x = (scheme, task, name)
            mean = np.mean([of(r) for r in its.chosen])
            cells.append(lead_cell(leads[x], x in stands) if x in leads else f"{mean:.3f}")
        cells += [f"{np.mean([final(r, name) for r in its.chosen]):.2f}" for name in ("distinct", "candidates")]
        cells.append(" → ".join(f"{x:.3f}" for x in np.mean([r["held_out"] for r in its.chosen], axis=0)))
        rows.append([f"{task}, {scheme}", *cells])
    head = ("task, credit", "seeds", "mean over all steps", "end", "different", "candidates", "held-out target")
    return table(head, rows) if rows else "Not run yet.\n"


def origin(done: Done) -> str:
    """With what, and at what cost."""
    packages = sorted({", ".join(f"{name} {v}" for name, v in r["versions"].items()) for r in done.values()})
    commits = ", ".join(sorted({str(r["commit"]) for r in done.values()}))
    hours = sum(r["cpu_s"] for r in done.values()) / 3600
    return f"{len(done)} runs, {hours:.1f} h of one core; {'; '.join(packages)}; commits {commits}.\n"


# -- page ------------------------------------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """All records."""

    enumerated: list[Record]
    simulated: dict[simulator.Cell, Record]
    films: dict[films.Cell, Record]
    dice: dict[dice.Cell, Record]
    trained: Done

    @classmethod
    def read(cls) -> "Evidence":
        return cls(
            exact.RECORDS.read(), *(its.RECORDS.by(its.Cell) for its in (simulator, films, dice)), runs.RECORDS.by(Run)
        )

    def compared(self, name: str) -> Compared:
        """A table of the simulator or of the dice, or "films", of which utilities that lack a scheme are left out."""
        if name == "films":
            found = {(c.scheme, c.utility): r for c, r in self.films.items()}
            whole = [u for u in films.UTILITIES if all((s, u) in found for s in films.CREDITS)]
            return Compared(whole, {key: r for key, r in found.items() if key[1] in whole})
        its, cells = (dice, self.dice) if name in dice.TABLES else (simulator, self.simulated)
        rest = its.Cell("", "", *its.TABLES[name])[2:]
        found = {(c.scheme, c.utility): r for c, r in cells.items() if c[2:] == rest}
        full = {s for s in SCHEMES if all((s, u) in found for u in its.UTILITIES)}
        return Compared(its.UTILITIES, {key: r for key, r in found.items() if key[0] in full})

    def fingerprint(self) -> str:
        """Stands in the picture, so that one of other records is found out."""
        drawn = json.dumps([*self.simulated.values(), *self.films.values()])
        return "records " + hashlib.sha256(drawn.encode()).hexdigest()[:16]


def filled(text: str, evidence: Evidence) -> str:
    """The text with what stands between its markers made anew."""

    def part(name: str) -> str:
        match name.split(": "):
            case ["exact", game, candidates]:
                return exact_table(evidence.enumerated, game, candidates == "sequential")
            case ["gains"]:
                return gains_table(evidence.enumerated)
            case ["summary"]:
                return summary_table(evidence)
            case ["cells", column, cells]:
                return evidence.compared(cells).text(column)
            case ["transformer"]:
                return transformer_table(evidence.trained)
            case ["origin"]:
                return origin(evidence.trained)
        raise ValueError(f"{PAGE}: no table is called {name!r}")

    return MARKED.sub(lambda match: match[1] + part(match[2]) + match[3], text)


def draw(path: Path, evidence: Evidence) -> None:
    """What each credit adds to GRPO's worth, in percent of it: a panel per table, a row per utility.

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

    figure = Figure(figsize=(13, 7), dpi=100, layout="constrained")
    canvas, comment = FigureCanvasAgg(figure), PngInfo()
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS), sharex=True), PANELS.items(), strict=True):
        compared = evidence.compared(name)
        leads = compared.leads()
        for i, utility in enumerate(compared.utilities):
            unit = 100 / np.mean(compared.found["GRPO", utility]["mean"])
            for j, (scheme, colour) in enumerate(SHOWN.items()):
                x, y = leads[scheme, utility], i + 0.2 * (j - 1.5)
                axes.barh(y, x.mean * unit, 0.17, xerr=x.half * unit, color=colour, alpha=0.8, ecolor="black")
                right = x.mean > 0
                words = {"ha": "left" if right else "right", "va": "center", "fontsize": 8, "color": colour}
                end = ((x.mean + (x.half if right else -x.half)) * unit, y)
                axes.annotate(scheme, end, (4 if right else -4, 0), textcoords="offset points", **words)
        axes.axvline(0.0, color="black", linewidth=1)
        axes.set_title(title)
        axes.set_xlabel("above GRPO [% of GRPO's worth]")
        axes.set_yticks(range(len(compared.utilities)), compared.utilities)
        axes.invert_yaxis()
        axes.margins(x=0.7)
        axes.grid(True, axis="x", alpha=0.25)
    figure.axes[0].set_ylabel("utility: what a set is worth")
    figure.suptitle("What each credit adds to GRPO: worth of sampled sets, mean over training; 95 % intervals")
    canvas.draw()
    comment.add_text("Comment", evidence.fingerprint())
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(128).save(path, pnginfo=comment, optimize=True)  # a third of the bytes
