"""Input files: a first pass that yields what is computed with, a second one that yields whole rows to be written again.

Nothing is kept between the passes but the ordinals of bad rows, so a file may be larger than the memory. Rows come in
batches of at most `BATCH_ROWS` rows and about `BATCH_BYTES` bytes.
"""

import bz2
import gzip
import json
import lzma
import os
import shutil
import stat
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from shapley_kernels._command import CommandError
from shapley_kernels._files import naming, scratch_file
from shapley_kernels.cli.rows import ARRAY_HINT, BadRow, Columns, Data, parts

BATCH_ROWS = 4096
BATCH_BYTES = 8 << 20

LONGEST_LINE = 128 << 20
"""Bytes of a row; the token ids and log-probabilities of 64 candidates of 32,000 tokens each take half of it."""

DEEPEST = 500
"""Lists and objects within each other in a row, few enough for every step's recursion, whatever stands on the stack."""

SKIP_HINT = "; put it right, or leave such rows out with --on-bad-row skip"
CSV_HINT = "; it looks like CSV, which has no place for a list of rewards; write JSON lines, or Parquet"
LINES_HINT = "; it looks like JSON over several lines, put each row on one with: jq -c ."
ROWS_HINT = "; it looks like several rows on a line, put each on one with: jq -c ."
EXPECTED = "expected JSON lines or Parquet"
CHANGED = "the file changed while it was read; run the command again when it is complete"
TOO_DEEP = f"expected a JSON object nested up to {DEEPEST} deep, found one nested too deeply"

Advance = Callable[[int], None]
"""Called with the number of input bytes gone through since the last call."""


@dataclass(frozen=True)
class RewardBatch:
    """What the first pass reads of some rows; candidates stand one after the other, row by row."""

    prompts: list[Any]
    lengths: np.ndarray  # [rows] int64
    rewards: np.ndarray  # [candidates] float64
    data: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    """Of each data column: numbers float64, and how many each candidate of a row has, [rows] int64."""

    @classmethod
    def of(cls, prompts: list[Any], rewards: list[list[float]], data: list[list[Data]]) -> "RewardBatch":
        """Of what `parts` gives of each row."""
        lengths = np.fromiter(map(len, rewards), np.int64, len(rewards))
        flat = np.fromiter(chain.from_iterable(rewards), np.float64, lengths.sum())
        return cls(prompts, lengths, flat, columns_of(data))


def columns_of(rows: list[list[Data]]) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """`RewardBatch.data` from the data of each row."""
    return tuple(
        (np.array(list(chain.from_iterable(numbers for numbers, _ in column)), float), np.array([w for _, w in column]))
        for column in zip(*rows, strict=True)
    )


@dataclass(frozen=True)
class Rejected:
    """A bad row as the side file shows it."""

    file: str
    place: str  # "line" or "row"
    number: int
    reason: str
    row: Any


@dataclass(frozen=True)
class File:
    """An input file that can be read twice."""

    name: str  # as the user knows it
    path: Path | None
    size: int
    modified: int
    copy: IO[bytes] | None = None
    """Where there is no path: what came through a pipe."""

    @classmethod
    def at(cls, name: str, path: Path) -> "File":
        status = path.stat()
        return cls(name, path, status.st_size, status.st_mtime_ns)

    @classmethod
    def of(cls, name: str, stream: IO[bytes], open_files: ExitStack) -> "File":
        """What can be read only once, copied."""
        copy = open_files.enter_context(scratch_file())
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        return cls(name, None, copy.tell(), 0, copy)

    def open(self) -> IO[bytes]:
        """To be read from the start; one at a time."""
        if self.path is not None:
            return open(self.path, "rb")
        assert self.copy is not None
        self.copy.seek(0)
        return open(os.dup(self.copy.fileno()), "rb")

    def refuse_changed(self) -> None:
        """Raise if the file is no longer what the first pass read."""
        if self.path is not None and File.at(self.name, self.path) != self:
            raise CommandError(f"{self.name}: {CHANGED}")


class Source(Protocol):
    """The rows of a file."""

    file: File
    skipped: "array[int]"  # ordinals of the bad rows that the first pass found

    def batches(self, advance: Advance) -> Iterator[RewardBatch]:
        """The first pass. A bad row raises CommandError unless they are to be skipped."""

    def rows(self, advance: Advance) -> Iterator[tuple[Any, list[Rejected]]]:
        """The second pass: good rows, as lines of JSON or a pyarrow.RecordBatch, and bad ones."""


@contextmanager
def unchanged(inputs: list[File]) -> Iterator[None]:
    """Raise CommandError if a file changes meanwhile, also instead of whatever error comes of that."""
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


def files(names: list[str], open_files: ExitStack) -> list[File]:
    """The named files; what can be read only once ("-" and pipes) is first copied, for as long as `open_files` are."""
    if names.count("-") > 1:
        raise CommandError("'-' (standard input) can be given once")
    return [_file(name, open_files) for name in names]


def _file(name: str, open_files: ExitStack) -> File:
    if name != "-":
        path = Path(name)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CommandError(f"{name}: expected a file, found a directory; name the files in it")
        if stat.S_ISREG(mode):
            return File.at(name, path)
    if name == "-" and sys.stdin is None:
        raise CommandError("-: stdin is closed; pipe rows into it, or name a file")
    shown = "<stdin>" if name == "-" else name
    with sys.stdin.buffer if name == "-" else open(name, "rb") as stream, naming(shown):
        return File.of(shown, stream, open_files)


def _zstd(raw: IO[bytes]) -> Any:
    import pyarrow as pa

    return BufferedReader(pa.CompressedInputStream(raw, "zstd"))


