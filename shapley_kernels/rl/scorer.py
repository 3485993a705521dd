"""Responses in, rewards of their candidates out: parse, ask a user's function, pad."""

import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import isawaitable, iscoroutinefunction
from itertools import takewhile
from math import inf, isfinite
from numbers import Integral, Real
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from shapley_kernels.arrays import as_float, constant, describe, is_torch, namespace, numbers, one_of
from shapley_kernels.games import Game, Max
from shapley_kernels.rl.allocator import make_game, takes
from shapley_kernels.rl.candidates import Candidates, candidate_ids, check_policies
from shapley_kernels.rl.diagnostics import PREFIX
from shapley_kernels.rl.parsers import MALFORMED, TRUNCATED, Parser
from shapley_kernels.rl.vocabulary import token_reader

OWNER = "SetScorer"
TAKES = ("candidate", "set", "batch")
MANY = 4
"""Responses of a batch; when all of so many are malformed, that is no accident."""


@dataclass(frozen=True, eq=False)
class Scored(Candidates):
    """The candidates of N responses with their rewards, as `RewardAllocator` takes them.

    Attributes:
        ids, mask, texts, problems, stopped, unknown_tokens: as of `Candidates`.
        rewards: [N, K], 0 where the mask is False; float64, or the default dtype of torch where the token ids are torch
            tensors, on their device.
        set_rewards: [N], what the utility says that each set is worth.
        failed_scores: how many candidates got the reward of `on_error`.
    """

    rewards: Any
    set_rewards: Any
    failed_scores: int

    @property
    def metrics(self) -> dict[str, float]:
        """How many responses were malformed and truncated, unknown tokens and failed scores, for a logger."""
        return super().metrics | {f"{PREFIX}failed_scores": float(self.failed_scores)}


class _Call(NamedTuple):
    """One call of the user's function: what it is given, whose rewards it answers, (response, candidate), and the dtype
    that these get."""

    given: Any
    columns: dict[str, Any]
    answers: list[tuple[int, int]]
    dtype: Any


