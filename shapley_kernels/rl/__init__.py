"""From credits to training: advantages per candidate, laid on tokens. No framework; numpy and torch alike."""

from shapley_kernels.rl.advantages import grpo_advantages
from shapley_kernels.rl.allocator import RewardAllocator
from shapley_kernels.rl.baselines import Baseline, Broadcast, PrefixMarginals, WinnerTakesAll
from shapley_kernels.rl.diagnostics import diagnostics, merge_diagnostics
from shapley_kernels.rl.tokens import scatter_to_tokens

__all__ = [
    "Baseline",
    "Broadcast",
    "PrefixMarginals",
    "RewardAllocator",
    "WinnerTakesAll",
    "diagnostics",
    "grpo_advantages",
    "merge_diagnostics",
    "scatter_to_tokens",
]
