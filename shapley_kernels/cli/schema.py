"""Types for the columns of rows that were written without any, and rows in columns of given types."""

import json
from itertools import chain
from typing import Any

import pyarrow as pa

from shapley_kernels._command import CommandError
from shapley_kernels.cli.reading import parse
from shapley_kernels.cli.rows import quote
from shapley_kernels.cli.writing import json_text

WIDEST_STRUCT = 256
"""Objects with more different names than this are taken for maps, and become JSON text."""

DEEPEST_COLUMN = 60
"""Levels of lists, which take two, and objects within each other; what has more becomes JSON text. pyarrow writes any
number of them and reads less than 100."""


class Misfit(Exception):
    """A column whose values do not fit the type guessed for it; holds its name."""


class SchemaGuess:
    """Types of the columns of rows: of each what all its values have in common, else JSON text. Parquet files of one
    schema keep it, whatever it is.

    Args:
        rewards: the column whose lists are of numbers, whatever kinds of numbers they mix.
    """

    def __init__(self, rewards: str | None) -> None:
        self._rewards = rewards
        self._types: dict[str, pa.DataType] = {}
        self._files: list[pa.Schema] = []  # without repetitions

    def see(self, rows: list[dict[str, Any]]) -> None:
        """Take more rows of JSON into account."""
        for name in dict.fromkeys(chain.from_iterable(rows)):
            if self._types.get(name) != pa.json_():
                self._merge(name, _common_type([row.get(name) for row in rows]))

    def see_file(self, schema: pa.Schema) -> None:
        """Take the rows of a Parquet file into account."""
        if not any(schema.equals(other, check_metadata=False) for other in self._files):
            self._files.append(schema)
        for field in schema:
            kind = field.type
            self._merge(field.name, kind.value_type if pa.types.is_dictionary(kind) else kind)

    def join(self, other: "SchemaGuess") -> None:
        """Take the rows that another guess has seen into account."""
        for name, kind in other._types.items():
            self._merge(name, kind)

    def _merge(self, name: str, kind: pa.DataType) -> None:
        merged = _merged(self._types.get(name, pa.null()), kind)
        numbers = name == self._rewards and merged == pa.json_()
        self._types[name] = pa.list_(pa.float64()) if numbers else merged

    def demote(self, name: str) -> None:
        """Make a column JSON text."""
        self._types[name] = pa.json_()
        self._files.append(pa.schema([]))

    @property
    def as_text(self) -> list[str]:
        """Columns that are JSON text."""
        return [field_.name for field_ in self.schema() if field_.type == pa.json_()]

    def schema(self) -> pa.Schema:
        """Of the rows seen so far."""
        if len(self._files) == 1 and self._files[0].names == list(self._types):
            return self._files[0]
        metadata = self._files[0].metadata if self._files else None
        try:
            fields = [(name, kind if _storable(kind) else pa.json_()) for name, kind in self._types.items()]
            return pa.schema(fields, metadata=metadata)
        except UnicodeEncodeError as error:
            raise CommandError(
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
    if a == b or pa.json_() in (a, b):
        return a if a == b else pa.json_()
    try:
        schemas = [pa.schema([("", kind)]) for kind in (a, b)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.json_()


def _storable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold it: it has no struct without fields."""
    if pa.types.is_struct(kind):
        return 0 < kind.num_fields <= WIDEST_STRUCT and all(_storable(field_.type) for field_ in kind)
    return _storable(kind.value_type) if is_list(kind) else True


def record_batch(rows: Any, schema: pa.Schema) -> pa.RecordBatch:
    """Lines of JSON, or the rows of a Parquet file, as columns of that schema.

    Raises:
        Misfit: a value does not fit the type of its column exactly.
    """
    if isinstance(rows, pa.RecordBatch):
        if rows.schema.equals(schema):
            return rows
        columns = [_fitted(rows, field) for field in schema]
    else:
        parsed = [parse(line) for line in rows]
        columns = [_typed([row.get(field.name) for row in parsed], field) for field in schema]
    return pa.record_batch(columns, schema=schema)


def _fitted(rows: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """A column of a Parquet file whose schema is another one."""
    if field.name not in rows.schema.names:
        return pa.nulls(len(rows), field.type)
    column = rows.column(field.name)
    return column if column.type == field.type else _typed(python_values(column), field)


def _typed(values: list[Any], field: pa.Field) -> pa.Array:
    if field.type == pa.json_():
        values = [None if value is None else json_text(value) for value in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        raise Misfit(field.name) from None


def is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def python_values(column: pa.Array) -> list[Any]:
    """The values of a column; JSON text is decoded."""
    values: list[Any] = column.to_pylist()
    if column.type != pa.json_():
        return values
    return [None if value is None else _from_json(value) for value in values]


def _from_json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise CommandError(f"expected valid JSON in a column of type JSON, found {quote(value)}") from None
