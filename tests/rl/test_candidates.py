"""Candidates of responses, against responses built piece by piece: who owns each byte is known, not parsed."""

import json
import pickle
from array import array
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shapley_kernels.rl import candidate_ids, json_list, numbered, separated, tagged
from shapley_kernels.rl.vocabulary import token_reader
from tests.conftest import need

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
    opening = draw(st.sampled_from(["<c>", '<c id="1">', "<c\n>"]))
    pieces = [(draw(PROSE), 0)]
    for k, item in enumerate(items, 1):
        pieces += [(f"{opening}{item}</c>", k), (draw(PROSE), 0)]
    return pieces, [item.strip() for item in items], tagged("c")


@st.composite
def numbers(draw):
    items = ["\n   ".join(lines) for lines in draw(st.lists(LINES, min_size=1, max_size=12))]
    pieces = [(draw(st.sampled_from(["", "Names 1. to 3.:\n", "é\n\n"])), 0)]
    for k, item in enumerate(items, 1):
        pieces += [(draw(st.sampled_from(["", " "])), 0), (f"{k}{draw(st.sampled_from('.)'))} {item}", k)]
        pieces.append((draw(st.sampled_from(["\n", " \n", "\n\n"])), 0))
    return pieces, items, numbered()


@st.composite
def separate(draw):
    separator = draw(st.sampled_from(["\n", "\n---\n", "é|"]))
    items = [line.replace("é", "e") for lines in draw(st.lists(LINES, min_size=1, max_size=3)) for line in lines]
    pieces = [(draw(st.sampled_from(["", separator, " "])), 0)]
    for k, item in enumerate(items, 1):
        pieces += [(item, k), (draw(st.sampled_from(["", " "])) + separator * draw(st.integers(1, 2)), 0)]
    return pieces, items, separated(separator)


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


RESPONSES = st.one_of(json_lists(), json_objects(), tags(), numbers(), separate())


@settings(max_examples=200)
@given(
    RESPONSES,
    st.lists(st.integers(0, 10**6), max_size=60),
    st.sampled_from(["first", "last", "none"]),
    st.lists(st.integers(0, 100), max_size=3),
)
def test_every_token_has_the_candidate_of_its_bytes(response, cuts, straddle, specials):
    pieces, texts, parser = response
    data, owners = with_owners(pieces)
    ids, vocabulary, edges = cut(data, cuts)
    wanted = [expected(owners[a:b], straddle) for a, b in pairwise(edges)]
    for place in specials:
        ids.insert(place % (len(ids) + 1), 0)
        wanted.insert(place % (len(wanted) + 1), 0)
    found = candidate_ids([ids], vocabulary, parser, straddle=straddle)
    assert found.problems == [None]
    assert found.texts == [texts]
    assert found.ids.tolist() == [wanted]
    assert found.mask.tolist() == [[True] * len(texts)]


@settings(max_examples=60)
@given(RESPONSES)
def test_one_token_per_byte(response):
    """Every token is part of a character at most: each byte has its own candidate, whatever the policy."""
    pieces, _, parser = response
    data, owners = with_owners(pieces)
    for straddle in ("first", "last", "none"):
        found = candidate_ids([list(data)], lambda byte: bytes([byte]), parser, straddle=straddle)
        assert found.ids.tolist() == [owners]


@settings(max_examples=100)
@given(json_lists() | json_objects(), st.data())
def test_a_list_cut_anywhere_is_truncated(response, data):
    pieces, texts, parser = response
    opened = len(pieces[0][0].rstrip("\n "))
    last = max(i for i, (_, k) in enumerate(pieces) if k)
    closed = sum(len(text) for text, _ in pieces[: last + 1])
    text = "".join(text for text, _ in pieces)
    at = data.draw(st.integers(opened, closed))
    ends = np.cumsum([len(text) for text, _ in pieces])
    complete = [k for end, (_, k) in zip(ends, pieces, strict=True) if k and end <= at]
    found, problem = parser(text[:at])
    assert problem == "truncated"
    assert [candidate for _, _, candidate in found] == texts[: len(complete)]


