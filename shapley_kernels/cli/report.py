"""What a person sees while the command runs and when it is done; all of it on stderr."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from shapley_kernels.cli.compute import Table

SHOWN_CANDIDATES = 12


class Steps:
    """A progress bar for each step; none when stderr is no terminal."""

    def __init__(self, console: Console, visible: bool) -> None:
        columns = (TextColumn("{task.description:<9}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not (visible and console.is_terminal)
        )

    @contextmanager
    def running(self) -> Iterator["Steps"]:
        with self._progress:
            yield self

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """A new bar of `total` units, and the function that moves it on."""
        task = self._progress.add_task(name, total=total)
        return lambda amount: self._progress.advance(task, amount)


def summary(found: Mapping[str, float], skipped: int, seconds: float) -> RichTable:
    """The counts of `rl.diagnostics` with a word on what each means."""
    table = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")

    def line(name: str, key: str, meaning: str, share: str | None = None) -> None:
        part = f" ({100 * found[f'shapley/{share}']:.1f} %)" if share else ""
        table.add_row(name, f"{found[f'shapley/{key}']:,.0f}{part}", meaning)

    line("rollouts", "rollouts", "")
    line("  turned", "turned_rollouts", "their candidates together, against their set", "turned_rollout_share")
    each, spread = (found[f"shapley/candidates_per_rollout{name}"] for name in ("", "_std"))
    line("candidates", "candidates", f"{each:.3g} per rollout, standard deviation {spread:.3g}")
    line("  tied", "tied_candidates", "same reward as another of the rollout", "tied_share")
    line("  sign turned", "free_riders", "against plain GRPO: free-riders, held-back ones", "free_rider_share")
    line("groups", "groups", "prompts")
    line("  zero-variance", "zero_variance_groups", "sets of equal worth: plain GRPO gives 0", "zero_variance_share")
    line("    rescued", "rescued_groups", "candidates differ all the same", "rescued_share")
    table.add_row("rows skipped", f"{skipped:,}", "")
    speed = f"{found['shapley/rollouts'] / seconds:,.0f} rollouts/s" if seconds > 0 else ""
    table.add_row("time", f"{seconds:.1f} s", speed)
    return table


def smaller_sets(option: str, number: int, longest: int) -> str:
    """What is said where no set has as many candidates as the utility counts."""
    what = "all sets are worth --v-empty" if option == "--k" else "all candidates of every set count"
    return f"{option} {number} is more than any set has candidates, {longest} at most, so {what}"


def first_rollouts(table: Table, rows: int) -> RichTable:
    """Rewards, credits and advantages of the first rollouts, a line per candidate."""
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("prompt", max_width=32, overflow="ellipsis", no_wrap=True)
    for name in ("rollout", "candidate", "reward", "credit", "advantage"):
        shown.add_column(name, justify="right", no_wrap=True)
    rows = min(rows, len(table.lengths))
    credits, advantages, lengths = table.results(0, rows)
    rewards, start = table.rewards(0, rows), 0
    for row, n in enumerate(lengths.tolist()):
        for j in range(min(n, SHOWN_CANDIDATES)):
            names = (printable(table.first_prompts[row]), str(row + 1)) if j == 0 else ("", "")
            numbers = (f"{x[start + j]:.4g}" for x in (rewards, credits))
            shown.add_row(*names, str(j + 1), *numbers, f"{advantages[start + j]:+.3f}")
        if n > SHOWN_CANDIDATES:
            shown.add_row("", "", f"+{n - SHOWN_CANDIDATES} more", "", "", "")
        shown.add_section()
        start += n
    return shown


def printable(text: object) -> str:
    """Safe for a terminal: no control characters, and no square bracket taken for markup."""
    plain = "".join(c if c.isprintable() else " " for c in str(text)[:200])
    return plain.replace("[", "\\[")
