"""Numerical primitives, a folder each: a contract, a torch reference, a numba and a Triton kernel. None knows a
game.

Beside the `run` of the contract, a numba module may have

    bound(shape, *coefficients) -> work(*data, out), or None

for calls so small that what is chosen takes as long as the kernel: that of a result [rows, players] of this shape, with
all chosen but the data, which are contiguous and of the compute dtype. Rows of data and `out` may have several axes.
"""
