"""Output files that appear whole or not at all, and the JSON lines written into them."""

import base64
import gzip
import json
import os
import secrets
import shutil
import stat
import sys
from contextlib import suppress
from io import UnsupportedOperation
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np

from shapley_kernels.cli.reading import Chunk
from shapley_kernels.cli.rows import Columns, InputError


class Staged:
    """Several output files that are written under temporary names, and take their own in `commit`.

    Leaving the `with` block without `commit`, by whatever exception, removes the temporary files. They stand in the
    directory of the file itself, since only there the last step is a rename.

    Args:
        force: replace files that exist.
    """

    def __init__(self, force: bool) -> None:
        self.force = force
        self._pending: list[tuple[IO[bytes] | None, Path, Path]] = []  # stream, temporary name, own name
        self._direct: list[IO[bytes]] = []

    def __enter__(self) -> "Staged":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for staged, temporary, _ in self._pending:
            if staged:
                staged.close()
            temporary.unlink(missing_ok=True)
        for stream in self._direct:
            with suppress(OSError):  # what has to arrive was flushed by `commit`
                stream.close()

    def open(self, name: Path) -> IO[bytes]:
        """A stream whose bytes become the file `name`. Devices and pipes are written directly."""
        if name.exists() and not stat.S_ISREG(name.stat().st_mode):
            if name.is_dir():
                raise InputError(f"{name}: expected a file name, found a directory")
            return self._opened_directly(name)
        self._refuse_existing(name)
        target = name.resolve()  # a symbolic link stays, what it points to is replaced
        temporary = target.with_name(f".shapley-allocate-{secrets.token_hex(8)}.tmp")
        self._pending.append((None, temporary, target))  # first of all, so that an interrupt now leaves nothing
        try:
            stream = open(temporary, "xb")  # noqa: SIM115 (closed by `commit` or on exit)
        except OSError as error:  # about the directory; the temporary name says nothing to a person
            self._pending.pop()
            directory = target.parent if name.is_symlink() else name.parent
            raise OSError(error.errno, error.strerror, str(directory)) from None
        if target.exists():
            shutil.copymode(target, temporary)
        self._pending[-1] = (stream, temporary, target)
        return stream

    def stdout(self) -> IO[bytes]:
        """stdout, buffered: under PYTHONUNBUFFERED a write to sys.stdout.buffer may be cut short in silence."""
        try:
            return self._opened_directly(sys.stdout.fileno())
        except UnsupportedOperation:  # not a file at all, such as under a test
            return sys.stdout.buffer

    def _opened_directly(self, file: Path | int) -> IO[bytes]:
        stream = open(file, "wb", closefd=not isinstance(file, int))  # noqa: SIM115 (closed on exit)
        self._direct.append(stream)
        return stream

    def holds(self, stream: IO[bytes] | None) -> bool:
        """Whether the stream goes to a temporary file, so that it can be rewound."""
        return any(stream is staged for staged, _, _ in self._pending)

    def _refuse_existing(self, name: Path) -> None:
        if name.exists() and not self.force:
            raise InputError(f"{name}: the file exists already; --force replaces it")

    def commit(self) -> None:
        """Put all files in place, the first opened one last."""
        for direct in self._direct:
            direct.flush()
        for stream, _, target in self._pending:
            assert stream is not None
            self._refuse_existing(target)
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
        while self._pending:
            _, temporary, target = self._pending[-1]
            os.replace(temporary, target)
            self._pending.pop()
            _sync_directory(target.parent)


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

    def __exit__(self, *_: object) -> None:
        if self._zipped:
            self._stream.close()  # writes the end of the gzip data, and leaves the stream below open


def _spliced(line: bytes, added: bytes) -> bytes:
    """A line with the JSON object in it ended by `added`; all its own bytes stay."""
    brace = line.rindex(b"}")
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
