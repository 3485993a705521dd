"""The launch of a Triton kernel, the same for all primitives."""

from typing import Any, NamedTuple

import torch


class Launch(NamedTuple):
    """A kernel and what it is launched with. Tests compile the same ahead of time, for devices that are not there."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def on(self, device_of: Any) -> None:
        """Launch it on the device of a tensor: triton takes the current one. On the CPU, where triton interprets, that
        is of no effect."""
        with torch.cuda.device_of(device_of):
            self.kernel[self.grid](*self.arguments, **self.options)
