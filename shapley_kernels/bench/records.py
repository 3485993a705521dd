"""The file format: a JSON object per line, one for each point and method."""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1


class BenchError(Exception):
    """What the user can put right; shown without a traceback."""


@dataclass(frozen=True)
class Record:
    """One method at one point: what, how fast, how exact, where, with what."""

    game: str
    value: str
    method: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    device: str
    threads: int
    clock: str
    """"wall" or "cpu", see `measure.CLOCKS`; the first call and the host time are wall time always."""
    median_s: float
    q20_s: float
    q80_s: float
    samples: int
    blocks_s: tuple[float, ...]
    """Medians of consecutive parts of the samples, what `compare` resamples."""
    first_call_s: float
    """Compilation and all that happens once; not in the samples."""
    host_s: float | None
    bytes: int
    """Traffic that cannot be avoided."""
    roof_s: float
    """Median of a copy of as many bytes, in the same rounds."""
    max_error: float
    machine: dict[str, Any]
    versions: dict[str, str]
    load: float | None
    commit: str | None
    command: str
    time: str
    schema: int = field(default=SCHEMA)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two records must share to be measurements of the same thing."""
        return (self.game, self.value, self.method, self.dtype, self.shape, self.device, self.threads, self.clock)

    @property
    def point(self) -> tuple[Any, ...]:
        """The key without the method."""
        return (self.game, self.value, self.dtype, self.shape, self.device, self.threads, self.clock)

    @property
    def players(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        rows = 1
        for length in self.shape[:-1]:
            rows *= length
        return rows

    @property
    def of_roof(self) -> float | None:
        """Share of the measured roof, None where a call is too short for the memory to matter."""
        return self.roof_s / self.median_s if self.bytes >= 2**20 else None

    def line(self) -> str:
        return json.dumps({**asdict(self), "shape": list(self.shape), "blocks_s": [_short(x) for x in self.blocks_s]})


def _short(seconds: float) -> float:
    return float(f"{seconds:.4g}")


_positive = ("a number > 0", lambda x: isinstance(x, (int, float)) and not isinstance(x, bool) and 0 < x < float("inf"))
_text = ("a string", lambda x: isinstance(x, str))
_object = ("an object", lambda x: isinstance(x, dict))
_count = ("an integer >= 1", lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= 1)
_number_or_null = ("a number or null", lambda x: x is None or (isinstance(x, (int, float)) and not isinstance(x, bool)))

EXPECTED: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("game", "value", "method", "kind", "dtype", "device", "clock", "command", "time"), _text),
    **dict.fromkeys(("median_s", "q20_s", "q80_s", "first_call_s", "roof_s"), _positive),
    **dict.fromkeys(("threads", "samples", "bytes"), _count),
    **dict.fromkeys(("machine", "versions"), _object),
    **dict.fromkeys(("host_s", "load"), _number_or_null),
    "shape": ("a list of integers >= 1", lambda x: isinstance(x, list) and x and all(_count[1](n) for n in x)),
    "blocks_s": ("a list of numbers > 0", lambda x: isinstance(x, list) and x and all(_positive[1](s) for s in x)),
    "max_error": ("a number >= 0", lambda x: x == 0 or _positive[1](x)),
    "commit": ("a string or null", lambda x: x is None or isinstance(x, str)),
    "schema": (str(SCHEMA), lambda x: x == SCHEMA and not isinstance(x, bool)),
}
"""What each field must be, in words and as a test."""


def parse(text: str, where: str) -> Record:
    """A record from a line.

    Raises:
        BenchError: it is not one; the message names `where`.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise BenchError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BenchError(f"{where}: expected a record of shapley-bench (an object), got {type(found).__name__}")
    if "schema" in found and found["schema"] != SCHEMA:
        raise BenchError(f"{where}: schema {found['schema']!r}, this version reads {SCHEMA}; measure again")
    names = {f.name for f in fields(Record)}
    if missing := sorted(names - set(found)):
        raise BenchError(f"{where}: not a record of shapley-bench: {', '.join(missing)} missing")
    if unknown := sorted(set(found) - names):
        raise BenchError(f"{where}: unknown fields: {', '.join(unknown)}")
    for name, (words, holds) in EXPECTED.items():
        if not holds(found[name]):
            raise BenchError(f"{where}: {name}: expected {words}, got {found[name]!r}")
    return Record(**{**found, "shape": tuple(found["shape"]), "blocks_s": tuple(found["blocks_s"])})


def read(paths: Iterable[Path]) -> list[Record]:
    """All records of the files, in order.

    Raises:
        BenchError: a file without records, or a line that is none, with its number.
        OSError: a file that cannot be read.
    """
    records = []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            try:
                found = [parse(line, f"{path}:{i}") for i, line in enumerate(lines, 1) if line.strip()]
            except UnicodeDecodeError:
                raise BenchError(f"{path}: not a text file") from None
        if not found:
            raise BenchError(f"{path}: no records in it")
        records += found
    return records


def pooled(records: Iterable[Record]) -> list[Record]:
    """One record per key: medians and quantiles of the blocks of all its records, the rest as in the last of them."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(record.key, []).append(record)
    return [_one(group) for group in groups.values()]


def _one(group: Sequence[Record]) -> Record:
    if len(group) == 1:
        return group[0]
    blocks = tuple(seconds for record in group for seconds in record.blocks_s)
    q20, median, q80 = (float(q) for q in np.quantile(blocks, (0.2, 0.5, 0.8)))
    return replace(
        group[-1],
        median_s=median,
        q20_s=q20,
        q80_s=q80,
        blocks_s=blocks,
        samples=sum(record.samples for record in group),
        first_call_s=max(record.first_call_s for record in group),  # later ones had nothing to compile
        roof_s=float(np.median([record.roof_s for record in group])),
        max_error=max(record.max_error for record in group),
        load=max((record.load for record in group if record.load is not None), default=None),
    )


@contextmanager
def whole_file(path: Path, force: bool) -> Iterator[Any]:
    """A binary stream whose bytes become the file when the block ends, by an interrupt too if anything was written.

    Raises:
        BenchError: the file exists, and `force` is not set. That is found out before anything is measured.
    """
    if path.exists() and not force:
        raise BenchError(f"{path}: the file exists already; --force replaces it")
    target = path.resolve()  # a symbolic link stays, what it points to is replaced
    temporary = target.with_name(f".shapley-bench-{secrets.token_hex(8)}.tmp")
    stream = open(temporary, "xb")  # noqa: SIM115 (closed below)
    keep = False
    try:
        yield stream
        keep = True
    except KeyboardInterrupt:
        keep = stream.tell() > 0
        raise
    finally:
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()
        if keep:
            os.replace(temporary, target)
        else:
            temporary.unlink()
