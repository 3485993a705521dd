"""What the package does with arrays of numpy and of torch, one class for each.

Which of the two is asked once, where data come in: `ops = ops_of(x)`. From there it travels with the data, as
`game.ops`. What both libraries have under one name and with one meaning is called as `ops.xp.where(...)`; what differs
is a method here.
"""

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A numpy array or a torch tensor (inside the package), or anything that speaks DLPack (at its border)."""

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""Distance from 1 to the next number of a dtype."""


class Ops:
    """Operations of one container: `NumpyOps` or `TorchOps`. Arrays `x` and `reference` are of this container."""

    name: str
    """ "numpy" or "torch"."""
    xp: Any
    """The module whose functions work on the arrays."""
    array_type: type
    """Their class."""
    index_dtypes: tuple[Any, Any]
    """int64 and int32, which kernels take as they are."""

    # -- dtypes --------------------------------------------------------------------------------------------------------

    def dtype(self, name: str) -> Any:
        """The dtype object called `name`: "float32", "bool", ..."""
        raise NotImplementedError

    def compute_dtype(self, dtype: Any) -> Any:
        """The dtype that credits are computed in, promote(dtype, float32)."""
        return self.dtype(compute_dtype(dtype))

    def widest(self, x: Array) -> Any:
        """float64 where the device has it for certain, else promote(dtype, float32)."""
        return self.dtype("float64")

    def is_integer(self, x: Array) -> bool:
        """True for integers of any width and byte order; bools are not."""
        raise NotImplementedError

    def promoted(self, a: Any, b: Any) -> Any:
        """The dtype that both dtypes promote to."""
        raise NotImplementedError

    def cast(self, x: Array, dtype: Any) -> Array:
        """`x` in `dtype`, without a copy if it already is; infinite where that does not hold it."""
        raise NotImplementedError

    def in_double(self, x: Array) -> Array:
        """Floats as `widest` says; other arrays as they are."""
        return self.cast(x, self.widest(x)) if is_float(x.dtype) else x

    # -- where data are ------------------------------------------------------------------------------------------------

    def device(self, x: Array) -> str:
        """ "cpu", "cuda:0", ...; numpy arrays are on the CPU."""
        return "cpu"

    def on_cpu(self, x: Array) -> bool:
        """`device(x) == "cpu"`, in less time."""
        return True

    def on_cuda(self, x: Array) -> bool:
        """True on a GPU of NVIDIA or AMD."""
        return False

    def is_traced(self, x: Array) -> bool:
        """True under torch.compile, and within a transform of torch.func."""
        return False

    def is_vmapped(self, x: Array | None) -> bool:
        """True for tensors that torch.func.vmap maps over."""
        return False

    def is_compiling(self, x: Array) -> bool:
        """True while torch.compile traces what is done to `x`: its numbers cannot be looked at."""
        return False

    def is_exporting(self) -> bool:
        """True while torch.export traces: no numbers can be looked at, and no kernel but those of torch be called."""
        return False

    def is_eager(self, x: Array) -> bool:
        """True on the CPU while nothing traces: numbers can be looked at, and cost nothing to look at."""
        return True

    def needs_grad(self, *arrays: Any) -> bool:
        """True when a gradient has to flow into one of the arrays; others than tensors among them need none."""
        return False

    def is_numpy_too(self, x: Array) -> bool:
        """True for a tensor that numpy can read in place, where nothing traces: on the CPU, of a dtype of numpy."""
        return False

    def lent(self, arrays: Sequence[Any]) -> list[Any] | None:
        """In numpy, in the same memory, tensors that are eager (`is_eager`), None and numbers among them; None where
        numpy does not read them as they are, or a gradient may have to flow."""
        raise NotImplementedError

    # -- new arrays ----------------------------------------------------------------------------------------------------

    def array_like(self, x: np.ndarray, reference: Array, dtype: Any) -> Array:
        """The numpy array `x` in `dtype`, on the device of `reference`."""
        raise NotImplementedError

    def zeros(self, reference: Array, shape: Sequence[int], dtype: Any) -> Array:
        """Zeros on the device of `reference`."""
        raise NotImplementedError

    def scalar_array(self, x: float, reference: Array, dtype: str) -> Array:
        """One number as an array [1] for a kernel: of numpy for data on the CPU, else on the device of `reference`,
        where a zero is kept, so that a later call launches nothing for it."""
        return NUMPY.cast(np.array([x]), np.dtype(dtype)) if x else np.zeros(1, dtype)

    # -- on the host ---------------------------------------------------------------------------------------------------

    def to_host(self, x: Array) -> np.ndarray:
        """`x` as numpy, without its gradient."""
        raise NotImplementedError

    def to_float64(self, x: Array) -> np.ndarray:
        """`x` as float64 numpy: exact for every float dtype."""
        raise NotImplementedError

    def from_host(self, x: np.ndarray) -> Array:
        """The numpy array, or number, on the CPU, in the same memory."""
        return x

    def detached(self, x: Array) -> Array:
        """`x` without its gradient."""
        return x

    def first_true(self, x: Array) -> tuple[int, ...] | None:
        """Index of the first True of a bool array, None when there is none."""
        raise NotImplementedError

    # -- along the last axis -------------------------------------------------------------------------------------------

    def descending(self, x: Array) -> Array:
        """Every row sorted, the largest first."""
        raise NotImplementedError

    def best(self, x: Array, places: int) -> Array:
        """Of every row the largest number, or, for more places than one, all of them, the largest first."""
        return self.descending(x)[..., :1] if places == 1 else self.descending(x)

    def take(self, x: Array, index: Array) -> Array:
        """x[..., index[...]]."""
        raise NotImplementedError

    def next_lowest(self, x: Array) -> Array:
        """The lowest entry from each on."""
        raise NotImplementedError


