"""The command's work from the first byte read to the last file put in place."""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from os.path import realpath
from pathlib import Path
from types import FrameType
from typing import IO, Any

from rich.console import Console

from shapley_kernels._files import open_scratch, scratch_directory
from shapley_kernels.cli.compute import Table
from shapley_kernels.cli.reading import CHANGED, JsonLines, Rejected, Source, files, is_parquet, unchanged
from shapley_kernels.cli.report import Steps, first_rollouts, printable, smaller_sets, summary
from shapley_kernels.cli.rows import BadRow, Columns, InputError, NoGoodRow
from shapley_kernels.cli.writing import JsonLinesSink, Sink, Staged, json_line
from shapley_kernels.rl import RewardAllocator

ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


@dataclass(frozen=True)
class Job:
    """All that the options say."""

    inputs: list[str]
    allocator: RewardAllocator
    value_name: str
    least: tuple[str, int] | None = None  # --m or --k, candidates that a set should have
    columns: Columns = field(default_factory=Columns)
    output: str | None = None  # "-" is stdout, None nowhere
    input_format: str | None = None
    output_format: str | None = None
    skip_bad: bool = False
    bad_rows: Path | None = None
    plot: Path | None = None
    head: int = 0
    quiet: bool = False
    force: bool = False
    engine: str = "local"


def run(job: Job, console: Console) -> None:
    """Do it. All output files appear at the end, or none does.

    Raises:
        InputError: what the user has to put right.
        OSError: what the system refuses.
        KeyboardInterrupt: with what became of the output.
    """
    began = time.monotonic()
    bad_rows, output_format = _bad_rows_file(job), _output_format(job)
    _refuse_same_file(job, bad_rows)
    if job.engine == "ray":
        from shapley_kernels.cli import ray_engine

        ray_engine.refuse(job.inputs, job.plot)
    staged = Staged(job.force)
    try:
        with _termination_as_exit(), scratch_directory() as scratch, staged, Table(scratch) as table:
            out = _output_stream(job.output, output_format, staged)
            bad = BadRowsFile(staged.open(bad_rows)) if bad_rows else None
            picture = _Picture(job, staged) if job.plot else None
            with Steps(console, not job.quiet).running() as steps:
                source, guess = _source(job, scratch, output_format)
                with unchanged(source.files):
                    _compute(job, source, guess, table, picture.rollouts if picture else 0, steps)
                    if out or bad:
                        _write(job, source, table, guess, out, bad, None if staged.holds(out) else scratch, steps)
                if picture:
                    picture.draw(table)
            staged.commit()
            _tell(job, console, table, source, guess, bad_rows, time.monotonic() - began)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(staged.outcome()) from None
    if source.skipped and not len(table.lengths):
        where = f", with reasons in {bad_rows}" if bad_rows else ""
        raise NoGoodRow(f"no good rows, {len(source.skipped):,} bad{where}")


def _compute(job: Job, source: Source, guess: Any, table: Table, drawn: int, steps: Steps) -> None:
    """The first pass, and the results of all rows."""
    advance = steps.start("reading", source.size)
    if job.engine == "ray":
        from shapley_kernels.cli import ray_engine

        ray_engine.fill(table, source, guess, job.allocator, job.head, advance)
        return
    for numbers in source.numbers(advance):
        table.add(numbers, keep_prompts=job.head)
    table.share(job.allocator, lambda rows: steps.start("sharing", rows), drawn)


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


class _Picture:
    """The plot; matplotlib is imported only if there is one."""

    def __init__(self, job: Job, staged: Staged) -> None:
        from shapley_kernels.cli import plot

        assert job.plot is not None
        self._plot, self._value_name = plot, job.value_name
        self._kind = plot.kind(job.plot.name)
        self._stream = staged.open(job.plot)
        self.rollouts = plot.SAMPLED_ROLLOUTS

    def draw(self, table: Table) -> None:
        self._plot.draw(self._stream, self._kind, table.sample, table.diagnostics, self._value_name)


def _output_stream(name: str | None, output_format: str, staged: Staged) -> IO[bytes] | None:
    if name is None:
        return None
    if name != "-":
        return staged.open(Path(name))
    if output_format == "parquet" and sys.stdout.isatty():
        raise InputError("Parquet is not for the terminal; give -o FILE, or a pipe to a program that reads it")
    return staged.stdout()


