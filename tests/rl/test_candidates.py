"""Candidates of rollouts, against rollouts built piece by piece: who owns each byte is known, not parsed."""

from array import array

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shapley_kernels.rl import candidate_ids, json_list, segments, separated, tagged
from tests.rl.written import RNGS, cut, json_lists, json_objects, rollout


@given(RNGS)
def test_a_list_cut_anywhere_is_truncated(rng):
    pieces, texts, parser = rollout(rng, (json_lists, json_objects), thinks=0.0)
    opened = len(pieces[0][0].rstrip("\n "))
    last = max(i for i, (_, k) in enumerate(pieces) if k)
    closed = sum(len(text) for text, _ in pieces[: last + 1])
    text = "".join(text for text, _ in pieces)
    at = int(rng.integers(opened, closed + 1))
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
    assert found.metrics == {
        "shapley/malformed_rollouts": 2.0,
        "shapley/truncated_rollouts": 1.0,
        "shapley/unknown_tokens": 0.0,
    }
    found = of_bytes(TEXTS, json_list(), malformed="keep", truncated="keep")
    assert found.texts == [["a"], ["a"], ["a"], []]
    assert found.mask.tolist() == [[True], [True], [True], [False]]
    assert found.ids.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0]] * 3 + [[0] * 8]
    assert found.problems == [None, "truncated", "malformed", "malformed"]
    with pytest.raises(ValueError, match=r"rollout 1 is truncated, with 1 candidates before that: '\[\"a\", \"b'"):
        of_bytes(TEXTS, json_list(), truncated="raise")
    with pytest.raises(ValueError, match=r"rollout 2 is malformed, .*malformed='whole' punishes"):
        of_bytes(TEXTS, json_list(), malformed="raise")
    with pytest.raises(ValueError, match=r"'x{50} \.\.\. x{25}'; "):
        of_bytes(["x" * 1000], json_list(), malformed="raise")


def test_how_a_rollout_ended():
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


def test_no_rollouts_and_empty_ones():
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


@pytest.mark.parametrize("mask", [None, [[True] * 6, [True] * 4 + [False] * 2]])
def test_ids_that_the_vocabulary_lacks_have_no_text(mask):
    vocabulary = [b'["red', b'", "', b'blue"]']
    found = candidate_ids([[0, 999, 1, 2, 999, 10**12], [0, 1, 2, 7, 7, 7]], vocabulary, json_list(), mask=mask)
    assert found.texts == [["red", "blue"]] * 2
    assert found.ids[0].tolist() == [1, 0, 1, 2, 0, 0]
    assert found.unknown_tokens == found.metrics["shapley/unknown_tokens"] == (6 if mask is None else 4)


