"""Lists of any lengths as one padded array and its mask."""

import sys
from collections.abc import Mapping, Sequence, Set
from functools import reduce
from typing import Any

import numpy as np

from shapley_kernels.arrays.entry import at, dense, floating, from_list, native
from shapley_kernels.arrays.ops import NUMPY, Array, is_torch


def pad(values: Sequence[Any]) -> tuple[Array, Array]:
    """Nested lists of any lengths as one padded array and its mask.

    Args:
        values: a list of rows; a row is a list of numbers, a 1-D numpy array or a 1-D torch tensor. Rows may be nested
            further (prompts of rollouts of candidates), to the same depth everywhere.

    Returns:
        rewards [..., players] padded with 0, and mask [..., players], True where there is a value. Torch tensors when
        the rows are torch tensors (gradients flow through), else numpy arrays; float64 for plain numbers.

    Raises:
        TypeError: something that is no real number, or no list, with its position.
        ValueError: lists nested to different depths.

    Cost: O(size of the result).
    """
    leaves: list[tuple[tuple[int, ...], Any]] = []
    _collect(values, (), leaves)
    depths = {len(path) for path, _ in leaves}
    if len(depths) > 1:
        raise ValueError(
            f"pad: expected lists nested to the same depth everywhere, got depths {sorted(d + 1 for d in depths)}"
        )
    tensors = [is_torch(row) for _, row in leaves]
    if any(tensors):
        return _pad_torch(leaves, all(tensors))
    arrays = [_row(row, path) for path, row in leaves]
    shape = _padded_shape(leaves, [len(a) for a in arrays])
    dtypes = [a.dtype for a in arrays if a.size]
    dtype = reduce(NUMPY.promoted, dtypes) if dtypes else np.dtype(np.float64)
    rewards, mask = np.zeros(shape, dtype), np.zeros(shape, bool)
    for (path, _), row in zip(leaves, arrays, strict=True):
        where: Any = (*path, slice(len(row)))
        rewards[where] = row
        mask[where] = True
    return rewards, mask


def _collect(node: Any, path: tuple[int, ...], leaves: list[tuple[tuple[int, ...], Any]]) -> None:
    """The rows below `node` with their index paths: a row is a 1-D array, or a list without lists in it."""
    if isinstance(node, np.ndarray) and node.dtype.kind == "O":
        node = node.tolist()
    if not _is_list(node):
        raise TypeError(f"pad: expected a list of rows, got {node!r}{at(path)}")
    if path and (getattr(node, "ndim", 0) == 1 or not any(map(_is_list, node))):
        leaves.append((path, node))
        return
    for i, item in enumerate(node):
        _collect(item, (*path, i), leaves)


def _is_list(x: Any) -> bool:
    """Whether it is something with items in an order."""
    if isinstance(x, (str, bytes, Mapping, Set)):
        return False
    return hasattr(x, "__len__") and hasattr(x, "__iter__") and getattr(x, "ndim", 1) != 0


def _row(row: Any, path: tuple[int, ...]) -> np.ndarray:
    """A row that is no tensor, as floats."""
    if isinstance(row, np.ndarray):
        row = native(row, f"pad: row{at(path)}")[0]
    elif hasattr(row, "__array__"):
        row = np.asarray(row)
    else:
        row = from_list(list(row), "pad", path)
    if row.ndim != 1:
        raise ValueError(f"pad: expected 1-D arrays as rows, got shape {row.shape}{at(path)}")
    return floating(row, f"pad: row{at(path)}")


def _padded_shape(leaves: list[tuple[tuple[int, ...], Any]], lengths: list[int]) -> tuple[int, ...]:
    if not leaves:
        return (0, 0)
    lead = tuple(max(axis) + 1 for axis in zip(*(path for path, _ in leaves), strict=True))
    return (*lead, max(lengths))


def _pad_torch(leaves: list[tuple[tuple[int, ...], Any]], all_tensors: bool) -> tuple[Array, Array]:
    torch = sys.modules["torch"]
    if not all_tensors:
        raise TypeError("pad: expected all rows to be torch tensors, or none, got a mixture")
    for path, row in leaves:
        if row.ndim != 1:
            raise ValueError(f"pad: expected 1-D torch tensors as rows, got shape {tuple(row.shape)}{at(path)}")
    tensors = [floating(dense(row, "pad"), "pad") for _, row in leaves]
    shape = _padded_shape(leaves, [len(t) for t in tensors])
    dtype = tensors[0].dtype
    for t in tensors:
        dtype = torch.promote_types(dtype, t.dtype)
    padded = torch.nn.utils.rnn.pad_sequence([t.to(dtype) for t in tensors], batch_first=True)  # [rows, players]
    lengths = torch.tensor([len(t) for t in tensors], device=padded.device)
    filled = torch.arange(shape[-1], device=padded.device) < lengths[:, None]
    where = tuple(torch.tensor(axis, device=padded.device) for axis in zip(*(path for path, _ in leaves), strict=True))
    rewards = torch.zeros(shape, dtype=dtype, device=padded.device).index_put(where, padded)
    mask = torch.zeros(shape, dtype=torch.bool, device=padded.device).index_put(where, filled)
    return rewards, mask
