"""Rollouts in, rewards of their candidates out: parse, ask a user's function, pad."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import isawaitable
from itertools import takewhile
from math import inf, isfinite
from threading import Event
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from shapley_kernels._async import gathered, is_async, wait
from shapley_kernels.arrays import (
    NUMPY,
    describe,
    integer,
    is_torch,
    number,
    one_of,
    ops_of,
    to_float64,
    torch_ops,
)
from shapley_kernels.games import Game, Max
from shapley_kernels.rl.candidates import Candidates, candidate_ids, check_policies
from shapley_kernels.rl.diagnostics import PREFIX
from shapley_kernels.rl.parsers import MALFORMED, TRUNCATED, Parser
from shapley_kernels.rl.utility import make_game, takes
from shapley_kernels.rl.vocabulary import token_reader

OWNER = "SetScorer"
TAKES = ("candidate", "set", "batch")
NONE = (None, "floor", "abstain", "raise")
PARSING = ("straddle", "malformed", "truncated", "max_candidates", "pad_to")
"""Options of `candidate_ids`."""
MANY = 4
"""Rollouts of a batch; when all of so many are malformed, that is no accident."""


@dataclass(frozen=True, eq=False)
class Scored(Candidates):
    """The candidates of N rollouts with their rewards, as `RewardAllocator` takes them.

    Attributes:
        ids, mask, texts, problems, stopped, counted, unknown_tokens: as of `Candidates`; candidates that were left out
            (none="abstain") are masked, and their tokens nobody's.
        rewards: [N, K], 0 where the mask is False; float64, or the default dtype of torch where the token ids are torch
            tensors, on their device.
        set_rewards: [N], what the utility says that each set is worth.
        failed_scores: how many candidates score gave no number for.
    """

    rewards: Any
    set_rewards: Any
    failed_scores: int

    @property
    def metrics(self) -> dict[str, float]:
        """How many rollouts were malformed and truncated, unknown tokens and failed scores, for a logger."""
        return super().metrics | {f"{PREFIX}failed_scores": float(self.failed_scores)}


class _Call(NamedTuple):
    """One call of the user's function: what it is given, whose rewards it answers, (rollout, candidate), and the dtype
    that these get."""

    given: Any
    columns: dict[str, Any]
    answers: list[tuple[int, int]]
    dtype: Any


class _Failed(NamedTuple):
    """In place of a score: the reward, or None for a candidate to be left out."""

    reward: float | None


Scores: TypeAlias = list[float | _Failed]


@dataclass(frozen=True, eq=False)
class SetScorer:
    """Rewards for the candidates of rollouts: `scorer(token_ids, ...)`, or `await scorer.ascore(token_ids, ...)`.

    Args:
        score: your function, plain or `async def`. What one call of it takes and gives says `takes`; it also gets the
            columns that the scorer is called with (a reference answer, say) by name.
        parser, tokenizer: as in `candidate_ids`; without a tokenizer, texts are scored in place of token ids.
        utility: what a set is worth, for `set_rewards`: a game such as `Max`, or a function (rewards, mask=) -> game.
        on_error: where score raises, or gives what is not one finite number per candidate, in the dtype of the rewards:
            "raise", naming rollout and candidate, or the reward these candidates get instead: "floor", or a number.
        none: what None from score means, if not the same: "floor", the floor; "abstain", the candidate is left out, as
            if it had not been written; "raise", an error even where on_error is something else.
        takes: "candidate": score(text, **entries of the columns) -> number. "set": score(texts, **entries) -> one
            number per candidate of a rollout. "batch": score(texts, **columns) -> one number per candidate of all
            rollouts; columns are repeated to one entry per text.
        floor: the reward of a malformed or truncated rollout under "whole", which score never sees; it should be below
            every score, or such rollouts pay: a warning says so when one is not.
        concurrency: how many calls of an async score run at a time. A plain one is called one by one.
        straddle, malformed, truncated, max_candidates, pad_to: as in `candidate_ids`.

    Raises:
        TypeError, ValueError: arguments of the wrong kind or value.

    >>> vocabulary = [None, b'["red', b'", "', b'blue"', b']']
    >>> from shapley_kernels.rl import json_list
    >>> scored = SetScorer(len, json_list(), vocabulary, floor=-1.0)([[1, 2, 3, 4, 0], [1, 0]])
    >>> scored.rewards.tolist(), scored.mask.tolist(), scored.set_rewards.tolist(), scored.problems
    ([[3.0, 4.0], [-1.0, 0.0]], [[True, True], [True, False]], [4.0, -1.0], [None, 'truncated'])
    """

    score: Callable[..., Any]
    parser: Parser
    tokenizer: Any = None
    utility: Callable[..., Game] = Max
    on_error: str | float = "raise"
    none: str | None = field(default=None, kw_only=True)
    takes: str = field(default="candidate", kw_only=True)
    floor: float = field(default=0.0, kw_only=True)
    concurrency: int = field(default=32, kw_only=True)
    straddle: str = field(default="first", kw_only=True)
    malformed: str = field(default="whole", kw_only=True)
    truncated: str = field(default="whole", kw_only=True)
    max_candidates: int | None = field(default=None, kw_only=True)
    pad_to: int | None = field(default=None, kw_only=True)
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("score", "parser", "utility"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{OWNER}: {name} must be a function, got {getattr(self, name)!r}")
        if self.tokenizer is not None:
            token_reader(self.tokenizer)
        one_of(f"{OWNER}: takes", self.takes, TAKES)
        one_of(f"{OWNER}: none", self.none, NONE)
        expected = "'raise', 'floor' or a finite number"
        if not isinstance(self.on_error, str):
            number(f"{OWNER}: on_error", self.on_error, expected)
        elif self.on_error not in ("raise", "floor"):
            raise ValueError(f"{OWNER}: on_error must be {expected}, got {self.on_error!r}")
        number(f"{OWNER}: floor", self.floor, "a finite number")
        integer(f"{OWNER}: concurrency", self.concurrency, 1)
        check_policies(OWNER, *(getattr(self, name) for name in PARSING))

    def __call__(self, token_ids: Any, mask: Any = None, *, finished: Any = None, **columns: Any) -> Scored:
        """Parses and scores rollouts.

        An async score runs on an event loop of its own. Where a loop runs already, as in a notebook, this works too,
        but blocks it; `await scorer.ascore(...)` does not, and score may use what belongs to that loop.

        Args:
            token_ids, mask, finished: as in `candidate_ids`.
            columns: data for score by name, each with one entry per rollout.

        Returns:
            `Scored`: rewards, mask and ids for `RewardAllocator`, set_rewards, texts, problems, metrics.

        Raises:
            TypeError, ValueError: as `candidate_ids`; columns of another length; what score gives.
            RuntimeError: score raised (its exception is the cause).
        """
        candidates = self._parse(token_ids, mask, finished)
        calls = list(self._calls(candidates, columns))
        rewards = wait(self._ask_all(calls)) if is_async(self.score) else [self._ask(call) for call in calls]
        return self._scored(candidates, calls, rewards)

    async def ascore(self, token_ids: Any, mask: Any = None, *, finished: Any = None, **columns: Any) -> Scored:
        """The same from async code. An async score runs on the running loop, a plain one in one other thread, which
        where this is cancelled ends the call in progress and makes no other."""
        import asyncio

        candidates = self._parse(token_ids, mask, finished)
        calls = list(self._calls(candidates, columns))
        if is_async(self.score):
            return self._scored(candidates, calls, await self._ask_all(calls))
        ended = Event()
        wanted = takewhile(lambda _: not ended.is_set(), calls)
        try:
            rewards = await asyncio.to_thread(lambda: [self._ask(call) for call in wanted])
        finally:
            ended.set()
        return self._scored(candidates, calls, rewards)

    def _parse(self, token_ids: Any, mask: Any, finished: Any) -> Candidates:
        options = {name: getattr(self, name) for name in PARSING}
        return candidate_ids(token_ids, self.tokenizer, self.parser, mask=mask, finished=finished, **options)

    def _is_floored(self, problem: str | None) -> bool:
        return {MALFORMED: self.malformed, TRUNCATED: self.truncated}.get(problem or "") == "whole"

    def _calls(self, candidates: Candidates, columns: dict[str, Any]) -> Iterator[_Call]:
        columns = _checked_columns(columns, len(candidates.texts))
        dtype = _dtype(candidates)
        for name in ("floor", "on_error"):
            if not isinstance(number := getattr(self, name), str) and abs(number) > _largest(dtype):
                raise ValueError(f"{OWNER}: {name} must be in the range of {dtype}, as the rewards, got {number!r}")
        sets = [
            [] if self._is_floored(problem) else [(i, k) for k in range(len(texts))]
            for i, (texts, problem) in enumerate(zip(candidates.texts, candidates.problems, strict=True))
        ]
        if self.takes == "batch":
            sets = [[answer for answers in sets for answer in answers]]
        for answers in filter(None, sets):
            texts = [candidates.texts[i][k] for i, k in answers]
            if self.takes == "batch":
                repeated = {name: [column[i] for i, _ in answers] for name, column in columns.items()}
                yield _Call(texts, repeated, answers, dtype)
                continue
            entries = {name: column[answers[0][0]] for name, column in columns.items()}
            if self.takes == "set":
                yield _Call(texts, entries, answers, dtype)
            else:
                yield from (_Call(text, entries, [answer], dtype) for text, answer in zip(texts, answers, strict=True))

    def _ask(self, call: _Call) -> Scores:
        """The rewards that score gives, one for each answer."""
        try:
            result = self.score(call.given, **call.columns)
        except Exception as error:
            return self._failed(call, error)
        if isawaitable(result):
            if hasattr(result, "close"):
                result.close()
            raise TypeError(f"{OWNER}: score must be declared `async def` to be awaited, got {result!r} from it")
        return self._read(call, result)

    async def _ask_async(self, call: _Call) -> Scores:
        try:
            result = await self.score(call.given, **call.columns)
        except Exception as error:
            return self._failed(call, error)
        return self._read(call, result)

    async def _ask_all(self, calls: list[_Call]) -> list[Scores]:
        return await gathered([partial(self._ask_async, call) for call in calls], self.concurrency)

    def _failed(self, call: _Call, error: Exception) -> Scores:
        if isinstance(error, TypeError) and not takes(self.score, call.given, **call.columns):
            given = "text" if self.takes == "candidate" else "texts"
            columns = "".join(f", {name}=" for name in sorted(call.columns))
            raise TypeError(
                f"{OWNER}: score is called with ({given}{columns}), got {error}; "
                "hand the columns that it takes to the scorer, by name"
            ) from error
        if self.on_error == "raise":
            raise RuntimeError(
                f"{OWNER}: score failed for {_name(call.answers)}: {type(error).__name__}: {error}; "
                "on_error='floor' gives such candidates the lowest reward instead"
            ) from error
        return [self._instead(self.on_error)] * len(call.answers)

    def _instead(self, policy: str | float) -> _Failed:
        return _Failed(None if policy == "abstain" else float(self.floor if isinstance(policy, str) else policy))

    def _read(self, call: _Call, result: Any) -> Scores:
        """The numbers that score gave, and what stands in for those that are none."""
        scores, wanted = _listed(result, self.takes), len(call.answers)
        if scores is None or len(scores) != wanted:
            what = "a number" if self.takes == "candidate" else f"{wanted} numbers, one per candidate"
            error = TypeError if scores is None else ValueError
            got = f"{len(scores)}: {result!r}" if scores else repr(result)
            return [self._bad(error(f"{what}, got {got} for {_name(call.answers)}"))] * wanted
        return [self._one(x, answer, call.dtype) for x, answer in zip(scores, call.answers, strict=True)]

    def _one(self, x: Any, answer: tuple[int, int], dtype: Any) -> float | _Failed:
        who = _name([answer])
        if x is None and self.none is not None:
            if self.none == "raise":
                raise TypeError(f"{OWNER}: score must give a number, got None for {who}; none='abstain' leaves it out")
            return self._instead(self.none)
        if (number := _number(x)) is None:
            return self._bad(TypeError(f"a number, got {x!r} for {who}"))
        if not abs(number) <= _largest(dtype):
            expected = f"a number in the range of {dtype}" if isfinite(number) else "a finite number"
            return self._bad(ValueError(f"{expected}, got {number} for {who}"))
        return number

    def _bad(self, error: TypeError | ValueError) -> _Failed:
        if self.on_error == "raise":
            raise type(error)(
                f"{OWNER}: score must give {error}; on_error='floor' gives such candidates the lowest reward instead"
            )
        return self._instead(self.on_error)

    def _scored(self, candidates: Candidates, calls: list[_Call], rewards: list[Scores]) -> Scored:
        table, failed = np.zeros(tuple(candidates.mask.shape)), 0
        left_out = np.zeros(table.shape, bool)
        for i, problem in enumerate(candidates.problems):
            if self._is_floored(problem):
                table[i, 0] = float(self.floor)
        for call, given in zip(calls, rewards, strict=True):
            for answer, score in zip(call.answers, given, strict=True):
                reward = score.reward if isinstance(score, _Failed) else score
                failed += isinstance(score, _Failed)
                left_out[answer] = reward is None
                table[answer] = reward or 0.0
        if left_out.any():
            candidates = _without(candidates, left_out)
        padded = ops_of(candidates.mask).array_like(table, candidates.mask, _dtype(candidates))
        self._warn(candidates, rewards)
        game = make_game(OWNER, self.utility, padded, candidates.mask, {})
        return Scored(**vars(candidates), rewards=padded, set_rewards=game.worth(), failed_scores=failed)

    def _warn(self, candidates: Candidates, rewards: list[Scores]) -> None:
        """Once per scorer, about what would be trained in silence."""
        floors = "whole" in (self.malformed, self.truncated) or self.on_error == "floor"
        lowest = min((x for given in rewards for x in given if not isinstance(x, _Failed)), default=inf)
        if floors and lowest < self.floor:
            self._warn_once(
                "floor",
                f"floor={self.floor!r}, the reward of a malformed rollout, is above a score of {lowest}: "
                "malformed rollouts pay; pass floor= below every score",
            )
        if len(candidates.problems) >= MANY and set(candidates.problems) == {MALFORMED}:
            shown = (candidates.texts[0] or [""])[0][:80]
            self._warn_once(
                "malformed",
                f"all {len(candidates.problems)} rollouts of a batch are malformed, the first begins {shown!r}; "
                "the model writes another format than the parser reads, or its marks are special tokens, which have "
                "no text",
            )

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"{OWNER}: {message}", stacklevel=5)


def _checked_columns(columns: dict[str, Any], count: int) -> dict[str, list[Any]]:
    """The columns by position: those of pandas have an index of their own."""
    for name, column in columns.items():
        sequence = hasattr(column, "__len__") and hasattr(column, "__getitem__")
        if isinstance(column, (str, bytes, Mapping)) or not sequence:
            raise TypeError(
                f"{OWNER}: {name} must be a list or array with one entry per rollout ({count}), "
                f"got {describe(column)}; for one value for all, use functools.partial(score, {name}=...)"
            )
        if len(column) != count:
            raise ValueError(
                f"{OWNER}: {name} must have one entry per rollout ({count}), got {len(column)}; "
                "repeat the entry of a prompt once per rollout"
            )
    return {name: list(column) for name, column in columns.items()}


def _name(answers: list[tuple[int, int]]) -> str:
    """Whom a call is about, counted from 0."""
    (i, k), (last, _) = answers[0], answers[-1]
    if len(answers) == 1:
        return f"rollout {i}, candidate {k} (from 0)"
    return f"the candidates of rollout {i}" if i == last else f"the candidates of rollouts {i} .. {last}"


def _dtype(candidates: Candidates) -> Any:
    """That of the rewards."""
    ops = ops_of(candidates.mask)
    return np.dtype(np.float64) if ops is NUMPY else ops.xp.get_default_dtype()


def _largest(dtype: Any) -> float:
    ops = NUMPY if isinstance(dtype, np.dtype) else torch_ops()
    return float(ops.xp.finfo(dtype).max)


def _without(candidates: Candidates, left_out: np.ndarray) -> Candidates:
    """The candidates without those of left_out, bool [N, K]."""
    ops = ops_of(candidates.mask)
    out = ops.array_like(left_out, candidates.mask, candidates.mask.dtype)
    nobodys = ops.xp.concatenate([out[:, :1] & False, out], -1)  # by id
    return replace(candidates, mask=candidates.mask & ~out, ids=candidates.ids * ~ops.take(nobodys, candidates.ids))


def _listed(result: Any, takes: str) -> list[Any] | None:
    """The scores one by one, None where they are no list of such."""
    if takes == "candidate":
        return [result]
    if is_torch(result) or isinstance(result, np.ndarray):
        return None if result.ndim != 1 else list(result)
    return list(result) if isinstance(result, (list, tuple)) else None


def _number(x: Any) -> float | None:
    try:
        array = to_float64(x) if is_torch(x) and not x.is_complex() else np.asarray(x)
        return float(array) if array.shape == () and array.dtype.kind in "biuf" else None
    except (OverflowError, RuntimeError, TypeError, ValueError):  # what numpy cannot read, such as ragged lists
        return None
