"""Parquet in and out, and the way between rows of JSON and typed columns. Beside `ray_engine` alone with pyarrow."""

import json
import os
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shapley_kernels.cli.reading import BATCH_BYTES, BATCH_ROWS, SKIP_HINT, Advance, Chunk, File, Numbers, Rejected
from shapley_kernels.cli.rows import BadRow, Columns, InputError, missing_column, parts, quote
from shapley_kernels.cli.writing import json_line

WIDEST_STRUCT = 256
"""Objects with more different names than this are taken for maps, and become JSON text."""

DEEPEST_COLUMN = 60
"""Levels of lists, which take two, and objects within each other; what has more becomes JSON text. pyarrow writes any
number of them and reads less than 100."""

DECODED_BYTES = 1 << 30
"""A few KB of Parquet may decode to any number of bytes; no more memory than this is asked for at once."""

ROW_GROUP_ROWS = 128 * 1024
ROW_GROUP_BYTES = 32 << 20


class ParquetFiles:
    """Parquet files of the same columns."""

    def __init__(self, inputs: list[File], columns: Columns, skip_bad: bool) -> None:
        self.files = inputs
        self.columns = columns
        self.skip_bad = skip_bad
        self.size = sum(file.size for file in inputs)
        self.skipped: array[int] = array("q")
        with _parquet(inputs[0]) as first:
            self.schema: pa.Schema = first.schema_arrow
        self._check_schema(inputs[0].name)
        for file in inputs[1:]:
            with _parquet(file) as other:
                if not other.schema_arrow.equals(self.schema):
                    raise InputError(
                        f"{file.name}: other columns or types than in {inputs[0].name}; run the command on each"
                    )

    def _check_schema(self, where: str) -> None:
        names = self.schema.names
        self.columns.refuse_taken(names, where)
        for name in (self.columns.prompt, self.columns.rewards):
            if name not in names:
                raise InputError(f"{where}: {missing_column(name, self.columns, names)}")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{where}: there are two columns {twice!r}; rename one")
        prompt, rewards = (self.schema.field(name).type for name in (self.columns.prompt, self.columns.rewards))
        plain = prompt.value_type if pa.types.is_dictionary(prompt) else prompt
        if not (pa.types.is_integer(plain) or _is_text(plain) or plain == pa.json_()):
            raise InputError(f"{where}, column {self.columns.prompt!r}: expected strings or integers, found {prompt}")
        if not (_is_list(rewards) and _is_number(rewards.value_type)):
            raise InputError(f"{where}, column {self.columns.rewards!r}: expected lists of numbers, found {rewards}")

    def numbers(self, advance: Advance) -> Iterator[Numbers]:
        ordinal = 0
        for file, row, batch in self._batches(advance, [self.columns.prompt, self.columns.rewards]):
            prompts, lists = batch.column(self.columns.prompt), batch.column(self.columns.rewards)
            rewards, lengths = _lists(lists)
            bad = _bad_rows(prompts, rewards, lengths)
            for index in np.flatnonzero(bad).tolist():
                if not self.skip_bad:
                    raise InputError(f"{file}, row {row + index}: {self._reason(batch.slice(index, 1))}{SKIP_HINT}")
                self.skipped.append(ordinal + index)
            keep = np.repeat(~bad, lengths)
            yield Numbers(_python(prompts.filter(pa.array(~bad))), rewards[keep], lengths[~bad])
            ordinal += len(bad)

    def chunks(self, advance: Advance) -> Iterator[Chunk]:
        ordinal, skipped = 0, np.array(self.skipped, np.int64)
        for file, row, batch in self._batches(advance, None):
            bad = skipped[np.searchsorted(skipped, ordinal) : np.searchsorted(skipped, ordinal + len(batch))] - ordinal
            ordinal += len(batch)
            rejected = [self._rejected(file, row + i, batch.slice(i, 1)) for i in bad.tolist()]
            good = batch if not len(bad) else batch.filter(pa.array(~np.isin(np.arange(len(batch)), bad)))
            yield ArrowChunk(good, rejected)
        for source in self.files:
            source.refuse_changed()

    def _rejected(self, file: str, number: int, one: pa.RecordBatch) -> Rejected:
        return Rejected(file, "row", number, self._reason(one), _python_rows(one)[0])

    def _reason(self, one: pa.RecordBatch) -> str:
        names = (self.columns.prompt, self.columns.rewards)
        try:
            parts({name: _python(one.column(name))[0] for name in names}, self.columns)
        except BadRow as error:
            return str(error)
        return "the rewards do not fit a float64"

    def _batches(self, advance: Advance, columns: list[str] | None) -> Iterator[tuple[str, int, pa.RecordBatch]]:
        """(file, number of the first row, from 1, batch); batches of large rows have fewer of them."""
        for file in self.files:
            with _parquet(file) as stream:
                row, done = 1, 0
                for group in range(stream.num_row_groups):
                    rows = stream.metadata.row_group(group).num_rows
                    per_row = stream.metadata.row_group(group).total_byte_size // max(rows, 1)
                    size = min(BATCH_ROWS, max(1, BATCH_BYTES // max(per_row, 1)))
                    for batch in _decoded(stream, group, columns, size, file.name, row):
                        yield file.name, row, batch
                        row += len(batch)
                        here = file.size * (row - 1) // stream.metadata.num_rows
                        advance(here - done)
                        done = here


@contextmanager
def _parquet(file: File) -> Iterator[pq.ParquetFile]:
    try:
        # A buffered stream instead of whole row groups in memory.
        with pq.ParquetFile(
            file.path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
        ) as stream:
            yield stream
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the system, not about what is in the file
            error.filename = error.filename or file.name
            raise
        raise InputError(f"{file.name}: cannot be read as Parquet ({error})") from None


def _decoded(
    stream: pq.ParquetFile, group: int, columns: list[str] | None, size: int, file: str, first: int
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `size` rows, of fewer where those take much memory.

    Raises:
        InputError: one row takes too much.
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
                raise InputError(f"{file}, row {first + seen}: {what}") from None
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


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _lists(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Their elements one after the other, null as NaN, and their lengths, 0 for null."""
    lists = pc.cast(lists, pa.large_list(pa.float64()), safe=False)
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return pc.list_flatten(lists).to_numpy(zero_copy_only=False), lengths.to_numpy(zero_copy_only=False)


def _bad_rows(prompts: pa.Array, rewards: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[rows] bool: no prompt or JSON text of another kind, no reward, or a reward that is null or not finite."""
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    infinite = np.bincount(row_of[~np.isfinite(rewards)], minlength=len(lengths))
    bad = (lengths == 0) | (infinite > 0) | ~prompts.is_valid().to_numpy(zero_copy_only=False)
    if prompts.type == pa.json_():
        bad |= np.array([type(prompt) not in (str, int) for prompt in _python(prompts)], bool)
    return bad


@dataclass
class ArrowChunk:
    """Parquet rows in the second pass."""

    batch: pa.RecordBatch
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.batch)

    def to_lines(self) -> list[bytes]:
        return [json_line(row) for row in _python_rows(self.batch)]

    def to_arrow(self, schema: pa.Schema) -> pa.RecordBatch:
        return self.batch


def _python_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as dictionaries; JSON text is decoded."""
    columns = []
    for field_, column in zip(batch.schema, batch.columns, strict=True):
        try:
            values = _python(column)
        except ValueError as error:  # nanoseconds, which Python's datetime lacks
            raise InputError(
                f"column {field_.name!r}: {field_.type} has no form in JSON ({error}); write Parquet instead"
            ) from None
        columns.append(values)
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _python(column: pa.Array) -> list[Any]:
    """The values of a column; JSON text is decoded."""
    values: list[Any] = column.to_pylist()
    if column.type != pa.json_():
        return values
    return [None if value is None else _from_text(value) for value in values]


def _from_text(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InputError(f"expected valid JSON in a column of type JSON, found {quote(value)}") from None


class Misfit(Exception):
    """A column whose values do not fit the type guessed for it; holds its name."""


class SchemaGuess:
    """Types of the columns of JSON rows: of each what all its values have in common, else JSON text.

    Args:
        rewards: the column whose lists are of numbers, whatever kinds of numbers they mix.
    """

    def __init__(self, rewards: str) -> None:
        self._rewards = rewards
        self._types: dict[str, pa.DataType] = {}

    def see(self, rows: list[dict[str, Any]]) -> None:
        """Take more rows into account."""
        for name in dict.fromkeys(chain.from_iterable(rows)):
            known = self._types.get(name, pa.null())
            if known != pa.json_():
                kind = _merged(known, _common_type([row.get(name) for row in rows]))
                numbers = name == self._rewards and kind == pa.json_()
                self._types[name] = pa.list_(pa.float64()) if numbers else kind

    def join(self, other: "SchemaGuess") -> None:
        """Take the rows that another guess has seen into account."""
        for name, kind in other._types.items():
            known = self._types.get(name, pa.null())
            self._types[name] = pa.json_() if pa.json_() in (known, kind) else _merged(known, kind)

    def demote(self, name: str) -> None:
        """Make a column JSON text."""
        self._types[name] = pa.json_()

    @property
    def as_text(self) -> list[str]:
        """Columns that are JSON text."""
        return [field_.name for field_ in self.schema() if field_.type == pa.json_()]

    def schema(self) -> pa.Schema:
        """Of the rows seen so far."""
        try:
            return pa.schema([(name, kind if _storable(kind) else pa.json_()) for name, kind in self._types.items()])
        except UnicodeEncodeError as error:
            raise InputError(
                f"column {error.object!r}: no valid name for a Parquet column; write JSON lines instead"
            ) from None


def _common_type(values: list[Any]) -> pa.DataType:
    if _needs_text(values, DEEPEST_COLUMN):
        return pa.json_()
    try:
        return pa.infer_type(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.json_()


def _needs_text(values: list[Any], levels: int) -> bool:
    """Whether values are nested in more levels than that, or mix true or false with numbers, which pyarrow would read
    as 1.0 or 0.0 in silence."""
    kinds = set(map(type, values))
    if levels < 0 or (bool in kinds and (int in kinds or float in kinds)):
        return True
    if list in kinds and _needs_text(list(chain.from_iterable(v for v in values if type(v) is list)), levels - 2):
        return True
    objects = [v for v in values if type(v) is dict] if dict in kinds else []
    return any(_needs_text([o.get(name) for o in objects], levels - 1) for name in dict.fromkeys(chain(*objects)))


def _merged(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b:
        return a
    try:
        schemas = [pa.schema([("", kind)]) for kind in (a, b)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.json_()


def _storable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold it: it has no struct without fields."""
    if pa.types.is_struct(kind):
        return 0 < kind.num_fields <= WIDEST_STRUCT and all(_storable(field_.type) for field_ in kind)
    return _storable(kind.value_type) if _is_list(kind) else True


def record_batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """JSON rows as typed columns.

    Raises:
        Misfit: a value does not fit the type of its column exactly.
    """
    columns = []
    for field_ in schema:
        values = [row.get(field_.name) for row in rows]
        if field_.type == pa.json_():
            values = [None if value is None else json.dumps(value) for value in values]
        try:
            columns.append(pa.array(values, field_.type))
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            raise Misfit(field_.name) from None
    return pa.record_batch(columns, schema=schema)


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

    def write(self, chunk: Chunk, credits: np.ndarray, advantages: np.ndarray, lengths: np.ndarray) -> None:
        """Append rows; credits and advantages [candidates of all rows], lengths [rows]."""
        batch = chunk.to_arrow(self.schema)
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
        """Raise InputError if pyarrow, which writes what it does not read, does not read this; not of the rows."""
        self._stream.seek(0)
        try:
            with pq.ParquetFile(self._stream) as written:
                if written.schema_arrow.equals(self._full):
                    return
                reason = f"its columns are read as other ones: {written.schema_arrow}"
        except (pa.ArrowException, OSError) as error:
            reason = str(error)
        raise InputError(f"the output could not be read as Parquet ({reason}); write JSON lines instead")

    def __enter__(self) -> "ParquetSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            self._writer.close()
        else:
            with suppress(
                Exception
            ):  # the first error counts; left open, the writer would write again when it is collected
                self._writer.close()
