"""The command's work from the first byte read to the last file put in place."""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from os.path import realpath
from pathlib import Path
from types import FrameType
from typing import IO, Any

from rich.console import Console

from shapley_kernels._command import CommandError, Steps, picture_kind
from shapley_kernels._files import Staged, scratch_file
from shapley_kernels.cli.compute import Results
from shapley_kernels.cli.reading import CHANGED, JsonLines, Rejected, Source, files, is_parquet, unchanged
from shapley_kernels.cli.report import first_rollouts, printable, summary
from shapley_kernels.cli.rows import BadRow, Columns
from shapley_kernels.cli.utility import Utility
from shapley_kernels.cli.writing import JsonLinesSink, json_line
from shapley_kernels.rl import RewardAllocator

ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


class NoGoodRow(CommandError):
    """There was none, which is complete and yet no success."""

    status = 3


@dataclass(frozen=True)
class Job:
    """All that the options say."""

    inputs: list[str]
    allocator: RewardAllocator
    value_name: str = "shapley"
    columns: Columns = field(default_factory=Columns)
    output: str | None = None  # "-" is stdout, None nowhere
    input_format: str | None = None
    output_format: str | None = None
    skip_bad: bool = False
    bad_rows: Path | None = None
    plot: Path | None = None
    title: str | None = None
    head: int = 0
    quiet: bool = False
    force: bool = False
    engine: str = "local"


def run(job: Job, console: Console) -> None:
    """Do it. All output files appear at the end, or none does.

    Raises:
        CommandError: what the user has to put right.
        OSError: what the system refuses.
        KeyboardInterrupt: with what became of the output.
    """
    began = time.monotonic()
    bad_rows, output_format = _bad_rows_file(job), _output_format(job)
    if job.title is not None and not job.plot:
        raise CommandError("--title is that of the picture; give --plot FILE, too")
    _refuse_same_file(job, bad_rows)
    if job.engine == "ray":
        from shapley_kernels.cli import ray_engine

        ray_engine.refuse(job.inputs, job.plot)
    kind = picture_kind(job.plot) if job.plot else ""
    staged = Staged(job.force)
    try:
        with _termination_as_exit(), ExitStack() as open_files, staged:
            out = _output_stream(job.output, output_format, staged)
            bad = BadRowsFile(staged.open(bad_rows)) if bad_rows else None
            picture = staged.open(job.plot) if job.plot else None
            results = Results(job.columns, job.head)
            with Steps(not job.quiet) as steps:
                sources, guess = _sources(job, output_format, open_files)
                with unchanged([source.file for source in sources]):
                    _compute(job, sources, guess, results, steps)
                    if out or bad:
                        _write(job, sources, results, guess, out, bad, staged.holds(out), steps)
                if picture:
                    from shapley_kernels.cli import plot

                    plot.draw(picture, kind, results, _title(job), job.value_name)
            staged.commit()
            skipped = sum(len(source.skipped) for source in sources)
            _tell(job, console, results, skipped, guess, bad_rows, time.monotonic() - began)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(staged.outcome()) from None
    if not len(results.lengths):
        where = f", with reasons in {bad_rows}" if bad_rows and skipped else ""
        outcome = f"no good rows, {skipped:,} bad{where}" if skipped else f"no rows in {_names(job)}"
        raise NoGoodRow(outcome)


def _names(job: Job) -> str:
    return printable(", ".join("stdin" if name == "-" else name for name in job.inputs))


def _title(job: Job) -> str:
    """Of the picture."""
    names = [Path(name).name if name != "-" else "stdin" for name in job.inputs]
    what = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
    utility = getattr(job.allocator.utility, "text", "")
    return job.title if job.title is not None else f"{what}: {utility} shared by {job.value_name}"


