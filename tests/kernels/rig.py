"""What the tests of a primitive share: where its backends run, guard bands, bits."""

import importlib
from typing import Any

import numpy as np
import torch

from tests.kernels.conftest import INTERPRETED
from tests.needs import required, unavailable

GUARD = 64  # elements on either side of `out` that no kernel may touch
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
NON_FINITE = (float("nan"), float("inf"), float("-inf"))
DEVICE = {"numba": "cpu", "torch": "cpu", "triton": "cpu" if INTERPRETED else "cuda"}


def backends() -> list[str]:
    """Those that can run here: triton where it is interpreted or has a GPU. One that SHAPLEY_REQUIRE names is in."""
    return [b for b in ("numba", "torch", "triton") if b in required() or unavailable(b) is None]


def backend(primitive: str, name: str) -> Any:
    return importlib.import_module(f"shapley_kernels.kernels.{primitive}._{name}")


def bits(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(-1).contiguous().view(torch.uint8) if x.numel() else torch.empty(0, dtype=torch.uint8)


def real(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def launch(run: Any, tensors: tuple[Any, ...], shape: tuple[int, ...], name: str, out_dtype: torch.dtype) -> Any:
    """`run(*tensors, out)` on a poisoned `out` of `shape` between guard bands: every element is written, nothing
    beside them, and no input changes. Returns out, and what `run` returned."""
    place = DEVICE[name]
    size = int(np.prod(shape))
    nothing = float("nan") if out_dtype.is_floating_point else -3
    buffer = torch.full((size + 2 * GUARD,), nothing, dtype=out_dtype, device=place)
    raw = bits(buffer).reshape(len(buffer), -1)
    poison = raw[0].clone()
    out = buffer[GUARD : GUARD + size].view(shape)
    moved = [None if x is None else x.to(place) for x in tensors]
    before = [None if x is None else x.clone() for x in moved]
    if name == "numba":
        arrays = [None if x is None else x.numpy() for x in moved]
        for x in arrays:
            if x is not None:
                x.setflags(write=False)
        result = run(*arrays, out.numpy())
    else:
        result = run(*moved, out)
    assert (raw[:GUARD] == poison).all()
    assert (raw[GUARD + size :] == poison).all()
    for x, y in zip(moved, before, strict=True):
        assert x is None or torch.equal(bits(x), bits(y))
    return out.cpu(), result