OPENERS: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"\x5d\0\0": ("lzma", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
"""First bytes of compressed data: its name, and what reads it."""

UNREADABLE = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x04\x22\x4d\x18": "lz4 data",
    b"\x1f\x9d": "data of compress",
}


@contextmanager
def _opened(file: File) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file's text, decompressed, and the raw stream below it, which knows how far we are."""
    with file.open() as raw, naming(file.name):
        first = raw.read(6)
        raw.seek(0)
        for magic, what in UNREADABLE.items():
            if first.startswith(magic):
                raise CommandError(f"{file.name}: {EXPECTED}, found {what}; unpack it first")
        kind, opener = next(
            (opener for magic, opener in OPENERS.items() if first.startswith(magic)), ("", lambda raw: raw)
        )
        try:
            yield opener(raw), raw
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if not kind or getattr(error, "errno", None) is not None:
                raise
            raise CommandError(f"{file.name}: the {kind} data is damaged or cut off ({error})") from None


def is_parquet(file: File) -> bool:
    """By its first bytes, whatever its name."""
    with file.open() as stream, naming(file.name):
        return stream.read(4) == b"PAR1"


class JsonLines:
    """A file of JSON objects, one a line, compressed or not.

    Args:
        see: told the parsed good rows of each batch in the first pass, to guess the columns of Parquet output from.
    """

    def __init__(
        self, file: File, columns: Columns, skip_bad: bool, see: Callable[[list[Any]], None] | None = None
    ) -> None:
        self.file = file
        self.columns = columns
        self.skip_bad = skip_bad
        self.see = see
        self.skipped: array[int] = array("q")
        self._checksum: int | None = None

    def batches(self, advance: Advance) -> Iterator[RewardBatch]:
        ordinal = 0
        for batch in self._lines(advance):
            prompts, rewards, data, rows = [], [], [], []
            for number, line in batch:
                try:
                    row = parse(line)
                    prompt, row_rewards, row_data = parts(row, self.columns)
                except BadRow as error:
                    if not self.skip_bad:
                        raise CommandError(f"{self.file.name}, line {number}: {error}{SKIP_HINT}") from None
                    self.skipped.append(ordinal)
                else:
                    self.columns.refuse_taken(row, f"{self.file.name}, line {number}")
                    prompts.append(prompt)
                    rewards.append(row_rewards)
                    data.append(row_data)
                    if self.see:
                        rows.append(row)
                ordinal += 1
            if self.see:
                self.see(rows)
            yield RewardBatch.of(prompts, rewards, data)

    def rows(self, advance: Advance) -> Iterator[tuple[list[bytes], list[Rejected]]]:
        bad = chain(self.skipped, [-1])
        next_bad, ordinal = next(bad), 0
        for batch in self._lines(advance):
            lines, rejected = [], []
            for number, line in batch:
                if ordinal == next_bad:
                    rejected.append(self._rejected(number, line))
                    next_bad = next(bad)
                else:
                    lines.append(line)
                ordinal += 1
            yield lines, rejected

    def _rejected(self, number: int, line: bytes) -> Rejected:
        try:
            parts(parse(line), self.columns)
            reason = ""
        except BadRow as error:
            reason = str(error)
        text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        return Rejected(self.file.name, "line", number, reason, text)

    def _lines(self, advance: Advance) -> Iterator[list[tuple[int, bytes]]]:
        """(number, line) of all lines that are not blank.

        Raises:
            CommandError: the file is damaged, has an endless line, or has other lines than the first time.
        """
        with _opened(self.file) as (stream, raw):
            batch: list[tuple[int, bytes]] = []
            weight = seen = checksum = 0
            for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE + 1), b""), 1):
                if len(line) > LONGEST_LINE:
                    hint = ARRAY_HINT if line.startswith(b"[") else ""
                    what = f"expected at most {LONGEST_LINE >> 20} MiB, found a longer line{hint}"
                    raise CommandError(f"{self.file.name}, line {number}: {what}")
                if number == 1 and line.startswith(b"PAR1"):
                    raise CommandError(
                        f"{self.file.name}: found Parquet inside of compressed data; decompress it first"
                    )
                if number == 1 and line[257:262] == b"ustar":
                    raise CommandError(f"{self.file.name}: {EXPECTED}, found a tar archive; unpack it first")
                checksum = zlib.crc32(line, checksum)
                if number == 1 and line.startswith(b"\xef\xbb\xbf"):  # a byte order mark
                    line = line[3:]
                if line and not line.isspace():
                    batch.append((number, line))
                    weight += len(line)
                if len(batch) >= BATCH_ROWS or weight >= BATCH_BYTES:
                    yield batch
                    batch, weight = [], 0
                    advance(raw.tell() - seen)
                    seen = raw.tell()
            if batch:
                yield batch
            if self._checksum not in (None, checksum):
                raise CommandError(f"{self.file.name}: {CHANGED}")
            self._checksum = checksum
            advance(self.file.size - seen)


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
        what = error.msg.removesuffix(" at")
        hint = _hint(line, what)
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


def _hint(line: bytes, problem: str) -> str:
    """What a line that is not JSON may be instead."""
    if line.startswith(b"["):
        return ARRAY_HINT
    if line.rstrip().endswith((b"{", b"[", b",", b":")):
        return LINES_HINT
    if line.startswith(b"{"):
        return ROWS_HINT if problem == "Extra data" else ""
    return CSV_HINT if b"," in line else ""


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = list(
            chain.from_iterable(x.values() if type(x) is dict else x for x in level if type(x) in (dict, list))
        )
    return any(type(x) in (dict, list) for x in level)
