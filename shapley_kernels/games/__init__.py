"""Set utilities: what is a set of candidates worth? One file per family."""

from shapley_kernels.games.base import Combination, Game
from shapley_kernels.games.facility import Clusters, Coverage, FacilityLocation
from shapley_kernels.games.multilinear import AtLeast, LogSum, NoisyOr
from shapley_kernels.games.order.base import OrderGame
from shapley_kernels.games.order.utilities import (
    OWA,
    Discounted,
    KthBest,
    Max,
    Mean,
    Median,
    Min,
    Range,
    TopM,
    TopMMean,
)
from shapley_kernels.games.pairwise import Pairwise
from shapley_kernels.games.table import Table
from shapley_kernels.games.volume import Volume
from shapley_kernels.games.voting import BudgetCap, DoubleMajority, WeightedVoting

GAMES: tuple[type[Game], ...] = (
    *(Max, Min, Mean, Median, Range, TopM, TopMMean, KthBest, Discounted, OWA),
    *(FacilityLocation, Coverage, Clusters),
    *(Pairwise, Table),
    *(NoisyOr, AtLeast, LogSum, Volume, WeightedVoting, DoubleMajority, BudgetCap),
)
"""Every game, the one list that tests, benchmarks and docs go through."""

__all__ = [*(game.__name__ for game in GAMES), "GAMES", "Combination", "Game", "OrderGame"]
