"""What fuzz targets share: calls that are counted and whose refusals are checked, and how a target runs.

A target is a function of a numpy generator that calls one public function, some times, and checks what comes. A case is
one such call. One example of hypothesis is a seed, for `BATCH` runs of a target: drawing by numpy costs a hundredth of
drawing by hypothesis, so a failure is not shrunk, but replays from its seed.
"""

import linecache
import os
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import shapley_kernels as sk

Target = Callable[[np.random.Generator], None]

CASES = int(os.environ.get("FUZZ_CASES", "0"))
"""Of all targets together, which `make fuzz` asks for."""

BATCH = 25
"""Runs of a target in one example of hypothesis."""

SEED_BYTES = 8

REFUSALS = (TypeError, ValueError, OverflowError, sk.BackendUnavailable)
"""What a public function may raise, whatever it is given."""

PACKAGE = Path(sk.__file__).parent

SUBJECT = re.compile(r"\w[^:]*: |a game |games |(?:backend|nan|index)\b")
"""What a message begins with: who speaks, and of what."""

CAME = re.compile(r"\b(?:got|found|no|are not|empty|damaged|cannot|failed|small enough)\b")
"""What a message says about what came."""


class Refused:
    """What `attempt` gives where the call raised one of `REFUSALS`."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Count:
    """Calls of public functions whose outcome was checked, in this process."""

    calls = 0


def attempt(function: Callable[..., Any], *arguments: Any, also: type[Exception] = ValueError, **options: Any) -> Any:
    """What a public function returns, or `Refused` if it raised what it may, in words; its arguments are as before."""
    before = fingerprint((arguments, options))
    try:
        result = function(*arguments, **options)
    except (*REFUSALS, also) as error:
        _check_refusal(error)
        result = Refused(error)
    Count.calls += 1
    assert fingerprint((arguments, options)) == before, "an argument was changed"
    return result


def serve(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a public function returns for arguments that it has to take."""
    result = attempt(function, *arguments, **options)
    if isinstance(result, Refused):
        raise AssertionError(f"valid arguments were refused: {result.error}") from result.error
    return result


def _check_refusal(error: Exception) -> None:
    """The package raised it on purpose, and says of what it speaks and what came."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    path, number = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    line = linecache.getline(path, number).strip()
    assert PACKAGE in Path(path).parents, f"{type(error).__name__} from {path}:{number}: {error}"
    assert line.startswith("raise"), f"{type(error).__name__}, not raised on purpose, from {path}:{number}: {error}"
    message = str(error)
    # a bad row is named by file and line where it is caught
    assert SUBJECT.match(message) or type(error).__name__ == "BadRow", f"a message without a subject: {message!r}"
    assert CAME.search(message), f"a message that does not say what came: {message!r}"


def fingerprint(x: Any) -> Any:
    """Something that differs if a call changed `x`; what is no container of numbers is not looked into."""
    if isinstance(x, np.ndarray):
        content = x.tobytes() if x.dtype.kind != "O" else repr(x.tolist())
        return x.shape, x.strides, x.dtype.str, x.flags.writeable, content
    if isinstance(x, torch.Tensor):
        if not is_dense(x):
            return id(x)
        bits = x.detach().resolve_neg().resolve_conj()
        bits = (
            bits if bits.is_complex() or bits.dtype == torch.bool else bits.view(getattr(torch, f"int{8 * x.itemsize}"))
        )
        content = bits.numpy().tobytes()
        return x.shape, x.stride(), x.dtype, x.requires_grad, content
    if isinstance(x, dict):
        return tuple((repr(key), fingerprint(item)) for key, item in x.items())
    if isinstance(x, (list, tuple)):
        return (type(x), *map(fingerprint, x))
    return repr(x) if isinstance(x, (int, float, str, bytes, complex, type(None))) else id(x)


def is_dense(x: torch.Tensor) -> bool:
    """Whether its numbers lie in memory, as a caller's do."""
    return not (x.is_nested or x.layout is not torch.strided or x.is_meta or x.is_quantized)


def run(name: str, target: Target, slow: bool = False) -> None:
    """As many examples of a target as the profile of hypothesis has batches, or its share of `CASES`; few if `slow`."""
    from tests.fuzz.targets import TARGETS

    before, most = Count.calls, CASES // len(TARGETS) // (100 if slow else 1)

    def example(seed: bytes) -> None:
        for part in range(5 if slow else BATCH):
            if not most or Count.calls - before < most:
                once(name, target, seed, part)

    example.__name__ = f"fuzz_{name}".replace(".", "_")  # which the database of examples goes by
    profile = settings()
    settings(
        max_examples=1 + most // BATCH if most or slow else max(1, profile.max_examples // BATCH),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),  # check_axioms runs hypothesis in hypothesis
    )(given(st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES))(example))()


class Finding(AssertionError):
    """What a target found, with the seed that finds it again."""

    def __init__(self, name: str, seed: bytes, part: int, error: BaseException) -> None:
        super().__init__(f"{name}, seed {seed.hex()}:{part}: {type(error).__name__}: {error}")


def once(name: str, target: Target, seed: bytes, part: int) -> None:
    """One run of a target, which a finding names by its seed and part.

    Warnings are findings, but for those that the package gives about what it was told to do.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for told in ("RewardAllocator: sets differ", "SetScorer: "):
            warnings.filterwarnings("ignore", message=told)
        try:
            target(np.random.default_rng([*seed, part]))
        except Exception as error:
            raise Finding(name, seed, part, error) from error


def pick(rng: np.random.Generator, choices: Iterable[Any]) -> Any:
    """One of the choices, which may be of any kinds."""
    choices = choices if isinstance(choices, (list, tuple, str)) else list(choices)
    return choices[int(rng.integers(len(choices)))]


def chance(rng: np.random.Generator, p: float) -> bool:
    return bool(rng.random() < p)