def test_bytes_that_are_not_utf8():
    vocabulary = [b'["a', b"\xf0\x9f", b"\x99", b'", "\xff', b'\xc3\xa9"]']
    found = candidate_ids([[0, 1, 2, 3, 4]], vocabulary, json_list())  # an emoji without its last byte
    assert found.texts == [["a\ufffd\ufffd\ufffd", "\ufffdé"]]
    assert found.ids.tolist() == [[1, 1, 1, 1, 2]]
    found = candidate_ids([list(rb'["\ud83d"]')], lambda byte: bytes([byte]), json_list())
    assert found.texts == [["\ufffd"]]  # half of a pair


@settings(max_examples=60)
@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=10))
def test_any_bytes_are_one_candidate_as_a_whole(data, cuts):
    ids, vocabulary, _ = cut(data, cuts)
    found = candidate_ids([ids], vocabulary, tagged("candidate"))
    assert found.problems == ["malformed"]
    assert found.ids.tolist() == [[1] * len(ids)]
    assert len(found.texts[0]) == 1
    found.texts[0][0].encode()


PARSED = [
    # JSON
    (json_list(), '["a"', [(1, 4, "a")], "truncated"),
    (json_list(), '["a",', [(1, 4, "a")], "truncated"),
    (json_list(), '["a", "b\\u00', [(1, 4, "a")], "truncated"),
    (json_list(), '[{"a": tru', [], "truncated"),
    (json_list(), "so: [", [], "truncated"),
    (json_list(), '["a",]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a" "b"]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a", 2]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a", b, ["c"]]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a\nb"]', [], "malformed"),
    (json_list(), "[]", [], "malformed"),
    (json_list(), "[1, 2] [3]", [], "malformed"),
    (json_list(), "none", [], "malformed"),
    (json_list(), "", [], "malformed"),
    (json_list(), '[1] and [x] then ["a"] not ["b"]', [(18, 21, "a")], None),
    (json_list(), '{"names": ["a"]}', [(11, 14, "a")], None),
    (json_list(), '[{"x": ["inner"], oops}]', [], "malformed"),
    (json_list(), '[{"x": [1]}]', [(1, 11, '{"x": [1]}')], None),
    (json_list("x"), '[{"x": "a"}, {"y": "b"}]', [(1, 11, "a")], "malformed"),
    (json_list("x"), '[{"x": "a"}, "b"]', [(1, 11, "a")], "malformed"),
    (json_list("x"), '[{"x": 1}]', [], "malformed"),
    (json_list("n"), '[{"x": 1}, {"s": [{"n": "a"}]}]', [], "malformed"),
    (json_list("n"), '["b", {"s": [{"n": "a"}]}] [{"n": "c"}]', [(28, 38, "c")], None),
    (json_list("n"), '[{"x": 1}, ...]: [{"n": "c"}]', [(18, 28, "c")], None),
    (json_list("n"), '[{"x": 1}, {"s": [{"n": "a"}', [], "malformed"),
    (json_list("n"), "[{}, " * 20000, [], "malformed"),
    (json_list(), '[{"a":' * 20000, [], "malformed"),
    (json_list(), '[{"a": 1' + "0" * 10000 + "}]", [], "malformed"),
    # tags
    (tagged("c"), "<c>a</c><c>b", [(0, 8, "a")], "truncated"),
    (tagged("c"), "<c>a</c><c>b</", [(0, 8, "a")], "truncated"),
    *((tagged("cd"), f"<cd>a</cd>{end}", [(0, 10, "a")], "truncated") for end in ("<c", "<cd", "</c", "</cd")),
    *((tagged("cd"), f"<cd>a</cd>{end}", [(0, 10, "a")], "truncated") for end in ("<cd ", '<cd id="1', "a < b, <c")),
    *(
        (tagged("cd"), f"<cd>a</cd>{end}", [(0, 10, "a")], None)
        for end in (" <", "</", "<d", "<cde", "<c a", "< c", "c")
    ),
    (tagged("c"), "<c>a<c>b</c></c>", [], "malformed"),
    (tagged("c"), "<c>a</c></c>", [(0, 8, "a")], "malformed"),
    (tagged("c"), "<cc>a</cc><C>b</C>", [], None),
    (tagged("a.c"), "<abc>a</abc>", [], None),
    # numbers
    (numbered(), "1. a\n3. b", [(0, 4, "a")], "malformed"),
    (numbered(), "2. a", [], "malformed"),
    (numbered(), "1. a\n1. b", [(0, 4, "a")], "malformed"),
    (numbered(), "1. a\n   1. b\n   2. c\n2. d 3. e", [(0, 20, "a\n   1. b\n   2. c"), (21, 30, "d 3. e")], None),
    (numbered(), "1.5 a\n1.\n2)", [(6, 8, ""), (9, 11, "")], None),
    (numbered(), "1. a\n2024. b", [(0, 12, "a\n2024. b")], None),
    (numbered(), "a 1. b", [], None),
    (separated("\n"), " \n\n ", [], None),
]


