"""`scatter` in plain torch: the reference, on any device, differentiable in the table."""

from typing import Any

import torch


def run(table: Any, ids: Any, starts: Any, out: Any) -> int:
    """See the package docstring; waits for the device."""
    bad = _first_bad(ids, table.shape[1])
    if bad < 0:
        out.copy_(table.reshape(-1)[_places(table, ids, starts)])
    return bad


def count(ids: Any, starts: Any, counts: Any) -> int:
    """See the package docstring; waits for the device."""
    bad = _first_bad(ids, counts.shape[1])
    if bad < 0:
        places = _places(counts, ids, starts)
        counts.zero_().view(-1).scatter_add_(0, places, torch.ones_like(places))
    return bad


def _places(table: Any, ids: Any, starts: Any) -> Any:
    """Where in the flattened table the number of each token stands: [tokens]."""
    rollouts, width = table.shape
    first = torch.arange(rollouts, device=ids.device) * width
    lengths = len(ids) // max(1, rollouts) if starts is None else starts.diff()
    return first.repeat_interleave(lengths, output_size=len(ids)) + ids


def _first_bad(ids: Any, width: int) -> int:
    bad = (ids < 0) | (ids >= width)
    return int(bad.int().argmax()) if bool(bad.any()) else -1
