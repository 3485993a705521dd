"""Functions of the user that may be `async def`: several calls at a time, and their results without await."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS_S = 1.0
"""A thread that waits for another looks for signals so often, in seconds."""


def is_async(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


async def gathered(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]], most: int) -> list[T]:
    """All calls, `most` at a time, results in the order of the calls; what raises, ends the others."""
    import asyncio

    results: dict[int, T] = {}
    queue = iter(enumerate(calls))

    async def work() -> None:
        for i, call in queue:
            results[i] = await call()

    workers = [asyncio.ensure_future(work()) for _ in range(min(most, len(calls)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[i] for i in range(len(calls))]


def wait(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of `work`, which runs on an event loop of its own, in another thread where this one runs a loop.

    What interrupts this thread cancels the work there.
    """
    import asyncio
    from concurrent import futures
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextvars import copy_context

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    started: Future[Callable[[], Any]] = Future()
    interrupted: list[bool] = []

    async def stoppable() -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        started.set_result(lambda: task and loop.call_soon_threadsafe(task.cancel))
        if interrupted and task:
            task.cancel()
        return await work

    with ThreadPoolExecutor(1) as other:
        try:
            running = other.submit(copy_context().run, asyncio.run, stoppable())
            while futures.wait([running], SIGNALS_S).not_done:  # a signal may come just before the wait begins
                pass
            return running.result()
        except BaseException:
            # it may come while the thread starts, and then before or after the work does
            interrupted.append(True)
            if started.done():
                with suppress(RuntimeError):  # the work has ended, and its loop is closed
                    started.result()()
            raise
