"""Truth for small games: what any allocation can be compared with."""

from shapley_kernels.testing.exact import exact_semivalue

__all__ = ["exact_semivalue"]
