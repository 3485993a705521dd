"""SetScorer: every way of scoring gives the same rewards, failures name the candidate, order never depends on time."""

import ast
import asyncio
import contextvars
import functools
import pickle
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import shapley_kernels as sk
from shapley_kernels.rl import SetScorer, json_list, separated


def read_byte(token):
    return bytes([token]) if token < 256 else None


def rows(texts):
    return [[*text.encode(), 256] for text in texts]


TEXTS = ['["aa", "b"]', '["ccc"]', "no", '["d", "e', '["", "ffff", "g"]']
BONUS = [10, 20, 30, 40, 50]
REWARDS = [[12, 11, 0], [23, 0, 0], [-1, 0, 0], [-1, 0, 0], [50, 54, 51]]
MASK = [[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]]


def one(text, bonus):
    return len(text) + bonus


def of_set(texts, bonus):
    return [len(text) + bonus for text in texts]


def of_batch(texts, bonus):
    return np.array([len(text) + extra for text, extra in zip(texts, bonus, strict=True)])


async def one_async(text, bonus):
    await asyncio.sleep(0.001 * (len(text) % 3))
    return one(text, bonus)


async def of_set_async(texts, bonus):
    await asyncio.sleep(0.001 * len(texts))
    return torch.tensor(of_set(texts, bonus))


async def of_batch_async(texts, bonus):
    return tuple(of_batch(texts, bonus))


class Judge:
    async def __call__(self, text, bonus):
        return await one_async(text, bonus)

    async def method(self, text, bonus):
        return await one_async(text, bonus)


SCORES = {
    "plain": (one, "candidate"),
    "set": (of_set, "set"),
    "batch": (of_batch, "batch"),
    "async": (one_async, "candidate"),
    "async set": (of_set_async, "set"),
    "async batch": (of_batch_async, "batch"),
    "async object": (Judge(), "candidate"),
    "async method": (Judge().method, "candidate"),
    "partial": (functools.partial(one_async), "candidate"),
    "numpy number": (lambda text, bonus: np.float32(one(text, bonus)), "candidate"),
    "tensor of no axes": (lambda text, bonus: torch.tensor(one(text, bonus), dtype=torch.bfloat16), "candidate"),
}


def call(scorer, *arguments, how, **columns):
    """The four places that a scorer is called from."""
    if how == "sync":
        return scorer(*arguments, **columns)
    if how == "ascore":
        return asyncio.run(scorer.ascore(*arguments, **columns))

    async def loop():
        return scorer(*arguments, **columns)

    return asyncio.run(loop())


@pytest.mark.parametrize("how", ["sync", "ascore", "within a running loop"])
@pytest.mark.parametrize(("score", "takes"), SCORES.values(), ids=SCORES)
def test_all_kinds_of_scores_give_the_same(score, takes, how):
    scorer = SetScorer(score, json_list(), read_byte, takes=takes, floor=-1)
    scored = call(scorer, rows(TEXTS), bonus=BONUS, how=how)
    assert scored.rewards.tolist() == REWARDS
    assert scored.mask.tolist() == [[bool(live) for live in row] for row in MASK]
    assert scored.set_rewards.tolist() == [12, 23, -1, -1, 54]
    assert scored.problems == [None, None, "malformed", "truncated", None]
    assert scored.ids[0].tolist() == [0, 1, 1, 1, 1, 0, 0, 2, 2, 2, 0, 0, *[0] * 6]
    assert scored.ids[2].tolist() == [1, 1, *[0] * 16]
    assert scored.failed_scores == 0
    assert scored.metrics == {
        "shapley/malformed_rollouts": 1.0,
        "shapley/unknown_tokens": 0.0,
        "shapley/truncated_rollouts": 1.0,
        "shapley/failed_scores": 0.0,
    }


@pytest.mark.filterwarnings("ignore:SetScorer. all .* are malformed")
@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from(["x", "yy", "zzz", ""]), max_size=4), max_size=5), st.integers(1, 5))
def test_order_is_that_of_the_rollouts(sets, concurrency):
    """Whatever ends first: later candidates sleep less."""
    started = iter(range(10**6))

    async def score(text, name):
        await asyncio.sleep(0.002 / (1 + next(started)))
        return len(text) + 10 * name

    texts = [str(items).replace("'", '"') for items in sets]
    scorer = SetScorer(score, json_list(), read_byte, concurrency=concurrency, malformed="keep")
    scored = scorer(rows(texts), name=list(range(len(sets))))
    for i, items in enumerate(sets):
        assert scored.rewards[i][scored.mask[i]].tolist() == [len(text) + 10 * i for text in items]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_at_most_so_many_calls_at_a_time(concurrency):
    running = most = 0

    async def score(text):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return 0.0

    SetScorer(score, separated(","), read_byte, concurrency=concurrency)(rows(["a,b,c,d", "e,f,g"]))
    assert most == concurrency


