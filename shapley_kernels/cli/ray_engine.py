"""The computation on a cluster: Ray workers read the files and share rewards, this process writes the rows.

Each file is read by one task, which gives the numbers in it; Ray Data brings the rows of one prompt together, by a hash
of the prompt id. Only numbers travel. The rows themselves are read again here and written with their results, in the
order of the input, as on one machine. The only module here that imports ray.
"""

import json
import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from shapley_kernels._command import CommandError
from shapley_kernels.cli.compute import Results
from shapley_kernels.cli.parquet import ParquetRows
from shapley_kernels.cli.reading import BATCH_ROWS, Advance, File, JsonLines, RewardBatch, Source
from shapley_kernels.cli.rows import Columns, key
from shapley_kernels.cli.schema import SchemaGuess
from shapley_kernels.rl import RewardAllocator, merge_diagnostics

BUCKET_BYTES = 256 << 20
"""Of input for each task that shares rewards, about; more where there are more machines than that makes tasks."""

PLACE = ["file", "row"]


def schema(columns: Columns) -> pa.Schema:
    """Of the numbers that travel. Of a data column, "data0" are all those of a row, and "width0" how many a candidate
    has."""
    fields = [
        ("bucket", pa.int64()),
        ("file", pa.int64()),
        ("row", pa.int64()),  # among the good rows of the file
        ("prompt", pa.binary()),
        ("rewards", pa.large_list(pa.float64())),
    ]
    for i in range(len(columns.data)):
        fields += [(f"data{i}", pa.large_list(pa.float64())), (f"width{i}", pa.int64())]
    return pa.schema(fields)


def refuse(inputs: list[str], plot: Path | None) -> None:
    """CommandError for what this engine cannot do."""
    for name in inputs:
        path = Path(name)
        if name == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            raise CommandError(f"--engine ray: expected files that all machines see, found the stream {name!r}")
    if plot:
        raise CommandError("--engine ray draws no --plot; plot a file of some of the prompts without it")


def fill(
    results: Results, sources: Sequence[Source], guess: SchemaGuess | None, allocator: RewardAllocator, advance: Advance
) -> None:
    """What `Results.add` and `Results.compute` do, for all rows of the sources, which learn which rows are bad.

    Raises:
        CommandError: as the source does for a bad row, of the first file that has one; and where rewards are too large.
    """
    ours = not ray.is_initialized()
    if ours:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        size = sum(source.file.size for source in sources)
        buckets = max(int(ray.cluster_resources().get("CPU", 1)), size // BUCKET_BYTES)
        numbers, rows = _read_all(results, sources, guess, buckets, advance)
        diagnostics: list[dict[str, float]] = []
        if numbers:
            _share(results, numbers, rows, allocator, buckets, diagnostics)
        results.diagnostics = merge_diagnostics(diagnostics)
        results.divide_by_std(allocator)
    finally:
        if ours:
            ray.shutdown()


@dataclass
class _Read:
    """What is told of a file beside its numbers."""

    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # of good rows
    skipped: list[int] = field(default_factory=list)  # ordinals of bad ones
    prompts: list[Any] = field(default_factory=list)
    guess: SchemaGuess | None = None
    problem: str | None = None


def _read_all(
    results: Results, sources: Sequence[Any], guess: SchemaGuess | None, buckets: int, advance: Advance
) -> tuple[list[Any], list[int]]:
    """References to a pyarrow.Table of the numbers of each file with any, and how many good rows each file has."""
    task = ray.remote(num_returns=2)(_read)
    keep = results.keep_prompts
    how = (results.columns, sources[0].skip_bad, guess is not None, keep, buckets)
    there = [replace(s.file, path=s.file.path.absolute()) for s in sources]  # workers have another directory
    refs = [task.remote(file, i, type(s), *how) for i, (file, s) in enumerate(zip(there, sources, strict=True))]
    kept, lengths = [], [results.lengths]
    for source, (numbers, info) in zip(sources, refs, strict=True):
        read: _Read = ray.get(info)
        if read.problem is not None:
            raise CommandError(read.problem)
        source.skipped.extend(read.skipped)
        results.first_prompts += read.prompts[: keep - len(results.first_prompts)]
        if guess and read.guess:
            guess.join(read.guess)
        lengths.append(read.lengths)
        if len(read.lengths):
            kept.append(numbers)
        advance(source.file.size)
    results.set_lengths(np.concatenate(lengths))
    return kept, [len(part) for part in lengths[1:]]


def _read(
    file: File, number: int, kind: Any, columns: Columns, skip_bad: bool, guesses: bool, keep_prompts: int, buckets: int
) -> tuple[pa.Table, _Read]:
    """The numbers of one file; runs on a worker."""
    read, tables = _Read(), [schema(columns).empty_table()]
    try:
        file.refuse_changed()  # also where it is another file than there
        source: Source
        if kind is ParquetRows:
            source = ParquetRows(file, columns, skip_bad)
        else:
            read.guess = SchemaGuess(columns.rewards) if guesses else None
            source = JsonLines(file, columns, skip_bad, see=read.guess.see if read.guess else None)
        for batch in source.batches(lambda _: None):
            if batch.prompts:
                tables.append(_table(batch, number, len(read.lengths), buckets, schema(columns)))
            read.lengths = np.concatenate([read.lengths, batch.lengths])
            read.prompts += batch.prompts[: keep_prompts - len(read.prompts)]
        read.skipped = source.skipped.tolist()
    except CommandError as error:
        read.problem = str(error)
    except OSError as error:
        read.problem = (
            f"{file.name}: a worker of Ray cannot read it ({error.strerror}); all machines must see the files"
        )
    return pa.concat_tables(tables), read


def _table(numbers: RewardBatch, file: int, first: int, buckets: int, columns: pa.Schema) -> pa.Table:
    prompts = [_bytes(prompt) for prompt in numbers.prompts]
    count = len(prompts)
    arrays = [
        np.array([zlib.crc32(prompt) % buckets for prompt in prompts], np.int64),
        np.full(count, file),
        np.arange(first, first + count),
        pa.array(prompts, pa.binary()),
        _lists(numbers.rewards, numbers.lengths),
    ]
    for x, widths in numbers.data:
        arrays += [_lists(x, numbers.lengths * widths), widths]
    return pa.table(arrays, schema=columns)


def _bytes(prompt: Any) -> bytes:
    """Equal for equal prompts only, in all processes."""
    short = key(prompt)
    if isinstance(short, bytes):
        return b"h" + short
    return b"i%d" % short if isinstance(short, int) else b"s" + short.encode("utf-8", "surrogatepass")


def _lists(x: np.ndarray, lengths: np.ndarray) -> pa.Array:
    return pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]), x)


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    return pc.list_flatten(lists).to_numpy()


