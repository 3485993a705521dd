"""Options and help of `shapley-allocate`."""

import sys
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from shapley_kernels._command import CommandError, GivenOnce, ending
from shapley_kernels.cli.rows import Columns
from shapley_kernels.cli.utility import UTILITIES, ValueName, utility, value

HEAD_ON_TERMINAL = 5

Format = Literal["jsonl", "parquet"]

app = typer.Typer(
    add_completion=True, context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode="rich"
)


class Command(GivenOnce, TyperCommand):
    """See `GivenOnce`."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shapley-allocate {installed_version('shapley_kernels')}")
        raise typer.Exit


FILES, UTILITY, VALUE, ADVANTAGES, ROWS, REPORT = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Files", "What a set is worth", "How it is shared", "Advantages", "Rows", "Report")
)
"""Options by their panel in the help."""


@app.command(cls=Command, no_args_is_help=True)
@ending("shapley-allocate")
def allocate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="JSON lines (also .gz, .bz2, .xz, .zst) or Parquet, one row per rollout; - is stdin. All files "
            "together are one data set.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        FILES(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the rows go, with credits and advantages added; - is stdout. Appears only when complete. "
            "Without it: stdout when that is piped, else nothing is written.",
        ),
    ] = None,
    force: Annotated[bool, FILES("--force", "-f", help="Replace output files that exist.")] = False,
    input_format: Annotated[Format | None, FILES(help="By default told from the data.", show_default=False)] = None,
    output_format: Annotated[
        Format | None, FILES(help="By default told from the name; stdout: jsonl.", show_default=False)
    ] = None,
    plot: Annotated[Path | None, FILES(metavar="FILE", help="A picture of what changes, .png, .pdf or .svg.")] = None,
    title: Annotated[str | None, FILES(help="Of the picture.", show_default=False)] = None,
    utility_text: Annotated[
        str,
        UTILITY(
            "--utility",
            "-u",
            metavar="UTILITY",
            autocompletion=lambda incomplete: [name for name in UTILITIES if name.startswith(incomplete)],
            help=f"Reward of the whole set: {', '.join(UTILITIES)}; or a sum, '0.7*topm(3) + 0.3*coverage(passed)'. "
            "clusters, facility and coverage read a column with a label or a list of numbers for each candidate.",
        ),
    ] = "max",
    m: Annotated[int | None, UTILITY("--m", min=1, help="topm --m 3 is topm(3); also topm-mean.")] = None,
    k: Annotated[int | None, UTILITY("--k", min=1, help="kth-best --k 2 is kth-best(2).")] = None,
    weight_list: Annotated[
        str | None,
        UTILITY(
            "--weights",
            metavar="W,W,...",
            help="Of the best, the next, ..: owa --weights 1,.5 is owa(1, .5); also discounted.",
        ),
    ] = None,
    v_empty: Annotated[float, UTILITY("--v-empty", help="Worth of the empty set.")] = 0.0,
    value_name: Annotated[
        ValueName,
        VALUE(
            "--value",
            "-v",
            help="suffix-swap and candidate-swap compare with the prompt's other rollouts; the last three are "
            "baselines, and broadcast is plain GRPO.",
        ),
    ] = "shapley",
    p: Annotated[
        float | None, VALUE("--p", help="For banzhaf: the chance of each other candidate, 0.5 if not given.")
    ] = None,
    alpha: Annotated[float | None, VALUE("--alpha", help="For beta: if large, small sets count.")] = None,
    beta: Annotated[float | None, VALUE("--beta", help="For beta: if large, large sets count.")] = None,
    size: Annotated[int | None, VALUE("--size", min=1, help="For stratum: the k of max@k.")] = None,
    lam: Annotated[
        float | None, VALUE("--lam", help="For suffix-swap: 1 has no bias, 0 least noise; 0.5 if not given.")
    ] = None,
    center: Annotated[
        Literal["group", "loo", "slot", "none"],
        ADVANTAGES(help="What is subtracted: the mean of the prompt, of its other rollouts, of the slot."),
    ] = "group",
    scale: Annotated[
        Literal["group", "batch", "none"],
        ADVANTAGES(help="What is divided by: the standard deviation of the prompt or of all rows."),
    ] = "group",
    sizes: Annotated[
        Literal["worth", "share"],
        ADVANTAGES(
            help="How lists of different lengths compare: credits times the length, so that worth counts, or as they "
            "are. The column of credits is the same."
        ),
    ] = "worth",
    prompt_column: Annotated[
        list[str],
        ROWS(
            help="Rollouts with equal values form a group: strings, integers or chat messages. A dot leads into "
            "fields, extra_info.index; may be repeated."
        ),
    ] = ["prompt_id"],  # noqa: B006 (typer wants a list)
    rewards_column: Annotated[str, ROWS(help="A list in each row, the rewards of its candidates.")] = "rewards",
    credits_column: Annotated[str, ROWS(help="What the added column is called.")] = "credits",
    advantages_column: Annotated[str, ROWS(help="What the added column is called.")] = "advantages",
    on_bad_row: Annotated[
        Literal["error", "skip"],
        ROWS(help="A row without a usable prompt id and rewards ends the run, or is left out."),
    ] = "error",
    bad_rows: Annotated[
        Path | None,
        ROWS(
            metavar="FILE",
            help="Where skipped rows go, with the reason. "
            "[dim](default: the name of the output with .bad.jsonl behind it)[/dim]",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        FILES(
            help="ray: read and share on all machines of a Ray cluster (RAY_ADDRESS, else this machine), which all see "
            "the files; many files are read in parallel. The rows written are the same."
        ),
    ] = "local",
    head: Annotated[
        int | None, REPORT("--head", min=0, metavar="N", help="Show the first N rollouts.", show_default=False)
    ] = None,
    summary: Annotated[bool, REPORT("--summary/--quiet", help="Summary and progress, on stderr.")] = True,
    _: Annotated[
        bool, REPORT("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Share the reward of each rollout's set of candidates among them: Shapley credits and GRPO advantages.

    [bold]shapley-allocate rollouts.jsonl -o credits.parquet --plot credits.png[/bold]

    [bold]shapley-allocate rollouts.parquet -u 'topm(3)' --head 5 -o credits.jsonl[/bold]

    [bold]zcat rollouts.jsonl.gz | shapley-allocate - | jq -c .credits[/bold]

    Each row has a prompt id and a list of rewards of any length; its other columns are kept as they are.

    Files may be larger than the memory. What comes through pipes is kept in $TMPDIR. The summary goes to stderr.

    Exit status: 0 written, 1 refused by the system, 2 input or options to put right, 3 no row, or all bad and skipped.
    """  # a line per paragraph: help keeps the ends of lines in all but the first
    from rich.console import Console

    from shapley_kernels.cli.run import Job, run
    from shapley_kernels.rl import RewardAllocator

    if sys.stdout is None and output in (None, "-"):
        raise CommandError("stdout is closed, where the rows would go; give -o FILE")
    on_terminal = output is None and sys.stdout.isatty()
    weights = weight_list.split(",") if weight_list is not None else None
    worth = utility(utility_text, v_empty, m=m, k=k, weights=weights)
    run(
        Job(
            inputs=inputs,
            allocator=RewardAllocator(
                worth, value(value_name, p=p, alpha=alpha, beta=beta, size=size, lam=lam), center, scale, sizes=sizes
            ),
            value_name=value_name,
            columns=Columns(
                tuple(prompt_column),
                rewards_column if worth.reads_rewards else None,
                credits_column,
                advantages_column,
                worth.columns,
                worth.chances,
            ),
            output=None if on_terminal else output or "-",
            input_format=input_format,
            output_format=output_format,
            skip_bad=on_bad_row == "skip",
            bad_rows=bad_rows,
            plot=plot,
            title=title,
            head=(HEAD_ON_TERMINAL if on_terminal else 0) if head is None else head,
            quiet=not summary,
            force=force,
            engine=engine,
        ),
        Console(stderr=True, soft_wrap=True, highlight=False),
    )
    if on_terminal and summary:
        typer.echo("nothing was written; -o FILE writes the rows", err=True)
