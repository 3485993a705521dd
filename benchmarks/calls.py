"""How much Python a call goes through: calls of functions of this package, switches between its files, and its files.

    python benchmarks/calls.py            # the table of docs/explanation/cpu.md
    python benchmarks/calls.py --trace 0  # every function of one of the calls, in the order they are entered

Counted with sys.setprofile on the second call, when kernels are loaded and coefficients kept. Comprehensions and
generators are not counted: which of them are functions depends on the version of Python.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import shapley_kernels as sk

PACKAGE = Path(sk.__file__).parent


def calls() -> dict[str, Callable[[], Any]]:
    """The calls that are counted, on rewards float32 [32, 8, 5]."""
    rng = np.random.default_rng(0)
    rewards = rng.random((32, 8, 5), np.float32)
    ids = np.sort(rng.integers(0, 6, (32, 8, 128)), -1)
    allocator = sk.RewardAllocator()
    return {
        "sk.shapley(sk.Max(x))": lambda: sk.shapley(sk.Max(rewards)),
        "0.7 * TopM + 0.3 * Max": lambda: sk.shapley(0.7 * sk.TopM(rewards, 3) + 0.3 * sk.Max(rewards)),
        "RewardAllocator().advantages": lambda: allocator.advantages(rewards),
        "RewardAllocator().token_advantages": lambda: allocator.token_advantages(rewards, ids),
    }


def entered(call: Callable[[], Any]) -> list[tuple[str, str]]:
    """(file, function) of every function of the package that the call enters, in order."""
    found: list[tuple[str, str]] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if event == "call" and not name.startswith("<") and path.is_relative_to(PACKAGE):
            found.append((str(path.relative_to(PACKAGE)), name))

    call()
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=int, metavar="CALL", help="print the functions of one of the calls instead")
    trace = parser.parse_args().trace
    if trace is not None:
        print(*(" ".join(place) for place in entered(list(calls().values())[trace])), sep="\n")
        return
    print("| call | functions | switches of file | files |\n|---|---|---|---|")
    for name, call in calls().items():
        files = [file for file, _ in entered(call)]
        switches = sum(a != b for a, b in pairwise(files))
        print(f"| `{name}` | {len(files)} | {switches} | {len(set(files))} |")


if __name__ == "__main__":
    main()