def _write(
    job: Job,
    source: Source,
    table: Table,
    guess: Any,
    out: IO[bytes] | None,
    bad: BadRowsFile | None,
    scratch: Path | None,
    steps: Steps,
) -> None:
    """The second pass, in the format wanted.

    Args:
        scratch: where to keep the output until it is complete, for streams from which nothing can be taken back.
    """
    if out is None:
        _copy(source, table, None, bad, steps)
    elif _output_format(job) == "jsonl":
        with JsonLinesSink(out, job.columns, zipped=str(job.output).endswith(".gz")) as sink:
            _copy(source, table, sink, bad, steps)
    elif scratch is None:
        _write_parquet(source, table, guess, job.columns, out, bad, steps)
    else:
        with open_scratch(scratch / "output", "w+") as kept:
            _write_parquet(source, table, guess, job.columns, kept, bad, steps)
            kept.seek(0)
            shutil.copyfileobj(kept, out, 1 << 20)


def _write_parquet(
    source: Source,
    table: Table,
    guess: Any,
    columns: Columns,
    out: IO[bytes],
    bad: BadRowsFile | None,
    steps: Steps,
) -> None:
    """The second pass; once more with a column as JSON text for as long as one does not fit its guessed type."""
    from shapley_kernels.cli.parquet import Misfit, ParquetSink

    while True:
        schema = guess.schema() if guess else source.schema  # type: ignore[attr-defined]
        try:
            with ParquetSink(out, schema, columns) as sink:
                _copy(source, table, sink, bad, steps)
            sink.refuse_unreadable()
            return
        except Misfit as misfit:
            guess.demote(str(misfit))
            out.seek(0)
            out.truncate()


def _copy(source: Source, table: Table, sink: Sink | None, bad: BadRowsFile | None, steps: Steps) -> None:
    """The second pass: every row with its results to the sink, every bad one to its file.

    Raises:
        InputError: other rows than those of the first pass, whatever the file system says about the files.
    """
    if bad:
        bad.start()
    row, rows = 0, len(table.lengths)
    try:
        for chunk in source.chunks(steps.start("writing", source.size)):
            if row + len(chunk) > rows:
                raise BadRow("there was no such row")
            if sink:
                sink.write(chunk, *table.results(row, row + len(chunk)))
            row += len(chunk)
            if bad:
                bad.write(chunk.rejected)
        if row < rows:
            raise BadRow("there was another row")
    except BadRow:  # none was left in the first pass
        raise InputError(f"{', '.join(file.name for file in source.files)}: {CHANGED}") from None


def _tell(
    job: Job, console: Console, table: Table, source: Source, guess: Any, bad_rows: Path | None, seconds: float
) -> None:
    if not len(table.lengths) and not source.skipped:
        names = ", ".join("stdin" if name == "-" else name for name in job.inputs)
        console.print(f"shapley-allocate: no rows in {printable(names)}")
    elif job.head and len(table.lengths):
        console.print(first_rollouts(table, job.head))
    if job.least and 0 < (longest := table.lengths.max(initial=0)) < job.least[1]:
        console.print(f"warning: {smaller_sets(*job.least, longest)}")
    if job.quiet:
        return
    console.print(summary(table.diagnostics, len(source.skipped), seconds))
    if table.diagnostics["shapley/groups"] == len(table.lengths) > 0:
        console.print(
            "note: every prompt has one rollout, so none is compared with another; --prompt-column names the column "
            f"that the rollouts of a prompt share, now {printable(repr(job.columns.prompt))}"
        )
    if guess and guess.as_text:
        names = ", ".join(map(repr, guess.as_text))
        console.print(f"written as JSON text, since their values have no common type: {printable(names)}")
    if source.skipped and bad_rows:
        console.print(f"the skipped rows, with reasons, are in {printable(bad_rows)}")


def _bad_rows_file(job: Job) -> Path | None:
    if not job.skip_bad:
        if job.bad_rows:
            raise InputError("--bad-rows needs --on-bad-row skip; without it the first bad row ends the run")
        return None
    if job.bad_rows is None and job.output == "-":
        raise InputError(
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
            raise InputError(
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
        raise InputError(
            f"-o {job.output}: the name tells no format; end it in .jsonl or .parquet, or give --output-format"
        )
    return ENDINGS[suffix]


def _source(job: Job, scratch: Path, output_format: str) -> tuple[Source, Any]:
    """The rows, and for Parquet out of JSON lines the guess of the columns' types, else None."""
    inputs = files(job.inputs, scratch)
    formats = {job.input_format or ("parquet" if is_parquet(file) else "jsonl") for file in inputs}
    if len(formats) > 1:
        raise InputError("some inputs are Parquet and some are not; run the command on each kind")
    if formats == {"parquet"}:
        from shapley_kernels.cli.parquet import ParquetFiles

        return ParquetFiles(inputs, job.columns, job.skip_bad), None
    if output_format != "parquet":
        return JsonLines(inputs, job.columns, job.skip_bad), None
    from shapley_kernels.cli.parquet import SchemaGuess

    guess = SchemaGuess(job.columns.rewards)
    return JsonLines(inputs, job.columns, job.skip_bad, see=guess.see), guess


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
