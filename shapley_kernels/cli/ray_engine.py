"""The computation on a cluster: Ray workers read the files and share rewards, this process writes the rows.

Each file is read by one task, which gives the numbers in it; Ray Data brings the rows of one prompt together, by a hash
of the prompt id. Only numbers travel. The rows themselves are read again here and written with their results, in the
order of the input, as on one machine. The only module here that imports ray.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from shapley_kernels._files import scratch_directory
from shapley_kernels.cli.compute import Shared, Table, key
from shapley_kernels.cli.parquet import ParquetFiles, SchemaGuess
from shapley_kernels.cli.reading import BATCH_ROWS, Advance, File, JsonLines, Numbers, Source
from shapley_kernels.cli.rows import InputError
from shapley_kernels.rl import RewardAllocator, merge_diagnostics

BUCKET_BYTES = 256 << 20
"""Of input for each task that shares rewards, about; more where there are more machines than that makes tasks."""

PLACE = ["file", "row"]
ROWS = pa.schema(
    [
        ("bucket", pa.int64()),
        ("file", pa.int64()),
        ("row", pa.int64()),  # among the good rows of the file
        ("prompt", pa.binary()),
        ("rewards", pa.large_list(pa.float64())),
    ]
)


def refuse(inputs: list[str], plot: Path | None) -> None:
    """InputError for what this engine cannot do."""
    for name in inputs:
        path = Path(name)
        if name == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            raise InputError(f"--engine ray: expected files that all machines see, found the stream {name!r}")
    if plot:
        raise InputError("--engine ray draws no --plot; plot a file of some of the prompts without it")


def fill(
    table: Table,
    source: Source,
    guess: SchemaGuess | None,
    allocator: RewardAllocator,
    keep_prompts: int,
    advance: Advance,
) -> None:
    """What `Table.add` and `Table.share` do, for all rows of the source, which learns which rows are bad.

    Raises:
        InputError: as the source does for a bad row, of the first file that has one; and where rewards are too large.
    """
    ours = not ray.is_initialized()
    if ours:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        buckets = max(int(ray.cluster_resources().get("CPU", 1)), source.size // BUCKET_BYTES)
        numbers, rows = _read_all(table, source, guess, keep_prompts, buckets, advance)
        found: list[dict[str, float]] = []
        table.take(sum(rows), _shared(numbers, rows, allocator, buckets, found), allocator)
        table.diagnostics = merge_diagnostics(found)
    finally:
        if ours:
            ray.shutdown()


@dataclass
class _Read:
    """What is told of a file beside its numbers."""

    rows: int = 0  # good ones
    skipped: list[int] = field(default_factory=list)  # ordinals of bad ones
    prompts: list[str | int] = field(default_factory=list)
    guess: SchemaGuess | None = None
    problem: str | None = None


def _read_all(
    table: Table, source: Any, guess: SchemaGuess | None, keep_prompts: int, buckets: int, advance: Advance
) -> tuple[list[Any], list[int]]:
    """References to a pyarrow.Table of the numbers of each file with any, and how many good rows each file has."""
    task = ray.remote(num_returns=2)(_read)
    how = (type(source), source.columns, source.skip_bad, guess is not None, keep_prompts, buckets)
    there = [replace(file, path=file.path.absolute()) for file in source.files]  # workers have another directory
    refs = [task.remote(file, i, *how) for i, file in enumerate(there)]
    before, kept, rows = 0, [], []
    for file, (numbers, info) in zip(source.files, refs, strict=True):
        found: _Read = ray.get(info)
        if found.problem is not None:
            raise InputError(found.problem)
        source.skipped.extend(before + ordinal for ordinal in found.skipped)
        before += found.rows + len(found.skipped)
        table.first_prompts += found.prompts[: keep_prompts - len(table.first_prompts)]
        if guess and found.guess:
            guess.join(found.guess)
        rows.append(found.rows)
        if found.rows:
            kept.append(numbers)
        advance(file.size)
    return kept, rows


def _read(
    file: File, number: int, kind: Any, columns: Any, skip_bad: bool, guesses: bool, keep_prompts: int, buckets: int
) -> tuple[pa.Table, _Read]:
    """The numbers of one file; runs on a worker."""
    found, tables = _Read(guess=SchemaGuess(columns.rewards) if guesses else None), [ROWS.empty_table()]
    try:
        file.refuse_changed()  # also where it is another file than there
        source: Source
        if kind is ParquetFiles:
            source = ParquetFiles([file], columns, skip_bad)
        else:
            source = JsonLines([file], columns, skip_bad, see=found.guess.see if found.guess else None)
        for numbers in source.numbers(lambda _: None):
            tables.append(_table(numbers, number, found.rows, buckets))
            found.rows += len(numbers.lengths)
            found.prompts += numbers.prompts[: keep_prompts - len(found.prompts)]
        found.skipped = source.skipped.tolist()
    except InputError as error:
        found.problem = str(error)
    except OSError as error:
        found.problem = (
            f"{file.name}: a worker of Ray cannot read it ({error.strerror}); all machines must see the files"
        )
    return pa.concat_tables(tables), found


def _table(numbers: Numbers, file: int, first: int, buckets: int) -> pa.Table:
    prompts = [_bytes(prompt) for prompt in numbers.prompts]
    count = len(prompts)
    columns = [
        np.array([zlib.crc32(prompt) % buckets for prompt in prompts], np.int64),
        np.full(count, file),
        np.arange(first, first + count),
        pa.array(prompts, pa.binary()),
        _lists(numbers.rewards, numbers.lengths),
    ]
    return pa.table(columns, schema=ROWS)


def _bytes(prompt: str | int) -> bytes:
    """Equal for equal prompt ids only, in all processes."""
    short = key(prompt)
    if isinstance(short, bytes):
        return b"h" + short
    return b"i%d" % short if isinstance(short, int) else b"s" + short.encode("utf-8", "surrogatepass")


def _lists(x: np.ndarray, lengths: np.ndarray) -> pa.Array:
    return pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]), x)


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    return pc.list_flatten(lists).to_numpy()


def _shared(
    numbers: list[Any], rows: list[int], allocator: RewardAllocator, buckets: int, found: list[dict[str, float]]
) -> Iterator[Shared]:
    """The results of all rows; the diagnostics go to `found`.

    Raises:
        InputError: some rewards are too large.
    """
    if not numbers:
        return
    alone = replace(allocator, scale="none") if allocator.scale == "batch" else allocator
    groups = ray.data.from_arrow_refs(numbers).groupby("bucket", num_partitions=buckets)
    shared = groups.map_groups(_sharer(alone), batch_format="pyarrow")
    before = np.cumsum(rows) - rows
    for batch in shared.iter_batches(batch_format="pyarrow", batch_size=BATCH_ROWS):
        for told in map(json.loads, filter(None, batch["told"].to_pylist())):
            if isinstance(told, str):
                raise InputError(told)
            found.append(told)
        places = before[batch["file"].to_numpy()] + batch["row"].to_numpy()
        lengths = pc.list_value_length(batch["rewards"]).to_numpy()
        yield Shared(places, lengths, *(_flat(batch[name]) for name in ("rewards", "credits", "advantages")))


def _sharer(allocator: RewardAllocator) -> Callable[[pa.Table], pa.Table]:
    """The function that runs on workers, on all rows of a bucket: whole groups, as `Table` shares them."""

    def share(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([(name, "ascending") for name in PLACE]).combine_chunks()
        rewards, lengths = _flat(rows["rewards"]), pc.list_value_length(rows["rewards"]).to_numpy()
        prompts = pc.dictionary_encode(rows["prompt"].combine_chunks()).indices.to_pylist()
        told: Any = ""
        credits = advantages = np.zeros_like(rewards)
        with scratch_directory() as scratch, Table(scratch) as table:
            table.add(Numbers(prompts, rewards, lengths))
            try:
                table.share(allocator, lambda _: lambda _: None)
                credits, advantages, _ = table.results(0, len(rows))
                told = table.diagnostics
            except InputError as error:
                told = str(error)
        columns = {name: rows[name] for name in (*PLACE, "rewards")}
        columns |= {"credits": _lists(credits, lengths), "advantages": _lists(advantages, lengths)}
        return pa.table(columns | {"told": [json.dumps(told)] + [""] * (len(rows) - 1)})

    return share
