"""Parquet in and out."""

import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shapley_kernels._command import CommandError
from shapley_kernels.cli.reading import (
    BATCH_BYTES,
    BATCH_ROWS,
    SKIP_HINT,
    Advance,
    File,
    Rejected,
    RewardBatch,
    Source,
    columns_of,
)
from shapley_kernels.cli.rows import FIELD_HINT, BadRow, Columns, parts, usable_prompt
from shapley_kernels.cli.schema import is_list, python_values, record_batch
from shapley_kernels.cli.writing import json_line

DECODED_BYTES = 1 << 30
"""A few KB of Parquet may decode to any number of bytes; no more memory than this is asked for at once."""

ROW_GROUP_ROWS = 128 * 1024
ROW_GROUP_BYTES = 32 << 20


class ParquetRows:
    """A Parquet file."""

    def __init__(self, file: File, columns: Columns, skip_bad: bool) -> None:
        self.file = file
        self.columns = columns
        self.skip_bad = skip_bad
        self.skipped: array[int] = array("q")
        with _parquet(file) as stream:
            self.schema: pa.Schema = stream.schema_arrow
        self._check_schema()

    def _check_schema(self) -> None:
        where, names = self.file.name, self.schema.names
        self.columns.refuse_taken(names, where)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise CommandError(f"{where}: there are two columns {twice!r}; rename one")
        kinds = {name: self._kind(name) for name in self.columns.read}
        for name in self.columns.prompt:
            if not (pa.types.is_integer(kinds[name]) or _is_text(kinds[name]) or _may_be_messages(kinds[name])):
                what = f"expected strings, integers or chat messages, found {kinds[name]}"
                raise CommandError(f"{where}, column {name!r}: {what}{FIELD_HINT * pa.types.is_struct(kinds[name])}")
        rewards = kinds.get(self.columns.rewards or "")
        if rewards not in (None, pa.null()) and not (is_list(rewards) and _is_number(rewards.value_type)):
            raise CommandError(f"{where}, column {self.columns.rewards!r}: expected lists of numbers, found {rewards}")

    def _kind(self, name: str) -> pa.DataType:
        """The type of a column, or of a field within one; dictionaries have that of their values."""
        first, *fields = [name] if name in self.schema.names else name.split(".")
        if first not in self.schema.names:
            raise CommandError(f"{self.file.name}: {self.columns.missing(name, self.schema.names)}")
        kind = self.schema.field(first).type
        for field_ in fields:
            if not pa.types.is_struct(kind) or kind.get_field_index(field_) < 0:
                raise CommandError(f"{self.file.name}: {self.columns.missing(name, self.schema.names)}")
            kind = kind.field(field_).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind

    @property
    def prompts(self) -> dict[str, str]:
        """The kind of each prompt column: text and integers are never equal."""
        kinds = {name: self._kind(name) for name in self.columns.prompt}
        return {
            name: "integers" if pa.types.is_integer(kind) else "strings" if _is_text(kind) else "objects"
            for name, kind in kinds.items()
            if kind not in (pa.json_(), pa.null())
        }

    def batches(self, advance: Advance) -> Iterator[RewardBatch]:
        ordinal = 0
        for batch in self._read(advance, list(self.columns.read)):
            columns = [python_values(_column(batch, name)) for name in self.columns.prompt]
            prompts = columns[0] if len(columns) == 1 else list(map(list, zip(*columns, strict=True)))
            bad = np.array([not all(map(usable_prompt, row)) for row in zip(*columns, strict=True)], bool)
            rewards, lengths, data = self._numbers(batch, bad)
            for index in np.flatnonzero(bad).tolist():
                if not self.skip_bad:
                    number, reason = ordinal + index + 1, self._reason(batch.slice(index, 1))
                    raise CommandError(f"{self.file.name}, row {number}: {reason}{SKIP_HINT}")
                self.skipped.append(ordinal + index)
            kept = [prompt for prompt, without in zip(prompts, bad.tolist(), strict=True) if not without]
            yield RewardBatch(kept, lengths[~bad], rewards[np.repeat(~bad, lengths)], data)
            ordinal += len(bad)

    def _numbers(self, batch: pa.RecordBatch, bad: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
        """Rewards and lengths of all rows, and the data of good ones; more of them may turn out to be `bad`."""
        if self.columns.data:  # which are read row by row
            rows = [self._parts(row) for row in _python_rows(batch)]
            bad |= np.array([row is None for row in rows], bool)
            read = RewardBatch.of([], [row[1] if row else [] for row in rows], [])
            return read.rewards, read.lengths, columns_of([row[2] for row in rows if row])
        lists = _column(batch, str(self.columns.rewards))
        rewards, lengths = _lists(lists)
        wrong = ~np.isfinite(rewards)
        if self.columns.chances:
            wrong |= (rewards < 0) | (rewards > 1)
        bad |= ~lists.is_valid().to_numpy(zero_copy_only=False)
        bad |= np.bincount(np.repeat(np.arange(len(lengths)), lengths)[wrong], minlength=len(lengths)) > 0
        return rewards, lengths, ()

    def _parts(self, row: dict[str, Any]) -> Any:
        """What is read of a row, None of a bad one."""
        try:
            return parts(row, self.columns)
        except BadRow:
            return None

    def rows(self, advance: Advance) -> Iterator[tuple[pa.RecordBatch, list[Rejected]]]:
        ordinal, skipped = 0, np.array(self.skipped, np.int64)
        for batch in self._read(advance, None):
            bad = skipped[np.searchsorted(skipped, ordinal) : np.searchsorted(skipped, ordinal + len(batch))] - ordinal
            rejected = [self._rejected(ordinal + i + 1, batch.slice(i, 1)) for i in bad.tolist()]
            yield batch if not len(bad) else batch.filter(pa.array(~np.isin(np.arange(len(batch)), bad))), rejected
            ordinal += len(batch)
        self.file.refuse_changed()

    def _rejected(self, number: int, one: pa.RecordBatch) -> Rejected:
        return Rejected(self.file.name, "row", number, self._reason(one), _python_rows(one)[0])

    def _reason(self, one: pa.RecordBatch) -> str:
        try:
            parts(_python_rows(one.select([name for name in one.schema.names if name in self._tops]))[0], self.columns)
        except BadRow as error:
            return str(error)
        return "the rewards do not fit a float64"

    @property
    def _tops(self) -> set[str]:
        """The columns that hold what is read."""
        return {name if name in self.schema.names else name.partition(".")[0] for name in self.columns.read}

    def _read(self, advance: Advance, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        """Batches; those of large rows have fewer of them."""
        with _parquet(self.file) as stream:
            row, done = 1, 0
            for group in range(stream.num_row_groups):
                rows = stream.metadata.row_group(group).num_rows
                per_row = stream.metadata.row_group(group).total_byte_size // max(rows, 1)
                size = min(BATCH_ROWS, max(1, BATCH_BYTES // max(per_row, 1)))
                for batch in _decoded(stream, group, columns, size, self.file.name, row):
                    yield batch
                    row += len(batch)
                    here = self.file.size * (row - 1) // stream.metadata.num_rows
                    advance(here - done)
                    done = here


def refuse_other_prompts(sources: Sequence[Source]) -> None:
    """Raise if a prompt column has strings in one file and integers in another, which are never one group."""
    known: dict[str, tuple[str, str]] = {}
    for source in sources:
        for name, kind in source.prompts.items() if isinstance(source, ParquetRows) else ():
            other, file = known.setdefault(name, (kind, source.file.name))
            if other != kind:
                raise CommandError(
                    f"{source.file.name}, column {name!r}: expected {other} as in {file}, found {kind}; "
                    "write one as the other, so that the rollouts of a prompt find each other"
                )


@contextmanager
def _parquet(file: File) -> Iterator[pq.ParquetFile]:
    try:
        # A buffered stream instead of whole row groups in memory.
        with (
            file.open() as raw,
            pq.ParquetFile(
                file.path or raw, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
            ) as stream,
        ):
            yield stream
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the system, not about what is in the file
            error.filename = error.filename or file.name
            raise
        raise CommandError(f"{file.name}: cannot be read as Parquet ({error})") from None


def _decoded(
    stream: pq.ParquetFile, group: int, columns: list[str] | None, size: int, file: str, first: int
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `size` rows, of fewer where those take much memory.

    Raises:
        CommandError: one row takes too much.
    """
    done = 0  # rows of the group
    while True:
        # in this thread, since none can be started under the limit
        batches = stream.iter_batches(size, row_groups=[group], columns=columns, use_threads=False)
        seen = 0
        try:
            while (batch := _next(batches)) is not None:
                fresh = batch.slice(max(0, done - seen))  # what an earlier attempt did not come to
                seen += len(batch)
                done = max(done, seen)
                step = max(1, len(batch) * BATCH_BYTES // max(batch.nbytes, 1))
                yield from (fresh.slice(i, step) for i in range(0, len(fresh), step))
            return
        except MemoryError:
            if size == 1:
                what = f"expected a row that decodes to less than {DECODED_BYTES >> 20} MiB, found a larger one"
                raise CommandError(f"{file}, row {first + seen}: {what}") from None
            size = max(1, size // 16)


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    """The next one, if there is one and memory for it."""
    if sys.platform != "linux":  # the limit is not kept, or there is none
        return next(batches, None)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as status:
        limit = int(status.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") + DECODED_BYTES
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        return next(batches, None)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def _lists(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Their elements one after the other, null as NaN, and their lengths, 0 for null."""
    lists = pc.cast(lists, pa.large_list(pa.float64()), safe=False)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return pc.list_flatten(lists).to_numpy(zero_copy_only=False), lengths.to_numpy(zero_copy_only=False)


def _may_be_messages(kind: pa.DataType) -> bool:
    """Lists of objects; what JSON text or nothing but nulls hold is seen row by row."""
    return kind in (pa.json_(), pa.null()) or (is_list(kind) and pa.types.is_struct(kind.value_type))


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column, or a field within one."""
    first, *fields = [name] if name in batch.schema.names else name.split(".")
    column = batch.column(first)
    return pc.struct_field(column, fields) if fields else column


def json_lines(batch: pa.RecordBatch) -> list[bytes]:
    """The rows as lines of JSON."""
    return [json_line(row) for row in _python_rows(batch)]


def _python_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as dictionaries; JSON text is decoded."""
    columns = []
    for field_, column in zip(batch.schema, batch.columns, strict=True):
        try:
            values = python_values(column)
        except ValueError as error:  # nanoseconds, which Python's datetime lacks
            raise CommandError(
                f"column {field_.name!r}: {field_.type} has no form in JSON ({error}); write Parquet instead"
            ) from None
        columns.append(values)
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


class _Writer(pq.ParquetWriter):
    def __del__(self) -> None:
        """Nothing: left open by an interrupt it would write to a file that is closed, and complain."""


class ParquetSink:
    """Writes chunks with their two new columns, in row groups of a useful size.

    Args:
        stream: binary file.
        schema: of the rows without the new columns.
    """

    def __init__(self, stream: IO[bytes], schema: pa.Schema, columns: Columns) -> None:
        self.schema = schema
        kind = pa.list_(pa.float64())
        added = [pa.field(columns.credits, kind), pa.field(columns.advantages, kind)]
        self._full = pa.schema([*schema, *added], metadata=schema.metadata)
        self._stream = stream
        self._writer = _Writer(stream, self._full, write_page_checksum=True)
        self._waiting: list[pa.RecordBatch] = []

    def write(self, rows: Any, credits: np.ndarray, advantages: np.ndarray, lengths: np.ndarray) -> None:
        """Append rows; credits and advantages [candidates of all rows], lengths [rows]."""
        batch = record_batch(rows, self.schema)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        added = [pa.ListArray.from_arrays(offsets, x) for x in (credits, advantages)]
        self._waiting.append(pa.record_batch([*batch.columns, *added], schema=self._full))
        if sum(map(len, self._waiting)) >= ROW_GROUP_ROWS or sum(b.nbytes for b in self._waiting) >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting).unify_dictionaries()
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            self._waiting.clear()

    def refuse_unreadable(self) -> None:
        """Raise CommandError if pyarrow, which writes what it does not read, does not read this; not of the rows."""
        self._stream.seek(0)
        try:
            with pq.ParquetFile(self._stream) as written:
                if written.schema_arrow.equals(self._full):
                    return
                reason = f"its columns are read as other ones: {written.schema_arrow}"
        except (pa.ArrowException, OSError) as error:
            reason = str(error)
        raise CommandError(f"the output could not be read as Parquet ({reason}); write JSON lines instead")

    def __enter__(self) -> "ParquetSink":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        # the first error counts; left open, it would write again when it is collected
        with suppress(Exception) if kind else nullcontext():
            self._writer.close()
