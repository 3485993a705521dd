"""Rollouts: parsers, the candidate of each token, scorers."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.arrays import to_float64
from tests.fuzz.inputs import hostile, spoiled
from tests.fuzz.rig import Refused, Target, attempt, chance, pick, run, serve
from tests.fuzz.test_values import hostile_but
from tests.rl.written import (
    bullets,
    cut,
    expected,
    json_lists,
    json_objects,
    lenient_lists,
    lines,
    numbers,
    rollout,
    tags,
    text_of,
    with_owners,
)

SCRAPS = (
    *('["', '", "', '"]', '"', "[", "]", "{", "}", ",", ":", '{"name": "', '"}', '\\"', "\\u00e9", "\\ud83d", "\\"),
    *("<c>", "</c>", "<c id=1>", "<c1>", "</c1>", "<c2>", "</c2>", "<", "</", "<d>", "</think>", "</thi"),
    *("1. ", "- ", "  ", "\n```\n", "3. ", "\n", "\n1. ", "\n2. ", "\n---\n", "é", "🙂", "word", "-1.5e", "true"),
    *("nul", "\x00", "\u2028"),
)
"""What texts without a plan are made of."""


def of_parser(make: Callable[..., Any], rng: np.random.Generator) -> None:
    """What was written is found, in its place; any text gives spans in order; hostile parameters are refused."""
    pieces, items, parser = rollout(rng, KINDS[make], thinks=1.0 if make is rl.after else 0.2)
    text = "".join(piece for piece, _ in pieces)
    found, problem = serve(parser, text)
    assert problem is None, text
    assert [candidate for _, _, candidate in found] == items, text
    ends = np.cumsum([0, *(len(piece) for piece, _ in pieces)])
    spans = [(int(a), int(b)) for (a, b), (_, k) in zip(pairwise(ends), pieces, strict=True) if k]
    assert [span[:2] for span in found] == spans, text
    check_any(parser, text_of(rng, SCRAPS, 14))
    check_any(parser, text[: int(rng.integers(0, len(text) + 1))] + text_of(rng, SCRAPS, 2))
    if make not in (rl.numbered, rl.bulleted):
        made = attempt(make, *(hostile(rng) for _ in range(2 if make is rl.after else 1)))
        if not isinstance(made, Refused) and make is not rl.after:
            check_any(made, text_of(rng, SCRAPS, 9))


def check_any(parser: Any, text: str) -> None:
    found, problem = serve(parser, text)
    assert problem in (None, "malformed", "truncated")
    at = 0
    for start, end, candidate in found:
        assert at <= start <= end <= len(text), (found, text)
        assert isinstance(candidate, str)
        at = end


KINDS: dict[Callable[..., Any], tuple[Any, ...]] = {
    rl.json_list: (json_lists, json_objects, lenient_lists),
    rl.tagged: (tags,),
    rl.numbered: (numbers,),
    rl.bulleted: (bullets,),
    rl.separated: (lines,),
    rl.after: (json_lists, numbers),
}


def tokens_of(rng: np.random.Generator, data: bytes) -> tuple[list[int], list[Any], list[int]]:
    """Cut in a few places, or one for each byte."""
    few = rng.integers(0, len(data) + 1, int(rng.integers(0, 12))).tolist()
    return cut(data, range(len(data)) if chance(rng, 0.2) else few)


def of_candidates(rng: np.random.Generator) -> None:
    """Rollouts that were written, cut anywhere into tokens: each token has the candidate of its bytes."""
    straddle = pick(rng, ("first", "last", "none"))
    pieces, items, parser = rollout(rng)
    data, owners = with_owners(pieces)
    ids, vocabulary, edges = tokens_of(rng, data)
    wanted = [expected(owners[a:b], straddle) for a, b in pairwise(edges)]
    for _ in range(int(rng.integers(0, 3))):  # special tokens have no text
        place = int(rng.integers(0, len(ids) + 1))
        ids.insert(place, 0)
        wanted.insert(place, 0)
    given = pick(
        rng,
        (
            lambda x: [x],
            lambda x: np.array([x], np.int64).reshape(1, -1),
            lambda x: torch.tensor([x]),
            lambda x: [np.array(x, int)],
        ),
    )
    reader = pick(rng, (vocabulary, dict(enumerate(vocabulary)), lambda token: vocabulary[token]))
    options = {"token_ids": given(ids), "tokenizer": reader, "parser": parser, "straddle": straddle}
    found = serve(rl.candidate_ids, **options)
    assert found.problems == [None]
    assert found.texts == [items]
    assert found.ids.tolist() == [wanted]
    assert found.mask.tolist() == [[True] * len(items)]
    soup = text_of(rng, SCRAPS, 14).encode("utf-8", "surrogatepass") + bytes(
        rng.integers(0, 256, int(rng.integers(0, 4))).astype(np.uint8)
    )
    any_ids, any_vocabulary, _ = tokens_of(rng, soup)
    policies = {"malformed": pick(rng, ("whole", "keep")), "truncated": pick(rng, ("whole", "keep"))}
    ended = pick(rng, (None, [True], [False]))
    found = serve(rl.candidate_ids, [any_ids], any_vocabulary, parser, finished=ended, straddle=straddle, **policies)
    assert found.ids.shape == (1, len(any_ids))
    assert found.mask.shape == (1, len(found.texts[0]))
    assert found.ids.max(initial=0) <= len(found.texts[0])
    assert (np.diff(found.ids[found.ids > 0]) >= 0).all()
    more = {"mask": None, "finished": None, "malformed": "whole", "truncated": "keep", "max_candidates": 3}
    for _ in range(2):
        wrong = spoiled(rng, {**options, **more})
        hers = [callable(wrong[name]) and wrong[name] is not options[name] for name in ("parser", "tokenizer")]
        if not any(hers):  # what a function of the caller raises is hers
            attempt(rl.candidate_ids, **wrong)


def of_segments(rng: np.random.Generator) -> None:
    """The numbers of a row count its runs."""
    mask = rng.integers(0, 2, (int(rng.integers(0, 4)), int(rng.integers(0, 9))))
    given = pick(rng, (mask, mask.astype(bool), torch.tensor(mask), mask.tolist()))
    for row, ids in zip(mask, serve(rl.segments, given), strict=True):
        assert type(ids) is (torch.Tensor if isinstance(given, torch.Tensor) else np.ndarray)
        assert ids.tolist() == (np.cumsum(np.diff(row, prepend=0) > 0) * row).tolist()
    attempt(rl.segments, hostile(rng))


def of_scorer(rng: np.random.Generator) -> None:
    """Rewards stand where their candidates do; what score gives is checked; async as plain."""
    rollouts = [rollout(rng, (json_lists,))[0] for _ in range(int(rng.integers(1, 4)))]
    data = ["".join(piece for piece, _ in pieces).encode() for pieces in rollouts]
    ids = [list(text) for text in data]
    takes = pick(rng, ("candidate", "set", "batch"))
    answer = hostile_but(rng, lambda x: isinstance(x, Exception)) if chance(rng, 0.4) else None
    failing = answer is not None
    raising = not failing and chance(rng, 0.1)

    def score(given: Any) -> Any:
        if raising:
            raise KeyError("the judge is away")
        if failing:
            return answer
        return float(len(given)) if takes == "candidate" else [float(len(text)) for text in given]

    async def later(given: Any) -> Any:
        return score(given)

    on_error = pick(rng, ("raise", "floor", -2.0))
    options = {"takes": takes, "on_error": on_error, "floor": -1.0, "utility": sk.Max}
    parser = serve(rl.json_list)
    scorer = serve(rl.SetScorer, score, parser, lambda byte: bytes([byte]), **options)
    found = attempt_scored(scorer, ids)
    if not isinstance(found, Refused):
        candidates = rl.candidate_ids(ids, lambda byte: bytes([byte]), parser)
        assert found.texts == candidates.texts
        for i, texts in enumerate(found.texts):
            if not failing and not raising and found.problems[i] is None:
                assert found.rewards[i, : len(texts)].tolist() == [float(len(text)) for text in texts]
        assert np.isfinite(to_float64(found.rewards)).all()
        same = serve(rl.SetScorer, later, parser, lambda byte: bytes([byte]), **options)
        again = attempt_scored(same, ids)
        assert not isinstance(again, Refused)
        assert np.array_equal(again.rewards, found.rewards)
    else:
        assert on_error == "raise"
    attempt(rl.SetScorer, **spoiled(rng, {"score": score, "parser": parser, "tokenizer": [b"a"], **options}))


def attempt_scored(scorer: Any, ids: Any) -> Any:
    """A call; a judge that fails is a RuntimeError."""
    return attempt(scorer, ids, also=RuntimeError)


TARGETS: dict[str, Target] = {
    **{f"rl.{make.__name__}": partial(of_parser, make) for make in KINDS},
    "rl.candidate_ids": of_candidates,
    "rl.segments": of_segments,
    "rl.SetScorer": of_scorer,
}


@pytest.mark.parametrize("name", TARGETS)
def test_text(name: str) -> None:
    run(name, TARGETS[name])