@pytest.mark.parametrize(("parser", "text", "found", "problem"), PARSED)
def test_parsers(parser, text, found, problem):
    assert parser(text) == (found, problem)
    assert pickle.loads(pickle.dumps(parser))(text) == (found, problem)


@pytest.mark.parametrize("piece", ["[{", '[{"a" ', '["a\n', '["\\x', '[{"n":1}', "[{}] "])
def test_a_looping_policy_is_read_in_linear_time(piece):
    """`json` counts the lines before each error, which is quadratic: here, by how many characters it looks at."""
    looked = []

    class Text(str):
        def count(self, *where):
            looked.append(where[-1])
            return 0

    assert json_list("n")(Text(piece * 1000))[0] == []
    assert sum(looked) <= 1000 * len(piece)


def of_bytes(texts, parser, **options):
    """The candidates of texts, one token per byte."""
    return candidate_ids([list(text.encode()) for text in texts], lambda byte: bytes([byte]), parser, **options)


TEXTS = ['["a"]', '["a", "b', '["a", b]', "no"]


def test_policies():
    found = of_bytes(TEXTS, json_list())
    assert found.problems == [None, "truncated", "malformed", "malformed"]
    assert found.texts == [["a"], ['["a", "b'], ['["a", b]'], ["no"]]
    assert found.mask.tolist() == [[True]] * 4
    assert found.ids.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0], [1] * 8, [1] * 8, [1, 1, 0, 0, 0, 0, 0, 0]]
    assert found.metrics == {"shapley/malformed_rollouts": 2.0, "shapley/truncated_rollouts": 1.0}
    found = of_bytes(TEXTS, json_list(), malformed="keep", truncated="keep")
    assert found.texts == [["a"], ["a"], ["a"], []]
    assert found.mask.tolist() == [[True], [True], [True], [False]]
    assert found.ids.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0]] * 3 + [[0] * 8]
    assert found.problems == [None, "truncated", "malformed", "malformed"]
    with pytest.raises(ValueError, match=r"response 1 is truncated, with 1 candidates before that: '\[\"a\", \"b'"):
        of_bytes(TEXTS, json_list(), truncated="raise")
    with pytest.raises(ValueError, match=r"response 2 is malformed, .*malformed='whole' punishes"):
        of_bytes(TEXTS, json_list(), malformed="raise")
    with pytest.raises(ValueError, match=r"'x{50} \.\.\. x{25}'; "):
        of_bytes(["x" * 1000], json_list(), malformed="raise")


def test_how_a_response_ended():
    texts = ["a\nb", "a\nb ", "a\nb"]
    found = of_bytes(texts, separated("\n"), finished=[True, False, False], truncated="keep")
    assert found.texts == [["a", "b"], ["a"], ["a"]]
    assert found.problems == [None, "truncated", "truncated"]
    assert found.ids[:, 2].tolist() == [2, 0, 0]
    found = of_bytes(TEXTS[:2] * 2, json_list(), finished=torch.tensor([True, True, False, False]))
    assert found.problems == [None, "malformed", None, "truncated"]  # a list that is closed is whole
    found = of_bytes(["a"], separated("\n"), finished=np.array([False]))
    assert found.texts == [["a"]]
    assert found.problems == ["truncated"]


def test_candidates_without_text_keep_their_number():
    def parser(text):
        return [(0, 1, "a"), (1, 1, ""), (2, 3, "b")], None

    found = of_bytes(["a b"], parser)
    assert found.ids.tolist() == [[1, 0, 3]]
    assert found.texts == [["a", "", "b"]]
    for straddle, k in (("first", 1), ("last", 1), ("none", 0)):
        assert candidate_ids([[0, 1]], [b"a ", b"b"], parser, straddle=straddle).ids.tolist() == [[k, 3]]


def test_characters_of_all_lengths():
    text = "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
    found = of_bytes([text], lambda text: ([(k, k + 1, c) for k, c in enumerate(text)], None))
    assert found.ids.tolist() == [[k for k, c in enumerate(text, 1) for _ in c.encode()]]


