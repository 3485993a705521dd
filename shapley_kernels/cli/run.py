"""The command's work from the first byte read to the last file put in place."""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
from shapley_kernels.cli.reading import CHANGED, File, JsonLines, Rejected, Source, files, is_parquet, unchanged
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
            with Steps(not job.quiet) as steps:
                passes = Passes(job, output_format, open_files, steps)
                with unchanged([source.file for source in passes.sources]):
                    passes.compute()
                    if out or bad:
                        passes.write(out, bad, rewinds=staged.holds(out))
                if picture:
                    from shapley_kernels.cli import plot

                    plot.draw(picture, kind, passes.results, _title(job), job.value_name)
            staged.commit()
            _tell(passes, console, bad_rows, time.monotonic() - began)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(staged.outcome()) from None
    if not len(passes.results.lengths):
        where = f", with reasons in {bad_rows}" if bad_rows and passes.skipped else ""
        outcome = f"no good rows, {passes.skipped:,} bad{where}" if passes.skipped else f"no rows in {_names(job)}"
        raise NoGoodRow(outcome)


def _names(job: Job) -> str:
    return printable(", ".join("stdin" if name == "-" else name for name in job.inputs))


def _title(job: Job) -> str:
    """Of the picture."""
    names = [Path(name).name if name != "-" else "stdin" for name in job.inputs]
    what = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
    utility = getattr(job.allocator.utility, "text", "")
    return job.title if job.title is not None else f"{what}: {utility} shared by {job.value_name}"


class Passes:
    """The input gone through twice: for the results of all rows, and to write the rows with them.

    Attributes:
        guess: for Parquet output that of the columns' types, else None.
    """

    def __init__(self, job: Job, output_format: str, open_files: ExitStack, steps: Steps) -> None:
        self.job, self.steps = job, steps
        self.results = Results(job.columns, job.head)
        self.guess: Any = None
        inputs = files(job.inputs, open_files)
        formats = [job.input_format or ("parquet" if is_parquet(file) else "jsonl") for file in inputs]
        if output_format == "parquet":
            from shapley_kernels.cli.schema import SchemaGuess

            self.guess = SchemaGuess(job.columns.rewards)
        self.sources = [self._source(file, kind) for file, kind in zip(inputs, formats, strict=True)]
        if "parquet" in formats:
            from shapley_kernels.cli.parquet import refuse_other_prompts

            refuse_other_prompts(self.sources)

    def _source(self, file: File, kind: str) -> Source:
        columns, skip_bad = self.job.columns, self.job.skip_bad
        if kind == "jsonl":
            return JsonLines(file, columns, skip_bad, self.guess and self.guess.see)
        from shapley_kernels.cli.parquet import ParquetRows

        source = ParquetRows(file, columns, skip_bad)
        if self.guess:
            self.guess.see_file(source.schema)
        return source

    @property
    def skipped(self) -> int:
        """Bad rows."""
        return sum(len(source.skipped) for source in self.sources)

    def _start(self, name: str) -> Callable[[int], None]:
        """A bar of all bytes of the input."""
        return self.steps.start(name, sum(source.file.size for source in self.sources))

    def compute(self) -> None:
        """The first pass, and the results of all rows."""
        job, results, advance = self.job, self.results, self._start("reading")
        if job.engine == "ray":
            from shapley_kernels.cli import ray_engine

            ray_engine.fill(results, self.sources, self.guess, job.allocator, advance)
            return
        for source in self.sources:
            for batch in source.batches(advance):
                results.add(batch)
        results.compute(
            job.allocator, lambda rows: self.steps.start("sharing", rows), against_grpo=job.plot is not None
        )

    def write(self, out: IO[bytes] | None, bad: "BadRowsFile | None", rewinds: bool) -> None:
        """The second pass, in the format wanted.

        Args:
            rewinds: whether what was written to `out` can be taken back.
        """
        if out is None:
            self._copy(None, bad)
        elif self.guess is None:
            with JsonLinesSink(out, self.job.columns, zipped=str(self.job.output).endswith(".gz")) as sink:
                self._copy(lambda rows, *numbers: sink.write(_lines(rows), *numbers), bad)
        elif rewinds:
            self._write_parquet(out, bad)
        else:
            with scratch_file() as kept:
                self._write_parquet(kept, bad)
                kept.seek(0)
                shutil.copyfileobj(kept, out, 1 << 20)

    def _write_parquet(self, out: IO[bytes], bad: "BadRowsFile | None") -> None:
        """The second pass; once more with a column as JSON text for as long as one does not fit its guessed type."""
        from shapley_kernels.cli.parquet import ParquetSink
        from shapley_kernels.cli.schema import Misfit

        while True:
            try:
                with ParquetSink(out, self.guess.schema(), self.job.columns) as sink:
                    self._copy(sink.write, bad)
            except Misfit as misfit:  # noqa: PERF203 (rare)
                self.guess.demote(str(misfit))
                out.seek(0)
                out.truncate()
            else:
                sink.refuse_unreadable()
                return

    def _copy(self, write: Callable[..., None] | None, bad: "BadRowsFile | None") -> None:
        """The second pass: every row with its results to `write`, every bad one to its file.

        Raises:
            CommandError: other rows than those of the first pass, whatever the file system says about the files.
        """
        if bad:
            bad.start()
        advance, row, rows = self._start("writing"), 0, len(self.results.lengths)
        try:
            for source in self.sources:
                for good, rejected in source.rows(advance):
                    if row + len(good) > rows:
                        raise BadRow("there was no such row")
                    if write and len(good):
                        write(good, *self.results.of(row, row + len(good)))
                    row += len(good)
                    if bad:
                        bad.write(rejected)
            if row < rows:
                raise BadRow("there was another row")
        except BadRow:  # none was left in the first pass
            names = ", ".join(source.file.name for source in self.sources)
            raise CommandError(f"{names}: {CHANGED}") from None


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


def _lines(rows: Any) -> list[bytes]:
    if isinstance(rows, list):
        return rows
    from shapley_kernels.cli.parquet import json_lines

    return json_lines(rows)


def _tell(passes: Passes, console: Console, bad_rows: Path | None, seconds: float) -> None:
    job, results, skipped, guess = passes.job, passes.results, passes.skipped, passes.guess
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


def _output_stream(name: str | None, output_format: str, staged: Staged) -> IO[bytes] | None:
    if name is None:
        return None
    if name != "-":
        return staged.open(Path(name))
    if output_format == "parquet" and sys.stdout.isatty():
        raise CommandError("Parquet is not for the terminal; give -o FILE, or a pipe to a program that reads it")
    return staged.stdout()


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
