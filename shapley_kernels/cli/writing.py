"""The JSON lines that are written."""

import base64
import gzip
import json
from contextlib import nullcontext, suppress
from typing import IO, Any

import numpy as np

from shapley_kernels.cli.rows import BadRow, Columns


class JsonLinesSink:
    """Writes rows as they came, with the new columns put before the closing brace."""

    def __init__(self, stream: IO[bytes], columns: Columns, zipped: bool) -> None:
        self._stream: Any = gzip.GzipFile("", "wb", 6, stream, mtime=0) if zipped else stream
        self._zipped = zipped
        self._names = [json.dumps(name, ensure_ascii=False) for name in (columns.credits, columns.advantages)]

    def write(self, rows: list[bytes], credits: np.ndarray, advantages: np.ndarray, lengths: np.ndarray) -> None:
        """Append rows; credits and advantages [candidates of all rows], lengths [rows]."""
        first, second = self._names
        flat, flat_advantages = credits.tolist(), advantages.tolist()
        out, start = [], 0
        for line, end in zip(rows, np.cumsum(lengths).tolist(), strict=True):
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
    """A row as a line of JSON."""
    try:
        return json_text(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json_text(row).encode() + b"\n"


def json_text(value: Any, ensure_ascii: bool = True) -> str:
    """JSON; times become ISO 8601 text, decimals text, bytes base64 text."""
    return json.dumps(value, ensure_ascii=ensure_ascii, default=_jsonable)


def _jsonable(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
