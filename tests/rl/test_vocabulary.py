"""Vocabularies: tables, functions, and tokenizers made on the spot."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapley_kernels.rl import candidate_ids, json_list
from shapley_kernels.rl.vocabulary import token_reader
from tests.conftest import need
from tests.rl.written import RNGS, bullets, expected, json_lists, numbers, rollout, tags, with_owners


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
@given(RNGS, st.lists(st.integers(0, 200), max_size=8))
def test_trained_tokenizers(tokenizer, rng, cuts):
    """Texts as encoded, and as sampled: pieces encoded apart, which encoding the whole text never gives."""
    pieces, texts, parser = rollout(rng, (json_lists, tags, numbers, bullets))
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
    for token in (tokenizer.get_vocab_size(), 2**31, 2**40):
        assert candidate_ids([[0], [token]], tokenizer, json_list()).unknown_tokens == 1
        with pytest.raises(ValueError, match=rf"token_ids must be in the vocabulary, got {token} at \[1, 0\]"):
            candidate_ids([[0], [token, token]], tokenizer, json_list())
    with pytest.raises(ValueError, match=r"token_ids must be >= 0, got -1 at \[1, 0\]"):
        candidate_ids([[0], [-1]], tokenizer, json_list())


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
