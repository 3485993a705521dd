"""Which credit teaches? `exact` enumerates, `simulate`, `films`, `dice` and `run` train, `page` fills
docs/results/learning.md.

`make learning` does all of it.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from benchmarks.learning import dice, exact, films, report, runs, simulator
from benchmarks.learning.records import Record, Records
from shapley_kernels import BackendUnavailable

EVERY_S = 60.0
"""Where there is no bar, a line comes at most so often."""


def say(words: str) -> None:
    print(f"benchmarks.learning: {words}", file=sys.stderr, flush=True)


def finish(records: Records, jobs: Iterable[Any], do: Callable[..., Record], workers: int) -> None:
    """What is not in the records yet, behind a bar, or with a line now and then where stderr is no terminal."""
    jobs = list(jobs)
    done = records.by(type(jobs[0]))
    missing = [job for job in jobs if job not in done]
    say(f"{len(jobs) - len(missing)} of {len(jobs)} are in {records.packed.name}; the others follow")
    columns, console = (*Progress.get_default_columns(), MofNCompleteColumn()), Console(stderr=True)
    told = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(records.packed.name, total=len(missing))

        def tell(finished: int) -> None:
            nonlocal told
            progress.update(task, completed=finished)
            if progress.disable and (finished == len(missing) or time.monotonic() - told >= EVERY_S):
                say(f"{finished} of these {len(missing)} are done")
                told = time.monotonic()

        records.run(missing, do, workers, tell)


def enumerate_policies(args: argparse.Namespace) -> None:
    exact.RECORDS.pack(exact.measure_all())


def simulate(args: argparse.Namespace) -> None:
    finish(simulator.RECORDS, simulator.plan(), simulator.do, args.workers)


def recommend(args: argparse.Namespace) -> None:
    films.ratings()  # before torch is imported; both may be missing
    from benchmarks.learning import writer

    finish(films.RECORDS, films.plan(), writer.do, args.workers)


def roll(args: argparse.Namespace) -> None:
    from benchmarks.learning import dice_writer

    finish(dice.RECORDS, dice.plan(), dice_writer.do, args.workers)


def run(args: argparse.Namespace) -> None:
    runs.origin()  # before anything is imported that may be missing
    from benchmarks.learning import train

    finish(runs.RECORDS, runs.plan(args.seeds), train.do, args.workers)


def page(args: argparse.Namespace) -> None:
    evidence = report.Evidence.read()
    pages = (report.PAGE, report.VALUES)
    texts = [report.filled(path.read_text(encoding="utf-8"), evidence) for path in pages]
    report.draw(report.PICTURE, evidence)  # first, since matplotlib may be missing
    for path, text in zip(pages, texts, strict=True):
        path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for do, name, words in (
        (enumerate_policies, "exact", "gradient estimates of random small policies, in seconds"),
        (simulate, "simulate", "small policies on six utilities, what is missing; can be stopped at any time"),
        (recommend, "films", "a transformer that writes five films, real ratings, what is missing; likewise"),
        (roll, "dice", "a transformer that writes expressions, what is missing; likewise"),
        (run, "run", "the same through TRL, what is missing; can be stopped at any time"),
        (page, "page", "tables and picture from the records"),
    ):
        command = commands.add_parser(name, help=words)
        command.set_defaults(do=do)
        if name in ("simulate", "films", "dice", "run"):
            command.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
        if name == "run":
            command.add_argument("--seeds", type=int, default=10, help="per task, credit and learning rate")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from what it starts with &
    try:
        args.do(args)
    except BackendUnavailable as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; what is finished is kept, and the same command goes on from there")
        sys.exit(130)


if __name__ == "__main__":
    main()
