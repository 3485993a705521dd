"""What users pass: containers, numbers and lists become arrays, and messages say what is wrong with them."""

import sys
from collections.abc import Callable, Collection, Sequence
from math import inf, isfinite
from numbers import Integral, Real
from types import NoneType
from typing import Any

import numpy as np

from shapley_kernels.arrays.ops import (
    NUMPY,
    Array,
    Ops,
    device,
    is_torch,
    ops_of,
    to_torch,
)

_CPU_DEVICE = 1  # kDLCPU
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def describe(x: Any) -> str:
    """Type, dtype and shape of `x` in a few words, for error messages."""
    kind = f"{type(x).__module__.split('.')[0]}.{type(x).__name__}" if not isinstance(x, Real) else repr(x)
    if is_torch(x) and x.is_nested:  # which may have no shape
        return f"a nested {kind} of dtype {x.dtype}"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{kind} of dtype {x.dtype} and shape {tuple(x.shape)}"
    return kind


def one_of(subject: str, x: Any, known: Collection[Any]) -> Any:
    """`x`, if it is one of `known`, strings and perhaps None.

    Raises:
        TypeError: no string, be it an array or what cannot be compared.
        ValueError: another string.
    """
    if isinstance(x, (str, NoneType)) and x in known:
        return x
    error = ValueError if isinstance(x, str) else TypeError
    raise error(f"{subject} must be one of {', '.join(map(repr, known))}, got {x!r}")


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
        return (from_list(x.tolist(), name) if x.dtype.kind == "O" else x), None
    if is_torch(x):
        return dense(x, name), None
    if isinstance(x, (Real, list, tuple, np.generic)):
        return from_list(x, name), None
    if _is_masked(x):
        raise TypeError(f"{name}: expected a plain array, got a numpy masked array; pass x.data, and mask=~x.mask")
    if isinstance(x, np.ndarray):
        return x.view(np.ndarray), None
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        return _from_dlpack(x, name)
    raise TypeError(
        f"{name}: expected a numpy array, a torch tensor, an array that speaks DLPack, or a list of numbers, "
        f"got {describe(x)}; convert it with numpy.asarray(...)"
    )


def read(x: Any, name: str, *, integers: bool = False) -> tuple[Ops, Array, Callable[[Array], Any] | None]:
    """`native` with its operations, as floats (`floating`), or with integers=True as int64."""
    if type(x) is np.ndarray and x.dtype in _FLOATS and not integers:  # most are
        return NUMPY, x, None
    if (ops := ops_of(x)) is not NUMPY and not integers:
        return ops, _floating_tensor(dense(x, name), name), None
    array, restore = native(x, name)
    ops = ops_of(array)
    if not integers:
        return ops, floating(array, name), restore
    if not ops.is_integer(array):
        raise TypeError(f"{name} must be integers, got {describe(array)}; convert them, e.g. to int64")
    # narrow ones could not be compared with large numbers, and torch does not compute with unsigned ones
    return ops, ops.cast(array, ops.dtype("int64")), restore


def dense(x: Array, name: str) -> Array:
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


def from_list(x: Any, name: str, path: tuple[int, ...] = ()) -> np.ndarray:
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
        remedy = ""
        if x is None:
            remedy = "; leave players without a number out, or mask them (mask=)"
        elif isinstance(x, str):
            remedy = "; make numbers of texts: float(text), or of labels numpy.unique(labels, return_inverse=True)[1]"
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
        return _floating_tensor(x, name)
    if x.dtype.char in "dfe":
        return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    if x.dtype.kind in "iub":
        return x.astype(np.float64)
    if x.dtype.name == "bfloat16":  # numpy knows it through the ml_dtypes package
        return x
    raise TypeError(_no_reals(x, name))


def _floating_tensor(x: Array, name: str) -> Array:
    torch = sys.modules["torch"]
    if x.dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        return x.resolve_neg()  # of a view into complex numbers, whose memory holds the opposite
    if not x.dtype.is_floating_point and not x.dtype.is_complex:
        return x.to(torch.get_default_dtype())
    raise TypeError(_no_reals(x, name))


def _no_reals(x: Array, name: str) -> str:
    return (
        f"{name}: expected real numbers (float16, bfloat16, float32, float64, integers or bools), got dtype {x.dtype}"
    )


