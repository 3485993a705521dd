"""What a person is told when the command is done; all of it on stderr."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from shapley_kernels.cli.compute import Results

SHOWN_CANDIDATES = 12
CAPTION = (
    "credit: the candidate's share of what its set is worth\n"
    "advantage: credit beside that of the other candidates of the prompt, for a policy loss"
)


def summary(diagnostics: Mapping[str, float], skipped: int, seconds: float) -> Table:
    """The counts of `rl.diagnostics` with a word on what each means."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")

    def line(name: str, key: str, meaning: str, share: str | None = None) -> None:
        part = f" ({100 * diagnostics[f'shapley/{share}']:.1f} %)" if share else ""
        table.add_row(name, f"{diagnostics[f'shapley/{key}']:,.0f}{part}", meaning)

    line("rollouts", "rollouts", "")
    if diagnostics["shapley/empty_rollouts"]:
        line("  empty", "empty_rollouts", "without candidates: the set is worth what nothing is worth")
    line("  turned", "turned_rollouts", "their sum has the other sign than plain GRPO's", "turned_rollout_share")
    each, spread = (diagnostics[f"shapley/candidates_per_rollout{name}"] for name in ("", "_std"))
    line("candidates", "candidates", f"{each:.3g} per rollout, standard deviation {spread:.3g}")
    line("  tied", "tied_candidates", "same reward as another of the rollout", "tied_share")
    line("  sign turned", "free_riders", "against plain GRPO: free-riders, held-back ones", "free_rider_share")
    line("groups", "groups", "prompts")
    line("  zero-variance", "zero_variance_groups", "sets of equal worth: plain GRPO gives 0", "zero_variance_share")
    line("    rescued", "rescued_groups", "candidates differ all the same", "rescued_share")
    table.add_row("rows skipped", f"{skipped:,}", "")
    speed = f"{diagnostics['shapley/rollouts'] / seconds:,.0f} rollouts/s" if seconds > 0 else ""
    table.add_row("time", f"{seconds:.1f} s", speed)
    return table


def first_rollouts(results: Results, rows: int) -> Table:
    """Rewards, credits and advantages of the first rollouts, a line per candidate."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=CAPTION, caption_justify="left")
    shown.add_column("prompt", max_width=32, overflow="ellipsis", no_wrap=True)
    for name in ("rollout", "candidate", "reward", "credit", "advantage"):
        shown.add_column(name, justify="right", no_wrap=True)
    start = 0
    for row, n in enumerate(results.lengths[:rows].tolist()):
        for j in range(min(n, SHOWN_CANDIDATES)):
            names = (printable(results.first_prompts[row]), str(row + 1)) if j == 0 else ("", "")
            numbers = (f"{x[start + j]:.4g}" for x in (results.rewards, results.credits))
            shown.add_row(*names, str(j + 1), *numbers, f"{results.advantages[start + j]:+.3f}")
        if n > SHOWN_CANDIDATES:
            shown.add_row("", "", f"+{n - SHOWN_CANDIDATES} more", "", "", "")
        shown.add_section()
        start += n
    return shown


def printable(text: object) -> str:
    """Safe for a terminal: no control characters, and no square bracket taken for markup."""
    plain = "".join(c if c.isprintable() else " " for c in str(text)[:200])
    return plain.replace("[", "\\[")
