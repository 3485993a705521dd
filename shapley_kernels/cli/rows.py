"""What a row must look like, and what is said about one that does not."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from math import isfinite
from typing import Any

from shapley_kernels._command import CommandError

NUMBERS = frozenset({int, float, bool})
"""Types a reward may have; pass / fail rewards are written as true / false."""

ARRAY_HINT = "; it looks like one JSON array, turn it into lines with: jq -c '.[]'"

FIELD_HINT = "; name a field of it, such as extra_info.index"

LONGEST_QUOTE = 60
LONGEST_PROMPT_ID = 64
SHOWN_COLUMNS = 8


class BadRow(ValueError):
    """One row that cannot be used; its text names the column, what was expected and what was found."""


@dataclass(frozen=True)
class DataColumn:
    """A column with data of the candidates that a utility reads beside the rewards.

    Args:
        kind: "labels", a string or integer for each candidate; "topics", a list of numbers, as many for each candidate
            of a row; "covers", the same with numbers in [0, 1].
        rewards: whether the utility takes the rewards, too.
    """

    name: str
    kind: str
    rewards: bool = False


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read, and of the two that are added.

    Args:
        prompt: rollouts with equal values in all of them are a group; a dot leads into nested fields.
        rewards: None if the utility reads none.
        chances: whether rewards must be in [0, 1].
    """

    prompt: tuple[str, ...] = ("prompt_id",)
    rewards: str | None = "rewards"
    credits: str = "credits"
    advantages: str = "advantages"
    data: tuple[DataColumn, ...] = ()
    chances: bool = False

    def __post_init__(self) -> None:
        names = [*self.prompt, *([self.rewards] if self.rewards else []), self.credits, self.advantages]
        if len(set(names)) < len(names):
            raise CommandError(
                f"the prompt, rewards, credits and advantages columns need different names, got {', '.join(names)}"
            )

    @property
    def read(self) -> tuple[str, ...]:
        """All columns that are read."""
        rewards = (self.rewards,) if self.rewards else ()
        return tuple(dict.fromkeys((*self.prompt, *rewards, *(column.name for column in self.data))))

    def refuse_taken(self, present: Collection[str], where: str) -> None:
        """Raise if the input already has a column that is to be added."""
        for option, name in (("--credits-column", self.credits), ("--advantages-column", self.advantages)):
            if name in present:
                raise CommandError(
                    f"{where}: the column {name!r} is there already and is not overwritten; {option} names the new one"
                )

    def missing(self, name: str, present: Collection[str]) -> str:
        """What is said when a column that is read is not there."""
        option = "--prompt-column" if name in self.prompt else "--rewards-column" if name == self.rewards else ""
        more = ", ..." if len(present) > SHOWN_COLUMNS else ""
        shown = ", ".join(map(repr, list(present)[:SHOWN_COLUMNS]))
        found = f"only {shown}{more}" if present else "none at all"
        remedy = f"{option} names another" if option else "--utility reads the column in its brackets"
        return f"column {name!r}: expected one of this name, found {found} ({remedy})"


Data = tuple[list[float], int]
"""Numbers of a data column, candidate by candidate, and how many each candidate has."""


