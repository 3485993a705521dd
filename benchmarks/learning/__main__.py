"""Does it learn? `exact` enumerates, `run` trains, `page` fills docs/results/learning.md; `make learning` does all of
it."""

import argparse
import json
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.learning import exact, report, runs
from benchmarks.learning.tasks import SCHEMES
from shapley_kernels import BackendUnavailable

EVERY_S = 60.0
"""Where there is no bar, a line comes at most so often."""


def bar(words: str) -> Progress:
    """None when stderr is no terminal."""
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def say(words: str) -> None:
    print(f"benchmarks.learning: {words}", file=sys.stderr, flush=True)


def enumerate_policies(args: argparse.Namespace) -> None:
    with bar("exact") as progress:
        found = list(progress.track(exact.measure_all(), total=2 * len(exact.GAMES) * len(exact.ALL)))
    exact.RECORDS.write_text("".join(json.dumps(record) + "\n" for record in found))


def run(args: argparse.Namespace) -> None:
    say(f"{len(runs.read())} runs are in {runs.RECORDS.name}; what is missing is trained")
    with bar("runs") as progress:
        task, told = progress.add_task("runs", total=None), time.monotonic()

        def tell(finished: int, total: int) -> None:
            nonlocal told
            progress.update(task, completed=finished, total=total)
            if progress.disable and (finished == total or time.monotonic() - told >= EVERY_S):
                say(f"{finished} of the {total} runs of this phase are done")
                told = time.monotonic()

        runs.run_all(args.seeds, args.schemes, args.workers, tell)


def page(args: argparse.Namespace) -> None:
    done, enumerated = runs.read(), exact.read()
    pages = (report.PAGE, report.VALUES)
    texts = [report.filled(path.read_text(encoding="utf-8"), done, enumerated) for path in pages]
    report.draw(report.PICTURE, done)  # first, since matplotlib may be missing
    for path, text in zip(pages, texts, strict=True):
        path.write_text(text, encoding="utf-8")


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
    try:
        args.do(args)
    except BackendUnavailable as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say(f"interrupted; finished runs are kept in {runs.RECORDS.name}, and `run` goes on from there")
        sys.exit(130)


if __name__ == "__main__":
    main()
