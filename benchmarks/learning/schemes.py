"""The credits that are compared: each is a few arguments of `RewardAllocator`."""

from typing import NamedTuple

import shapley_kernels as sk
from shapley_kernels import rl


class Scheme(NamedTuple):
    """pooled: all candidates of a group are one set."""

    value: sk.Semivalue | rl.Baseline | rl.GroupValue
    sizes: str = "worth"
    pooled: bool = False


POOLED = "pooled Stratum(K)"
SCHEMES = {
    "GRPO": Scheme(rl.Broadcast()),
    "Shapley": Scheme(sk.Shapley()),
    "Shapley, share": Scheme(sk.Shapley(), "share"),
    "LeaveOneOut": Scheme(sk.LeaveOneOut()),
    "Banzhaf": Scheme(sk.Banzhaf()),
    "BetaShapley(4, 1)": Scheme(sk.BetaShapley(4, 1)),
    "Stratum(1)": Scheme(sk.Stratum(1)),
    "Stratum(3)": Scheme(sk.Stratum(3)),
    "WinnerTakesAll": Scheme(rl.WinnerTakesAll()),
    "PrefixMarginals": Scheme(rl.PrefixMarginals()),
    "CandidateSwap": Scheme(rl.CandidateSwap()),
    "SuffixSwap(0)": Scheme(rl.SuffixSwap(0.0)),
    "SuffixSwap(0.25)": Scheme(rl.SuffixSwap(0.25)),
    "SuffixSwap(0.5)": Scheme(rl.SuffixSwap(0.5)),
    "SuffixSwap(1)": Scheme(rl.SuffixSwap(1.0)),
    POOLED: Scheme(sk.Stratum(6), pooled=True),
}
"""By the name that the records and the page have; GRPO is `Broadcast()`, the worth of the set for every candidate."""