class NumpyOps(Ops):
    """`Ops` of numpy."""

    name, xp, array_type = "numpy", np, np.ndarray
    index_dtypes = (np.dtype(np.int64), np.dtype(np.int32))

    def __reduce__(self) -> str:
        return "NUMPY"  # copies of games share it

    def dtype(self, name: str) -> Any:
        return np.dtype(name)

    def compute_dtype(self, dtype: Any) -> Any:
        return _DOUBLE if dtype == _DOUBLE else _SINGLE

    def is_integer(self, x: Array) -> bool:
        return x.dtype.kind in "iu"

    def promoted(self, a: Any, b: Any) -> Any:
        try:
            return np.promote_types(a, b)
        except TypeError:  # float16 and the bfloat16 of ml_dtypes, which torch promotes so
            return np.dtype(np.float32)

    def cast(self, x: Array, dtype: Any) -> Array:
        if x.dtype == dtype:
            return x
        with np.errstate(over="ignore"):
            return x.astype(dtype)

    def array_like(self, x: np.ndarray, reference: Array, dtype: Any) -> Array:
        return x.astype(dtype)

    def zeros(self, reference: Array, shape: Sequence[int], dtype: Any) -> Array:
        return np.zeros(tuple(shape), dtype)

    def to_host(self, x: Array) -> np.ndarray:
        return x

    def to_float64(self, x: Array) -> np.ndarray:
        return np.asarray(x).astype(np.float64)

    def first_true(self, x: Array) -> tuple[int, ...] | None:
        hits = x.reshape(-1).nonzero()[0]
        return tuple(int(i) for i in np.unravel_index(hits[0], x.shape)) if len(hits) else None

    def descending(self, x: Array) -> Array:
        return -np.sort(-x, axis=-1)

    def best(self, x: Array, places: int) -> Array:
        *batch, width = x.shape
        if places != 1 or 0 in x.shape:
            return super().best(x, places)
        if width > 64:
            return np.fmax.reduce(x, axis=-1, keepdims=True)  # as sorting puts NaN last
        columns = np.ascontiguousarray(x.reshape(-1, width).T)  # along the rows, of which each takes a loop to begin
        return np.fmax.reduce(columns, axis=0).reshape(*batch, 1)

    def take(self, x: Array, index: Array) -> Array:
        return np.take_along_axis(x, index, -1)

    def next_lowest(self, x: Array) -> Array:
        return np.flip(np.minimum.accumulate(np.flip(x, -1), -1), -1)


