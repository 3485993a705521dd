"""Input files: a first pass that yields numbers, a second one that yields whole rows to be written out again.

Nothing is kept between the passes but the ordinals of bad rows, so a file may be larger than the memory. Rows come in
batches of at most `BATCH_ROWS` rows and about `BATCH_BYTES` bytes.
"""

import gzip
import json
import shutil
import stat
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from shapley_kernels._files import naming, open_scratch
from shapley_kernels.cli.rows import ARRAY_HINT, BadRow, Columns, InputError, parts

BATCH_ROWS = 4096
BATCH_BYTES = 8 << 20

LONGEST_LINE = 128 << 20
"""Bytes of a row; the token ids and log-probabilities of 64 candidates of 32,000 tokens each take half of it."""

DEEPEST = 500
"""Lists and objects within each other in a row, few enough for every step's recursion, whatever stands on the stack."""

Advance = Callable[[int], None]
"""Called with the number of input bytes gone through since the last call."""


@dataclass(frozen=True)
class Numbers:
    """What the first pass reads of a batch of rows."""

    prompts: list[str | int]
    rewards: np.ndarray  # [candidates of all rows, one row after the other] float64
    lengths: np.ndarray  # [rows] int64


@dataclass(frozen=True)
class Rejected:
    """A bad row as the side file shows it."""

    file: str
    place: str  # "line" or "row"
    number: int
    reason: str
    row: Any

    def __str__(self) -> str:
        return f"{self.file}, {self.place} {self.number}: {self.reason}"


class Chunk(Protocol):
    """A batch of whole rows in the second pass, good ones only."""

    rejected: list[Rejected]

    def __len__(self) -> int: ...

    def to_lines(self) -> list[bytes]:
        """Each row as the text of a JSON object."""

    def to_arrow(self, schema: Any) -> Any:
        """The rows as a pyarrow.RecordBatch of that schema."""


@dataclass(frozen=True)
class File:
    """An input file that can be read twice."""

    name: str  # as the user knows it
    path: Path
    size: int
    modified: int

    @classmethod
    def at(cls, name: str, path: Path) -> "File":
        status = path.stat()
        return cls(name, path, status.st_size, status.st_mtime_ns)

    def refuse_changed(self) -> None:
        """Raise if the file is no longer what the first pass read."""
        if File.at(self.name, self.path) != self:
            raise InputError(f"{self.name}: {CHANGED}")


class Source(Protocol):
    """The rows of one or more files of one format."""

    files: list[File]
    size: int  # bytes
    skipped: "array[int]"  # ordinals of the bad rows that the first pass found

    def numbers(self, advance: Advance) -> Iterator[Numbers]:
        """The first pass. A bad row raises InputError unless they are to be skipped."""

    def chunks(self, advance: Advance) -> Iterator[Chunk]:
        """The second pass."""


CHANGED = "the file changed while it was read; run the command again when it is complete"


@contextmanager
def unchanged(inputs: list[File]) -> Iterator[None]:
    """Raise InputError if a file changes meanwhile, also instead of whatever error comes of that."""
    try:
        yield
    except OSError:  # which says what it is about
        raise
    except Exception:
        for file in inputs:
            file.refuse_changed()
        raise
    for file in inputs:
        file.refuse_changed()


def files(names: list[str], scratch: Path) -> list[File]:
    """The named files; what can be read only once ("-" and pipes) is first copied to the scratch directory."""
    if names.count("-") > 1:
        raise InputError("'-' (standard input) can be given once")
    return [_file(name, scratch / f"input{i}") for i, name in enumerate(names)]


def _file(name: str, copy: Path) -> File:
    if name != "-":
        path = Path(name)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: expected a file, found a directory; name the files in it")
        if stat.S_ISREG(mode):
            return File.at(name, path)
    if name == "-" and sys.stdin is None:
        raise InputError("-: stdin is closed; pipe rows into it, or name a file")
    shown = "<stdin>" if name == "-" else name
    with sys.stdin.buffer if name == "-" else open(name, "rb") as stream, open_scratch(copy, "w") as out, naming(shown):
        shutil.copyfileobj(stream, out, 1 << 20)
    return File.at(shown, copy)


def is_parquet(file: File) -> bool:
    """By its first bytes, whatever its name."""
    with open(file.path, "rb") as stream, naming(file.name):
        return stream.read(4) == b"PAR1"


