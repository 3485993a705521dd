"""Arrays in and out: containers, dtypes, shapes, masks, padding. The only module that knows numpy from torch from
DLPack."""

import sys
from collections.abc import Callable, Mapping, Sequence, Set
from functools import reduce
from math import inf
from numbers import Real
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A numpy array or a torch tensor (inside the package), or anything that speaks DLPack (at its border)."""

_CPU_DEVICE = 1  # kDLCPU


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


def describe(x: Any) -> str:
    """Type, dtype and shape of `x` in a few words, for error messages."""
    kind = f"{type(x).__module__.split('.')[0]}.{type(x).__name__}" if not isinstance(x, Real) else repr(x)
    if is_torch(x) and x.is_nested:  # which may have no shape
        return f"a nested {kind} of dtype {x.dtype}"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{kind} of dtype {x.dtype} and shape {tuple(x.shape)}"
    return kind


def one_of(subject: str, x: Any, known: Sequence[Any]) -> Any:
    """`x`, if it is one of `known`, strings and perhaps None.

    Raises:
        ValueError: anything else, be it an array or what cannot be compared.
    """
    if not isinstance(x, (str, NoneType)) or x not in known:
        raise ValueError(f"{subject} must be one of {', '.join(map(repr, known))}, got {x!r}")
    return x


def at(where: Sequence[int]) -> str:
    """The place of an entry for a message: " at [0, 1]", nothing for the only one there is."""
    return f" at {list(where)}" if where else ""


def in_row(index: int, batch_shape: Sequence[int]) -> str:
    """The place of a game for a message, from its index in the flattened batch: " in row [0, 1]", nothing for a single
    game."""
    return f" in row {[int(i) for i in np.unravel_index(index, tuple(batch_shape))]}" if batch_shape else ""


def native(x: Any, name: str) -> tuple[Array, Callable[[Array], Any] | None]:
    """`x` as a numpy array or torch tensor, without a copy where possible, and how to hand a result back.

    Args:
        x: numpy array, torch tensor, DLPack array, number, or (nested) list of numbers.
        name: what `x` is called in messages.

    Returns:
        The array and a function from a result to the caller's container (None: nothing to do).

    Raises:
        TypeError: not an array, a sparse, nested, quantized or meta tensor, something else than numbers in a list, or
            an array library that cannot hand results back.
        ValueError: a ragged list.
    """
    if type(x) is np.ndarray:
        return (_from_list(x.tolist(), name) if x.dtype.kind == "O" else x), None
    if is_torch(x):
        return _dense(x, name), None
    if isinstance(x, (Real, list, tuple, np.generic)):
        return _from_list(x, name), None
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain array, got a numpy masked array; pass x.data, and mask=~x.mask")
    if isinstance(x, np.ndarray):
        return x.view(np.ndarray), None
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        return _from_dlpack(x, name)
    raise TypeError(
        f"{name}: expected a numpy array, a torch tensor, an array that speaks DLPack, or a list of numbers, "
        f"got {describe(x)}; convert it with numpy.asarray(...)"
    )


def _dense(x: Array, name: str) -> Array:
    """The tensor `x`, if its numbers lie in memory, a row like the other."""
    if x.is_nested:
        got, remedy = "a nested one", "`rewards, mask = sk.pad(x)`"
    elif x.layout is not sys.modules["torch"].strided:
        got, remedy = f"one of layout {x.layout}", "x.to_dense()"
    elif x.is_quantized:
        got, remedy = "a quantized one", "x.dequantize()"
    elif x.is_meta:
        got, remedy = "one on the device meta, which has none", "a tensor on cpu or cuda"
    else:
        return x
    raise TypeError(f"{name}: expected a dense tensor with numbers, got {got}; use {remedy}")


def _from_list(x: Any, name: str, path: tuple[int, ...] = ()) -> np.ndarray:
    """A number, or a (nested) list of them that stands at `path`, as an array; fractions and integers of more than 64
    bits become float64."""
    if isinstance(x, (list, tuple)) and any(is_torch(item) for item in x):
        raise TypeError(
            f"{name}: expected one array, got a {type(x).__name__} of torch tensors; use torch.stack or sk.pad"
        )
    try:
        array = np.asarray(x)
    except ValueError as error:
        _refuse_others(x, name, path)
        raise ValueError(
            f"{name}: expected rows of equal length, got a ragged list ({error}); "
            "make a padded array and a mask with `rewards, mask = sk.pad(rows)`"
        ) from None
    if array.dtype.kind in "iub" or array.dtype.char in "dfe" or array.dtype.name == "bfloat16":
        return array
    _refuse_others(x, name, path)
    return np.array([as_float(entry, name) for entry in array.reshape(-1).tolist()]).reshape(array.shape)


def _refuse_others(x: Any, name: str, path: tuple[int, ...]) -> None:
    """Raise a TypeError that names the first item of nested lists that is no real number, if any is."""
    if isinstance(x, (list, tuple)):
        for i, item in enumerate(x):
            _refuse_others(item, name, (*path, i))
    elif isinstance(x, np.ndarray) and x.dtype.kind not in "fiub":
        _refuse_others(x.tolist(), name, path)
    elif isinstance(x, NO_NUMBERS) or not (isinstance(x, Real) or hasattr(x, "__array__")):
        remedy = "; leave players without a number out, or mask them (mask=)" if x is None else ""
        raise TypeError(f"{name}: expected real numbers, got {x!r}{at(path)}{remedy}")


NO_NUMBERS = (np.complexfloating, np.character, np.datetime64, np.timedelta64, np.void)
"""Scalars of numpy, of which some say that they are real numbers."""


def _from_dlpack(x: Any, name: str) -> tuple[Array, Callable[[Array], Any]]:
    if hasattr(x, "__array_namespace__"):
        restore = x.__array_namespace__().from_dlpack
    else:
        restore = getattr(sys.modules.get(type(x).__module__.split(".")[0]), "from_dlpack", None)
    if restore is None:
        raise TypeError(
            f"{name}: {describe(x)} has no from_dlpack to hand results back; pass a numpy array or torch tensor"
        )
    if x.__dlpack_device__()[0] == _CPU_DEVICE:
        try:
            return np.from_dlpack(x), lambda result: restore(np.asarray(result))  # it may be a scalar of numpy
        except (BufferError, RuntimeError, TypeError):  # a dtype numpy has no name for, such as bfloat16
            pass
    try:
        import torch
    except ImportError:
        raise TypeError(
            f"{name}: {describe(x)} can only be read through torch; pip install 'shapley_kernels[torch]'"
        ) from None
    return torch.from_dlpack(x), restore


def floating(x: Array, name: str) -> Array:
    """`x` in a supported float dtype: float16, bfloat16, float32 and float64 stay; integers and bools become
    float64 (numpy) or the default dtype (torch).

    Raises:
        TypeError: complex, object, string, longdouble or 8-bit float data.
    """
    if is_torch(x):
        torch = sys.modules["torch"]
        if x.dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
            return x.resolve_neg()  # of a view into complex numbers, whose memory holds the opposite
        if not x.dtype.is_floating_point and not x.dtype.is_complex:
            return x.to(torch.get_default_dtype())
    else:
        if x.dtype.char in "dfe":
            return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
        if x.dtype.kind in "iub":
            return x.astype(np.float64)
        if x.dtype.name == "bfloat16":  # numpy knows it through the ml_dtypes package
            return x
    raise TypeError(
        f"{name}: expected real numbers (float16, bfloat16, float32, float64, integers or bools), got dtype {x.dtype}"
    )


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


def narrowed(x: Array, dtype: Any, name: str, of: Array | None = None) -> Array:
    """`x` in `dtype`; what that does not hold is an OverflowError on the CPU, elsewhere NaN.

    Args:
        name: what `x` is called in the message, in the plural.
        of: what `x` was computed from, entry by entry, if that may have overflowed already.
    """
    narrow, xp = cast(x, dtype), namespace(x)
    if narrow is x and of is None:
        return x
    fits, host = xp.isfinite(narrow), on_cpu(x) and not is_traced(x)
    if host and bool(fits.all()):
        return narrow
    beyond = xp.isfinite(x if of is None else of) & ~fits
    if not host:
        return xp.where(beyond, float("nan"), narrow)
    if (where := first_true(beyond)) is not None:
        raise OverflowError(
            f"{name} must be in the range of {dtype}, got {float(x[where])} at {list(where)}; scale the rewards down, "
            "or pass a wider dtype"
        )
    return narrow


def listed(x: Any, name: str) -> Any:
    """An array as a (nested) list of its entries; anything else as it is.

    Raises:
        TypeError: a sparse, nested, quantized or meta tensor.
    """
    x = _dense(x, name) if is_torch(x) else x
    return x.tolist() if hasattr(x, "tolist") else x


def as_float(x: Any, name: str) -> float:
    """A number as a float, infinite where that has no room for it.

    Raises:
        TypeError: a complex number, of which numpy would drop the imaginary part, a string, or no number at all.
    """
    if type(x) is float:
        return x
    if is_torch(x):
        x = x.detach()
    several = getattr(x, "ndim", 0) != 0 or isinstance(x, np.ma.MaskedArray)
    if several or isinstance(x, (str, bytes)) or "complex" in str(getattr(x, "dtype", "")):
        raise TypeError(f"{name}: expected a real number, got {x!r}")
    try:
        return float(x)
    except OverflowError:  # an int or a fraction
        return inf if x > 0 else -inf
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected a real number, got {x!r}") from None


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
    return _promoted(a.dtype, b.dtype)


def _promoted(a: Any, b: Any) -> Any:
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


def like(x: Any, reference: Array, name: str) -> Array:
    """`x` as an array of the same library and device as `reference`; lists and numbers are converted, arrays are not
    moved.

    Raises:
        TypeError: another library or another device: nothing is copied between them silently.
    """
    if isinstance(x, (Real, list, tuple)) and is_torch(reference):
        return to_torch(_from_list(x, name), reference.device)
    array, _ = native(x, name)
    if is_torch(array) != is_torch(reference) or device(array) != device(reference):
        raise TypeError(
            f"{name}: expected {_where(reference)}, as the rewards, got {_where(array)}; convert it before the call"
        )
    return array


def _where(x: Array) -> str:
    return f"a torch tensor on {device(x)}" if is_torch(x) else "a numpy array"


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


def broadcast(x: Array, shape: Sequence[int], name: str, axes: str) -> Array:
    """`x` broadcast to `shape`; `axes` names the axes in the message, such as "[..., players]"."""
    if tuple(x.shape) == tuple(shape):
        return x
    try:
        return namespace(x).broadcast_to(x, tuple(shape))
    except (ValueError, RuntimeError):
        raise ValueError(
            f"{name}: expected shape {tuple(shape)} {axes}, or one that broadcasts to it, got {tuple(x.shape)}"
        ) from None


def boolean(x: Any, reference: Array, name: str) -> Array:
    """`x` as a bool array of the library and device of `reference`."""
    array = like(x, reference, name)
    if array.dtype != named_dtype(array, "bool"):
        if 0 in array.shape:  # an empty list has no dtype of its own
            return cast(array, named_dtype(array, "bool"))
        raise TypeError(
            f"{name}: expected dtype bool (True = takes part), got {array.dtype}; "
            "compare first, for example lengths > 0"
        )
    return array


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
    dtype = reduce(_promoted, dtypes) if dtypes else np.dtype(np.float64)
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
        row = _from_list(list(row), "pad", path)
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
    tensors = [floating(_dense(row, "pad"), "pad") for _, row in leaves]
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