class TorchOps(Ops):
    """`Ops` of torch."""

    name = "torch"

    def __init__(self, torch: Any) -> None:
        self.xp, self.array_type = torch, torch.Tensor
        self.index_dtypes = (torch.int64, torch.int32)
        self.zero_arrays: dict[tuple[Any, Any], Array] = {}

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return torch_ops, ()

    def dtype(self, name: str) -> Any:
        return getattr(self.xp, name)

    def widest(self, x: Array) -> Any:
        has_double = self.device(x).split(":")[0] in ("cpu", "cuda") or x.dtype == self.xp.float64
        return self.xp.float64 if has_double else self.xp.float32

    def is_integer(self, x: Array) -> bool:
        return str(x.dtype).startswith(("torch.int", "torch.uint"))

    def promoted(self, a: Any, b: Any) -> Any:
        return a if a == b else self.xp.promote_types(a, b)

    def cast(self, x: Array, dtype: Any) -> Array:
        return x.to(dtype)

    def device(self, x: Array) -> str:
        return "cpu" if x.is_cpu else str(x.device)

    def on_cpu(self, x: Array) -> bool:
        return bool(x.is_cpu)

    def on_cuda(self, x: Array) -> bool:
        return bool(x.is_cuda)

    def is_traced(self, x: Array) -> bool:
        return bool(self.xp.compiler.is_compiling() or self.xp._C._are_functorch_transforms_active())

    def is_vmapped(self, x: Array | None) -> bool:
        if x is None or self.is_compiling(x) or not self.xp._C._are_functorch_transforms_active():
            return False
        functorch = self.xp._C._functorch
        while functorch.is_functorch_wrapped_tensor(x):
            if functorch.is_batchedtensor(x):
                return True
            x = functorch.get_unwrapped(x)
        return False

    def is_compiling(self, x: Array) -> bool:
        return bool(self.xp.compiler.is_compiling())

    def is_exporting(self) -> bool:
        says = getattr(self.xp.compiler, "is_exporting", None)  # of torch 2.7
        return says is not None and bool(says())

    def is_eager(self, x: Array) -> bool:
        return bool(x.is_cpu) and not self.is_traced(x)

    def needs_grad(self, *arrays: Any) -> bool:
        for x in arrays:
            if getattr(x, "requires_grad", False):
                return bool(self.xp.is_grad_enabled())
        forward = self.xp.autograd.forward_ad
        if getattr(forward, "_current_level", 0) < 0:  # there are no tangents; without that name, each tensor is asked
            return False
        return any(isinstance(x, self.array_type) and forward.unpack_dual(x).tangent is not None for x in arrays)

    def is_numpy_too(self, x: Array) -> bool:
        return self.on_cpu(x) and x.dtype is not self.xp.bfloat16

    def lent(self, arrays: Sequence[Any]) -> list[Any] | None:
        if getattr(self.xp.autograd.forward_ad, "_current_level", 0) >= 0:  # there may be tangents
            return None
        try:
            return [x if x is None or type(x) is float else x.numpy() for x in arrays]
        except (RuntimeError, TypeError):
            return None

    def array_like(self, x: np.ndarray, reference: Array, dtype: Any) -> Array:
        return self.xp.as_tensor(x, dtype=dtype, device=reference.device)

    def zeros(self, reference: Array, shape: Sequence[int], dtype: Any) -> Array:
        return self.xp.zeros(tuple(shape), dtype=dtype, device=reference.device)

    def scalar_array(self, x: float, reference: Array, dtype: str) -> Array:
        if reference.is_cpu:
            return super().scalar_array(x, reference, dtype)
        torch, kind, where = self.xp, self.dtype(dtype), reference.device
        if x == 0 and (kept := self.zero_arrays.get((kind, where))) is not None:
            return kept
        captured = reference.is_cuda and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
        if x != 0 or captured:
            return reference.new_full((1,), x, dtype=kind)
        with torch.inference_mode(False):
            zero = torch.tensor([0.0], dtype=kind, device=where)
        if may_keep(zero):
            self.zero_arrays[kind, where] = zero
        return zero

    def to_host(self, x: Array) -> np.ndarray:
        try:
            return x.numpy()
        except (RuntimeError, TypeError):
            while self.xp._C._functorch.is_gradtrackingtensor(x):  # within torch.func.grad and the like
                x = self.xp._C._functorch.get_unwrapped(x)
            with self.xp._C._DisableFuncTorch():
                return x.detach().cpu().resolve_neg().numpy()

    def to_float64(self, x: Array) -> np.ndarray:
        return self.to_host(x.detach().cpu().to(self.xp.float64))

    def from_host(self, x: np.ndarray) -> Array:
        return self.xp.from_numpy(x if type(x) is np.ndarray else np.asarray(x))

    def detached(self, x: Array) -> Array:
        return x.detach()

    def first_true(self, x: Array) -> tuple[int, ...] | None:
        hits = x.reshape(-1).nonzero()
        return tuple(int(i) for i in np.unravel_index(int(hits[0]), tuple(x.shape))) if len(hits) else None

    def descending(self, x: Array) -> Array:
        return x.sort(dim=-1, descending=True).values

    def take(self, x: Array, index: Array) -> Array:
        return x.take_along_dim(index, -1)

    def next_lowest(self, x: Array) -> Array:
        return x.flip(-1).cummin(-1).values.flip(-1)