class JsonLines:
    """Files of JSON objects, one a line, gzipped or not.

    Args:
        see: told the parsed good rows of each batch in the first pass, to guess the columns of Parquet output from.
    """

    def __init__(
        self, inputs: list[File], columns: Columns, skip_bad: bool, see: Callable[[list[Any]], None] | None = None
    ) -> None:
        self.files = inputs
        self.columns = columns
        self.skip_bad = skip_bad
        self.see = see
        self.size = sum(file.size for file in inputs)
        self.skipped: array[int] = array("q")
        self._checksums: dict[File, int] = {}

    def numbers(self, advance: Advance) -> Iterator[Numbers]:
        ordinal = 0
        for batch in self._batches(advance):
            prompts, rewards, rows = [], [], []
            for file, number, line in batch:
                try:
                    row = parse(line)
                    prompt, row_rewards = parts(row, self.columns)
                except BadRow as error:
                    if not self.skip_bad:
                        raise InputError(f"{file}, line {number}: {error}{SKIP_HINT}") from None
                    self.skipped.append(ordinal)
                else:
                    self.columns.refuse_taken(row, f"{file}, line {number}")
                    prompts.append(prompt)
                    rewards.append(row_rewards)
                    if self.see:
                        rows.append(row)
                ordinal += 1
            if self.see:
                self.see(rows)
            lengths = np.fromiter(map(len, rewards), np.int64, len(rewards))
            yield Numbers(prompts, np.fromiter(chain.from_iterable(rewards), np.float64, lengths.sum()), lengths)

    def chunks(self, advance: Advance) -> Iterator[Chunk]:
        bad = chain(self.skipped, [-1])
        next_bad, ordinal = next(bad), 0
        for batch in self._batches(advance):
            chunk = LineChunk()
            for file, number, line in batch:
                if ordinal == next_bad:
                    chunk.rejected.append(self._rejected(file, number, line))
                    next_bad = next(bad)
                else:
                    chunk.lines.append(line)
                ordinal += 1
            yield chunk

    def _rejected(self, file: str, number: int, line: bytes) -> Rejected:
        try:
            parts(parse(line), self.columns)
            reason = ""
        except BadRow as error:
            reason = str(error)
        return Rejected(file, "line", number, reason, line.rstrip(b"\r\n").decode("utf-8", "surrogateescape"))

    def _batches(self, advance: Advance) -> Iterator[list[tuple[str, int, bytes]]]:
        """(file, line number, line) of all lines that are not blank.

        Raises:
            InputError: a file is damaged, has an endless line, or has other lines than the first time.
        """
        for file in self.files:
            with _opened(file) as (stream, raw):
                batch: list[tuple[str, int, bytes]] = []
                weight = seen = checksum = 0
                for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE + 1), b""), 1):
                    if len(line) > LONGEST_LINE:
                        hint = ARRAY_HINT if line.startswith(b"[") else ""
                        raise InputError(
                            f"{file.name}, line {number}: expected at most {LONGEST_LINE >> 20} MiB, "
                            f"found a longer line{hint}"
                        )
                    checksum = zlib.crc32(line, checksum)
                    if number == 1 and line.startswith(b"\xef\xbb\xbf"):  # a byte order mark
                        line = line[3:]
                    if line and not line.isspace():
                        batch.append((file.name, number, line))
                        weight += len(line)
                    if len(batch) >= BATCH_ROWS or weight >= BATCH_BYTES:
                        yield batch
                        batch, weight = [], 0
                        advance(raw.tell() - seen)
                        seen = raw.tell()
                if batch:
                    yield batch
                if self._checksums.setdefault(file, checksum) != checksum:
                    raise InputError(f"{file.name}: {CHANGED}")
                advance(file.size - seen)


SKIP_HINT = "; put it right, or leave such rows out with --on-bad-row skip"


@contextmanager
def _opened(file: File) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file's text, unzipped, and the raw stream below it, which knows how far we are."""
    with open(file.path, "rb") as raw, naming(file.name):
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield (gzip.GzipFile(fileobj=raw), raw) if zipped else (raw, raw)  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{file.name}: the gzip data is damaged or cut off ({error})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadRow(f"expected different names, found {twice!r} twice in one object, of which only one would be kept")
    return row


_decoder = json.JSONDecoder(object_pairs_hook=_unique)


def parse(line: bytes) -> Any:
    """The JSON value of a line.

    As Python's json module does, it takes NaN and Infinity for numbers; in the rewards they are refused later.

    Raises:
        BadRow: not JSON, or one that loses something when it is read.
    """
    try:
        row = _decoder.decode(line.decode("utf-8").rstrip("\r\n"))  # without its end, which would count as a line more
    except UnicodeDecodeError as error:
        raise BadRow(f"expected UTF-8, found byte 0x{line[error.start]:02x} at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        hint = ARRAY_HINT if line.startswith(b"[") else ""
        what = error.msg.removesuffix(" at")
        raise BadRow(f"expected a JSON object, found invalid JSON ({what} at character {error.colno}){hint}") from None
    except RecursionError:
        raise BadRow(TOO_DEEP) from None
    except BadRow:
        raise
    except ValueError as error:  # an integer of more digits than Python converts
        raise BadRow(f"expected a JSON object, found a number that is too long ({error})") from None
    if line.count(b"[") + line.count(b"{") > DEEPEST and _is_deeper(row, DEEPEST):
        raise BadRow(TOO_DEEP)
    return row


TOO_DEEP = f"expected a JSON object nested up to {DEEPEST} deep, found one nested too deeply"


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = list(
            chain.from_iterable(x.values() if type(x) is dict else x for x in level if type(x) in (dict, list))
        )
    return any(type(x) in (dict, list) for x in level)


@dataclass
class LineChunk:
    """JSON lines in the second pass: unchanged bytes, parsed only where Parquet is wanted."""

    lines: list[bytes] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def to_lines(self) -> list[bytes]:
        return self.lines

    def to_arrow(self, schema: Any) -> Any:
        from shapley_kernels.cli.parquet import record_batch

        return record_batch([parse(line) for line in self.lines], schema)