def _share(
    results: Results,
    numbers: list[Any],
    rows: list[int],
    allocator: RewardAllocator,
    buckets: int,
    diagnostics: list[dict[str, float]],
) -> None:
    """Put the results of all rows in their places; the diagnostics go to `diagnostics`.

    Raises:
        CommandError: some rewards are too large.
    """
    alone = replace(allocator, scale="none") if allocator.scale == "batch" else allocator
    groups = ray.data.from_arrow_refs(numbers).groupby("bucket", num_partitions=buckets)
    shared = groups.map_groups(_sharer(alone, results.columns), batch_format="pyarrow")
    before = np.cumsum(rows) - rows
    for batch in shared.iter_batches(batch_format="pyarrow", batch_size=BATCH_ROWS):
        for told in map(json.loads, filter(None, batch["told"].to_pylist())):
            if isinstance(told, str):
                raise CommandError(told)
            diagnostics.append(told)
        places = before[batch["file"].to_numpy()] + batch["row"].to_numpy()
        lengths = pc.list_value_length(batch["rewards"]).to_numpy()
        results.put(places, lengths, *(_flat(batch[name]) for name in ("rewards", "credits", "advantages")))


def _sharer(allocator: RewardAllocator, columns: Columns) -> Callable[[pa.Table], pa.Table]:
    """The function that runs on workers, on all rows of a bucket: whole groups, as `Results` computes them."""

    def share(rows: pa.Table) -> pa.Table:
        rows = rows.sort_by([(name, "ascending") for name in PLACE]).combine_chunks()
        rewards, lengths = _flat(rows["rewards"]), pc.list_value_length(rows["rewards"]).to_numpy()
        data = tuple((_flat(rows[f"data{i}"]), rows[f"width{i}"].to_numpy()) for i in range(len(columns.data)))
        prompts = pc.dictionary_encode(rows["prompt"].combine_chunks()).indices.to_pylist()
        told: Any = ""
        credits = advantages = np.zeros_like(rewards)
        results = Results(columns)
        results.add(RewardBatch(prompts, lengths, rewards, data))
        try:
            results.compute(allocator, lambda _: lambda _: None)
            rewards, credits, advantages = results.rewards, results.credits, results.advantages
            told = results.diagnostics
        except CommandError as error:
            told = str(error)
        lists = {"rewards": rewards, "credits": credits, "advantages": advantages}
        kept = {name: rows[name] for name in PLACE} | {name: _lists(x, lengths) for name, x in lists.items()}
        return pa.table(kept | {"told": [json.dumps(told)] + [""] * (len(rows) - 1)})

    return share
