"""SetScorer where scores fail, are no numbers, or are below the floor."""

import asyncio
import signal
import threading
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import SetScorer, json_list, separated
from tests import GUARD
from tests.rl.test_scorer import call, read_byte, rows


def picky(text):
    if text == "bad":
        raise KeyError("mine")
    return 1.0


async def picky_async(text):
    return picky(text)


@pytest.mark.parametrize("how", ["sync", "ascore", "within a running loop"])
@pytest.mark.parametrize("score", [picky, picky_async])
def test_failures(score, how):
    ids = rows(["a,b", "c,bad", "d"])
    scorer = SetScorer(score, separated(","), read_byte)
    message = r"SetScorer: score failed for rollout 1, candidate 1 \(from 0\): KeyError: 'mine'; on_error='floor'"
    with pytest.raises(RuntimeError, match=message) as caught:
        call(scorer, ids, how=how)
    assert isinstance(caught.value.__cause__, KeyError)
    for on_error, instead in (("floor", -2), (0.25, 0.25), (-3, -3)):
        scored = call(SetScorer(score, separated(","), read_byte, on_error=on_error, floor=-2), ids, how=how)
        assert scored.rewards.tolist() == [[1, 1], [1, instead], [1, 0]]
        assert scored.failed_scores == 1
        assert scored.metrics["shapley/failed_scores"] == 1.0


@pytest.mark.parametrize(
    ("takes", "score", "error", "message", "failed"),
    [
        ("candidate", lambda text: None, TypeError, "score must give a number, got None for rollout 0, candidate 0", 3),
        ("candidate", lambda text: "1.0", TypeError, "a number, got '1.0'", 3),
        ("candidate", lambda text: [1.0], TypeError, r"a number, got \[1.0\] for rollout 0, candidate 0", 3),
        ("candidate", lambda text: float("nan"), ValueError, "a finite number, got nan for rollout 0, candidate 0", 3),
        ("candidate", lambda text: 1j, TypeError, "a number, got 1j", 3),
        ("set", lambda texts: [1.0], ValueError, r"2 numbers, one per candidate, got 1: \[1.0\] .* of rollout 0", 2),
        ("set", lambda texts: 1.0, TypeError, "2 numbers, one per candidate, got 1.0 for the candidates", 3),
        ("set", lambda texts: [[1], [1, 2]][: len(texts)], TypeError, r"a number, got \[1\] for rollout 0, cand", 3),
        ("set", lambda texts: np.ones((len(texts), 1)), TypeError, r"2 numbers, .* got array\(", 3),
        ("set", lambda texts: [1.0, np.inf][: len(texts)], ValueError, "finite .* inf for rollout 0, candidate 1", 1),
        ("set", lambda texts: ["1"] * len(texts), TypeError, "a number, got '1' for rollout 0, candidate 0", 3),
        ("batch", lambda texts: [1, 2], ValueError, r"3 numbers, .* got 2: \[1, 2\] .* of rollouts 0 .. 2", 3),
        ("batch", lambda texts: [1, 2, np.nan], ValueError, "finite number, got nan for rollout 2, candidate 0", 1),
        ("batch", lambda texts: [1, None, 2], TypeError, "got None for rollout 0, candidate 1", 1),
    ],
)
def test_what_is_no_reward(takes, score, error, message, failed):
    ids = rows(["a,b", "", "c"])
    with pytest.raises(error, match=message) as caught:
        SetScorer(score, separated(","), read_byte, takes=takes)(ids)
    assert str(caught.value).startswith("SetScorer: ")
    scored = SetScorer(score, separated(","), read_byte, takes=takes, on_error=7)(ids)
    assert scored.failed_scores == failed
    assert (scored.rewards == 7).sum() == failed
    assert scored.rewards[1, 0] == 0


def test_a_failure_ends_the_other_calls():
    ended = []

    async def score(text):
        if text == "bad":
            raise ValueError
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # as closing a connection takes
            ended.append(text)

    async def outlives_it():
        scorer = SetScorer(score, separated(","), read_byte, concurrency=3)
        with pytest.raises(RuntimeError, match="rollout 0, candidate 1"):
            await asyncio.wait_for(scorer.ascore(rows(["a,bad", "c,never"])), 20)
        return list(ended)

    assert asyncio.run(outlives_it()) == ["a", "c"]


def test_cancelling_ascore_ends_the_calls():
    ended = []

    async def score(text):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(text)

    async def cancel():
        task = asyncio.ensure_future(SetScorer(score, separated(","), read_byte).ascore(rows(["a,b"])))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert ended == ["a", "b"]


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_ending_ascore_ends_a_plain_score_after_the_call_in_progress(end):
    asked, answer = [], threading.Event()

    def score(text):
        asked.append(text)
        answer.wait(GUARD)
        return 1.0

    async def cancel():
        scorer = SetScorer(score, separated(","), read_byte)
        task = asyncio.ensure_future(scorer.ascore(rows(["a,b", "c"])))
        while not asked:
            await asyncio.sleep(0.001)
        if end == "cancel":
            task.cancel()
        else:
            task = asyncio.ensure_future(asyncio.wait_for(task, 0.001))
        with pytest.raises((asyncio.CancelledError, asyncio.TimeoutError)):
            await task
        answer.set()

    asyncio.run(cancel())  # which waits for the thread
    assert asked == ["a"]