def test_ascore_runs_an_async_score_on_the_loop_and_a_plain_one_beside_it():
    async def on_loop(text):
        assert threading.current_thread() is threading.main_thread()
        asyncio.get_running_loop().call_soon(ticks.append, text)
        return 1.0

    def beside(text):
        assert threading.current_thread() is not threading.main_thread()
        threads.add(threading.current_thread())
        assert variable.get() == "set"
        return 1.0

    ticks, threads = [], set()
    variable = contextvars.ContextVar("variable")
    variable.set("set")
    asyncio.run(SetScorer(on_loop, separated(","), read_byte).ascore(rows(["a,b"])))
    assert ticks == ["a", "b"]
    asyncio.run(SetScorer(beside, separated(","), read_byte).ascore(rows(["a,b", "c"])))
    assert len(threads) == 1

    async def sees_context(text):
        return variable.get() == "set"

    scored = call(SetScorer(sees_context, separated(","), read_byte), rows(["a"]), how="within a running loop")
    assert scored.rewards.tolist() == [[1.0]]


def test_into_the_allocator():
    for container in (lambda x: x, torch.tensor):
        ids = np.array([[*b'["aa","b"]'], [*b'["ccc"]   '], [*b"malformed!"]])
        scored = SetScorer(len, json_list(), read_byte)(container(ids))
        allocator = sk.RewardAllocator()
        found = allocator.token_advantages(scored.rewards, scored.ids, scored.mask)
        assert type(found) is type(scored.ids) is type(scored.set_rewards)
        credits = sk.shapley(sk.Max([[2.0, 1], [3, 0], [0, 0]], mask=MASK_OF_ALL))
        of_candidates = sk.grpo_advantages(credits * [[2], [1], [1]], MASK_OF_ALL)
        of_sets = sk.grpo_advantages([[2.0], [3.0], [0.0]])
        wanted = [
            [of_candidates[i, k - 1] if k else of_sets[i, 0] for k in row] for i, row in enumerate(scored.ids.tolist())
        ]
        np.testing.assert_allclose(found.tolist(), wanted, rtol=2e-6)
        assert (found[2] < 0).all()  # malformed output is punished
        assert scored.set_rewards.tolist() == [2, 3, 0]


MASK_OF_ALL = np.array([[True, True], [True, False], [True, False]])


def test_container_and_dtype():
    ids = torch.tensor([[*b"a,b"]])
    scored = SetScorer(len, separated(","), read_byte)(ids)
    assert (scored.rewards.dtype, scored.mask.dtype, scored.ids.dtype) == (torch.float32, torch.bool, torch.int64)
    assert scored.set_rewards.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert SetScorer(len, separated(","), read_byte)(ids).rewards.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert SetScorer(len, separated(","), read_byte)(ids.numpy()).rewards.dtype == np.float64
    empty = SetScorer(len, separated(","), read_byte, max_candidates=3)([])
    assert (empty.rewards.shape, empty.mask.shape, empty.set_rewards.shape) == ((0, 3), (0, 3), (0,))
    assert SetScorer(of_batch, separated(","), read_byte, takes="batch")([], bonus=[]).rewards.shape == (0, 0)


def test_rewards_beyond_their_dtype():
    """float32 by default in torch, float64 in numpy."""
    texts = rows(["a,b"])

    def score(text):
        return 1e300 if text == "b" else 1.0

    assert SetScorer(score, separated(","), read_byte)(texts).rewards.tolist() == [[1.0, 1e300]]
    tensor = torch.tensor(texts)
    with pytest.raises(ValueError, match=r"range of torch.float32, got 1e\+300 for rollout 0, candidate 1 \(from 0\)"):
        SetScorer(score, separated(","), read_byte)(tensor)
    scored = SetScorer(score, separated(","), read_byte, on_error="floor", floor=-2)(tensor)
    assert (scored.rewards.tolist(), scored.failed_scores) == ([[1.0, -2.0]], 1)
    for options in ({"floor": -1e300}, {"on_error": 1e300}):
        with pytest.raises(ValueError, match=r"SetScorer: .* must be in the range of torch.float32, .*, got -?1e\+300"):
            SetScorer(len, separated(","), read_byte, **options)(tensor)


