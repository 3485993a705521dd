"""What the package does with arrays of numpy and of torch alike: dtypes, devices, and the functions that differ."""

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A numpy array or a torch tensor (inside the package), or anything that speaks DLPack (at its border)."""


def is_torch(x: Any) -> bool:
    """True for a torch tensor; never imports torch."""
    if type(x) is np.ndarray:  # asking torch takes longer
        return False
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_compiling(x: Any) -> bool:
    """True while torch.compile traces what is done to the tensor `x`: its numbers cannot be looked at."""
    return is_torch(x) and sys.modules["torch"].compiler.is_compiling()


def is_traced(x: Any) -> bool:
    """True for a tensor under torch.compile, or within a transform of torch.func."""
    if not is_torch(x):
        return False
    torch = sys.modules["torch"]
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def namespace(x: Array) -> Any:
    """The module (numpy or torch) whose functions work on `x`."""
    return sys.modules["torch"] if is_torch(x) else np


def is_integer(x: Array) -> bool:
    """True for integers of any width and byte order; bools are not."""
    return str(x.dtype).startswith(("torch.int", "torch.uint")) if is_torch(x) else x.dtype.kind in "iu"


def compute_dtype(dtype: Any) -> str:
    """The dtype that credits are computed in, promote(dtype, float32): "float64" or "float32"."""
    return "float64" if dtype.itemsize == 8 and is_float(dtype) else "float32"


def eps(dtype: Any) -> float:
    """Distance from 1 to the next number of a dtype of floats, numpy's bfloat16 included."""
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}[
        str(dtype).removeprefix("torch.")
    ]


def widest(x: Array) -> Any:
    """float64 where the device has it for certain, else promote(dtype, float32)."""
    has_double = device(x).split(":")[0] in ("cpu", "cuda") or str(x.dtype).endswith("float64")
    return named_dtype(x, "float64" if has_double else "float32")


def is_float(dtype: Any) -> bool:
    """Whether it is a dtype of real floats, of numpy or torch."""
    kind = getattr(dtype, "kind", None)
    if kind is None:
        return bool(dtype.is_floating_point)
    return kind == "f" or (kind not in "biu" and "float" in dtype.name)  # numpy; such as bfloat16 of ml_dtypes


