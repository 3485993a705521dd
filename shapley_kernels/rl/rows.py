"""Rollouts as users pass them, rows of tokens of any lengths: read, and results back in the same container."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, describe, is_torch, native, ops_of
from shapley_kernels.rl.vocabulary import OWNER


def read_rows(values: Any, name: str, kinds: str) -> list[np.ndarray]:
    """A padded array or a list of rows, as numpy arrays on the host, of the dtype kinds given."""
    if getattr(values, "is_nested", False):
        raise TypeError(f"{name} must be [N, T] or a list of rows, got a nested tensor; pass list(x.unbind())")
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = list(values)
    if isinstance(values, np.ndarray) or is_torch(values):
        if values.ndim != 2:
            raise ValueError(
                f"{name} must have shape [rollouts, tokens], got {tuple(values.shape)}; for one rollout, pass x[None]"
            )
    elif not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(f"{name} must be an array [N, T] or a list of rows, got {describe(values)}")
    return [_row(row, f"{name}[{i}]", kinds) for i, row in enumerate(_host(values, name))]


def _row(row: Any, name: str, kinds: str) -> np.ndarray:
    if isinstance(row, Integral):
        raise TypeError(f"{name} must be a row, got {row!r}; for one rollout, pass [ids]")
    if isinstance(row, (str, bytes)) or not hasattr(row, "__len__") or not hasattr(row, "__getitem__"):
        raise TypeError(f"{name} must be a list or 1-D array, got {describe(row)}")
    try:
        array = np.asarray(_host(row, name))
    except ValueError as error:
        raise ValueError(f"{name} must be a row of numbers, got {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} must be a row, got shape {array.shape}")
    if array.size and array.dtype.kind not in kinds:
        raise TypeError(
            f"{name} must be {'integers' if kinds == 'iu' else 'bools or integers'}, got dtype {array.dtype}; "
            f"{'pass the sampled ids, not text' if kinds == 'iu' else 'compare first, for example mask > 0'}"
        )
    return array if array.size else array.astype(np.int64)


def read_masks(mask: Any, rows: list[np.ndarray]) -> Sequence[np.ndarray | None]:
    if mask is None:
        return [None] * len(rows)
    masks = read_flags(mask, f"{OWNER}: mask")
    if len(masks) != len(rows):
        raise ValueError(f"{OWNER}: mask must have one row per rollout ({len(rows)}), got {len(masks)}")
    for i, (got, row) in enumerate(zip(masks, rows, strict=True)):
        if len(got) != len(row):
            raise ValueError(f"{OWNER}: mask[{i}] must have one entry per token ({len(row)}), got {len(got)}")
    return masks


def read_flags(mask: Any, name: str) -> list[np.ndarray]:
    """Rows of bools, or of 0 and 1, as bools."""
    rows = read_rows(mask, name, "biu")
    for i, row in enumerate(rows):
        if ((row != 0) & (row != 1)).any():
            raise ValueError(f"{name}[{i}] must be bools or 0 and 1, got {row.min()} .. {row.max()}")
    return [row.astype(bool) for row in rows]


def read_finished(finished: Any, count: int) -> Sequence[bool | None]:
    if finished is None:
        return [None] * count
    try:
        array = np.asarray(_host(finished, f"{OWNER}: finished"))
    except ValueError as error:
        raise ValueError(f"{OWNER}: finished must be bools, one per rollout, got {error}") from None
    if array.shape != (count,):
        raise ValueError(f"{OWNER}: finished must have shape ({count},), one per rollout, got {array.shape}")
    if array.size and array.dtype.kind != "b":
        raise TypeError(
            f"{OWNER}: finished must be bools (False = cut at the length limit), got dtype {array.dtype}; "
            "compare first, for example ids[:, -1] == eos"
        )
    return array.tolist()


def _host(x: Any, name: str) -> Any:
    """A tensor as numpy, in float64 where that has no name for its dtype, which is to be refused."""
    if not is_torch(x):
        return x
    x = native(x, name)[0].detach().cpu().resolve_neg()
    try:
        return x.numpy()
    except TypeError:  # bfloat16, float8
        return x.double().numpy()


def as_given(x: np.ndarray, token_ids: Any) -> Array:
    """x in the container and on the device of the token ids."""
    tensors = [t for t in ([token_ids] if is_torch(token_ids) else token_ids) if is_torch(t)]
    if not tensors:
        return x
    ops = ops_of(tensors[0])
    return ops.array_like(x, tensors[0], ops.dtype(str(x.dtype)))
