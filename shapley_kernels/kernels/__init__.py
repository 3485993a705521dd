"""Numerical primitives, a folder each: a contract, a torch reference, a numba and a Triton kernel. None knows a
game."""

from collections.abc import Iterable
from numbers import Integral


def warm_up(players: Iterable[int] = (4, 8, 16), dtypes: Iterable[str] = ("float32",)) -> None:
    """Compile the CPU kernels that games of sorted rewards with these numbers of players need, and those of
    `grpo_advantages`, `scatter_to_tokens` and `rl.SuffixSwap`, or load them, before the first call does.

    Args:
        players: integers >= 1. Each number up to 8 has kernels of its own; all above share theirs.
        dtypes: "float32" (also for float16 and bfloat16), "float64".

    Raises:
        TypeError, ValueError: other players or dtypes.

    Cost: some 10 s for each number, and 10 s more, by dtype; where they are on disk from before, a hundredth of that.
    They are kept in $NUMBA_CACHE_DIR, or else in the cache folder of the user.
    """
    from shapley_kernels.kernels.group_norm import _numba as group_norm
    from shapley_kernels.kernels.order import _numba as order
    from shapley_kernels.kernels.scatter import _numba as scatter
    from shapley_kernels.kernels.swap import _numba as swap

    for name, given in (("players", players), ("dtypes", dtypes)):
        if isinstance(given, str) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
            example = "warm_up(players=[5], dtypes=['float32'])"
            raise TypeError(f"warm_up: {name} must be a list, as in {example}, got {given!r}")
    players, dtypes = list(players), list(dtypes)
    for n in players:
        if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
            raise ValueError(f"warm_up: players must be integers >= 1, got {n!r}")
    for dtype in dtypes:
        if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
            raise ValueError(f"warm_up: dtypes must be 'float32' or 'float64', got {dtype!r}")
    order.warm_up(players, dtypes)
    group_norm.warm_up(dtypes)
    scatter.warm_up(dtypes)
    swap.warm_up(dtypes)
