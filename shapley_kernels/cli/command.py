"""Options and help of `shapley-allocate`."""

import sys
from enum import Enum
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from shapley_kernels.cli.rows import Columns, InputError
from shapley_kernels.cli.utility import UtilityName, ValueName, utility, value, weights

HEAD_ON_TERMINAL = 5

app = typer.Typer(
    add_completion=True, context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode="rich"
)


class Format(str, Enum):
    """Values of --input-format and --output-format."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class Center(str, Enum):
    """Values of --center."""

    GROUP = "group"
    LOO = "loo"
    SLOT = "slot"
    NONE = "none"


class Scale(str, Enum):
    """Values of --scale."""

    GROUP = "group"
    BATCH = "batch"
    NONE = "none"


class Sizes(str, Enum):
    """Values of --sizes."""

    WORTH = "worth"
    SHARE = "share"


class OnBadRow(str, Enum):
    """Values of --on-bad-row."""

    ERROR = "error"
    SKIP = "skip"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shapley-allocate {installed_version('shapley_kernels')}")
        raise typer.Exit


class Engine(str, Enum):
    """Values of --engine."""

    LOCAL = "local"
    RAY = "ray"


FILES, UTILITY, VALUE, ADVANTAGES, ROWS, REPORT = (
    "Files",
    "What a set is worth",
    "How it is shared",
    "Advantages",
    "Rows",
    "Report",
)


@app.command(no_args_is_help=True)
def allocate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="JSON lines (also .gz) or Parquet, one row per rollout; - is stdin.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the rows go, with credits and advantages added; - is stdout. Appears only when complete. "
            "Without it: stdout when that is piped, else nothing is written.",
            rich_help_panel=FILES,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace output files that exist.", rich_help_panel=FILES)
    ] = False,
    input_format: Annotated[
        Format | None, typer.Option(help="By default told from the data.", rich_help_panel=FILES, show_default=False)
    ] = None,
    output_format: Annotated[
        Format | None,
        typer.Option(help="By default told from the name; stdout: jsonl.", rich_help_panel=FILES, show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A picture of what changes, .png, .pdf or .svg.", rich_help_panel=FILES),
    ] = None,
    utility_name: Annotated[
        UtilityName, typer.Option("--utility", "-u", help="Reward of the whole set.", rich_help_panel=UTILITY)
    ] = UtilityName.MAX,
    m: Annotated[
        int | None, typer.Option("--m", min=1, help="Places, for topm and topm-mean.", rich_help_panel=UTILITY)
    ] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Rank, for kth-best.", rich_help_panel=UTILITY)] = None,
    weight_list: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="W,W,...",
            help="Weight of the best, the next, ..., for owa and discounted.",
            rich_help_panel=UTILITY,
        ),
    ] = None,
    v_empty: Annotated[float, typer.Option("--v-empty", help="Worth of the empty set.", rich_help_panel=UTILITY)] = 0.0,
    value_name: Annotated[
        ValueName,
        typer.Option(
            "--value", "-v", help="The last three are baselines; broadcast is plain GRPO.", rich_help_panel=VALUE
        ),
    ] = ValueName.SHAPLEY,
    p: Annotated[
        float | None, typer.Option("--p", help="For banzhaf, 0.5 if not given.", rich_help_panel=VALUE)
    ] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="For beta.", rich_help_panel=VALUE)] = None,
    beta: Annotated[float | None, typer.Option("--beta", help="For beta.", rich_help_panel=VALUE)] = None,
    size: Annotated[int | None, typer.Option("--size", min=1, help="For stratum.", rich_help_panel=VALUE)] = None,
    center: Annotated[
        Center,
        typer.Option(
            help="What is subtracted: the mean of the prompt, of its other rollouts, of the slot.",
            rich_help_panel=ADVANTAGES,
        ),
    ] = Center.GROUP,
    scale: Annotated[
        Scale,
        typer.Option(
            help="What is divided by: the standard deviation of the prompt or of all rows.", rich_help_panel=ADVANTAGES
        ),
    ] = Scale.GROUP,
    sizes: Annotated[
        Sizes,
        typer.Option(
            help="How lists of different lengths compare: credits times the length, so that worth counts, or as they "
            "are. The column of credits is the same.",
            rich_help_panel=ADVANTAGES,
        ),
    ] = Sizes.WORTH,
    prompt_column: Annotated[
        str, typer.Option(help="Rollouts with equal values form a group.", rich_help_panel=ROWS)
    ] = "prompt_id",
    rewards_column: Annotated[
        str, typer.Option(help="List of the candidates' rewards.", rich_help_panel=ROWS)
    ] = "rewards",
    credits_column: Annotated[str, typer.Option(help="To be added.", rich_help_panel=ROWS)] = "credits",
    advantages_column: Annotated[str, typer.Option(help="To be added.", rich_help_panel=ROWS)] = "advantages",
    on_bad_row: Annotated[
        OnBadRow,
        typer.Option(
            help="A row without a usable prompt id and rewards ends the run, or is left out.", rich_help_panel=ROWS
        ),
    ] = OnBadRow.ERROR,
    bad_rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where skipped rows go, with the reason. "
            "[dim](default: the name of the output with .bad.jsonl behind it)[/dim]",
            rich_help_panel=ROWS,
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="ray: read and share on all machines of a Ray cluster (RAY_ADDRESS, else this machine), which all see "
            "the files; many files are read in parallel. The rows written are the same.",
            rich_help_panel=FILES,
        ),
    ] = Engine.LOCAL,
    head: Annotated[
        int | None,
        typer.Option(
            "--head", min=0, metavar="N", help="Show the first N rollouts.", rich_help_panel=REPORT, show_default=False
        ),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary/--quiet", help="Summary and progress, on stderr.", rich_help_panel=REPORT)
    ] = True,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit.", rich_help_panel=REPORT
        ),
    ] = False,
) -> None:
    """Share the reward of each rollout's set of candidates among them: Shapley credits and GRPO advantages.

    [bold]shapley-allocate rollouts.jsonl -o credits.parquet --plot credits.png[/bold]

    [bold]shapley-allocate rollouts.parquet -u topm --m 3 --head 5 -o credits.jsonl[/bold]

    [bold]zcat rollouts.jsonl.gz | shapley-allocate - | jq -c .credits[/bold]

    Each row has a prompt id and a list of rewards of any length; its other columns are kept as they are.

    Files may be larger than the memory; large ones need temporary space in $TMPDIR. The summary goes to stderr.

    Exit status: 0 written, 1 refused by the system, 2 input or options to put right, 3 all rows bad and skipped.
    """  # a line per paragraph: help keeps the ends of lines in all but the first
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        from shapley_kernels.cli.run import Job, run
        from shapley_kernels.rl import RewardAllocator

        if sys.stdout is None and output in (None, "-"):
            raise InputError("stdout is closed, where the rows would go; give -o FILE")
        on_terminal = output is None and sys.stdout.isatty()
        run(
            Job(
                inputs=inputs,
                allocator=RewardAllocator(
                    utility(utility_name, v_empty, m=m, k=k, weights=weights(weight_list)),
                    value(value_name, p=p, alpha=alpha, beta=beta, size=size),
                    center.value,
                    scale.value,
                    sizes=sizes.value,
                ),
                value_name=value_name.value.capitalize(),
                least=("--k", k) if k is not None else ("--m", m) if m is not None else None,
                columns=Columns(prompt_column, rewards_column, credits_column, advantages_column),
                output=None if on_terminal else output or "-",
                input_format=input_format and input_format.value,
                output_format=output_format and output_format.value,
                skip_bad=on_bad_row is OnBadRow.SKIP,
                bad_rows=bad_rows,
                plot=plot,
                head=(HEAD_ON_TERMINAL if on_terminal else 0) if head is None else head,
                quiet=not summary,
                force=force,
                engine=engine.value,
            ),
            console,
        )
        if on_terminal and summary:
            typer.echo("nothing was written; -o FILE writes the rows", err=True)
    except InputError as error:
        _fail(str(error), error.status)
    except BrokenPipeError:  # whoever reads stdout has enough
        raise typer.Exit(141) from None
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error), 1)
    except MemoryError as error:
        _fail(f"not enough memory ({error}); groups of many long rollouts take most", 1)
    except KeyboardInterrupt as error:
        _fail(f"interrupted; {error}" if str(error) else "interrupted", 130)


def _fail(message: str, status: int) -> None:
    typer.echo(f"shapley-allocate: {message}", err=True)
    raise typer.Exit(status)
