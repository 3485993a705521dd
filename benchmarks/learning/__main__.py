"""Does it learn? `exact` enumerates, `run` trains, `page` fills docs/learning.md; `make learning` does all of it."""

import argparse
import json

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.learning import exact, report, runs
from benchmarks.learning.tasks import SCHEMES


def bar(words: str) -> Progress:
    """None when stderr is no terminal."""
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def enumerate_policies(args: argparse.Namespace) -> None:
    with bar("exact") as progress:
        found = list(progress.track(exact.measure_all(), total=2 * len(exact.GAMES) * len(exact.ALL)))
    exact.RECORDS.write_text("".join(json.dumps(record) + "\n" for record in found))


def run(args: argparse.Namespace) -> None:
    with bar("runs") as progress:
        task = progress.add_task("runs", total=None)

        def tell(finished: int, total: int) -> None:
            progress.update(task, completed=finished, total=total)

        runs.run_all(args.seeds, args.schemes, args.workers, tell)


def page(args: argparse.Namespace) -> None:
    done = runs.read()
    text = report.PAGE.read_text(encoding="utf-8")
    report.PAGE.write_text(report.filled(text, done, exact.read()), encoding="utf-8")
    report.draw(report.PICTURE, done)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    commands = parser.add_subparsers(required=True)
    exactly = commands.add_parser("exact", help="gradient estimates of random small policies, in seconds")
    training = commands.add_parser("run", help="train what is not in runs.jsonl yet; can be stopped at any time")
    training.add_argument("--seeds", type=int, default=10, help="reported runs per scheme and task")
    training.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES))
    training.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    writing = commands.add_parser("page", help="tables and curves from the records")
    for command, do in ((exactly, enumerate_policies), (training, run), (writing, page)):
        command.set_defaults(do=do)
    args = parser.parse_args()
    args.do(args)


if __name__ == "__main__":
    main()