def _compute(job: Job, sources: Sequence[Source], guess: Any, results: Results, steps: Steps) -> None:
    """The first pass, and the results of all rows."""
    advance = steps.start("reading", sum(source.file.size for source in sources))
    if job.engine == "ray":
        from shapley_kernels.cli import ray_engine

        ray_engine.fill(results, sources, guess, job.allocator, advance)
        return
    for source in sources:
        for batch in source.batches(advance):
            results.add(batch)
    results.compute(job.allocator, lambda rows: steps.start("sharing", rows), against_grpo=job.plot is not None)


class BadRowsFile:
    """Writes bad rows as JSON lines, each once, however often the second pass starts again."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._written = self._seen = 0

    def start(self) -> None:
        """The second pass starts."""
        self._seen = 0

    def write(self, rows: list[Rejected]) -> None:
        for row in rows:
            self._seen += 1
            if self._seen > self._written:
                self._stream.write(json_line(asdict(row)))
                self._written += 1


def _output_stream(name: str | None, output_format: str, staged: Staged) -> IO[bytes] | None:
    if name is None:
        return None
    if name != "-":
        return staged.open(Path(name))
    if output_format == "parquet" and sys.stdout.isatty():
        raise CommandError("Parquet is not for the terminal; give -o FILE, or a pipe to a program that reads it")
    return staged.stdout()


def _write(
    job: Job,
    sources: Sequence[Source],
    results: Results,
    guess: Any,
    out: IO[bytes] | None,
    bad: BadRowsFile | None,
    rewinds: bool,
    steps: Steps,
) -> None:
    """The second pass, in the format wanted.

    Args:
        rewinds: whether what was written to `out` can be taken back.
    """
    if out is None:
        _copy(sources, results, None, bad, steps)
    elif guess is None:
        with JsonLinesSink(out, job.columns, zipped=str(job.output).endswith(".gz")) as sink:
            _copy(sources, results, lambda rows, *numbers: sink.write(_lines(rows), *numbers), bad, steps)
    elif rewinds:
        _write_parquet(sources, results, guess, out, bad, steps)
    else:
        with scratch_file() as kept:
            _write_parquet(sources, results, guess, kept, bad, steps)
            kept.seek(0)
            shutil.copyfileobj(kept, out, 1 << 20)


def _lines(rows: Any) -> list[bytes]:
    if isinstance(rows, list):
        return rows
    from shapley_kernels.cli.parquet import json_lines

    return json_lines(rows)


def _write_parquet(
    sources: Sequence[Source], results: Results, guess: Any, out: IO[bytes], bad: BadRowsFile | None, steps: Steps
) -> None:
    """The second pass; once more with a column as JSON text for as long as one does not fit its guessed type."""
    from shapley_kernels.cli.parquet import Misfit, ParquetSink

    while True:
        try:
            with ParquetSink(out, guess.schema(), results.columns) as sink:
                _copy(sources, results, sink.write, bad, steps)
        except Misfit as misfit:  # noqa: PERF203 (rare)
            guess.demote(str(misfit))
            out.seek(0)
            out.truncate()
        else:
            sink.refuse_unreadable()
            return


def _copy(
    sources: Sequence[Source],
    results: Results,
    write: Callable[..., None] | None,
    bad: BadRowsFile | None,
    steps: Steps,
) -> None:
    """The second pass: every row with its results to `write`, every bad one to its file.

    Raises:
        CommandError: other rows than those of the first pass, whatever the file system says about the files.
    """
    if bad:
        bad.start()
    advance = steps.start("writing", sum(source.file.size for source in sources))
    row, rows = 0, len(results.lengths)
    try:
        for source in sources:
            for good, rejected in source.rows(advance):
                if row + len(good) > rows:
                    raise BadRow("there was no such row")
                if write and len(good):
                    write(good, *results.of(row, row + len(good)))
                row += len(good)
                if bad:
                    bad.write(rejected)
        if row < rows:
            raise BadRow("there was another row")
    except BadRow:  # none was left in the first pass
        raise CommandError(f"{', '.join(source.file.name for source in sources)}: {CHANGED}") from None


def _tell(
    job: Job, console: Console, results: Results, skipped: int, guess: Any, bad_rows: Path | None, seconds: float
) -> None:
    if job.head and len(results.lengths):
        console.print(first_rollouts(results, job.head))
    longest = int(results.lengths.max(initial=0))
    utility = job.allocator.utility
    for warning in utility.smaller_sets(longest) if isinstance(utility, Utility) and longest else ():
        console.print(f"warning: {warning}")
    if job.quiet:
        return
    console.print(summary(results.diagnostics, skipped, seconds))
    if results.diagnostics["shapley/groups"] == len(results.lengths) > 0:
        console.print(
            "note: every prompt has one rollout, so none is compared with another; --prompt-column names the column "
            f"that the rollouts of a prompt share, now {printable(', '.join(map(repr, job.columns.prompt)))}"
        )
    if guess and guess.as_text:
        names = ", ".join(map(repr, guess.as_text))
        console.print(f"written as JSON text, since their values have no common type: {printable(names)}")
    if skipped and bad_rows:
        console.print(f"the skipped rows, with reasons, are in {printable(bad_rows)}")


def _bad_rows_file(job: Job) -> Path | None:
    if not job.skip_bad:
        if job.bad_rows:
            raise CommandError("--bad-rows needs --on-bad-row skip; without it the first bad row ends the run")
        return None
    if job.bad_rows is None and job.output == "-":
        raise CommandError(
            "--on-bad-row skip needs --bad-rows FILE, since there is no -o FILE to name the side file after"
        )
    return job.bad_rows or (Path(f"{job.output}.bad.jsonl") if job.output else None)


def _refuse_same_file(job: Job, bad_rows: Path | None) -> None:
    """The output may take the place of an input; no other file may be named twice."""
    output = Path(job.output) if job.output and job.output != "-" else None
    taken = {realpath(name): None if output else name for name in job.inputs if name != "-"}
    for option, path in (("-o", output), ("--bad-rows", bad_rows), ("--plot", job.plot)):
        if path is None or (path.exists() and not path.is_file()):
            continue
        if realpath(path) in taken and not (option == "-o" and taken[realpath(path)] is None):
            raise CommandError(
                f"{option} {path}: this file is an input, or another output, of the same run; name another"
            )
        taken[realpath(path)] = option


def _output_format(job: Job) -> str:
    if job.output_format:
        return job.output_format
    if job.output is None or job.output == "-":
        return "jsonl"
    suffix = Path(job.output.removesuffix(".gz")).suffix.lower()
    if suffix not in ENDINGS:
        raise CommandError(
            f"-o {job.output}: the name tells no format; end it in .jsonl, .jsonl.gz or .parquet, or give "
            "--output-format"
        )
    return ENDINGS[suffix]


def _sources(job: Job, output_format: str, open_files: ExitStack) -> tuple[list[Source], Any]:
    """The files, and for Parquet output the guess of the columns' types, else None."""
    inputs = files(job.inputs, open_files)
    formats = [job.input_format or ("parquet" if is_parquet(file) else "jsonl") for file in inputs]
    guess: Any = None
    if output_format == "parquet":
        from shapley_kernels.cli.parquet import SchemaGuess

        guess = SchemaGuess(job.columns.rewards)
    if "parquet" not in formats:
        return [JsonLines(file, job.columns, job.skip_bad, guess and guess.see) for file in inputs], guess
    from shapley_kernels.cli.parquet import ParquetRows, refuse_other_prompts

    sources: list[Source] = []
    for file, kind in zip(inputs, formats, strict=True):
        if kind == "parquet":
            source = ParquetRows(file, job.columns, job.skip_bad)
            sources.append(source)
            if guess:
                guess.see_file(source.schema)
        else:
            sources.append(JsonLines(file, job.columns, job.skip_bad, guess and guess.see))
    refuse_other_prompts([source for source in sources if isinstance(source, ParquetRows)])
    return sources, guess


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Make SIGTERM and SIGHUP an exception, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():  # only there handlers can be set
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    numbers = [number for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number]
    # what is ignored, as SIGHUP is under nohup, stays so
    before = {n: signal.signal(n, stop) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