@dataclass(frozen=True, eq=False)
class SetScorer:
    """Rewards for the candidates of responses: `scorer(token_ids, ...)`, or `await scorer.ascore(token_ids, ...)`.

    Args:
        score: your function, plain or `async def`. What one call of it takes and gives says `takes`; it also gets the
            columns that the scorer is called with (a reference answer, say) by name.
        parser, tokenizer: as in `candidate_ids`.
        utility: what a set is worth, for `set_rewards`: a game such as `Max`, or a function (rewards, mask=) -> game.
        on_error: where score raises, or gives what is not one finite number per candidate, in the dtype of the rewards:
            "raise", naming response and candidate, or the reward these candidates get instead: "floor", or a number.
        takes: "candidate": score(text, **entries of the columns) -> number. "set": score(texts, **entries) -> one
            number per candidate of a response. "batch": score(texts, **columns) -> one number per candidate of all
            responses; columns are repeated to one entry per text.
        floor: the reward of a malformed or truncated response under "whole", which score never sees; it should be below
            every score, or such responses pay: a warning says so when one is not.
        concurrency: how many calls of an async score run at a time. A plain one is called one by one.
        straddle, malformed, truncated, max_candidates: as in `candidate_ids`.

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
    tokenizer: Any
    utility: Callable[..., Game] = Max
    on_error: str | float = "raise"
    takes: str = field(default="candidate", kw_only=True)
    floor: float = field(default=0.0, kw_only=True)
    concurrency: int = field(default=32, kw_only=True)
    straddle: str = field(default="first", kw_only=True)
    malformed: str = field(default="whole", kw_only=True)
    truncated: str = field(default="whole", kw_only=True)
    max_candidates: int | None = field(default=None, kw_only=True)
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("score", "parser", "utility"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{OWNER}: {name} must be a function, got {getattr(self, name)!r}")
        token_reader(self.tokenizer)
        one_of(f"{OWNER}: takes", self.takes, TAKES)
        named = isinstance(self.on_error, str) and self.on_error in ("raise", "floor")
        if not named and not _is_number(self.on_error):
            raise ValueError(f"{OWNER}: on_error must be 'raise', 'floor' or a finite number, got {self.on_error!r}")
        if not _is_number(self.floor):
            raise ValueError(f"{OWNER}: floor must be a finite number, got {self.floor!r}")
        if not isinstance(self.concurrency, Integral) or isinstance(self.concurrency, bool) or self.concurrency < 1:
            raise ValueError(f"{OWNER}: concurrency must be an int >= 1, got {self.concurrency!r}")
        check_policies(OWNER, self.straddle, self.malformed, self.truncated, self.max_candidates)

    def __call__(self, token_ids: Any, mask: Any = None, *, finished: Any = None, **columns: Any) -> Scored:
        """Parses and scores responses.

        An async score runs on an event loop of its own. Where a loop runs already, as in a notebook, this works too,
        but blocks it; `await scorer.ascore(...)` does not, and score may use what belongs to that loop.

        Args:
            token_ids, mask, finished: as in `candidate_ids`.
            columns: data for score by name, each with one entry per response.

        Returns:
            `Scored`: rewards, mask and ids for `RewardAllocator`, set_rewards, texts, problems, metrics.

        Raises:
            TypeError, ValueError: as `candidate_ids`; columns of another length; what score gives.
            RuntimeError: score raised (its exception is the cause).
        """
        found = self._parse(token_ids, mask, finished)
        calls = list(self._calls(found, columns))
        rewards = _wait(self._ask_all(calls)) if _is_async(self.score) else [self._ask(call) for call in calls]
        return self._scored(found, calls, rewards)

    async def ascore(self, token_ids: Any, mask: Any = None, *, finished: Any = None, **columns: Any) -> Scored:
        """The same from async code. An async score runs on the running loop, a plain one in one other thread, which
        where this is cancelled ends the call in progress and makes no other."""
        import asyncio

        found = self._parse(token_ids, mask, finished)
        calls = list(self._calls(found, columns))
        if _is_async(self.score):
            return self._scored(found, calls, await self._ask_all(calls))
        ended = Event()
        wanted = takewhile(lambda _: not ended.is_set(), calls)
        try:
            rewards = await asyncio.to_thread(lambda: [self._ask(call) for call in wanted])
        finally:
            ended.set()
        return self._scored(found, calls, rewards)

    def _parse(self, token_ids: Any, mask: Any, finished: Any) -> Candidates:
        return candidate_ids(
            token_ids,
            self.tokenizer,
            self.parser,
            mask=mask,
            finished=finished,
            straddle=self.straddle,
            malformed=self.malformed,
            truncated=self.truncated,
            max_candidates=self.max_candidates,
        )

    def _is_floored(self, problem: str | None) -> bool:
        return {MALFORMED: self.malformed, TRUNCATED: self.truncated}.get(problem or "") == "whole"

    def _calls(self, found: Candidates, columns: dict[str, Any]) -> Iterator[_Call]:
        columns = _checked_columns(columns, len(found.texts))
        dtype = _dtype(found)
        for name in ("floor", "on_error"):
            if not isinstance(number := getattr(self, name), str) and abs(number) > _largest(dtype):
                raise ValueError(f"{OWNER}: {name} must be in the range of {dtype}, as the rewards, got {number!r}")
        sets = [
            [] if self._is_floored(problem) else [(i, k) for k in range(len(texts))]
            for i, (texts, problem) in enumerate(zip(found.texts, found.problems, strict=True))
        ]
        if self.takes == "batch":
            sets = [[answer for answers in sets for answer in answers]]
        for answers in filter(None, sets):
            texts = [found.texts[i][k] for i, k in answers]
            if self.takes == "batch":
                repeated = {name: [column[i] for i, _ in answers] for name, column in columns.items()}
                yield _Call(texts, repeated, answers, dtype)
                continue
            entries = {name: column[answers[0][0]] for name, column in columns.items()}
            if self.takes == "set":
                yield _Call(texts, entries, answers, dtype)
            else:
                yield from (_Call(text, entries, [answer], dtype) for text, answer in zip(texts, answers, strict=True))

    def _ask(self, call: _Call) -> list[float | None] | None:
        """The rewards that score gives; None where it fails and on_error says what instead."""
        try:
            result = self.score(call.given, **call.columns)
        except Exception as error:
            return self._failed(call, error)
        if isawaitable(result):
            if hasattr(result, "close"):
                result.close()
            raise TypeError(f"{OWNER}: score must be declared `async def` to be awaited, got {result!r} from it")
        return self._read(call, result)

    async def _ask_async(self, call: _Call) -> list[float | None] | None:
        try:
            result = await self.score(call.given, **call.columns)
        except Exception as error:
            return self._failed(call, error)
        return self._read(call, result)

    async def _ask_all(self, calls: list[_Call]) -> list[list[float | None] | None]:
        """All calls, `concurrency` at a time, results in the order of the calls; what raises, ends the others."""
        import asyncio

        rewards: list[list[float | None] | None] = [None] * len(calls)
        queue = iter(enumerate(calls))

        async def work() -> None:
            for i, call in queue:
                rewards[i] = await self._ask_async(call)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.concurrency, len(calls)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return rewards

    def _failed(self, call: _Call, error: Exception) -> list[float | None] | None:
        if isinstance(error, TypeError) and not takes(self.score, call.given, **call.columns):
            raise TypeError(
                f"{OWNER}: score must take what it is given and the columns {sorted(call.columns)}, got {error}; "
                "hand the columns that it takes to the scorer, by name"
            ) from error
        if self.on_error == "raise":
            raise RuntimeError(
                f"{OWNER}: score failed for {_name(call.answers)}: {type(error).__name__}: {error}; "
                "on_error='floor' gives such candidates the lowest reward instead"
            ) from error
        return None

    def _read(self, call: _Call, result: Any) -> list[float | None] | None:
        """The numbers that score gave, None for one that is none."""
        wanted = () if self.takes == "candidate" else (len(call.answers),)
        found, answers = _array(result), call.answers
        problem, bad = _problem(found, wanted, result), np.zeros(found.size, bool)
        flat = found.reshape(-1)
        if problem is None and (bad := ~(abs(numbers(flat)) <= _largest(call.dtype))).any():
            first = int(bad.argmax())
            expected = f"a number in the range of {call.dtype}" if np.isfinite(flat[first]) else "a finite number"
            problem, answers = ValueError(f"{expected}, got {flat[first]}"), [answers[first]]
        if problem is not None and self.on_error == "raise":
            raise type(problem)(
                f"{OWNER}: score must give {problem} for {_name(answers)}; "
                "on_error='floor' gives such candidates the lowest reward instead"
            )
        if problem is not None and not bad.any():  # no numbers that belong to candidates
            return None
        return [None if wrong else number for number, wrong in zip(flat.tolist(), bad.tolist(), strict=True)]

    def _scored(self, found: Candidates, calls: list[_Call], rewards: list[list[float | None] | None]) -> Scored:
        floor = float(self.floor)
        instead = floor if isinstance(self.on_error, str) else float(self.on_error)
        table, failed = np.zeros(tuple(found.mask.shape)), 0
        for i, problem in enumerate(found.problems):
            if self._is_floored(problem):
                table[i, 0] = floor
        for call, given in zip(calls, rewards, strict=True):
            for answer, number in zip(call.answers, given or [None] * len(call.answers), strict=True):
                failed += number is None
                table[answer] = instead if number is None else number
        padded = constant(table, found.mask, _dtype(found))
        self._warn(found, rewards)
        game = make_game(OWNER, self.utility, padded, found.mask, {})
        return Scored(**vars(found), rewards=padded, set_rewards=game.worth(), failed_scores=failed)

    def _warn(self, found: Candidates, rewards: list[list[float | None] | None]) -> None:
        """Once per scorer, about what would be trained in silence."""
        floors = "whole" in (self.malformed, self.truncated) or self.on_error == "floor"
        lowest = min((score for given in rewards for score in given or () if score is not None), default=inf)
        if floors and lowest < self.floor:
            self._warn_once(
                "floor",
                f"floor={self.floor!r}, the reward of a malformed response, is above a score of {lowest}: "
                "malformed responses pay; pass floor= below every score",
            )
        if len(found.problems) >= MANY and set(found.problems) == {MALFORMED}:
            shown = (found.texts[0] or [""])[0][:80]
            self._warn_once(
                "malformed",
                f"all {len(found.problems)} responses of a batch are malformed, the first begins {shown!r}; the model "
                "writes another format than the parser reads, or its marks are special tokens, which have no text",
            )

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"{OWNER}: {message}", stacklevel=5)


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool) and isfinite(as_float(x, OWNER))


def _is_async(score: Callable[..., Any]) -> bool:
    return iscoroutinefunction(score) or iscoroutinefunction(type(score).__call__)


def _wait(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, which runs on an event loop of its own, in another thread where this one runs a loop.

    What interrupts this thread cancels the work there.
    """
    import asyncio
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextvars import copy_context

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    started: Future[Callable[[], Any]] = Future()

    async def stoppable() -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        started.set_result(lambda: task and loop.call_soon_threadsafe(task.cancel))
        return await work

    with ThreadPoolExecutor(1) as other:
        result = other.submit(copy_context().run, asyncio.run, stoppable())
        try:
            return result.result()
        except BaseException:
            with suppress(RuntimeError):  # the work has ended, and its loop is closed
                started.result()()
            raise


