"""What is wrong on one rank, or differs between two, ends on both with one clear error, and neither waits."""

import re
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.rl import RewardAllocator, SuffixSwap, combine_advantages, grpo_advantages
from tests.rl.test_advantages_refused import ERRORS

EYE, ZEROS = np.eye(2), np.zeros((32, 3))
IDS = [0, 1]
TOKENS = [[0, 1, 2]] * 2
RAGGED = [[1.0], [1.0, 2.0]]


@dataclass(frozen=True)
class Uid:
    """An id that rank 0 cannot read."""

    text: str

    def __reduce__(self):
        return _read_uid, (self.text,)


def _read_uid(text):
    if sys.argv[1] == "0":
        raise ImportError("no such class here")
    return Uid(text)


@dataclass(frozen=True)
class Pair:
    """An id that both can read."""

    text: str
    number: int


class Incomparable:
    pass


class WrittenOtherwise:
    def __repr__(self):
        return f"on rank {sys.argv[1]}"


def with_extra(rewards, mask=None, extra=None):
    return sk.Max(rewards, mask=mask)


def lenient(rewards, mask=None):
    """A utility that only rank 1 gets bad data from."""
    if np.asarray(rewards).shape[-1] == 3:
        raise KeyError("mine")
    return sk.Max(rewards, mask=mask)


def options_that_differ(rank, group):
    """(error on both ranks, its message, call)."""
    layout = {"group_ids": IDS, "process_group": group}

    def advantages(credits=EYE, mask=None, **options):
        return lambda: grpo_advantages(credits, mask, **layout | options)

    def allocated(method, *arguments, allocator=None, **options):
        return lambda: getattr(allocator or RewardAllocator(), method)(*arguments, **layout | options)

    def either(first, second):
        return second if rank else first

    for name, first, second, shown in (
        ("center", "group", "loo", "'group' at rank 0 and 'loo' at rank 1"),
        ("center", "group", "slot", "'group' at rank 0 and 'slot' at rank 1"),
        ("center", "none", "group", "'none' at rank 0 and 'group' at rank 1"),
        ("scale", "group", "none", "'group' at rank 0 and 'none' at rank 1"),
        ("scale", "batch", "group", "'batch' at rank 0 and 'group' at rank 1"),
        ("ddof", 0, 1, "0 at rank 0 and 1 at rank 1"),
        ("min_std", 1e-6, 1e-3, "1e-06 at rank 0 and 0.001 at rank 1"),
        ("eps", 1e-4, 0.0, "0.0001 at rank 0 and 0.0 at rank 1"),
    ):
        message = f"grpo_advantages: {name} must be the same on all ranks, got {shown}; pass the same"
        yield ValueError, message, advantages(**{name: either(first, second)})
        own = RewardAllocator(**{name: either(first, second)})
        if (first, second) != ("group", "slot"):  # the same for sets
            yield ValueError, f"{name} must be the same", allocated("set_advantages", EYE, allocator=own)
        yield ValueError, f"{name} must be the same", allocated("token_advantages", EYE, TOKENS, allocator=own)
    yield (
        ValueError,
        "candidates must be the same on all ranks, got 2 at rank 0 and 3 at rank 1; pad to the largest",
        advantages(np.ones((2, 2 + rank)), center="slot"),
    )
    for name, first, second in (
        ("utility", {}, {"utility": sk.Min}),
        ("utility", {"utility": partial(sk.TopM, m=1)}, {"utility": partial(sk.TopM, m=2)}),
        ("value", {"value": sk.BetaShapley(1, 2)}, {"value": sk.BetaShapley(2, 1)}),
        ("outside", {}, {"outside": "zero"}),
    ):
        own = RewardAllocator(**either(first, second))
        message = f"RewardAllocator: {name} must be the same on all ranks"
        yield ValueError, message, allocated("token_advantages", EYE, TOKENS, allocator=own)
    weights = {"weights": [1.0 + rank], **layout}
    yield ValueError, "weights must be the same on all ranks", partial(combine_advantages, [EYE], **weights)
    yield (
        ValueError,
        "method must be the same on all ranks, got 'advantages' at rank 0 and 'set_advantages' at rank 1",
        allocated(either("advantages", "set_advantages"), EYE),
    )