def test_max_candidates_limits_and_pads():
    texts = ['["a","b","c"]', '["a"]']
    found = of_bytes(texts, json_list(), max_candidates=2)
    assert found.problems == ["malformed", None]
    assert found.mask.tolist() == [[True, False]] * 2
    found = of_bytes(texts, json_list(), max_candidates=2, malformed="keep")
    assert found.texts == [["a", "b"], ["a"]]
    assert of_bytes(texts, json_list(), max_candidates=3).problems == [None, None]
    assert of_bytes(texts, json_list(), max_candidates=5).mask.shape == (2, 5)
    assert of_bytes(texts, json_list()).mask.tolist() == [[True] * 3, [True, False, False]]


def test_no_responses_and_empty_ones():
    found = of_bytes([], json_list())
    assert (found.ids.shape, found.mask.shape, found.texts, found.problems) == ((0, 0), (0, 0), [], [])
    found = candidate_ids(torch.zeros(0, 7, dtype=torch.int64), [b""], json_list(), max_candidates=3)
    assert (tuple(found.ids.shape), tuple(found.mask.shape)) == ((0, 7), (0, 3))
    found = of_bytes(["", ""], json_list())
    assert (found.ids.shape, found.mask.tolist(), found.texts) == ((2, 0), [[True], [True]], [[""], [""]])
    assert of_bytes([""], json_list(), malformed="keep").mask.shape == (1, 0)


def test_masked_tokens_have_no_text():
    """Left padding, padding within (the output of a tool), right padding; pad ids may be anything, -100 too."""
    row, on = list(b'["a","b"]'), [1] * 9
    tool = list(b'["tool"]')
    rows = [[-100, -100, *row, *tool[:6]], [*row[:4], *tool, *row[4:]], [*row, *[10**9] * 8]]
    masks = [[0, 0, *on, *[0] * 6], [*on[:4], *[0] * 8, *on[4:]], [*on, *[0] * 8]]
    wanted = [0, 1, 1, 1, 0, 2, 2, 2, 0]
    for make in (list, np.array, torch.tensor):
        for mask in (make(masks), np.array(masks, bool), torch.tensor(masks)):
            found = candidate_ids(make(rows), lambda byte: bytes([byte]), json_list(), mask=mask)
            assert found.texts == [["a", "b"]] * 3
            for ids, live in zip(found.ids.tolist(), masks, strict=True):
                assert [k for k, on in zip(ids, live, strict=True) if on] == wanted
                assert not any(k for k, on in zip(ids, live, strict=True) if not on)


