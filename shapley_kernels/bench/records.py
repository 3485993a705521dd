"""The file format: lines of JSON, a header for each run, and a record for each point and method behind it."""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from shapley_kernels._command import CommandError

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Run(Struct, frozen=True, tag="run", forbid_unknown_fields=True):
    """What all records of a run share: where, with what, and how the time was read."""

    machine: dict[str, str | int | None]
    versions: dict[str, str]
    clock: Literal["wall", "cpu"]
    """See `measure.CLOCKS`; the first call and the host time are wall time always."""
    threads: Count
    commit: str | None
    command: str
    date: str
    schema: Literal[2] = 2


class Record(Struct, frozen=True, tag="time", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One method at one point: what, how fast, how exact."""

    game: str
    method: str
    kind: str
    dtype: str
    shape: Annotated[tuple[Count, ...], Meta(min_length=1)]
    device: str
    masked: bool = False
    median_s: Positive
    q20_s: Positive
    q80_s: Positive
    samples: Count
    blocks_s: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    """Medians of consecutive parts of the samples, what `compare` resamples."""
    first_call_s: Positive
    """Compilation and all that happens once; not in the samples."""
    host_s: Positive | None = None
    bytes: Count
    """Traffic that cannot be avoided."""
    roof_s: Positive
    """Median of a copy of as many bytes, in the same rounds."""
    sort_s: Positive | None = None
    """Median of `np.sort` of the same rows, where there are any."""
    product_s: Positive | None = None
    """What a matrix product takes for as many steps as the credits, for games whose time is arithmetic."""
    max_error: Annotated[float, Meta(ge=0)]
    load: float | None
    time: str
    run: Run | UnsetType = UNSET

    @property
    def of(self) -> Run:
        """The run that it belongs to."""
        assert self.run is not UNSET
        return self.run

    @property
    def threads(self) -> int:
        return self.of.threads

    @property
    def clock(self) -> str:
        return self.of.clock

    @property
    def point(self) -> tuple[Any, ...]:
        """What methods are compared at."""
        return (self.game, self.dtype, self.shape, self.device, self.masked, self.threads, self.clock)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two records must share to be measurements of the same thing."""
        return (self.method, *self.point)

    @property
    def players(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return prod(self.shape[:-1])

    @property
    def of_roof(self) -> float | None:
        """Share of the measured roof, None where a call is too short for the memory to matter."""
        return self.roof_s / self.median_s if self.bytes >= 2**20 else None


_encode = msgspec.json.Encoder(enc_hook=float).encode
_decoder = msgspec.json.Decoder(Run | Record)


def lines(records: Iterable[Record], after: Record | None = None) -> Iterator[bytes]:
    """The text of records, each behind the header of its run; `after` is the one before, if there is one."""
    header = after and after.of
    for record in records:
        if record.of != header:
            header = record.of
            yield _encode(header) + b"\n"
        short = tuple(float(f"{seconds:.4g}") for seconds in record.blocks_s)
        yield _encode(replace(record, run=UNSET, blocks_s=short)) + b"\n"


def read(paths: Iterable[Path]) -> list[Record]:
    """All records of the files, in order.

    Raises:
        CommandError: a file without records, or a line that is none, with its number.
        OSError: a file that cannot be read.
    """
    records: list[Record] = []
    for path in paths:
        before, header = len(records), None
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            try:
                decoded = _decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                what = "expected a record of shapley-bench; measure again if it is of an older version"
                raise CommandError(f"{path}:{number}: {what}: {error}") from None
            if isinstance(decoded, Run):
                header = decoded
            elif header is None:
                raise CommandError(f"{path}:{number}: expected the header of a run before its first record")
            else:
                records.append(replace(decoded, run=header))
        if len(records) == before:
            raise CommandError(f"{path}: no records in it")
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
        sort_s=_median([record.sort_s for record in group]),
        product_s=_median([record.product_s for record in group]),
        max_error=max(record.max_error for record in group),
        load=max((record.load for record in group if record.load is not None), default=None),
    )


def _median(seconds: Sequence[float | None]) -> float | None:
    some = [x for x in seconds if x is not None]
    return float(np.median(some)) if some else None
