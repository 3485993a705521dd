"""Where the candidates of a rollout stand in its text: one parser per format.

A parser is a function from the text to `([(start, end, candidate), ...], problem)`: characters start .. end - 1 are the
candidate with the marks that are its own (quotes, tags, number), `candidate` is what a scorer gets to read, and problem
is None, "malformed", or "truncated" where the text ended inside a candidate or its list. Write your own the same way.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeAlias

from shapley_kernels.arrays import one_of

Spans: TypeAlias = list[tuple[int, int, str]]
Parser: TypeAlias = Callable[[str], tuple[Spans, str | None]]

MALFORMED, TRUNCATED = "malformed", "truncated"
MISSING = ("whole", "malformed")

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_LENIENT_STRING = r"""(?s:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_TOKEN, _LENIENT_TOKEN = (re.compile(rf"""{string}|[\[\]{{}},"']""") for string in (_STRING, _LENIENT_STRING))
_LENIENT_PIECE = re.compile(rf"{_LENIENT_STRING}|,(?=\s*[\]}}])")

_NUMBERED = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>(?P<heading>#{1,6}[ \t]+)?(?P<bold>\*\*|__)?(?P<round>\()?(?P<number>[0-9]{1,3})"
    r"(?(round)\)|[.:)])(?P<closed>(?P=bold))?)(?=\s|\Z)",
    re.MULTILINE,
)
_BULLETED = re.compile(r"^(?P<indent>[ \t]*)(?P<mark>[-*+•–])(?=\s|\Z)", re.MULTILINE)
_FENCE = re.compile(
    r"^[ \t]*(?:(?:[-*+•–]|\(?[0-9]{1,3}[.:)])[ \t]+)?(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*\n?", re.MULTILINE
)
_CODE = "\0"
_PARAGRAPH = re.compile(rf"^[ \t]*\n(?=[^\s{_CODE}])", re.MULTILINE)


def json_list(key: str | None = None, lenient: bool = False) -> Parser:
    r"""The strings, objects or numbers of the first JSON list of such in the text; prose and code fences are skipped.

    Args:
        key: the member that is the candidate, for a list of objects; or the name of the list in an object with several.
            None: an object's JSON text is the candidate.
        lenient: whether to read what is nearly JSON: commas before a closing bracket, single quotes, line ends and
            other control characters within strings.

    Returns:
        A parser. A string's span has its quotes, an object's its braces; commas and brackets belong to nobody. The
        candidate of a string is decoded (\" \n \u00e9), that of a number is as it was written. Lists that begin with a
        number, such as [1], count where there are no others. What `json` refuses is malformed, as is another kind of
        item; a list that begins with another kind is skipped, with the lists within it. One that does not end is
        truncated.

    Raises:
        TypeError: key is not a str; lenient is not a bool.

    >>> json_list()('Names: ["Ada", "Bob"].')
    ([(8, 13, 'Ada'), (15, 20, 'Bob')], None)
    >>> json_list("name")('[{"name": "Ada"}, {"na')
    ([(1, 16, 'Ada')], 'truncated')
    >>> json_list("names")('{"drafts": ["Bo"], "names": ["Bob"]}')
    ([(29, 34, 'Bob')], None)
    >>> json_list(lenient=True)("['Ada', 'Bob',]")
    ([(1, 6, 'Ada'), (8, 13, 'Bob')], None)
    """
    if key is not None:
        _check_text("json_list", "key", key)
    _check_bool("json_list", "lenient", lenient)
    quotes = "\"'" if lenient else '"'
    # else a bracket of the prose around, such as [see below]
    opens = rf"\[(?=\s*(?:[\[{{{quotes}]|\Z))"
    if key is not None:
        opens = rf"(?P<named>(?P<quote>[{quotes}]){re.escape(key)}(?P=quote)\s*:\s*\[)|{opens}"
    openings = re.compile(opens), re.compile(r"\[(?=\s*-?[0-9])")
    return partial(_json_list, openings=openings[: 2 if key is None else 1], key=key, lenient=lenient)


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
    _check_bool("tagged", "numbered", numbered)
    tags = re.compile(rf"<(/?){re.escape(name)}([0-9]{{0,3}})(?:\s[^<>]*)?>")
    return partial(_tagged, tags=tags, name=name, numbered=numbered)


def numbered() -> Parser:
    """The items of a list whose lines begin with 1., 2., 3., ..., in one of the styles that models write.

    These are 1. 1) 1: (1) **1.** and ### 1. (a section), throughout, and all 1. as in Markdown.

    Returns:
        A parser. An item ends at the next number of the list: marks in another style, indented by two characters or
        more, or within code fences are the item's own. Text behind a blank line, not indented, ends the last item
        unless other items have such paragraphs, too; a section ends at the next heading. A list within a code fence
        counts where there is none outside. The span of an item has its number, no whitespace behind it. Other numbers
        than 1, 2, 3, ... are malformed; a text that ends within a code fence of an item is truncated.

    >>> numbered()("Colours:\\n1. red\\n2. dark\\n   green\\n\\nWhich one?")
    ([(9, 15, 'red'), (16, 32, 'dark\\n   green')], None)
    """
    return partial(_listed, marks=_NUMBERED)


def bulleted() -> Parser:
    """The items of a list whose lines begin with -, *, +, • or –, the same throughout; else as `numbered`.

    >>> bulleted()("- red\\n  - dark\\n- green\\n\\nWhich one?")
    ([(0, 14, 'red\\n  - dark'), (15, 22, 'green')], None)
    """
    return partial(_listed, marks=_BULLETED)


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


def after(mark: str, parser: Parser, missing: str = "whole", last: bool = False) -> Parser:
    r"""What a parser finds behind the first `mark`, such as the end of a model's reasoning; spans of the whole text.

    The mark that opens the reasoning is not looked for: chat templates often write it into the prompt. Marks that are
    special tokens have no text and are never found; add them to the tokenizer as plain ones.

    Args:
        mark: the text that ends what is to be passed over.
        parser: of the rest.
        missing: what a text without the mark is: "whole", all of it goes to the parser, for models that may answer at
            once; "malformed", so that lists in a draft that was cut are never scored. A text that ends within the
            mark is truncated either way.
        last: whether to begin behind the last mark instead, such as the end of a model's last tool call, whose
            arguments may hold lists, too.

    Returns:
        A parser.

    Raises:
        TypeError, ValueError: mark is not a str, or empty; parser is no function; another `missing`; last is not a
            bool.

    >>> after("</think>", json_list())('<think>Draft: ["maybe"]</think>["red", "blue"]')
    ([(32, 37, 'red'), (39, 45, 'blue')], None)
    """
    _check_text("after", "mark", mark)
    if not callable(parser):
        raise TypeError(f"after: parser must be a function, such as rl.json_list(), got {parser!r}")
    one_of("after: missing", missing, MISSING)
    _check_bool("after", "last", last)
    return partial(_after, mark=mark, parser=parser, missing=missing, last=last)


def _check_text(owner: str, name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{owner}: {name} must be a str, got {text!r}")
    if not text:
        raise ValueError(f"{owner}: {name} must not be empty")


def _check_bool(owner: str, name: str, x: Any) -> None:
    if not isinstance(x, bool):
        raise TypeError(f"{owner}: {name} must be True or False, got {x!r}")


def _json_list(
    text: str, openings: tuple[re.Pattern[str], ...], key: str | None, lenient: bool
) -> tuple[Spans, str | None]:
    for opens in openings:
        at = 0
        while opening := opens.search(text, at):
            member = None if opening.groupdict().get("named") else key
            spans, problem, at = _json_items(text, opening.end(), member, lenient)
            if spans or problem == TRUNCATED:
                return spans, problem
        if at:
            break
    return [], MALFORMED


def _json_items(text: str, at: int, key: str | None, lenient: bool) -> tuple[Spans, str | None, int]:
    """The items of the list that opens before `at`, and where it ends or goes wrong."""
    spans: Spans = []
    depth, fault = 0, False
    for token in (_LENIENT_TOKEN if lenient else _TOKEN).finditer(text, at):
        mark, stop = token[0], token.start()
        if mark in "\"'":  # a string without an end
            if not lenient and (line_end := text.find("\n", stop)) >= 0:
                return spans, MALFORMED, line_end
            return spans, MALFORMED if fault else TRUNCATED, len(text)
        depth += (mark in "[{") - (mark in "]}")
        if depth > 0 or (depth == 0 and mark != ","):
            continue
        # a comma of the list itself, or its end; behind a fault, only the end is looked for
        nothing_left = lenient and spans and mark == "]" and not text[at:stop].strip()
        fault = fault or not (nothing_left or _append(spans, text, at, stop, key, lenient))
        if depth < 0:
            return spans, MALFORMED if fault or mark != "]" else None, stop + 1
        at = stop + 1
    if not fault and text[at:].rstrip()[-1:] in ('"', "'", "}"):
        _append(spans, text, at, len(text), key, lenient)
    return spans, MALFORMED if fault else TRUNCATED, len(text)


def _append(spans: Spans, text: str, start: int, end: int, key: str | None, lenient: bool) -> bool:
    """Whether that is an item of a JSON list, which is then appended."""
    start, end = _trimmed(text, start, end)
    candidate = _json_candidate(text[start:end], key, lenient)
    if candidate is not None:
        spans.append((start, end, candidate))
    return candidate is not None


def _json_candidate(source: str, key: str | None, lenient: bool) -> str | None:
    try:
        value = _decode(lenient)(_LENIENT_PIECE.sub(_as_json, source) if lenient else source)
    except (RecursionError, ValueError):
        return None
    if isinstance(value, dict):
        value = source if key is None else value.get(key)
    elif key is not None:
        return None
    return value if isinstance(value, str) else None


@cache
def _decode(lenient: bool) -> Callable[[str], Any]:
    """Of JSON; numbers stay as they are written."""
    from json import JSONDecoder  # here, to keep the import of the package cheap

    return JSONDecoder(parse_int=str, parse_float=str, strict=not lenient).decode


def _as_json(piece: re.Match[str]) -> str:
    """Of a string in single or double quotes, or a comma before a closing bracket."""
    if piece[0][0] != "'":
        return piece[0].rstrip(",")
    within = re.sub(r'(?s)\\.|"', lambda x: {"\\'": "'", '"': '\\"'}.get(x[0], x[0]), piece[0][1:-1])
    return f'"{within}"'


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without whitespace on either side."""
    piece = text[start:end]
    end = start + len(piece.rstrip())
    return min(end, start + len(piece) - len(piece.lstrip())), end


def _tagged(text: str, tags: re.Pattern[str], name: str, numbered: bool) -> tuple[Spans, str | None]:
    spans: Spans = []
    opened = None
    others = False
    for tag in tags.finditer(text):
        closes, number = tag.groups()
        if bool(number) != numbered:
            others = True
            continue
        expected = opened[2] if opened else str(len(spans) + 1) if numbered else ""
        if bool(closes) != bool(opened) or number != expected:
            return spans, MALFORMED
        if opened:
            spans.append((opened.start(), tag.end(), text[opened.end() : tag.start()].strip()))
        opened = None if opened else tag
    if opened or _ends_in_tag(text, name, numbered):
        return spans, TRUNCATED
    return spans, MALFORMED if others and not spans else None


def _ends_in_tag(text: str, name: str, numbered: bool) -> bool:
    start = text[text.rfind("<") :]  # the last character where there is none
    inside = start[1:].removeprefix("/")
    if len(inside) <= len(name):
        return bool(inside) and name.startswith(inside)
    rest = inside.removeprefix(name).lstrip("0123456789" if numbered else "")
    return inside.startswith(name) and (rest[:1].isspace() or not rest) and ">" not in inside


def _after(text: str, mark: str, parser: Parser, missing: str, last: bool) -> tuple[Spans, str | None]:
    at = text.rfind(mark) if last else text.find(mark)
    start = 0 if at < 0 else at + len(mark)
    rest = text[start:]
    if (last or at < 0) and any(rest.endswith(mark[:length]) for length in range(2, len(mark))):
        return [], TRUNCATED
    if at < 0 and missing == "malformed":
        return [], MALFORMED
    result = parser(rest)
    if not isinstance(result, tuple):  # no parser: `candidate_ids` says what one has to give
        return result
    spans, problem = result
    return [(start + a, start + b, candidate) for a, b, candidate in spans], problem


def _listed(text: str, marks: re.Pattern[str]) -> tuple[Spans, str | None]:
    plain, blocks, cut = _without_code(text)
    for place in [(plain, 0, len(text)), *((text, *block) for block in blocks)]:
        if items := _of_one_list(marks.finditer(*place)):
            break
    else:
        return [], None
    ends = [*(item.start() for item in items[1:]), _end_of_last(items, *place)]
    spans: Spans = []
    for item, end in zip(items, ends, strict=True):
        part = item.groupdict()
        title = "" if part.get("closed") else part.get("bold") or ""  # **1. In bold**
        span = _trimmed(text, item.start("mark"), end)
        spans.append((*span, title + text[item.end() : end].strip()))
    if "number" in marks.groupindex:
        counted = [int(item["number"]) for item in items]
        if set(counted) != {1} and counted != list(range(1, len(counted) + 1)):
            return spans[: next(k for k, number in enumerate(counted) if number != k + 1)], MALFORMED
    if cut is not None and ends[-1] > cut:
        return spans[:-1], TRUNCATED
    return spans, None


def _without_code(text: str) -> tuple[str, list[tuple[int, int]], int | None]:
    """The text with `_CODE` for code fences, what stands within each, and where one begins that does not end."""
    pieces, blocks, at, cut = [], [], 0, None
    while opening := _FENCE.search(text, at):
        start, fence = opening.start("fence"), opening["fence"]
        closing = re.compile(rf"^[ \t]*{fence}{fence[0]}*[ \t]*$", re.MULTILINE).search(text, opening.end())
        inner_end, end = closing.span() if closing else (len(text), len(text))
        cut = None if closing else start
        blocks.append((opening.end(), inner_end))
        pieces += [text[at:start], _CODE * (end - start)]
        at = end
    return "".join(pieces) + text[at:], blocks, cut


def _of_one_list(marks: Iterator[re.Match[str]]) -> list[re.Match[str]]:
    """Those in the style of the first that are not indented more."""

    def style(mark: re.Match[str]) -> str:
        return re.sub("[0-9]", "", mark["mark"])

    def indent(mark: re.Match[str]) -> int:
        return len(mark["indent"].expandtabs(4))

    first = next(marks, None)
    if first is None:
        return []
    return [first, *(mark for mark in marks if style(mark) == style(first) and indent(mark) <= indent(first) + 1)]


def _end_of_last(items: list[re.Match[str]], text: str, _: int, end: int) -> int:
    """Where the last item ends: before prose, unless this is how items of the list look."""
    level = (items[0].groupdict().get("heading") or "").count("#")
    prose = re.compile(rf"^#{{1,{level}}}[ \t]", re.MULTILINE) if level else _PARAGRAPH
    if any(prose.search(text, a.end(), b.start()) for a, b in pairwise(items)):
        return end
    behind = prose.search(text, items[-1].end(), end)
    return behind.start() if behind else end


def _separated(text: str, separator: str) -> tuple[Spans, str | None]:
    spans: Spans = []
    at = 0
    for piece in text.split(separator):
        start, end = _trimmed(text, at, at + len(piece))
        if start < end:
            spans.append((start, end, text[start:end]))
        at += len(piece) + len(separator)
    return spans, None