def test_containers():
    row = list(b'["a"]')
    for given_ids in (
        [row, row[:2]],
        (tuple(row), row[:2]),
        [np.array(row, np.int32), row[:2]],
        [array("l", row), array("q", row[:2])],
        np.array([row, row[:2]], object),
        [torch.tensor(row), torch.tensor(row[:2], dtype=torch.int32)],
    ):
        found = candidate_ids(given_ids, lambda byte: bytes([byte]), json_list())
        kind = torch.Tensor if isinstance(given_ids[0], torch.Tensor) else np.ndarray
        assert isinstance(found.ids, kind)
        assert isinstance(found.mask, kind)
        assert "int64" in str(found.ids.dtype)
        assert "bool" in str(found.mask.dtype)
        assert found.ids.tolist() == [[0, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    ids = np.array([row, row], np.uint8)
    ids.flags.writeable = False
    assert candidate_ids(ids.T[:, ::2].T, lambda byte: bytes([byte]), json_list()).ids.tolist() == [[0, 1, 1, 1, 0]]


def test_vocabularies_of_bytes():
    for vocabulary in ([None, b'["a"]'], (None, b'["a"]'), {0: None, 1: b'["a"]'}, {0: b"", 1: b'["a"]'}.get):
        assert candidate_ids([[1, 0]], vocabulary, json_list()).ids.tolist() == [[1, 0]]


# tokenizers made on the spot

CORPUS = [
    '["alpha","beta gamma","delta"]',
    "<c>one two</c><c>three é🙂</c>",
    "1. red\n2. green\n3. blue\n",
    "Give three names, please: 中文 é.",
] * 20


def byte_level():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<étool>", special=False, normalized=False)])
    return tokenizer


def sentencepiece(model):
    """As Llama 2 (a BPE) or T5 (a unigram model) have it, with all bytes as fallback."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    draft = Tokenizer(models.Unigram() if model == "unigram" else models.BPE(unk_token="<unk>"))
    draft.pre_tokenizer = pre_tokenizers.Metaspace()
    options = {"vocab_size": 150, "special_tokens": ["<unk>"], "show_progress": False}
    trainer = (
        trainers.UnigramTrainer(unk_token="<unk>", **options) if model == "unigram" else trainers.BpeTrainer(**options)
    )
    draft.train_from_iterator([text.replace("é", "").replace("🙂", "") for text in CORPUS], trainer)
    state = json.loads(draft.to_str())["model"]
    if model == "unigram":
        vocabulary = [*map(tuple, state["vocab"]), *((piece, -20.0) for piece in fallback)]
        tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    else:
        vocabulary = state["vocab"] | {piece: len(state["vocab"]) + i for i, piece in enumerate(fallback)}
        merges = [tuple(merge) for merge in state["merges"]]
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<eos>"])
    return tokenizer


MAKERS = {
    "byte-level BPE": byte_level,
    "unigram": lambda: sentencepiece("unigram"),
    "BPE with byte fallback": lambda: sentencepiece("bpe"),
}


@pytest.fixture(scope="module", params=MAKERS)
def tokenizer(request):
    need("tokenizers")
    return MAKERS[request.param]()


def test_bytes_of_the_whole_vocabulary(tokenizer):
    """What the tokenizer itself decodes each id to, alone: the first space aside, which SentencePiece takes off."""
    read = token_reader(tokenizer)
    seen = set()
    for token in range(tokenizer.get_vocab_size()):
        piece = read(token)
        if piece is None:
            assert tokenizer.id_to_token(token) in ("<eos>", "<unk>")
            continue
        seen.add(piece)
        alone = tokenizer.decode([token])
        assert piece.decode(errors="replace") in (alone, " " + alone, "<étool>"), tokenizer.id_to_token(token)
    assert {bytes([byte]) for byte in range(256)} <= seen | {b"<", b"\xc3"}
    assert read(tokenizer.token_to_id("<eos>")) is None


def test_added_tokens_that_are_not_special_have_their_text():
    need("tokenizers")
    tokenizer = byte_level()
    assert token_reader(tokenizer)(tokenizer.token_to_id("<étool>")) == "<étool>".encode()


@settings(max_examples=60)
@given(st.one_of(json_lists(), tags(), numbers()), st.lists(st.integers(0, 200), max_size=8))
def test_trained_tokenizers(tokenizer, response, cuts):
    """Texts as encoded, and as sampled: pieces encoded apart, which encoding the whole text never gives."""
    pieces, texts, parser = response
    text = "".join(text for text, _ in pieces)
    _, owners = with_owners(pieces)
    edges = sorted({0, len(text), *(c for c in cuts if c < len(text))})
    if "ByteLevel" not in str(tokenizer.decoder):  # every piece would get a space in front
        edges = [0, len(text)]
    ids = [token for a, b in pairwise(edges) for token in tokenizer.encode(text[a:b]).ids]
    read = token_reader(tokenizer)
    data = b"".join(map(read, ids))
    if data == b" " + text.encode():
        owners = [0, *owners]
    assert len(owners) == len(data)
    stops = np.cumsum([0, *(len(read(token)) for token in ids)])
    wanted = [expected(owners[a:b], "first") for a, b in pairwise(stops)]
    found = candidate_ids([[*ids, tokenizer.token_to_id("<eos>")]], tokenizer, parser)
    assert found.texts == [texts]
    assert found.ids.tolist() == [[*wanted, 0]]


def test_encoding_the_text_again_would_be_wrong(tokenizer):
    """The sampled ids are not those of the text: byte by byte, of which the tokenizer would make other tokens."""
    text = '["é🙂", "alpha"]'
    byte_level = "ByteLevel" in str(tokenizer.decoder)
    read = token_reader(tokenizer)
    by_bytes = {read(token): token for token in range(tokenizer.get_vocab_size()) if len(read(token) or b"") == 1}
    ids = [by_bytes[bytes([byte])] for byte in text.encode()]
    assert tokenizer.encode(tokenizer.decode(ids)).ids != ids
    found = candidate_ids([ids], tokenizer, json_list())
    assert found.texts == [["é🙂", "alpha"]]
    assert found.ids.tolist() == [[0] + [1] * 8 + [0, 0] + [2] * 7 + [0]]
    if byte_level:
        assert len(ids) == len(text.encode())


def test_ids_that_a_tokenizer_cannot_hold(tokenizer):
    for token in (tokenizer.get_vocab_size(), 2**31, 2**40, -1):
        with pytest.raises(ValueError, match=rf"token_ids must be in the vocabulary, got {token} at \[1, 0\]"):
            candidate_ids([[0], [token]], tokenizer, json_list())


def test_decoders_that_look_at_neighbours_are_refused():
    need("tokenizers")
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE())
    for decoder, kind in ((None, "None"), (decoders.WordPiece(), "WordPiece"), (decoders.Strip(" ", 1, 0), "Strip")):
        tokenizer.decoder = decoder
        with pytest.raises(TypeError, match=f"tokenizer has the decoder {kind}, expected ByteLevel"):
            candidate_ids([[0]], tokenizer, json_list())


class Fast:
    """What a fast tokenizer of transformers shows."""

    def __init__(self, tokenizer, special):
        self.backend_tokenizer, self.all_special_ids = tokenizer, special

    def __call__(self, text):
        raise AssertionError("nothing is encoded")

    def convert_ids_to_tokens(self, ids):
        raise AssertionError("the backend is asked")


def test_fast_tokenizers_of_transformers(tokenizer):
    ids = tokenizer.encode('["alpha"]').ids
    alpha = ids[-2] if len(ids) > 2 else ids[0]
    found = candidate_ids([ids], Fast(tokenizer, []), json_list())
    assert found.texts == [["alpha"]]
    found = candidate_ids([[*ids, alpha]], Fast(tokenizer, [alpha]), json_list(), malformed="keep", truncated="keep")
    assert found.ids[0, -1] == 0
    assert found.texts != [["alpha"]]
    slow = Fast(None, [])
    del slow.backend_tokenizer
    with pytest.raises(TypeError, match=r"tokenizer must be one of the packages .* \(fast\), a function .* got Fast"):
        candidate_ids([ids], slow, json_list())


IDS = [[0, 1], [1]]
VOCABULARY = [b"a", b"b"]
ERRORS = [
    (
        ValueError,
        {"token_ids": [[0], [1, 2]]},
        r"token_ids must be in the vocabulary, got 2 at \[1, 1\] \(token last\)",
    ),
    (ValueError, {"token_ids": [[-1]]}, r"got -1 at \[0, 0\] .* mask padding"),
    (ValueError, {"token_ids": [[-1]], "tokenizer": lambda i: b"a"}, r"got -1 at \[0, 0\]"),
    (ValueError, {"token_ids": [[-1, 0, -1]], "mask": [[0, 1, 1]]}, r"got -1 at \[0, 2\]"),
    (ValueError, {"token_ids": [[5]], "tokenizer": {1: b"a"}}, r"got 5 at \[0, 0\]"),
    (TypeError, {"token_ids": "ab"}, r"token_ids must be an array \[N, T\] or a list of rows, got builtins.str"),
    (TypeError, {"token_ids": [0, 1]}, r"token_ids\[0\] must be a row, got 0; for one response, pass \[ids\]"),
    (TypeError, {"token_ids": ["ab"]}, r"token_ids\[0\] must be a list or 1-D array, got builtins.str"),
    (TypeError, {"token_ids": [[0], ["a"]]}, r"token_ids\[1\] must be integers, got dtype <U1; pass the sampled ids"),
    (TypeError, {"token_ids": [[0.0]]}, r"token_ids\[0\] must be integers, got dtype float64"),
    (TypeError, {"token_ids": torch.zeros(1, 2)}, r"token_ids\[0\] must be integers, got dtype float32"),
    (TypeError, {"token_ids": [[True]]}, r"token_ids\[0\] must be integers, got dtype bool"),
    (ValueError, {"token_ids": [[[0]]]}, r"token_ids\[0\] must be a row, got shape \(1, 1\)"),
    (ValueError, {"token_ids": [[0, [1]]]}, r"token_ids\[0\] must be a row of numbers"),
    (ValueError, {"token_ids": torch.zeros(3, dtype=int)}, r"shape \[responses, tokens\], got \(3,\); .* x\[None\]"),
    (ValueError, {"token_ids": np.zeros((1, 1, 1), int)}, r"got \(1, 1, 1\)"),
    (ValueError, {"mask": [[1, 1]]}, r"mask must have one row per response \(2\), got 1"),
    (ValueError, {"mask": [[1, 1], [1, 1]]}, r"mask\[1\] must have one entry per token \(1\), got 2"),
    (ValueError, {"mask": [[1, 2], [1]]}, r"mask\[0\] must be bools or 0 and 1, got 1 .. 2"),
    (
        TypeError,
        {"mask": [[1.0, 0.0], [1.0]]},
        r"mask\[0\] must be bools or integers, got dtype float64; compare first",
    ),
    (ValueError, {"finished": [True]}, r"finished must have shape \(2,\), one per response, got \(1,\)"),
    (TypeError, {"finished": [1, 0]}, "finished must be bools .* got dtype int64"),
    (TypeError, {"tokenizer": None}, "tokenizer must be one of .* got NoneType"),
    (
        TypeError,
        {"tokenizer": ["a", "b"]},
        "tokenizer must give bytes, or None for a special token, got 'a' for the id 0",
    ),
    (TypeError, {"parser": "json"}, r"parser must be a function, such as rl.json_list\(\), got builtins.str"),
    (TypeError, {"parser": json_list}, r"parser must return .* for response 0; write rl.json_list\(\), with brackets"),
    (TypeError, {"parser": separated}, r"parser must return .* with brackets"),
    (TypeError, {"parser": lambda text: None}, "parser must return .* got None"),
    (TypeError, {"parser": lambda text: ([(0, 1)], None)}, r"parser must return .* got \(\[\(0, 1\)\], None\)"),
    (TypeError, {"parser": lambda text: ([(0, 1, None)], None)}, "candidates as str, got None for response 0"),
    (ValueError, {"parser": lambda text: ([], "bad")}, "None, 'malformed' or 'truncated' as the problem, got 'bad'"),
    (ValueError, {"parser": lambda text: ([(0, 9, "")], None)}, r"within the 2 characters, got \(0, 9\) after 0"),
    (ValueError, {"parser": lambda text: ([(0, 2, ""), (1, 2, "")], None)}, r"got \(1, 2\) after 2 for response 0"),
    (ValueError, {"straddle": "majority"}, "straddle must be one of 'first', 'last', 'none', got 'majority'"),
    (ValueError, {"malformed": "zero"}, "malformed must be one of 'whole', 'keep', 'raise', got 'zero'"),
    (ValueError, {"truncated": None}, "truncated must be one of 'whole', 'keep', 'raise', got None"),
    (ValueError, {"max_candidates": 0}, "max_candidates must be an int >= 1 or None, got 0"),
    (TypeError, {"max_candidates": 2.0}, "max_candidates must be an int >= 1 or None, got 2.0"),
]


@pytest.mark.parametrize(("error", "arguments", "message"), ERRORS)
def test_errors_name_the_argument_and_the_remedy(error, arguments, message):
    arguments = {"token_ids": IDS, "tokenizer": VOCABULARY, "parser": json_list()} | arguments
    with pytest.raises(error, match=message) as caught:
        candidate_ids(**arguments)
    assert str(caught.value).startswith("candidate_ids: ")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_nested_tensors_are_unbound_by_the_caller():
    nested = torch.nested.nested_tensor([torch.tensor([0]), torch.tensor([1, 0])], layout=torch.jagged)
    with pytest.raises(TypeError, match=r"got a nested tensor; pass list\(x.unbind\(\)\)"):
        candidate_ids(nested, VOCABULARY, separated("b"))
    assert candidate_ids(list(nested.unbind()), VOCABULARY, separated("b")).ids.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (TypeError, lambda: json_list(1), "json_list: key must be a str, got 1"),
        (TypeError, lambda: tagged(None), "tagged: name must be a str, got None"),
        (ValueError, lambda: tagged(""), "tagged: name must not be empty"),
        (ValueError, lambda: tagged("<c>"), "tagged: name must be that of the tag, without brackets, got '<c>'"),
        (ValueError, lambda: separated(""), "separated: separator must not be empty"),
    ],
)
def test_errors_of_parsers(error, make, message):
    with pytest.raises(error, match=message):
        make()


def test_what_a_parser_raises_propagates():
    def parser(text):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        candidate_ids(IDS, VOCABULARY, parser)
