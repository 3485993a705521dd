"""`python -m benchmarks.learning run | exact | page`; `make learning` does all of it."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.learning import runs
from benchmarks.learning.tasks import SCHEMES


def run(args: argparse.Namespace) -> None:
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=args.no_progress) as progress:
        bar = progress.add_task("runs", total=None)
        runs.run_all(
            args.seeds,
            args.schemes,
            args.workers,
            args.records,
            lambda finished, total: progress.update(bar, completed=finished, total=total),
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("run", help="train what is not in the records yet; can be stopped at any time")
    training.add_argument("--seeds", type=int, default=10, help="reported runs per scheme and task")
    training.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    training.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    training.add_argument("--records", type=Path, default=runs.RECORDS)
    training.add_argument("--no-progress", action="store_true")
    training.set_defaults(do=run)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    sys.exit(main())