def quote(value: Any) -> str:
    """`value` as it stands in a JSON file, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def parts(row: Any, columns: Columns) -> tuple[Any, list[float], list[Data]]:
    """The prompt, the rewards (0 where none are read) and the data of a parsed row; a list without candidates is an
    empty rollout.

    Raises:
        BadRow: one of them is missing or unusable.
    """
    if type(row) is not dict:
        of_rows = type(row) is list and dict in map(type, row)
        raise BadRow(f"expected a JSON object, found {quote(row)}{ARRAY_HINT if of_rows else ''}")
    prompts = [_found(row, name, columns) for name in columns.prompt]
    for name, prompt in zip(columns.prompt, prompts, strict=True):
        if type(prompt) is not str and not usable_prompt(prompt):
            what = "a string, an integer or chat messages"
            hint = FIELD_HINT if type(prompt) is dict else ""
            raise BadRow(f"column {name!r}: expected {what}, found {quote(prompt)}{hint}")
    rewards = None
    if columns.rewards:
        rewards = _found(row, columns.rewards, columns)
        _check_numbers(columns.rewards, rewards, columns.chances)
    data: list[Data] = []
    for column in columns.data:
        values = _found(row, column.name, columns)
        if type(values) is not list or (rewards is not None and len(values) != len(rewards)):
            count = "" if rewards is None else f" of {len(rewards)}, one for each reward"
            raise BadRow(f"column {column.name!r}: expected a list{count}, found {quote(values)}")
        rewards = [0.0] * len(values) if rewards is None else rewards
        data.append(_labels(column, values) if column.kind == "labels" else _topics(column, values))
    assert rewards is not None
    return prompts[0] if len(prompts) == 1 else prompts, rewards, data


def _found(row: dict[str, Any], name: str, columns: Columns) -> Any:
    """The value of a column, or of a field within one, `extra_info.index`."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if type(value) is not dict or part not in value:
            raise BadRow(columns.missing(name, row))
        value = value[part]
    return value


def usable_prompt(value: Any) -> bool:
    """A string, an integer, or chat messages: a list of objects."""
    return type(value) in (str, int) or (type(value) is list and set(map(type, value)) == {dict})


def key(prompt: Any) -> str | int | bytes:
    """What stands for a prompt in memory: the same for equal prompts only; long ones are hashed."""
    if type(prompt) is int or (type(prompt) is str and len(prompt) <= LONGEST_PROMPT_ID):
        return prompt
    text = prompt if type(prompt) is str else "\0" + json.dumps(_without_nulls(prompt), sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _without_nulls(value: Any) -> Any:
    """Fields that are null are not there: the parts of a data set may differ in which they have."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(x) for name, x in value.items() if x is not None}
    return [_without_nulls(x) for x in value] if isinstance(value, list) else value


def _labels(column: DataColumn, values: list[Any]) -> Data:
    """Numbers that are equal for equal labels of this row."""
    for i, label in enumerate(values):
        if type(label) not in (str, int):
            raise BadRow(f"column {column.name!r}: expected strings or integers, found {quote(label)} {_at(i)}")
    known: dict[Any, float] = {}
    return [known.setdefault(label, float(len(known))) for label in values], 1


def _topics(column: DataColumn, values: list[Any]) -> Data:
    for i, topics in enumerate(values):
        if type(topics) is not list or len(topics) != len(values[0]):
            raise BadRow(f"column {column.name!r}: expected lists of one length, found {quote(topics)} {_at(i)}")
        _check_numbers(column.name, topics, column.kind == "covers")
    return list(chain.from_iterable(values)), len(values[0]) if values else 0


def _at(position: int) -> str:
    return f"at position {position} (counted from 0)"


def _check_numbers(name: str, values: Any, chances: bool) -> None:
    """Raise BadRow unless it is a list of finite numbers, in [0, 1] if they are chances."""
    good = type(values) is list and NUMBERS.issuperset(map(type, values)) and _finite(values)
    if good and not (chances and any(not 0 <= x <= 1 for x in values)):
        return
    wanted = f"column {name!r}: expected a list of {'numbers in [0, 1]' if chances else 'finite numbers'}"
    if type(values) is not list:
        raise BadRow(f"{wanted}, found {quote(values)}")
    bad = (
        (i, x)
        for i, x in enumerate(values)
        if type(x) not in NUMBERS or not _finite([x]) or (chances and not 0 <= x <= 1)
    )
    position, culprit = next(bad)
    raise BadRow(f"{wanted}, found {quote(culprit)} {_at(position)}")


def _finite(numbers: list[float]) -> bool:
    try:
        if isfinite(sum(numbers)):
            return True
    except OverflowError:
        pass
    try:
        return all(map(isfinite, numbers))  # the sum alone may overflow
    except OverflowError:  # an integer beyond the largest float
        return False