_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

NUMPY = NumpyOps()

_TORCH: list[TorchOps] = []


def ops_of(x: Any) -> Ops:
    """The operations of the container of `x`; never imports torch. Whatever is no tensor is numpy's."""
    if type(x) is np.ndarray:  # asking torch takes longer
        return NUMPY
    torch = sys.modules.get("torch")
    return torch_ops() if torch is not None and isinstance(x, torch.Tensor) else NUMPY


def torch_ops() -> TorchOps:
    """Those of torch, which is imported if it is not yet."""
    if not _TORCH:
        import torch

        _TORCH.append(TorchOps(torch))
    return _TORCH[0]


def is_torch(x: Any) -> bool:
    """True for a torch tensor; never imports torch."""
    return ops_of(x) is not NUMPY


def in_numpy(ops: Ops, restore: Any, *arrays: Array | None) -> tuple[Any, ...]:
    """ops, restore and arrays of a call whose result needs no gradient, in numpy where numpy can read all its tensors:
    with few numbers, each operation of torch takes several times what that of numpy does.

    Args:
        restore: from a result to the container of the caller, or None.
        arrays: of one container; None stays None.
    """
    if not all(x is None or (ops.is_numpy_too(x) and not ops.is_traced(x)) for x in arrays):
        return ops, restore, *arrays
    return NUMPY, from_numpy(ops, restore), *(None if x is None else ops.to_host(x) for x in arrays)


def from_numpy(ops: Ops, restore: Any) -> Any:
    """From a result in numpy to the container of a caller that gave arrays of `ops`."""
    return ops.from_host if restore is None else lambda result: restore(ops.from_host(result))


def may_keep(x: Array) -> bool:
    """Whether a tensor made now serves later calls too: neither within a transform of torch.func, nor a fake one."""
    ops = torch_ops()
    return type(x) is ops.xp.Tensor and not ops.is_traced(x)


def is_float(dtype: Any) -> bool:
    """Whether it is a dtype of real floats, of numpy or torch."""
    kind = getattr(dtype, "kind", None)
    if kind is None:
        return bool(dtype.is_floating_point)
    return kind == "f" or (kind not in "biu" and "float" in dtype.name)  # numpy; such as bfloat16 of ml_dtypes


def compute_dtype(dtype: Any) -> str:
    """The name of the dtype that credits are computed in, promote(dtype, float32): "float64" or "float32"."""
    return "float64" if dtype.itemsize == 8 and is_float(dtype) else "float32"


def eps(dtype: Any) -> float:
    """Distance from 1 to the next number of a dtype of floats, numpy's bfloat16 included."""
    return EPS[str(dtype).removeprefix("torch.")]


def to_torch(x: Array, where: Any = "cpu") -> Any:
    """A numpy array as a tensor on a device; on the CPU it shares the memory, if torch can express it: not read-only
    arrays, not bfloat16 of ml_dtypes, which becomes float32, and not every step along axes of length 1."""
    if is_torch(x):
        return x
    if x.dtype.name == "bfloat16":
        x = x.astype(np.float32)
    x = np.require(x, requirements=["C", "W"])
    if any(step < 0 or step % x.itemsize for step in x.strides):
        x = x.copy()
    return torch_ops().xp.from_numpy(x).to(where)


# -- for an array whose ops are not at hand ----------------------------------------------------------------------------


def is_integer(x: Array) -> bool:
    return ops_of(x).is_integer(x)


def widest(x: Array) -> Any:
    return ops_of(x).widest(x)


def to_float64(x: Array) -> np.ndarray:
    return ops_of(x).to_float64(x)


def device(x: Array) -> str:
    return ops_of(x).device(x)


def on_cpu(x: Array) -> bool:
    return ops_of(x).on_cpu(x)


def needs_grad(*arrays: Any) -> bool:
    return any(map(is_torch, arrays)) and torch_ops().needs_grad(*arrays)


def first_nonfinite(x: Array, live: Array | None) -> tuple[int, ...] | None:
    """Index of the first live entry of `x` that is NaN or infinite, None when all are finite."""
    ops = ops_of(x)
    bad = ~ops.xp.isfinite(x)
    return ops.first_true(bad if live is None else bad & live)
