"""Responses built piece by piece: who owns each byte is known, not parsed."""

import json
from itertools import pairwise

from hypothesis import strategies as st

from shapley_kernels.rl import after, bulleted, json_list, numbered, separated, tagged

WORDS = st.text(st.sampled_from("ab é🙂\u200d中\"'\\,[]{}:<>/\n\t"), max_size=8)
LINES = st.lists(
    st.text(st.sampled_from("ab é🙂中\"',[]<"), max_size=6).map(str.strip).filter(bool), min_size=1, max_size=3
)
PROSE = st.text(st.sampled_from("xyz é🙂中.,:!`\n"), max_size=6)


@st.composite
def json_lists(draw):
    items = draw(st.lists(st.one_of(WORDS, st.text(max_size=5)), min_size=1, max_size=5))
    ascii_only = draw(st.booleans())
    gap = st.sampled_from(["", " ", "\n  "])
    pieces = [(draw(PROSE) + draw(st.sampled_from(["", "[1] ", "[see] ", "```json\n"])) + "[" + draw(gap), 0)]
    for k, item in enumerate(items, 1):
        pieces.append((json.dumps(item, ensure_ascii=ascii_only), k))
        pieces.append((draw(gap) + ("," if k < len(items) else "]") + draw(gap), 0))
    return [*pieces, (draw(PROSE), 0)], items, json_list()


@st.composite
def json_objects(draw):
    items = draw(
        st.lists(st.dictionaries(WORDS, st.one_of(WORDS, st.lists(WORDS, max_size=2)), max_size=2), max_size=3)
    )
    items = [{"name": draw(WORDS), "tags": ["]", "[", item]} for item in items] or [{"name": ""}]
    pieces = [(draw(PROSE) + "[", 0)]
    for k, item in enumerate(items, 1):
        pieces += [(json.dumps(item, indent=draw(st.sampled_from([None, 2]))), k), (", " if k < len(items) else "]", 0)]
    if draw(st.booleans()):
        return pieces, [item["name"] for item in items], json_list("name")
    return pieces, [piece for piece, k in pieces if k], json_list()


@st.composite
def tags(draw):
    items = draw(st.lists(WORDS.filter(lambda text: "<" not in text), min_size=1, max_size=5))
    attribute, counts = draw(st.sampled_from(["", ' id="1"', "\n"])), draw(st.booleans())
    pieces = [(draw(PROSE), 0)]
    for k, item in enumerate(items, 1):
        name = f"c{k}" if counts else "c"
        pieces += [(f"<{name}{attribute}>{item}</{name}>", k), (draw(PROSE), 0)]
    return pieces, [item.strip() for item in items], tagged("c", numbered=counts)


@st.composite
def lenient_lists(draw):
    """In single or double quotes, with raw line ends, and numbers; a comma at the end, or none."""
    pieces, items, gap = [("[", 0)], [], st.sampled_from(["", " ", "\n  "])
    drawn = draw(st.lists(st.one_of(WORDS, st.integers(-99, 99), st.floats(-9, 9)), min_size=1, max_size=5))
    for item in sorted(drawn, key=lambda item: not isinstance(item, str)):
        text = str(item)
        if isinstance(item, str):
            quote = draw(st.sampled_from("\"'"))
            text = item.replace("\\", "\\\\").replace(quote, "\\" + quote)
            if draw(st.booleans()):
                text = text.replace("\n", "\\n").replace("\t", "\\t")
            text = f"{quote}{text}{quote}"
        pieces += [(draw(gap), 0), (text, len(items) + 1), (draw(gap) + ",", 0)]
        items.append(str(item))
    if draw(st.booleans()):
        pieces[-1] = ("", 0)
    return [*pieces, ("]", 0), (draw(PROSE), 0)], items, json_list(lenient=True)


NUMBERS = ["{}.", "{})", "{}:", "({})", "**{}.**", "__{})__", "1.", "### {}."]


@st.composite
def marked(draw):
    """Numbers and bullets; with lines behind the mark, lists and code of their own, and prose behind the last item."""
    bullets = draw(st.booleans())
    style = draw(st.sampled_from(["-", "*", "+", "•", "–"] if bullets else NUMBERS))
    inner = ["\n   ".join(lines) for lines in draw(st.lists(LINES, min_size=1, max_size=12))]
    within = ["", "\n    - a\n    - b", "\n   1. a\n   2. b", "\n```\n1. a\n\n- b\n```", "\n\n  more"]
    items = [item + draw(st.sampled_from(within)) for item in inner]
    pieces = [(draw(st.sampled_from(["", "Names 1. to 3.:\n", "é\n\n", "```py\n1. x\n```\n"])), 0)]
    for k, item in enumerate(items, 1):
        pieces += [(draw(st.sampled_from(["", " "])), 0), (f"{style.format(k)} {item}", k)]
        pieces.append((draw(st.sampled_from(["\n", " \n", "\n\n"])), 0))
    if "#" not in style:
        pieces.append((draw(st.sampled_from(["", "\n\nWhich\n\none?", "\n\nSo:\n```\n1. x\n```\nDone"])), 0))
    return pieces, items, bulleted() if bullets else numbered()


@st.composite
def separate(draw):
    separator = draw(st.sampled_from(["\n", "\n---\n", "é|"]))
    items = [line.replace("é", "e") for lines in draw(st.lists(LINES, min_size=1, max_size=3)) for line in lines]
    pieces = [(draw(st.sampled_from(["", separator, " "])), 0)]
    for k, item in enumerate(items, 1):
        pieces += [(item, k), (draw(st.sampled_from(["", " "])) + separator * draw(st.integers(1, 2)), 0)]
    return pieces, items, separated(separator)


@st.composite
def thoughts(draw):
    """A draft in the format of the answer before it."""
    pieces, items, parser = draw(st.one_of(json_lists(), tags(), marked(), separate()))
    draft = "".join(text for text, _ in pieces)
    opening = draw(st.sampled_from(["<think>", ""]))
    return [(f"{opening}{draft}</think>", 0), *pieces], items, after("</think>", parser)


def with_owners(pieces):
    """The bytes of a response and who owns each."""
    data = b"".join(text.encode() for text, _ in pieces)
    return data, [k for text, k in pieces for _ in text.encode()]


def expected(owners, straddle):
    """The candidate of one token, from the owners of its bytes."""
    inside = [k for k in owners if k]
    if not inside:
        return 0
    if straddle == "none":
        return inside[0] if set(owners) == {inside[0]} else 0
    return inside[0] if straddle == "first" else inside[-1]


def cut(data, cuts):
    """data in tokens, as (ids, vocabulary); id 0 is special. Equal pieces are one token."""
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    vocabulary = [None, *dict.fromkeys(pieces)]
    return [vocabulary.index(piece) for piece in pieces], vocabulary, edges
