"""Exact Shapley credit for sets of candidates: what each one adds to a reward that only the set earns.

    import shapley_kernels as sk

    credits = sk.shapley(sk.Max(rewards))          # rewards [..., players] -> credits [..., players]

A *game* says what a set is worth (`Max`, `TopM`, `OWA`, ...), a *value* how that is shared (`Shapley`, `Banzhaf`,
...), and a kernel computes it on this device. Importing this imports neither torch nor triton nor numba.
"""

from typing import Any

from shapley_kernels import rl
from shapley_kernels.allocate import semivalue, shapley
from shapley_kernels.arrays import pad
from shapley_kernels.backends import BackendUnavailable, warm_up
from shapley_kernels.estimate import Estimate, estimate
from shapley_kernels.games import (
    OWA,
    AtLeast,
    BudgetCap,
    Clusters,
    Coverage,
    Discounted,
    DoubleMajority,
    FacilityLocation,
    Game,
    KthBest,
    LogSum,
    Max,
    Mean,
    Median,
    Min,
    NoisyOr,
    Pairwise,
    Range,
    Table,
    TopM,
    TopMMean,
    Volume,
    WeightedVoting,
)
from shapley_kernels.interactions import interactions
from shapley_kernels.kernels._threads import get_num_threads, set_num_threads
from shapley_kernels.rl import RewardAllocator, grpo_advantages
from shapley_kernels.values import Banzhaf, BetaShapley, LeaveOneOut, Semivalue, Shapley, SizeWeights, Stratum


def __getattr__(name: str) -> Any:
    """`__version__` when it is asked for: importlib.metadata is slow to import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("shapley_kernels")
    except PackageNotFoundError:  # used from a source tree that is not installed
        return "0+unknown"


__all__ = [
    "OWA",
    "AtLeast",
    "BackendUnavailable",
    "Banzhaf",
    "BetaShapley",
    "BudgetCap",
    "Clusters",
    "Coverage",
    "Discounted",
    "DoubleMajority",
    "Estimate",
    "FacilityLocation",
    "Game",
    "KthBest",
    "LeaveOneOut",
    "LogSum",
    "Max",
    "Mean",
    "Median",
    "Min",
    "NoisyOr",
    "Pairwise",
    "Range",
    "RewardAllocator",
    "Semivalue",
    "Shapley",
    "SizeWeights",
    "Stratum",
    "Table",
    "TopM",
    "TopMMean",
    "Volume",
    "WeightedVoting",
    "estimate",
    "get_num_threads",
    "grpo_advantages",
    "interactions",
    "pad",
    "rl",
    "semivalue",
    "set_num_threads",
    "shapley",
    "warm_up",
]
