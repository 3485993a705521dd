"""Numerical primitives, a folder each: a contract, a torch reference, a numba and a Triton kernel. None knows a
game."""
