"""Rollouts built piece by piece: who owns each byte is known, not parsed.

Drawn by numpy, as all that fuzz targets use.
"""

import json
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from shapley_kernels.rl import after, bulleted, json_list, numbered, separated, tagged
from tests.fuzz.rig import chance, pick

WORDS = ("", "red", "dark green", "é", "🙂\u200d", "中", *"\\\"'[]{}<:/,\t0", "1.", "a,b", "x\ny", "</", "\x85\u2028")
"""What candidates are made of."""
LINES = ("red", " green", "é", "中", "'", '"', "[]", "<", ",")
PROSE = ("", "", "xyz ", "é🙂", ": ", "!\n", "`")

RNGS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
"""For tests that try many of them."""


def text_of(rng, scraps, most):
    return "".join(pick(rng, scraps) for _ in range(int(rng.integers(0, most + 1))))


def texts_of(rng, scraps=WORDS, least=1):
    return [text_of(rng, scraps, 3) for _ in range(int(rng.integers(least, 6)))]


# each gives pieces of text with their owners (0: none), the candidates, and the parser that finds them


def json_lists(rng):
    gap, ascii_only, texts = ("", " ", "\n  "), chance(rng, 0.5), texts_of(rng)
    shown = [json.dumps(text, ensure_ascii=ascii_only) for text in texts]
    pieces = [(text_of(rng, PROSE, 3) + pick(rng, ("", "[1] ", "[see] ", "```json\n")) + "[" + pick(rng, gap), 0)]
    for k, item in enumerate(shown, 1):
        pieces.append((item, k))
        pieces.append((pick(rng, gap) + ("," if k < len(shown) else "]") + pick(rng, gap), 0))
    return [*pieces, (text_of(rng, PROSE, 3), 0)], texts, json_list()


def json_objects(rng):
    names = texts_of(rng)
    items = [{"name": name, "tags": ["]", "[", {text: [text] for text in texts_of(rng, least=0)}]} for name in names]
    pieces = [(text_of(rng, PROSE, 3) + "[", 0)]
    for k, item in enumerate(items, 1):
        pieces += [(json.dumps(item, indent=pick(rng, (None, 2))), k), (", " if k < len(items) else "]", 0)]
    if chance(rng, 0.5):
        return pieces, names, json_list("name")
    return pieces, [piece for piece, k in pieces if k], json_list()


def lenient_lists(rng):
    """In single or double quotes, with raw line ends, and numbers; a comma at the end, or none."""
    numbers = [pick(rng, (int(rng.integers(-99, 99)), float(rng.normal()))) for _ in range(int(rng.integers(0, 3)))]
    pieces, items = [("[", 0)], [*texts_of(rng), *numbers]
    for k, item in enumerate(items, 1):
        text = str(item)
        if isinstance(item, str):
            quote = pick(rng, "\"'")
            text = item.replace("\\", "\\\\").replace(quote, "\\" + quote)
            if chance(rng, 0.5):
                text = text.replace("\n", "\\n").replace("\t", "\\t")
            text = f"{quote}{text}{quote}"
        gaps = [pick(rng, ("", " ", "\n  ")) for _ in range(2)]
        pieces += [(gaps[0], 0), (text, k), (gaps[1] + ",", 0)]
    if chance(rng, 0.5):
        pieces[-1] = ("", 0)
    return [*pieces, ("]", 0), (text_of(rng, PROSE, 3), 0)], list(map(str, items)), json_list(lenient=True)


def tags(rng):
    items = [text.replace("<", "") for text in texts_of(rng)]
    attribute, counts = pick(rng, ("", ' id="1"', "\n")), chance(rng, 0.5)
    pieces = [(text_of(rng, PROSE, 3), 0)]
    for k, item in enumerate(items, 1):
        name = f"c{k}" if counts else "c"
        pieces += [(f"<{name}{attribute}>{item}</{name}>", k), (text_of(rng, PROSE, 3), 0)]
    return pieces, [item.strip() for item in items], tagged("c", numbered=counts)


def numbers(rng):
    return marked(rng, pick(rng, ("{}.", "{})", "{}:", "({})", "**{}.**", "__{})__", "1.", "### {}.")), numbered())


def bullets(rng):
    return marked(rng, pick(rng, "-*+•–"), bulleted())


def marked(rng, style, parser):
    """With lines behind the mark, lists and code of their own, and prose behind the last item."""
    inner = ["\n   ".join("x" + line.strip() for line in texts_of(rng, LINES)) for _ in range(int(rng.integers(1, 12)))]
    within = ["", "\n    - a\n    - b", "\n   1. a\n   2. b", "\n```\n1. a\n\n- b\n```", "\n\n  more"]
    items = [item + pick(rng, within) for item in inner]
    pieces = [(pick(rng, ("", "Names 1. to 3.:\n", "é\n\n", "```py\n1. x\n```\n")), 0)]
    for k, item in enumerate(items, 1):
        pieces += [(pick(rng, ("", " ")), 0), (f"{style.format(k)} {item}", k), (pick(rng, ("\n", " \n", "\n\n")), 0)]
    if "#" not in style:
        pieces.append((pick(rng, ("", "\n\nWhich\n\none?", "\n\nSo:\n```\n1. x\n```\nDone")), 0))
    return pieces, items, parser


def lines(rng):
    separator = pick(rng, ("\n", "\n---\n", "|"))
    pieces, items = [(pick(rng, ("", separator, " ")), 0)], ["x" + text.strip() for text in texts_of(rng, LINES)]
    for k, item in enumerate(items, 1):
        pieces += [(item, k), (pick(rng, ("", " ")) + separator * int(rng.integers(1, 3)), 0)]
    return pieces, items, separated(separator)


KINDS = (json_lists, json_objects, lenient_lists, tags, numbers, bullets, lines)


def rollout(rng, kinds=KINDS, thinks=0.2):
    """One of these kinds; behind a model's reasoning, or a draft in the format of the answer, now and then."""
    pieces, items, parser = pick(rng, kinds)(rng)
    if not chance(rng, thinks):
        return pieces, items, parser
    draft = pick(rng, ("", "hmm", '["no"]', "1. no\n", "".join(text for text, _ in pieces)))
    thought = f"{pick(rng, ('<think>', ''))}{draft}</think>"
    return [(thought, 0), *pieces], items, after("</think>", parser, pick(rng, ("whole", "malformed")))


def with_owners(pieces):
    """The bytes of a rollout and who owns each."""
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