def _checked_columns(columns: dict[str, Any], count: int) -> dict[str, list[Any]]:
    """The columns by position: those of pandas have an index of their own."""
    for name, column in columns.items():
        sequence = hasattr(column, "__len__") and hasattr(column, "__getitem__")
        if isinstance(column, (str, bytes, Mapping)) or not sequence:
            raise TypeError(
                f"{OWNER}: {name} must be a list or array with one entry per response ({count}), "
                f"got {describe(column)}; for one value for all, use functools.partial(score, {name}=...)"
            )
        if len(column) != count:
            raise ValueError(
                f"{OWNER}: {name} must have one entry per response ({count}), got {len(column)}; "
                "repeat the entry of a prompt once per response"
            )
    return {name: list(column) for name, column in columns.items()}


def _name(answers: list[tuple[int, int]]) -> str:
    """Whom a call is about, counted from 0."""
    (i, k), (last, _) = answers[0], answers[-1]
    if len(answers) == 1:
        return f"response {i}, candidate {k} (from 0)"
    return f"the candidates of response {i}" if i == last else f"the candidates of responses {i} .. {last}"


def _dtype(found: Candidates) -> Any:
    """That of the rewards."""
    return namespace(found.mask).get_default_dtype() if is_torch(found.mask) else np.dtype(np.float64)


def _largest(dtype: Any) -> float:
    info: Any = np if isinstance(dtype, np.dtype) else sys.modules["torch"]
    return float(info.finfo(dtype).max)


def _array(result: Any) -> np.ndarray:
    try:
        if is_torch(result):
            return np.asarray(None) if result.is_complex() else numbers(result)
        if isinstance(result, (list, tuple)):
            result = [_array(x) if is_torch(x) else x for x in result]
        return np.asarray(result)
    except (ValueError, TypeError, RuntimeError):  # ragged, or what numpy cannot read, such as tensors without numbers
        return np.asarray(None)


def _problem(numbers: np.ndarray, wanted: tuple[int, ...], result: Any) -> TypeError | ValueError | None:
    """What is wrong with what score gave, as the end of a message."""
    kind = "a number" if not wanted else f"{wanted[0]} numbers, one per candidate"
    if numbers.dtype.kind not in "biuf":
        return TypeError(f"{kind}, got {result!r}")
    if numbers.shape != wanted:
        got = repr(result) if not numbers.shape else f"shape {numbers.shape}"
        return ValueError(f"{kind}, got {got}")
    return None