IDS = [[0, 1], [1]]
VOCABULARY = [b"a", b"b"]
ERRORS = [
    (
        ValueError,
        {"token_ids": [[0], [1, 2, 3, 2]]},
        r"in the vocabulary, got 2 at \[1, 1\] \(token last\), and 3 of 5 tokens that are not; mask padding",
    ),
    (ValueError, {"token_ids": [[-1]]}, r"got -1 at \[0, 0\] .* mask padding"),
    (ValueError, {"token_ids": [[-1]], "tokenizer": lambda i: b"a"}, r"got -1 at \[0, 0\]"),
    (ValueError, {"token_ids": [[-1, 0, -1]], "mask": [[0, 1, 1]]}, r"got -1 at \[0, 2\]"),
    (ValueError, {"token_ids": [[5]], "tokenizer": {1: b"a"}}, r"got 5 at \[0, 0\]"),
    (TypeError, {"token_ids": "ab"}, r"token_ids must be an array \[N, T\] or a list of rows, got builtins.str"),
    (TypeError, {"token_ids": [0, 1]}, r"token_ids\[0\] must be a row, got 0; for one rollout, pass \[ids\]"),
    (TypeError, {"token_ids": ["ab"]}, r"token_ids\[0\] must be a list or 1-D array, got builtins.str"),
    (TypeError, {"token_ids": [[0], ["a"]]}, r"token_ids\[1\] must be integers, got dtype <U1; pass the sampled ids"),
    (TypeError, {"token_ids": [[0.0]]}, r"token_ids\[0\] must be integers, got dtype float64"),
    (TypeError, {"token_ids": torch.zeros(1, 2)}, r"token_ids\[0\] must be integers, got dtype float32"),
    (TypeError, {"token_ids": [[True]]}, r"token_ids\[0\] must be integers, got dtype bool"),
    (ValueError, {"token_ids": [[[0]]]}, r"token_ids\[0\] must be a row, got shape \(1, 1\)"),
    (ValueError, {"token_ids": [[0, [1]]]}, r"token_ids\[0\] must be a row of numbers"),
    (ValueError, {"token_ids": torch.zeros(3, dtype=int)}, r"shape \[rollouts, tokens\], got \(3,\); .* x\[None\]"),
    (ValueError, {"token_ids": np.zeros((1, 1, 1), int)}, r"got \(1, 1, 1\)"),
    (ValueError, {"mask": [[1, 1]]}, r"mask must have one row per rollout \(2\), got 1"),
    (ValueError, {"mask": [[1, 1], [1, 1]]}, r"mask\[1\] must have one entry per token \(1\), got 2"),
    (ValueError, {"mask": [[1, 2], [1]]}, r"mask\[0\] must be bools or 0 and 1, got 1 .. 2"),
    (TypeError, {"mask": [[1.0, 0.0], [1.0]]}, r"mask\[0\].*bools or integers, got dtype float64; compare first"),
    (ValueError, {"finished": [True]}, r"finished must have shape \(2,\), one per rollout, got \(1,\)"),
    (TypeError, {"finished": [1, 0]}, "finished must be bools .* got dtype int64"),
    (TypeError, {"tokenizer": 5}, "tokenizer must be one of .* got int"),
    (TypeError, {"tokenizer": ["a", "b"]}, "tokenizer.*bytes, or None for a special token, got 'a' for the id 0"),
    (TypeError, {"parser": "json"}, r"parser must be a function, such as rl.json_list\(\), got builtins.str"),
    (TypeError, {"parser": json_list}, r"parser must return .* for rollout 0; write rl.json_list\(\), with brackets"),
    (TypeError, {"parser": separated}, r"parser must return .* with brackets"),
    (TypeError, {"parser": lambda text: None}, "parser must return .* got None"),
    (TypeError, {"parser": lambda text: ([(0, 1)], None)}, r"parser must return .* got \(\[\(0, 1\)\], None\)"),
    (TypeError, {"parser": lambda text: ([(0, 1, None)], None)}, "candidates as str, got None for rollout 0"),
    (ValueError, {"parser": lambda text: ([], "bad")}, "None, 'malformed' or 'truncated' as the problem, got 'bad'"),
    (ValueError, {"parser": lambda text: ([(0, 9, "")], None)}, r"within the 2 characters, got \(0, 9\) after 0"),
    (ValueError, {"parser": lambda text: ([(0, 2, ""), (1, 2, "")], None)}, r"got \(1, 2\) after 2 for rollout 0"),
    (ValueError, {"straddle": "majority"}, "straddle must be one of 'first', 'last', 'none', got 'majority'"),
    (ValueError, {"malformed": "zero"}, "malformed must be one of 'whole', 'keep', 'abstain', 'raise', got 'zero'"),
    (TypeError, {"truncated": None}, "truncated must be one of 'whole', 'keep', 'abstain', 'raise', got None"),
    (ValueError, {"max_candidates": 0}, "max_candidates must be an integer >= 1 or None, got 0"),
    (ValueError, {"max_candidates": 2**70}, "max_candidates must be at most 1048576, .*, got 1180591620717411303424"),
    (TypeError, {"max_candidates": 2.0}, "max_candidates must be an integer >= 1 or None, got 2.0"),
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


def test_what_a_parser_raises_propagates():
    def parser(text):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        candidate_ids(IDS, VOCABULARY, parser)


def test_who_stopped():
    """Chose to: not cut, as far as known, and no problem."""
    texts, parser = ['["a"]', '["a"]', "no", '["a", "b'], json_list()
    assert of_bytes(texts, parser).stopped.tolist() == [True, True, False, False]
    assert of_bytes(texts, parser, finished=[True, False, True, True]).stopped.tolist() == [True, False, False, False]


def test_rollouts_that_are_left_out():
    """They have no candidates, and are not counted; why is still told."""
    found = of_bytes(TEXTS, json_list(), truncated="abstain")
    assert found.texts == [["a"], [], ['["a", b]'], ["no"]]
    assert found.problems == [None, "truncated", "malformed", "malformed"]
    assert found.counted.tolist() == [True, False, True, True]
    assert found.mask.tolist() == [[True], [False], [True], [True]]
    assert not found.ids[1].any()
    assert of_bytes(TEXTS, json_list(), malformed="abstain").counted.tolist() == [True, True, False, False]


def test_segments_as_candidates():
    """Turns between the output of tools; the end of a turn is part of it, though a special token."""
    vocabulary = [None, b"ab", b"\xf0\x9f", b"\x99\x82", b'["tool"]', b" c"]
    ids, mask = [[4, 1, 2, 0, 4, 4, 3, 5, 0, 0]], [[0, 1, 1, 1, 0, 0, 1, 1, 1, 0]]
    found = candidate_ids(ids, vocabulary, segments, mask=mask)
    assert found.ids.tolist() == segments(mask).tolist() == [[0, 1, 1, 1, 0, 0, 2, 2, 2, 0]]
    assert found.texts == [["ab\ufffd\ufffd", "\ufffd\ufffd c"]]
    assert found.problems == [None]
    found = candidate_ids(ids, vocabulary, segments, mask=mask, finished=[False], truncated="keep")
    assert (found.texts, found.problems) == ([["ab\ufffd\ufffd"]], ["truncated"])
    assert found.ids.tolist() == [[0, 1, 1, 1, 0, 0, 0, 0, 0, 0]]
    found = candidate_ids(ids, vocabulary, segments, mask=mask, max_candidates=1)
    assert found.problems == ["malformed"]
    assert found.ids.tolist() == [[0, 1, 1, 0, 0, 0, 1, 1, 0, 0]]  # as a whole, by what is written
    assert candidate_ids(["a", ""], None, segments).texts == [["a"], [""]]
    with pytest.raises(ValueError, match=r"segments: loss_mask\[1\] must be bools or 0 and 1, got -1 .. 1"):
        segments([[0, 1], [-1, 1]])
    with pytest.raises(ValueError, match=r"segments: loss_mask must have shape \[rollouts, tokens\], got \(2,\)"):
        segments(torch.ones(2, dtype=torch.int64))