def cast(x: Array, dtype: Any) -> Array:
    """`x` in `dtype` (a numpy or torch dtype of x's own library), without a copy if it already is; infinite where that
    does not hold it."""
    if x.dtype == dtype:
        return x
    if is_torch(x):
        return x.to(dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def numbers(x: Array) -> np.ndarray:
    """Any array as float64 numpy on the host: exact for every float dtype."""
    if is_torch(x):
        return x.detach().cpu().to(sys.modules["torch"].float64).resolve_neg().numpy()
    return np.asarray(x).astype(np.float64)


def named_dtype(x: Array, name: str) -> Any:
    """The dtype object called `name` ("float32", "bool", ...) in the library of `x`."""
    return getattr(sys.modules["torch"], name) if is_torch(x) else np.dtype(name)


def promoted(a: Array, b: Array) -> Any:
    """The dtype that both arrays (of one library) promote to."""
    if a.dtype == b.dtype:
        return a.dtype
    if is_torch(a):
        return sys.modules["torch"].promote_types(a.dtype, b.dtype)
    return promoted_dtypes(a.dtype, b.dtype)


def promoted_dtypes(a: Any, b: Any) -> Any:
    try:
        return np.promote_types(a, b)
    except TypeError:  # float16 and the bfloat16 of ml_dtypes, which torch promotes so
        return np.dtype(np.float32)


def device(x: Array) -> str:
    """ "cpu", "cuda:0", ...; numpy arrays are on the CPU."""
    return "cpu" if on_cpu(x) else str(x.device)


def on_cpu(x: Array) -> bool:
    """`device(x) == "cpu"`, in less time."""
    return not is_torch(x) or x.is_cpu


def on_cuda(x: Array) -> bool:
    """True for a torch tensor on a GPU of NVIDIA or AMD."""
    return is_torch(x) and x.is_cuda


def constant(x: np.ndarray, reference: Array, dtype: Any) -> Array:
    """The numpy array `x` in `dtype`, in the library and on the device of `reference`."""
    if is_torch(reference):
        return sys.modules["torch"].as_tensor(x, dtype=dtype, device=reference.device)
    return x.astype(dtype)


def to_torch(x: Array, where: Any = "cpu") -> Any:
    """A numpy array as a tensor on a device; on the CPU it shares the memory, if torch can express it: not read-only
    arrays, not bfloat16 of ml_dtypes, which becomes float32, and not every step along axes of length 1."""
    import torch

    if is_torch(x):
        return x
    if x.dtype.name == "bfloat16":
        x = x.astype(np.float32)
    x = np.require(x, requirements=["C", "W"])
    if any(step < 0 or step % x.itemsize for step in x.strides):
        x = x.copy()
    return torch.from_numpy(x).to(where)


def number(x: float, reference: Array, dtype: str) -> Array:
    """One number as an array [1]: of numpy for data on the CPU, else on the device of `reference`, where a zero is
    kept, so that a later call launches nothing for it."""
    if on_cpu(reference):
        return cast(np.array([x]), np.dtype(dtype)) if x else np.zeros(1, dtype)
    torch = sys.modules["torch"]
    kind, where = named_dtype(reference, dtype), reference.device
    if x == 0 and (kept := _ZEROS.get((kind, where))) is not None:
        return kept
    captured = on_cuda(reference) and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
    if x != 0 or captured:
        return reference.new_full((1,), x, dtype=kind)
    with torch.inference_mode(False):
        zero = torch.tensor([0.0], dtype=kind, device=where)
    if may_keep(zero):
        _ZEROS[kind, where] = zero
    return zero


_ZEROS: dict[tuple[Any, Any], Array] = {}


def may_keep(x: Array) -> bool:
    """Whether a tensor made now serves later calls too: neither within a transform of torch.func, nor a fake one."""
    return type(x) is sys.modules["torch"].Tensor and not is_traced(x)


def rows(x: Array, width: int | None) -> Array:
    """The leading axes of `x` flattened into one: [rows, width], or [rows] when `width` is None; empty axes allowed."""
    if width is None:
        return x.reshape(-1)
    count = 1
    for size in x.shape[:-1]:
        count *= size
    return x.reshape(count, width)


def needs_grad(*arrays: Any) -> bool:
    """True when a torch gradient has to flow into one of the arrays."""
    for x in arrays:
        if is_torch(x) and x.requires_grad:
            return bool(sys.modules["torch"].is_grad_enabled())
    return False


def first_nonfinite(x: Array, live: Array | None) -> tuple[int, ...] | None:
    """Index of the first live entry of `x` that is NaN or infinite, None when all are finite."""
    bad = ~namespace(x).isfinite(x)
    return first_true(bad if live is None else bad & live)


def first_true(x: Array) -> tuple[int, ...] | None:
    """Index of the first True of a bool array, None when there is none."""
    where = x.reshape(-1).nonzero()  # a tuple of arrays in numpy, [hits, 1] in torch
    hits = where if is_torch(x) else where[0]
    if len(hits) == 0:
        return None
    return tuple(int(i) for i in np.unravel_index(int(hits[0]), tuple(x.shape)))


def zeros(reference: Array, shape: Sequence[int], dtype: str | None = None) -> Array:
    """Zeros in the library and on the device of `reference`, in its dtype or the one called `dtype`."""
    kind = reference.dtype if dtype is None else named_dtype(reference, dtype)
    if is_torch(reference):
        return sys.modules["torch"].zeros(tuple(shape), dtype=kind, device=reference.device)
    return np.zeros(tuple(shape), kind)