@pytest.mark.parametrize("takes", ["candidate", "set"])
def test_scores_with_the_negative_bit(takes):
    def score(given):
        numbers = torch.tensor([1j * len(given)]).conj().imag
        assert numbers.is_neg()
        return numbers[0] if takes == "candidate" else list(numbers.expand(len(given)))

    scored = SetScorer(score, separated(","), read_byte, takes=takes, floor=-3.0)(rows(["a,b"]))
    assert scored.rewards.tolist() == [[-1.0, -1.0] if takes == "candidate" else [-2.0, -2.0]]
    with pytest.raises(TypeError, match="must give a number, got tensor"):
        SetScorer(lambda text: torch.tensor(1j), separated(","), read_byte)(rows(["a"]))


def test_texts_in_place_of_token_ids():
    """Their characters are the tokens."""
    scored = SetScorer(len, json_list(), floor=-1)(['["é🙂", "b"]', "no"])
    assert scored.texts == [["é🙂", "b"], ["no"]]
    assert scored.rewards.tolist() == [[2, 1], [-1, 0]]
    assert scored.ids.tolist() == [[0, 1, 1, 1, 1, 0, 0, 2, 2, 2, 0], [1, 1, *[0] * 9]]
    again = pickle.loads(pickle.dumps(SetScorer(len, json_list())))(np.array(['["\ud800a"]', "[]"]))
    assert again.texts == [["\ufffd\ufffd\ufffda"], ["[]"]]
    for wrong in ("no", [[1, 2]], 3, [b"a"]):
        with pytest.raises(TypeError, match=r"must be a list of texts where tokenizer is None, got"):
            SetScorer(len, json_list())(wrong)


def test_padding_pins_the_shape():
    scorer = SetScorer(len, json_list(), pad_to=3, floor=-1)
    for texts in (['["a"]'], ['["a", "b", "c"]'], ["no"], []):
        scored = scorer(texts)
        assert scored.rewards.shape == scored.mask.shape == (len(texts), 3)
    assert scorer(['["a", "b", "c", "d"]']).problems == ["malformed"]
    scored = SetScorer(len, json_list(), pad_to=4, max_candidates=1)(['["a", "b"]', '["a"]'])
    assert scored.problems == ["malformed", None]
    assert scored.mask.shape == (2, 4)


def test_options_reach_the_parsing():
    ids = rows(['["a","b","c"]', '["d","e'])
    options = {"malformed": "keep", "truncated": "keep", "max_candidates": 2}
    scored = SetScorer(len, json_list(), read_byte, floor=-5, **options)(ids)
    assert scored.texts == [["a", "b"], ["d"]]
    assert scored.rewards.tolist() == [[1, 1], [1, 0]]
    scored = SetScorer(len, separated(","), read_byte, floor=-5)(rows(["a", "bb"]), finished=[True, False])
    assert scored.rewards.tolist() == [[1], [-5]]
    scored = SetScorer(len, separated(","), read_byte)(rows(["a,b"]), [[1, 0, 0, 0]])
    assert scored.texts == [["a"]]
    vocabulary = [b'["a', b'","', b'b"]']
    for straddle, k in (("first", 1), ("last", 2), ("none", 0)):
        assert SetScorer(len, json_list(), vocabulary, straddle=straddle)([[0, 1, 2]]).ids[0, 1] == k


def test_utility_is_for_set_rewards():
    scorer = SetScorer(len, separated(","), read_byte, sk.Mean)
    assert scorer(rows(["a,bbb", "cc"])).set_rewards.tolist() == [2, 2]
    scorer = SetScorer(len, separated(","), read_byte, lambda r, mask: sk.TopM(r, 2, mask=mask) - sk.Min(r, mask=mask))
    assert scorer(rows(["a,bbb,cc", "cc"])).set_rewards.tolist() == [4, 0]
    with pytest.raises(TypeError, match=r"SetScorer: utility must return a game .* got 1"):
        SetScorer(len, separated(","), read_byte, lambda r, mask: 1)(rows(["a"]))


def test_columns():
    seen = []

    def score(text, answer, tag):
        seen.append((text, answer, tag))
        return 0.0

    columns = {"answer": np.array([1, 2]), "tag": ["x", "y"]}
    SetScorer(score, separated(","), read_byte)(rows(["a,b", "c"]), **columns)
    assert seen == [("a", 1, "x"), ("b", 1, "x"), ("c", 2, "y")]
    scorer = SetScorer(score, separated(","), read_byte)
    with pytest.raises(ValueError, match=r"SetScorer: tag must have one entry per rollout \(2\), got 1; repeat"):
        scorer(rows(["a", "b"]), answer=[1, 2], tag=["x"])
    for bad in ("xy", 1, {1, 2}):
        with pytest.raises(TypeError, match=r"SetScorer: tag must be a list or array with one entry per rollout \(2\)"):
            scorer(rows(["a", "b"]), answer=[1, 2], tag=bad)
    with pytest.raises(TypeError, match=r"called with \(text, answer=\), got .*missing 1 .*: 'tag'"):
        scorer(rows(["a"]), answer=[1])