def narrowed(x: Array, dtype: Any, name: str, of: Array | None = None) -> Array:
    """`x` in `dtype`; what that does not hold is an OverflowError on the CPU, elsewhere NaN.

    Args:
        name: what `x` is called in the message, in the plural.
        of: what `x` was computed from, entry by entry, if that may have overflowed already.
    """
    ops = ops_of(x)
    narrow, xp = ops.cast(x, dtype), ops.xp
    if narrow is x and of is None:
        return x
    fits, host = xp.isfinite(narrow), ops.is_eager(x)
    if host and bool(fits.all()):
        return narrow
    beyond = xp.isfinite(x if of is None else of) & ~fits
    if not host:
        return xp.where(beyond, float("nan"), narrow)
    if (where := ops.first_true(beyond)) is not None:
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
    x = dense(x, name) if is_torch(x) else x
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
    several = getattr(x, "ndim", 0) != 0 or _is_masked(x)
    if several or isinstance(x, (str, bytes)) or "complex" in str(getattr(x, "dtype", "")):
        raise TypeError(f"{name}: expected a real number, got {x!r}")
    try:
        return float(x)
    except OverflowError:  # an int or a fraction
        return inf if x > 0 else -inf
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected a real number, got {x!r}") from None


def _is_masked(x: Any) -> bool:
    """Whether it is a masked array of numpy, whose class is not asked for in vain: that imports numpy.ma."""
    return isinstance(x, np.ndarray) and type(x) is not np.ndarray and isinstance(x, np.ma.MaskedArray)


def like(x: Any, reference: Array, name: str) -> Array:
    """`x` as an array of the same library and device as `reference`; lists and numbers are converted, arrays are not
    moved.

    Raises:
        TypeError: another library or another device: nothing is copied between them silently.
    """
    if type(x) is type(reference) is np.ndarray and x.dtype.kind != "O":  # most are
        return x
    if isinstance(x, (Real, list, tuple)) and is_torch(reference):
        return to_torch(from_list(x, name), reference.device)
    array, _ = native(x, name)
    if is_torch(array) != is_torch(reference) or device(array) != device(reference):
        raise TypeError(
            f"{name}: expected {_where(reference)}, as the rewards, got {_where(array)}; convert it before the call"
        )
    return array


def _where(x: Array) -> str:
    return f"a torch tensor on {device(x)}" if is_torch(x) else "a numpy array"


def broadcast(x: Array, shape: Sequence[int], name: str, axes: str) -> Array:
    """`x` broadcast to `shape`; `axes` names the axes in the message, such as "[..., players]"."""
    if tuple(x.shape) == tuple(shape):
        return x
    try:
        return ops_of(x).xp.broadcast_to(x, tuple(shape))
    except (ValueError, RuntimeError):
        raise ValueError(
            f"{name}: expected shape {tuple(shape)} {axes}, or one that broadcasts to it, got {tuple(x.shape)}"
        ) from None


def boolean(x: Any, reference: Array, name: str) -> Array:
    """`x` as a bool array of the library and device of `reference`."""
    array = like(x, reference, name)
    ops = ops_of(array)
    if array.dtype != ops.dtype("bool"):
        if 0 in array.shape:  # an empty list has no dtype of its own
            return ops.cast(array, ops.dtype("bool"))
        raise TypeError(
            f"{name}: expected dtype bool (True = takes part), got {array.dtype}; "
            "compare first, for example lengths > 0"
        )
    return array


def integer(subject: str, x: Any, least: int, expected: str = "") -> int:
    """A parameter that is an integer of at least that much.

    Args:
        expected: what it must be, for the message; "": an integer >= least.

    Raises:
        TypeError: no integer, such as 2.0 or True.
        ValueError: a smaller one.
    """
    is_integer = type(x) is int or (isinstance(x, Integral) and not isinstance(x, bool))
    if is_integer and x >= least:
        return int(x)
    error = ValueError if is_integer else TypeError
    raise error(f"{subject} must be {expected or f'an integer >= {least}'}, got {x!r}")


def number(subject: str, x: Any, expected: str, fits: Callable[[float], bool] = isfinite) -> float:
    """A parameter that is a real number, as a float.

    Args:
        expected: what it must be, for the message.
        fits: whether a number is that.

    Raises:
        TypeError: no real number, such as "0.5" or True.
        ValueError: one that does not fit.
    """
    is_real = type(x) is float or (isinstance(x, Real) and not isinstance(x, bool))
    if is_real and fits(real := as_float(x, subject)):
        return real
    error = ValueError if is_real else TypeError
    raise error(f"{subject} must be {expected}, got {x!r}")
