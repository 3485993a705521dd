"""Where the candidates of a response stand in its text: one parser per format.

A parser is a function from the text to `([(start, end, candidate), ...], problem)`: characters start .. end - 1 are the
candidate with the marks that are its own (quotes, tags, number), `candidate` is what a scorer gets to read, and problem
is None, "malformed", or "truncated" where the text ended inside a candidate or its list. Write your own the same way.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from shapley_kernels.arrays import one_of

Found: TypeAlias = list[tuple[int, int, str]]
Parser: TypeAlias = Callable[[str], tuple[Found, str | None]]

MALFORMED, TRUNCATED = "malformed", "truncated"
MISSING = ("whole", "malformed")

_LIST_OPENS = re.compile(r'\[(?=[ \t\n\r]*(?:["{]|\Z))')  # else a bracket of the prose around, such as [1]
_JSON_SPACE = " \t\n\r"
_CUT_SCALAR = re.compile(r"[\w.+\\-]*\s*")  # what is left after the error where the text ends within true, -1.5, \u00e9
_NUMBER = re.compile(r"^ {0,2}([0-9]{1,3})[.)](?=\s|\Z)", re.MULTILINE)  # indented more: a list within a candidate


def json_list(key: str | None = None) -> Parser:
    r"""The strings, or objects, of the first JSON list of such in the text; prose and code fences around are skipped.

    Args:
        key: the member that is the candidate, for a list of objects; None: an object's JSON text is.

    Returns:
        A parser. A string's span has its quotes, an object's its braces; commas and brackets belong to nobody. The
        candidate of a string is decoded (\" \n \u00e9). What `json` refuses is malformed, as is another kind of item;
        a list that begins with another kind is skipped, with the lists within it.

    Raises:
        TypeError: key is not a str.

    >>> json_list()('Names: ["Ada", "Bob"].')
    ([(8, 13, 'Ada'), (15, 20, 'Bob')], None)
    >>> json_list("name")('[{"name": "Ada"}, {"na')
    ([(1, 16, 'Ada')], 'truncated')
    """
    if key is not None:
        _check_text("json_list", "key", key)
    return partial(_json_list, key=key)


def tagged(name: str, numbered: bool = False) -> Parser:
    """What stands between <name> and </name>, each time, or between <name1> and </name1>, <name2> and </name2>.

    Args:
        name: of the tag; an opening tag may have attributes, <name id="1">.
        numbered: whether the tags count 1, 2, 3, ...

    Returns:
        A parser. Spans have both tags; candidates have no surrounding whitespace. Tags that do not pair, or do not
        count from 1, are malformed, and so is a text with tags of the other kind only.
        A text that ends within a tag is truncated, from the first letter of the name on: < or </ at the end is prose.

    Raises:
        TypeError, ValueError: name is not a str, empty, or has brackets; numbered is not a bool.

    >>> tagged("c")("<c>red</c> or <c> green </c>")
    ([(0, 10, 'red'), (14, 28, 'green')], None)
    >>> tagged("answer", numbered=True)("<answer1>red</answer1><answer2>gre")
    ([(0, 22, 'red')], 'truncated')
    """
    _check_text("tagged", "name", name)
    if set(name) & set("<>"):
        raise ValueError(f"tagged: name must be that of the tag, without brackets, got {name!r}; as in tagged('item')")
    if not isinstance(numbered, bool):
        raise TypeError(f"tagged: numbered must be True or False, got {numbered!r}")
    tags = re.compile(rf"<(/?){re.escape(name)}([0-9]{{0,3}})(?:\s[^<>]*)?>")
    return partial(_tagged, tags=tags, name=name, numbered=numbered)


def numbered() -> Parser:
    """The items of a list whose lines begin with 1., 2., 3., ... (or 1), 2), ...).

    Returns:
        A parser. An item ends at the next number or at the end of the text; its span has its number, no whitespace
        behind it. Other numbers than 1, 2, 3, ... at the beginning of a line are malformed.

    >>> numbered()("Colours:\\n1. red\\n2. dark\\n   green\\n")
    ([(9, 15, 'red'), (16, 32, 'dark\\n   green')], None)
    """
    return _numbered


def separated(separator: str) -> Parser:
    r"""What stands between separators, whitespace around it and empty pieces left out.

    Args:
        separator: such as "\n" or "\n---\n".

    Returns:
        A parser, which finds no text malformed. Whether the last candidate was cut, only the caller knows (`finished=`
        of `candidate_ids`).

    Raises:
        TypeError, ValueError: separator is not a str, or empty.

    >>> separated("\n")("red\n\n green")
    ([(0, 3, 'red'), (6, 11, 'green')], None)
    """
    _check_text("separated", "separator", separator)
    return partial(_separated, separator=separator)


def after(mark: str, parser: Parser, missing: str = "whole") -> Parser:
    r"""What a parser finds behind the first `mark`, such as the end of a model's reasoning; spans of the whole text.

    The mark that opens the reasoning is not looked for: chat templates often write it into the prompt. Marks that are
    special tokens have no text and are never found; add them to the tokenizer as plain ones.

    Args:
        mark: the text that ends what is to be passed over.
        parser: of the rest.
        missing: what a text without the mark is: "whole", all of it goes to the parser, for models that may answer at
            once; "malformed", so that lists in a draft that was cut are never scored. A text that ends within the
            mark is truncated either way.

    Returns:
        A parser.

    Raises:
        TypeError, ValueError: mark is not a str, or empty; parser is no function; another `missing`.

    >>> after("</think>", json_list())('<think>Draft: ["maybe"]</think>["red", "blue"]')
    ([(32, 37, 'red'), (39, 45, 'blue')], None)
    """
    _check_text("after", "mark", mark)
    if not callable(parser):
        raise TypeError(f"after: parser must be a function, such as rl.json_list(), got {parser!r}")
    one_of("after: missing", missing, MISSING)
    return partial(_after, mark=mark, parser=parser, missing=missing)


def _check_text(owner: str, name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{owner}: {name} must be a str, got {text!r}")
    if not text:
        raise ValueError(f"{owner}: {name} must not be empty")


class _Text(str):
    """A text whose lines nobody counts: `JSONDecodeError` would, from the beginning, for each bracket of a loop."""

    def count(self, *_: Any) -> int:
        return 0

    rfind = count


def _json_list(text: str, key: str | None) -> tuple[Found, str | None]:
    text = _Text(text)
    at = 0
    while opening := _LIST_OPENS.search(text, at):
        found, problem, at = _json_items(text, opening.end(), key)
        if found or problem == TRUNCATED:
            return found, problem
    return [], MALFORMED


def _json_items(text: str, at: int, key: str | None) -> tuple[Found, str | None, int]:
    """The items of the list that opens before `at`, and where it ends or goes wrong."""
    from json import JSONDecoder  # here, to keep the import of the package cheap

    read = JSONDecoder().raw_decode
    found: Found = []
    first = at - 1
    while True:
        at = _behind_space(text, at)
        try:
            value, end = read(text, at)
        except RecursionError:  # brackets within brackets, thousands deep
            return found, MALFORMED, len(text)
        except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
            return found, TRUNCATED if _is_cut(text, error) else MALFORMED, getattr(error, "pos", len(text))
        candidate = _json_candidate(value, text[at:end], key)
        if candidate is None:
            return found, MALFORMED, _behind_list(read, text, first)
        found.append((at, end, candidate))
        at = _behind_space(text, end)
        mark = text[at : at + 1]
        if mark != ",":
            return found, None if mark == "]" else MALFORMED if mark else TRUNCATED, at
        at += 1


def _behind_list(read: Callable[[str, int], tuple[Any, int]], text: str, at: int) -> int:
    """Where the list at `at` ends or goes wrong."""
    try:
        return read(text, at)[1]
    except RecursionError:
        return len(text)
    except ValueError as error:
        return getattr(error, "pos", len(text))


def _behind_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _JSON_SPACE:
        at += 1
    return at


def _is_cut(text: str, error: Any) -> bool:
    """Whether `json` stopped because the text ended."""
    if getattr(error, "msg", "").startswith("Unterminated string"):
        return True
    return hasattr(error, "pos") and bool(_CUT_SCALAR.fullmatch(text, error.pos))


def _json_candidate(value: Any, source: str, key: str | None) -> str | None:
    if isinstance(value, dict):
        value = source if key is None else value.get(key)
    elif key is not None:
        return None
    return value if isinstance(value, str) else None


def _tagged(text: str, tags: re.Pattern[str], name: str, numbered: bool) -> tuple[Found, str | None]:
    found: Found = []
    opened = None
    others = False
    for tag in tags.finditer(text):
        closes, number = tag.groups()
        if bool(number) != numbered:
            others = True
            continue
        expected = opened[2] if opened else str(len(found) + 1) if numbered else ""
        if bool(closes) != bool(opened) or number != expected:
            return found, MALFORMED
        if opened:
            found.append((opened.start(), tag.end(), text[opened.end() : tag.start()].strip()))
        opened = None if opened else tag
    if opened or _ends_in_tag(text, name, numbered):
        return found, TRUNCATED
    return found, MALFORMED if others and not found else None


def _ends_in_tag(text: str, name: str, numbered: bool) -> bool:
    start = text[text.rfind("<") :]  # the last character where there is none
    inside = start[1:].removeprefix("/")
    if len(inside) <= len(name):
        return bool(inside) and name.startswith(inside)
    rest = inside.removeprefix(name).lstrip("0123456789" if numbered else "")
    return inside.startswith(name) and (rest[:1].isspace() or not rest) and ">" not in inside


def _after(text: str, mark: str, parser: Parser, missing: str) -> tuple[Found, str | None]:
    before, found_mark, rest = text.partition(mark)
    if not found_mark:
        if any(text.endswith(mark[:length]) for length in range(2, len(mark))):
            return [], TRUNCATED
        return parser(text) if missing == "whole" else ([], MALFORMED)
    start = len(before) + len(mark)
    result = parser(rest)
    if not isinstance(result, tuple):  # no parser: `candidate_ids` says what one has to give
        return result
    found, problem = result
    return [(start + a, start + b, candidate) for a, b, candidate in found], problem


def _numbered(text: str) -> tuple[Found, str | None]:
    marks = list(_NUMBER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    found: Found = []
    for number, (mark, end) in enumerate(zip(marks, ends, strict=False), 1):
        if int(mark[1]) != number:
            return found, MALFORMED
        start = mark.start(1)
        found.append((start, start + len(text[start:end].rstrip()), text[mark.end() : end].strip()))
    return found, None


def _separated(text: str, separator: str) -> tuple[Found, str | None]:
    found: Found = []
    at = 0
    for piece in text.split(separator):
        if candidate := piece.strip():
            start = at + len(piece) - len(piece.lstrip())
            found.append((start, start + len(candidate), candidate))
        at += len(piece) + len(separator)
    return found, None