GOOD = {"score": len, "parser": json_list(), "tokenizer": read_byte}


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (TypeError, {"score": 1}, "score must be a function, got 1"),
        (TypeError, {"parser": "json"}, "parser must be a function, got 'json'"),
        (TypeError, {"utility": "max"}, "utility must be a function, got 'max'"),
        (TypeError, {"tokenizer": 5}, "tokenizer must be one of the packages .* got int"),
        (ValueError, {"takes": "sets"}, "takes must be one of 'candidate', 'set', 'batch', got 'sets'"),
        (ValueError, {"on_error": "zero"}, "on_error must be 'raise', 'floor' or a finite number, got 'zero'"),
        (ValueError, {"on_error": float("nan")}, "on_error must be .* got nan"),
        (TypeError, {"on_error": True}, "on_error must be .* got True"),
        (ValueError, {"floor": float("-inf")}, "floor must be a finite number, got -inf"),
        (TypeError, {"floor": None}, "floor must be a finite number, got None"),
        (ValueError, {"floor": 10**400}, "floor must be a finite number, got 1000"),
        (ValueError, {"concurrency": 0}, "concurrency must be an integer >= 1, got 0"),
        (TypeError, {"concurrency": None}, "concurrency must be an integer >= 1, got None"),
        (ValueError, {"straddle": "both"}, "SetScorer: straddle must be one of"),
        (ValueError, {"malformed": "floor"}, "SetScorer: malformed must be one of"),
        (TypeError, {"max_candidates": "8"}, "SetScorer: max_candidates must be an int"),
        (ValueError, {"pad_to": 0}, "SetScorer: pad_to must be an integer >= 1 or None, got 0"),
        (ValueError, {"none": "skip"}, "none must be one of None, 'floor', 'abstain', 'raise', got 'skip'"),
    ],
)
def test_errors_name_the_argument(error, arguments, message):
    with pytest.raises(error, match=message):
        SetScorer(**(GOOD | arguments))


def test_a_scorer_can_be_sent_to_another_process():
    scorer = pickle.loads(pickle.dumps(SetScorer(len, json_list(), read_byte, floor=-1.0)))
    assert scorer(rows(['["a"]', "no"])).rewards.tolist() == [[1], [-1]]


def test_the_page_in_docs():
    """Its code runs, and what its comments say is what comes out."""
    page = (Path(__file__).parents[2] / "docs" / "guides" / "lists.md").read_text(encoding="utf-8")
    names, shown = {}, []
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
        shown += re.findall(r"^(scored\.\w+)  # (.+)$", block, re.MULTILINE)
    assert len(shown) == 5
    for expression, comment in shown:
        found = eval(expression, names)
        assert (found if isinstance(found, list) else found.tolist()) == ast.literal_eval(comment), expression
    assert names["kept"].tolist() == [True, False, True]
    assert names["turns"].tolist() == [[1, 1, 0, 2, 2], [1, 1, 1, 0, 0]]
    assert names["episodes"].texts == [['["red', 'blue"]'], ['["red"]']]
    assert names["advantages"].shape == (2, 5)
    assert names["parser"]('<think>Draft: ["maybe", "no"]</think>["red"]') == ([(38, 43, "red")], None)


def test_lists_of_tensors_are_read_as_one_tensor_is():
    numbers = [torch.tensor(0.5, requires_grad=True), torch.tensor([2.0])[0]]
    for result in (numbers, torch.stack(numbers)):
        scored = SetScorer(lambda texts, r=result: r, json_list(), read_byte, takes="set")([list(b'["a", "b"]')])
        assert scored.rewards.tolist() == [[0.5, 2.0]]
    scorer = SetScorer(lambda texts: [torch.ones(2)], json_list(), read_byte, takes="set", on_error="floor", floor=-1)
    assert scorer([list(b'["a"]')]).rewards.tolist() == [[-1.0]]


def test_a_utility_with_parameters_says_how():
    with pytest.raises(TypeError, match=r"SetScorer: utility is called with .* functools.partial\(sk.TopM, m=3\)"):
        SetScorer(len, json_list(), read_byte, sk.TopM)(rows(['["a"]']))


def test_columns_are_read_by_position():
    class Series(list):
        """As of pandas: an index of its own."""

        def __getitem__(self, label):
            return super().__getitem__(1 - label)

    scorer = SetScorer(lambda text, answer: float(text == answer), json_list(), read_byte)
    assert scorer(rows(['["a"]', '["b"]']), answer=Series("ab")).rewards.tolist() == [[1.0], [1.0]]
    with pytest.raises(TypeError, match="answer must be a list or array"):
        scorer(rows(['["a"]', '["b"]']), answer={0: "a", 1: "b"})
