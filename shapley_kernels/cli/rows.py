"""What a row must look like, and what is said about one that does not."""

import json
from dataclasses import dataclass
from math import isfinite
from typing import Any

NUMBERS = frozenset({int, float, bool})
"""Types a reward may have; pass / fail rewards are written as true / false."""

ARRAY_HINT = "; it looks like one JSON array, turn it into lines with: jq -c '.[]'"

LONGEST_QUOTE = 60
SHOWN_COLUMNS = 8


class InputError(ValueError):
    """Something about the input or the options that only the caller can put right; its text is the whole message."""

    status = 2  # of the command


class NoGoodRow(InputError):
    """All rows are bad and were skipped, which is complete and yet no success."""

    status = 3


class BadRow(ValueError):
    """One row that cannot be used; its text names the column, what was expected and what was found."""


@dataclass(frozen=True)
class Columns:
    """Names of the two columns that are read and the two that are added."""

    prompt: str = "prompt_id"
    rewards: str = "rewards"
    credits: str = "credits"
    advantages: str = "advantages"

    def __post_init__(self) -> None:
        names = [self.prompt, self.rewards, self.credits, self.advantages]
        if len(set(names)) < len(names):
            raise InputError(
                f"the prompt, rewards, credits and advantages columns need four different names, got {', '.join(names)}"
            )

    def refuse_taken(self, present: Any, where: str) -> None:
        """Raise if the input already has a column that is to be added."""
        for option, name in (("--credits-column", self.credits), ("--advantages-column", self.advantages)):
            if name in present:
                raise InputError(
                    f"{where}: the column {name!r} is there already and is not overwritten; {option} names the new one"
                )


def quote(value: Any) -> str:
    """`value` as it stands in a JSON file, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def parts(row: Any, columns: Columns) -> tuple[str | int, list[float]]:
    """The prompt id and the rewards of a parsed row.

    Raises:
        BadRow: one of them is missing or unusable.
    """
    if type(row) is not dict:
        of_rows = type(row) is list and dict in map(type, row)
        raise BadRow(f"expected a JSON object, found {quote(row)}{ARRAY_HINT if of_rows else ''}")
    for name in (columns.prompt, columns.rewards):
        if name not in row:
            raise BadRow(missing_column(name, columns, list(row)))
    prompt, rewards = row[columns.prompt], row[columns.rewards]
    if type(prompt) is not str and type(prompt) is not int:
        raise BadRow(f"column {columns.prompt!r}: expected a string or an integer, found {quote(prompt)}")
    if type(rewards) is not list or not rewards or not NUMBERS.issuperset(map(type, rewards)) or not _finite(rewards):
        raise BadRow(f"column {columns.rewards!r}: expected a list of finite numbers, {_fault(rewards)}")
    return prompt, rewards


def missing_column(name: str, columns: Columns, present: list[str]) -> str:
    """What is said when a column that is read is not there."""
    option = "--prompt-column" if name == columns.prompt else "--rewards-column"
    more = ", ..." if len(present) > SHOWN_COLUMNS else ""
    found = f"only {', '.join(map(repr, present[:SHOWN_COLUMNS]))}{more}" if present else "none at all"
    return f"column {name!r}: expected one of this name, found {found} ({option} names another)"


def _finite(rewards: list[float]) -> bool:
    try:
        if isfinite(sum(rewards)):
            return True
    except OverflowError:
        pass
    try:
        return all(map(isfinite, rewards))  # the sum alone may overflow
    except OverflowError:  # an integer beyond the largest float
        return False


def _fault(rewards: Any) -> str:
    """What is wrong with `rewards`, which is known to be bad."""
    if type(rewards) is not list:
        return f"found {quote(rewards)}"
    if not rewards:
        return "found an empty list"
    position, culprit = next((i, r) for i, r in enumerate(rewards) if type(r) not in NUMBERS or not _finite([r]))
    return f"found {quote(culprit)} at position {position} (counted from 0)"
