"""Arrays in and out: containers, dtypes, shapes, masks, padding. All that knows numpy from torch from DLPack."""

from shapley_kernels.arrays.entry import (
    as_float,
    at,
    boolean,
    broadcast,
    describe,
    floating,
    in_row,
    integer,
    like,
    listed,
    narrowed,
    native,
    one_of,
    read,
)
from shapley_kernels.arrays.ops import (
    NUMPY,
    Array,
    Ops,
    compute_dtype,
    device,
    eps,
    first_nonfinite,
    is_float,
    is_integer,
    is_torch,
    may_keep,
    needs_grad,
    on_cpu,
    ops_of,
    to_float64,
    to_torch,
    torch_ops,
    widest,
)
from shapley_kernels.arrays.padding import pad
