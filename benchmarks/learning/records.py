"""Records of finished jobs, a JSON line each: kept compressed, with those of the run that is going on beside them."""

import gzip
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
Record = dict[str, Any]


class Records:
    """NAME.jsonl.gz, and NAME.jsonl for what has been finished since it was made."""

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self.packed, self.fresh = folder / f"{name}.jsonl.gz", folder / f"{name}.jsonl"

    def read(self) -> list[Record]:
        """All of them. A last line that an interrupt cut is not one."""
        text = gzip.decompress(self.packed.read_bytes()).decode() if self.packed.exists() else ""
        text += self.fresh.read_text() if self.fresh.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def by(self, kind: Any) -> dict[Any, Record]:
        """Those of jobs of a kind of named tuple, by their job."""
        return {kind(*(record[name] for name in kind._fields)): record for record in self.read()}

    def pack(self, records: Iterable[Record] | None = None) -> None:
        """These, or all that there are, into one file, whose bytes follow from them."""
        text = "".join(json.dumps(record) + "\n" for record in (self.read() if records is None else records))
        self.packed.write_bytes(gzip.compress(text.encode(), mtime=0))
        self.fresh.unlink(missing_ok=True)

    def run(self, jobs: Iterable[Any], do: Callable[[Any], Record], workers: int, tell: Callable[[int], None]) -> None:
        """`do` the jobs in their order, a line for each as soon as it is finished. tell: how many are.

        Stopped at any time, it loses those that were being done.
        """
        os.environ["OMP_NUM_THREADS"] = "1"
        self.pack()  # without a cut line
        with pool(workers) as processes, self.fresh.open("a") as stream:
            for finished, record in enumerate(processes.imap_unordered(do, jobs), 1):
                stream.write(json.dumps(record) + "\n")
                stream.flush()
                tell(finished)
        self.pack()


def pool(workers: int) -> Pool:
    """Of processes that leave Ctrl-C to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which they inherit
    try:
        return multiprocessing.get_context("spawn").Pool(workers)
    finally:
        signal.signal(signal.SIGINT, before)