def wrong_on_one(rank, group):
    """As `options_that_differ`; the messages end with the number of the rank."""
    layout = {"group_ids": IDS, "process_group": group}
    nan = EYE * (np.nan if rank else 1.0)
    alone = [case for case in ERRORS if not case[1].keys() & {"num_generations", "process_group"}]
    for error, options, message in (
        (ValueError, {"group_ids": None}, "process_group needs group_ids"),
        (
            TypeError,
            {"group_ids": [Incomparable()] * 32},
            "values that other ranks can compare, such as .*Incomparable",
        ),
        (TypeError, {"group_ids": [lambda: 0] * 32}, "values that other ranks can compare"),
        (ValueError, {"num_generations": 1}, "expected group_ids or num_generations, got both"),
        *alone,
    ):
        arguments = {"group_ids": list(range(32)), "process_group": group} | (options if rank else {})
        yield error, message, partial(grpo_advantages, ZEROS, **arguments)
        for method, more in (("advantages", ()), ("set_advantages", ()), ("token_advantages", (TOKENS[:1] * 32,))):
            if options.keys() <= {"group_ids"}:
                yield error, message, partial(getattr(RewardAllocator(), method), ZEROS, *more, **arguments)
    for bad, error, message in (
        (RAGGED, ValueError, "expected rows of equal length, got a ragged list"),
        (nan, ValueError, r"must be finite, got nan at \[0, 0\]"),
        (np.ones((2, 2, 2)), ValueError, r"must have shape \[rollouts, candidates\], got \(2, 2, 2\)"),
        (EYE.astype(str), TypeError, "expected real numbers"),
        (None, TypeError, "expected a numpy array"),
    ):
        x = bad if rank else EYE
        yield error, message, lambda x=x: grpo_advantages(x, **layout)
        yield error, message, lambda x=x: RewardAllocator().advantages(x, **layout)
        if "shape" not in message:
            yield error, message, lambda x=x: RewardAllocator().set_advantages(x, **layout)
            yield error, message, lambda x=x: RewardAllocator().token_advantages(x, TOKENS, **layout)
            swap = RewardAllocator(value=SuffixSwap())
            yield error, message, partial(swap.advantages, x, **layout)
            yield error, message, partial(swap.token_advantages, x, TOKENS, **layout)
    for ids, options, error, message in (
        ([[0, 1, 3]] * 2, {}, ValueError, r"candidate_ids must be in 0\.\.2 .* got 3 at \[0, 2\]"),
        ([[0, 1]], {}, ValueError, r"candidate_ids must have shape \[\.\.\., tokens\]"),
        ([[0.5, 1.0]] * 2, {}, TypeError, "candidate_ids must be integers"),
        ([0, 1, 2], {"cu_seqlens": [0, 1]}, ValueError, "cu_seqlens must have shape"),
    ):
        given, extra = (ids, options) if rank else (TOKENS, {})
        for own in (RewardAllocator(), RewardAllocator(length="candidate", outside="zero")):
            yield error, message, partial(own.token_advantages, EYE, given, **layout, **extra)
    wide = np.ones((2, 2 + rank))
    own = RewardAllocator(lenient)
    yield (KeyError if rank else RuntimeError), "mine", lambda: own.set_advantages(wide, **layout)


def wrong_on_both(rank, group):
    """As `options_that_differ`."""
    for ids, error, message in (
        ([1, 1] if rank else ["1", "1"], ValueError, "of one type on all ranks, got 1 and '1', which are two groups"),
        ([object()] * 2, TypeError, "group_ids must be values that other ranks can compare"),
        ([Uid("a"), Uid("b")] if rank else IDS, (ImportError, RuntimeError), "no such class here"),
    ):
        yield error, message, lambda ids=ids: grpo_advantages(EYE, group_ids=ids, process_group=group)
    for config in ("cuda:nccl", "cpu:gloo" if rank else "cuda:nccl"):
        message = "process_group must reach credits on cpu, got a group of cuda:nccl.*rank 0"
        yield ValueError, message, lambda config=config: of_backend(config, group)


def of_backend(config, group):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.distributed.get_backend_config", lambda _: config)
        grpo_advantages(EYE, group_ids=IDS, process_group=group)


def not_refused(rank, group):
    """Differences that change nothing."""
    rewards, mask = np.array([[4.0, 3.0, 5.0], [5.0, 4.0, np.nan]]), np.array([[True] * 3, [True, True, False]])
    together = RewardAllocator().token_advantages(rewards, [[0, 1, 2, 3]] * 2, mask, group_ids=["a", "a"])
    width = 3 - rank
    own, tokens = rewards[[rank], :width], [[0, *range(1, width + 1), *[0] * rank]]
    layout = {"group_ids": ["a"], "process_group": group}
    # a mask, a container and a dtype of one rank alone, and a number of candidates
    import torch

    own = torch.tensor(own).float() if rank else own
    mask = torch.ones(1, width, dtype=torch.bool) if rank else None
    found = RewardAllocator().token_advantages(own, tokens, mask, **layout)
    assert found.dtype == (torch.float32 if rank else np.float64)
    np.testing.assert_allclose(np.asarray(found)[0, : 1 + width], together[rank, : 1 + width], rtol=1e-6)
    # a utility that is only written in another way, as one with a tensor on another device is
    utility = partial(with_extra, extra=WrittenOtherwise())
    own = RewardAllocator(utility, outside="zero").advantages(EYE, group_ids=IDS, process_group=group)
    wanted = RewardAllocator().advantages(np.concatenate([EYE, EYE]), group_ids=IDS * 2)
    np.testing.assert_allclose(own, wanted[:2], rtol=1e-12)
    # ids of a class of the user's
    layout["group_ids"] = [Pair("a", rank), Pair("b", 0)]
    x = np.array([[0.0, 1.0], [2.0 * rank, 0.0]])
    wanted = grpo_advantages([[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]], group_ids=[0, 1, 1])
    np.testing.assert_allclose(grpo_advantages(x, **layout), wanted[[0, 1 + rank]], rtol=1e-12)


def check(number, group):
    """What each process does."""
    for cases in (options_that_differ, wrong_on_one, wrong_on_both):
        for error, message, call in cases(number, group):
            where = r".*\(rank 1 of the process group\)" if cases is wrong_on_one and error is not KeyError else ""
            with pytest.raises(error) as caught:
                call()
            assert re.search(message + where, str(caught.value)), f"{message!r}: {caught.value}"
            # both are where they were
            found = grpo_advantages([[float(number)]], group_ids=["a"], process_group=group, ddof=0, eps=0.0)
            assert found.tolist() == [[2.0 * number - 1.0]]
    not_refused(number, group)
    for wrong in (True, 3):
        with pytest.raises(TypeError, match=r"process_group must be one of torch\.distributed"):
            grpo_advantages(EYE, group_ids=IDS, process_group=wrong)
