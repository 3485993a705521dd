"""From rollouts to training: their candidates, advantages per candidate, laid on tokens. No framework; numpy and torch
alike."""

from shapley_kernels.rl.advantages import grpo_advantages
from shapley_kernels.rl.allocator import RewardAllocator
from shapley_kernels.rl.baselines import Baseline, Broadcast, PrefixMarginals, WinnerTakesAll
from shapley_kernels.rl.candidates import candidate_ids, segments
from shapley_kernels.rl.codec import decode_credits, decode_rewards, encode_credits, encode_rewards
from shapley_kernels.rl.combine import combine_advantages
from shapley_kernels.rl.diagnostics import diagnostics, merge_diagnostics
from shapley_kernels.rl.group_value import GroupValue
from shapley_kernels.rl.parsers import after, bulleted, json_list, numbered, separated, tagged
from shapley_kernels.rl.rollouts import rollout_advantages
from shapley_kernels.rl.scorer import SetScorer
from shapley_kernels.rl.swaps import CandidateSwap, SuffixSwap
from shapley_kernels.rl.tokens import scatter_to_tokens

__all__ = [
    "Baseline",
    "Broadcast",
    "CandidateSwap",
    "GroupValue",
    "PrefixMarginals",
    "RewardAllocator",
    "SetScorer",
    "SuffixSwap",
    "WinnerTakesAll",
    "after",
    "bulleted",
    "candidate_ids",
    "combine_advantages",
    "decode_credits",
    "decode_rewards",
    "diagnostics",
    "encode_credits",
    "encode_rewards",
    "grpo_advantages",
    "json_list",
    "merge_diagnostics",
    "numbered",
    "rollout_advantages",
    "scatter_to_tokens",
    "segments",
    "separated",
    "tagged",
]
