"""python -m tests.fuzz: many cases, spread over all targets and some processes; `make fuzz` calls it.

What is found is kept in .hypothesis/fuzz, and tried first in the next run until it passes.
"""

import argparse
import re
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np

from tests.fuzz.rig import SEED_BYTES, Count, Finding, once
from tests.fuzz.targets import TARGETS

KEPT = Path(".hypothesis/fuzz")
SLICE = 0.5
"""Seconds that a process spends on one target before it takes the next."""


@dataclass
class Slice:
    """What a process did for a target."""

    name: str
    calls: int
    found: dict[str, str]
    """Kind of finding: its message, which has the seed."""


def spend(name: str, seed: int, most: int) -> Slice:
    """Cases of one target for `SLICE` seconds, or so many."""
    start, before, found = time.perf_counter(), Count.calls, {}
    for part in range(1 << 32):
        try:
            once(name, TARGETS[name], seed.to_bytes(SEED_BYTES, "big"), part)
        except Finding as finding:
            found.setdefault(kind_of(finding), str(finding))
        if time.perf_counter() - start > SLICE or Count.calls - before >= most:
            break
    return Slice(name, Count.calls - before, found)


def kind_of(finding: Finding) -> str:
    """The same for findings that are probably one: where it was raised, and the words of its message."""
    return finding.place + re.sub(r"[^A-Za-z]+", " ", str(finding.__cause__))[:60]


@dataclass
class Tally:
    """All that was done and found."""

    calls: Counter[str] = field(default_factory=Counter)
    found: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, done: Slice) -> None:
        self.calls[done.name] += done.calls
        for kind, message in done.found.items():
            if (done.name, kind) not in self.found:
                self.found[done.name, kind] = message
                print(f"\rFOUND {message[:1500]}", flush=True)


def explore(names: list[str], cases: int, processes: int, seed: int) -> Tally:
    """Slices of all targets in turn until there are that many cases."""
    tally, turns = Tally(), cycle(names)
    seeds = iter(np.random.default_rng(seed).integers(1 << 62, size=1 << 20).tolist())
    start = time.perf_counter()
    with ProcessPoolExecutor(processes) as pool:
        running: set[Future[Slice]] = set()
        while (total := sum(tally.calls.values())) < cases:
            while len(running) < 2 * processes:
                running.add(pool.submit(spend, next(turns), next(seeds), cases - total))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                tally.add(future.result())
            seconds = time.perf_counter() - start
            print(
                f"\r{sum(tally.calls.values()):>9,} of {cases:,} cases, {len(tally.found)} findings, {seconds:.0f} s ",
                end="",
                flush=True,
            )
        for future in running:
            if not future.cancel():
                tally.add(future.result())
    print()
    return tally


def replay(names: list[str]) -> dict[str, str]:
    """What was kept and still fails, by target and seed; what passes is kept no longer."""
    failing = {}
    for path in sorted(KEPT.glob("*")):
        name, seed = path.name.rsplit("@", 1)
        if name not in names:
            continue
        if (message := again(name, seed)) is None:
            path.unlink()
        else:
            failing[path.name] = message
            print(f"STILL {message[:1500]}")
    return failing


def again(name: str, seed: str) -> str | None:
    """What a seed of a target finds."""
    start, part = seed.split(":")
    try:
        once(name, TARGETS[name], bytes.fromhex(start), int(part))
    except Finding as finding:
        return str(finding)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="calls of public functions")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--target", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="NAME")
    parser.add_argument("--seed", help="SEED:PART of a finding, to run that alone; or a number to begin from")
    options = parser.parse_args()
    if options.seed and ":" in options.seed:
        once(options.target[0], TARGETS[options.target[0]], *_parsed(options.seed))
        return 0
    KEPT.mkdir(parents=True, exist_ok=True)
    old = replay(options.target)
    seed = int(options.seed) if options.seed else time.time_ns()
    tally = explore(options.target, options.cases, options.processes, seed)
    for message in tally.found.values():
        name, place = re.match(r"(\S+), seed ([^,]+), ", message).groups()  # type: ignore[union-attr]
        (KEPT / f"{name}@{place}").touch()
    print("\n".join(f"{count:>9,} {name}" for name, count in tally.calls.most_common()))
    print(f"{sum(tally.calls.values()):,} cases of {len(tally.calls)} targets, seed {seed}")
    print(f"{len(tally.found)} new findings, {len(old)} old ones that still fail")
    for message in tally.found.values():
        print(f"  {message.splitlines()[0][:300]}")
    return 1 if tally.found or old else 0


def _parsed(seed: str) -> tuple[bytes, int]:
    start, part = seed.split(":")
    return bytes.fromhex(start), int(part)


if __name__ == "__main__":
    sys.exit(main())
