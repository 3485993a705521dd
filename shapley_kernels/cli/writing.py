"""Output files that appear whole or not at all, and the JSON lines written into them."""

import base64
import errno
import gzip
import json
import os
import shutil
import stat
import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from io import UnsupportedOperation
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np

from shapley_kernels._files import Claim, naming, new_claim, open_named, remove_stale
from shapley_kernels.cli.reading import Chunk
from shapley_kernels.cli.rows import BadRow, Columns, InputError


@dataclass
class _File:
    """An output file on its way."""

    shown: str  # as the user knows it
    target: Path
    claim: Claim
    stream: IO[bytes] | None = None
    identity: tuple[int, int] | None = None

    def in_place(self) -> bool:
        """Whether it has its own name, as the file system says, which knows it also right after an interrupt."""
        try:
            return self.identity == _identity(self.target.stat())
        except OSError:
            return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Staged:
    """Several output files that are written under temporary names, and take their own in `commit`.

    Leaving the `with` block without `commit`, by whatever exception, removes the temporary files. They stand in the
    directory of the file itself, since only there the last step is a rename.

    Args:
        force: replace files that exist.
    """

    def __init__(self, force: bool) -> None:
        self.force = force
        self._files: list[_File] = []
        self._direct: list[tuple[IO[bytes], str]] = []
        self._flushed = False  # what is written directly

    def __enter__(self) -> "Staged":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            with suppress(OSError):  # on a full disk also the rest in the buffer does not fit
                if file.stream:
                    file.stream.close()
            file.claim.end()
        for stream, _ in self._direct:
            with suppress(OSError):  # what has to arrive was flushed by `commit`
                stream.close()

    def open(self, name: Path) -> IO[bytes]:
        """A stream whose bytes become the file `name`. Devices and pipes are written directly."""
        if name.exists() and not stat.S_ISREG(name.stat().st_mode):
            if name.is_dir():
                raise InputError(f"{name}: expected a file name, found a directory")
            return self._opened_directly(name, str(name))
        self._refuse_existing(name)
        target = Path(os.path.realpath(name))  # a symbolic link stays, what it points to is replaced
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(name))
        remove_stale(target.parent)
        file = _File(str(name), target, new_claim(target.parent))
        self._files.append(file)  # first of all, so that an interrupt now leaves nothing
        try:
            file.stream = open_named(file.claim.path, "x+", file.shown)
        except OSError as error:  # about the directory; the temporary name says nothing to a person
            self._files.pop()
            directory = target.parent if name.is_symlink() else name.parent
            raise OSError(error.errno, error.strerror, str(directory)) from None
        file.identity = _identity(os.fstat(file.stream.fileno()))
        file.claim.take()
        if target.exists():
            shutil.copymode(target, file.claim.path)
        return file.stream

    def stdout(self) -> IO[bytes]:
        """stdout, buffered: under PYTHONUNBUFFERED a write to sys.stdout.buffer may be cut short in silence."""
        try:
            return self._opened_directly(sys.stdout.fileno(), "<stdout>")
        except UnsupportedOperation:  # not a file at all, such as under a test
            return sys.stdout.buffer

    def _opened_directly(self, file: Path | int, shown: str) -> IO[bytes]:
        stream = open_named(file, "w", shown)
        self._direct.append((stream, shown))
        return stream

    def holds(self, stream: IO[bytes] | None) -> bool:
        """Whether the stream goes to a temporary file, so that it can be rewound."""
        return any(stream is file.stream for file in self._files)

    def _refuse_existing(self, name: Path) -> None:
        if name.exists() and not self.force:
            raise InputError(f"{name}: the file exists already; --force replaces it")

    def commit(self) -> None:
        """Put all files in place, the first opened one last."""
        for direct, _ in self._direct:
            direct.flush()
        self._flushed = True
        for file in self._files:
            assert file.stream is not None
            self._refuse_existing(file.target)
            file.stream.flush()
            with naming(file.shown):
                os.fsync(file.stream.fileno())
            file.stream.close()
        for file in reversed(self._files):
            try:
                os.replace(file.claim.path, file.target)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}; {self.outcome()}", file.shown) from None
            _sync_directory(file.target.parent)

    def outcome(self) -> str:
        """What became of the outputs, for a run that ends early."""
        complete = [file.shown for file in self._files if file.in_place()]
        streams = [shown for _, shown in self._direct]
        if self._flushed:
            complete += streams
        partial = [] if self._flushed else streams
        missing = [file.shown for file in self._files if file.shown not in complete]
        said = (("complete", complete), ("not complete", partial), ("not written", missing))
        if not complete and not partial:
            return "no output was written"
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable, where the system can."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:  # a directory that may be written but not read; Windows
        return
    try:
        os.fsync(handle)
    except OSError:  # file systems that cannot
        pass
    finally:
        os.close(handle)


class Sink(Protocol):
    """Takes chunks with their two new columns."""

    def write(self, chunk: Chunk, credits: np.ndarray, advantages: np.ndarray, lengths: np.ndarray) -> None:
        """Append rows; credits and advantages [candidates of all rows], lengths [rows]."""


class JsonLinesSink:
    """Writes rows as they came, with the new columns put before the closing brace."""

    def __init__(self, stream: IO[bytes], columns: Columns, zipped: bool) -> None:
        self._stream: Any = gzip.GzipFile("", "wb", 6, stream, mtime=0) if zipped else stream
        self._zipped = zipped
        self._names = [json.dumps(name, ensure_ascii=False) for name in (columns.credits, columns.advantages)]

    def write(self, chunk: Chunk, credits: np.ndarray, advantages: np.ndarray, lengths: np.ndarray) -> None:
        first, second = self._names
        flat, flat_advantages = credits.tolist(), advantages.tolist()
        out, start = [], 0
        for line, end in zip(chunk.to_lines(), np.cumsum(lengths).tolist(), strict=True):
            # repr of a list of finite floats is JSON, and the shortest that reads back the same
            added = f", {first}: {flat[start:end]!r}, {second}: {flat_advantages[start:end]!r}".encode()
            out.append(_spliced(line, added))
            start = end
        self._stream.write(b"".join(out))

    def __enter__(self) -> "JsonLinesSink":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._zipped:
            with suppress(OSError) if kind else nullcontext():  # the first error counts
                self._stream.close()  # writes the end of the gzip data, and leaves the stream below open


def _spliced(line: bytes, added: bytes) -> bytes:
    """A line with the JSON object in it ended by `added`; all its own bytes stay."""
    brace = line.rfind(b"}")
    if brace < 0:
        raise BadRow("expected a JSON object")
    body = line[:brace].rstrip()  # blanks before the brace stay before the brace
    end = b"" if line.endswith(b"\n") else b"\n"  # the last line of a file may lack it
    return body + added + line[len(body) :] + end


def json_line(row: dict[str, Any]) -> bytes:
    """A row as a line of JSON. Times become ISO 8601 text, decimals text, bytes base64 text."""
    try:
        return json.dumps(row, ensure_ascii=False, default=_jsonable).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(row, default=_jsonable).encode() + b"\n"


def _jsonable(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