def test_an_interrupt_ends_the_calls_beside_a_running_loop():
    """In a notebook, where an async score runs in another thread."""
    asked, ended, threads = [], [], set(threading.enumerate())

    async def score(text):
        asked.append(text)
        if text == "b":
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                ended.append(text)
                raise
        return 1.0

    async def notebook():
        SetScorer(score, separated(","), read_byte, concurrency=1)(rows(["a,b,c"]))

    before = signal.getsignal(signal.SIGINT)
    loop = asyncio.new_event_loop()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(notebook())
    finally:
        signal.signal(signal.SIGINT, before)
        loop.close()
    for thread in set(threading.enumerate()) - threads:  # it is cancelled, but may still be about to end
        thread.join()
    assert (asked, ended) == (["a", "b"], ["b"])


def test_timeouts_are_failures_and_interrupts_are_not():
    async def slow(text):
        return await asyncio.wait_for(asyncio.sleep(60), 0.001)

    assert SetScorer(slow, separated(","), read_byte, on_error="floor")(rows(["a"])).failed_scores == 1

    def interrupted(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SetScorer(interrupted, separated(","), read_byte, on_error="floor")(rows(["a"]))


def test_a_plain_function_that_gives_a_coroutine_is_named():
    scorer = SetScorer(lambda text: picky_async(text), separated(","), read_byte, on_error="floor")
    with pytest.raises(TypeError, match="score must be declared `async def` to be awaited, got <coroutine"):
        scorer(rows(["a"]))


@pytest.mark.parametrize("on_error", ["raise", "floor"])
def test_a_score_of_other_parameters_is_no_bad_candidate(on_error):
    def score(text, gold):
        return float(text == gold)

    scorer = SetScorer(score, json_list(), read_byte, on_error=on_error)
    message = r"score is called with \(text\), got .*'gold'; hand the columns"
    with pytest.raises(TypeError, match=message):
        scorer([list(b'["a"]')])
    assert scorer([list(b'["a"]')], gold=["a"]).rewards.tolist() == [[1.0]]


def test_a_floor_above_a_score_is_told_once():
    """Malformed output would earn more than a poor list."""
    scorer = SetScorer(lambda text: -float(len(text)), json_list(), read_byte)
    with pytest.warns(
        UserWarning, match=r"floor=0.0, .* is above a score of -3.0: malformed rollouts pay; pass floor="
    ):
        scorer(rows(['["aaa"]', "no"]))
    scorer(rows(['["aaa"]', "no"]))
    for quiet in ({"floor": -5.0}, {"malformed": "keep", "truncated": "keep"}):
        SetScorer(lambda text: -float(len(text)), json_list(), read_byte, **quiet)(rows(['["aaa"]', "no"]))
    with pytest.warns(UserWarning, match="floor=1.0"):
        SetScorer(lambda text: 0.0, json_list(), read_byte, floor=1.0, takes="candidate")(rows(['["a"]']))


def test_a_batch_of_malformed_rollouts_is_told_once():
    scorer = SetScorer(len, json_list(), read_byte)
    with pytest.warns(UserWarning, match="all 4 rollouts of a batch are malformed, the first begins 'red, blue'"):
        scorer(rows(["red, blue", "no", "no", "no"]))
    scorer(rows(["no"] * 5))
    SetScorer(len, json_list(), read_byte)(rows(["no"] * 3))
    SetScorer(len, json_list(), read_byte)(rows(["no"] * 3 + ['["a"]']))


@pytest.mark.parametrize("bad", [None, float("nan"), "n/a", Decimal("0.5"), [1.0], torch.ones(2), 1j, 10**400])
@pytest.mark.parametrize("takes", ["candidate", "set", "batch"])
def test_one_bad_score_spoils_no_other(takes, bad):
    def one(text):
        return bad if text == "b" else len(text)

    score = one if takes == "candidate" else lambda texts: list(map(one, texts))
    scorer = SetScorer(score, json_list(), read_byte, takes=takes, on_error="floor", floor=-5.0)
    scored = scorer(rows(['["aa", "b"]', '["ccc"]']))
    assert scored.rewards.tolist() == [[2.0, -5.0], [3.0, 0.0]]
    assert scored.failed_scores == 1


@pytest.mark.parametrize("takes", ["candidate", "set", "batch"])
def test_what_none_means(takes):
    """None says that there is no score: another matter than a score that failed."""

    def one(text):
        return {"b": None, "bad": "n/a"}.get(text, float(len(text)))

    score = one if takes == "candidate" else lambda texts: list(map(one, texts))
    ids = torch.tensor(rows(['["aa","b","bad"]', '["b"]           ']))
    make = partial(SetScorer, score, json_list(), read_byte, sk.Mean, takes=takes, floor=-5.0)
    scored = make(on_error=0.5, none="floor")(ids)
    assert scored.rewards.tolist() == [[2.0, -5.0, 0.5], [-5.0, 0.0, 0.0]]
    scored = make(on_error="floor", none="abstain")(ids)
    assert scored.rewards.tolist() == [[2.0, 0.0, -5.0], [0.0, 0.0, 0.0]]
    assert scored.mask.tolist() == [[True, False, True], [False] * 3]
    assert scored.set_rewards.tolist() == [-1.5, 0.0]
    assert scored.failed_scores == 3
    assert set(scored.ids[0].tolist()) == {0, 1, 3}
    assert not scored.ids[1].any()
    advantages = sk.RewardAllocator(sk.Mean).token_advantages(scored.rewards, scored.ids, scored.mask)
    assert advantages[0].unique().numel() == 3
    with pytest.raises(TypeError, match=r"got None for rollout 0, candidate 1 .*; none='abstain' leaves it out"):
        make(on_error="floor", none="raise")(ids)
