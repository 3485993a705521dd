"""The definition of a semivalue in rational arithmetic: the judge of everything else."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from math import comb, factorial, lcm, prod
from typing import Any

from shapley_kernels.arrays import as_float, integer, one_of
from shapley_kernels.games import Game
from shapley_kernels.interactions import INDICES
from shapley_kernels.rl import CandidateSwap, SuffixSwap
from shapley_kernels.values import Banzhaf, Semivalue, Shapley, brackets

MAX_PLAYERS = 16
"""2^16 coalitions take about a second."""


def exact_semivalue(
    game: Game | Callable[[frozenset[int]], Any],
    value: Semivalue | None = None,
    row: int | None = None,
    *,
    players: int | None = None,
) -> list[Any]:
    """phi_i = sum over S without i of w_|S| / C(n-1, |S|) (v(S + i) - v(S)), by 2^n enumeration; masked players get 0.

    Args:
        game: a game with at most 16 live players in each row; or, with `players`, any worth function from a frozenset
            of player indices to a number (floats count as the rational number they are).
        value: None: Shapley.
        row: index into the flattened batch; None: all rows.
        players: the number of players of a worth function, at most 16.

    Returns:
        Fractions [players] for one row, a single game or a worth function, else lists nested like the batch shape.

    Raises:
        TypeError: a worth function without `players`; arguments, or worths, of another kind.
        ValueError: too many players, a row that is not there.

    Cost: 2^n worths and O(n 2^n) integer additions per row.

    >>> exact_semivalue(lambda s: max(s, default=0), players=3)
    [Fraction(0, 1), Fraction(1, 2), Fraction(3, 2)]
    """
    value = Shapley() if value is None else value
    if not isinstance(value, Semivalue):
        raise TypeError(
            f"exact_semivalue: value must be a semivalue such as sk.Shapley(), or None, got {value!r}"
            f"{brackets(value, Semivalue)}"
        )
    if not isinstance(game, Game):
        return share(_table("exact_semivalue", game, players), value)
    return _by_row("exact_semivalue", game, partial(_of_row, game, value), row)


def _table(owner: str, worth: Any, players: Any) -> list[Fraction]:
    """`worth_table` of a function of sets of so many players."""
    if not callable(worth) or players is None:
        raise TypeError(
            f"{owner}: expected a game, or a worth function and players=, got {worth!r} with players={players!r}"
        )
    players = integer(f"{owner}: players", players, 0, f"an integer in 0..{MAX_PLAYERS}")
    return worth_table(worth, range(players))


def _by_row(owner: str, game: Game, of_row: Callable[[int], Any], row: int | None) -> Any:
    """`of_row` of one row, or of all, nested like the batch shape."""
    count = prod(game.batch_shape)
    if row is not None:
        expected = f"an integer in 0..{count - 1} or None"
        if (row := integer(f"{owner}: row", row, 0, expected)) >= count:
            raise ValueError(f"{owner}: row must be {expected}, got {row!r}")
        return of_row(row)
    if not game.batch_shape:
        return of_row(0)
    return _nested([of_row(i) for i in range(count)], game.batch_shape)


def _of_row(game: Game, value: Semivalue, row: int) -> list[Fraction]:
    live = game.live_players(row)
    return placed(share(worth_table(game.exact_worth(row), live), value), live, game.players)


def placed(amounts: Sequence[Any], live: Sequence[int], players: int, nothing: Any = Fraction(0)) -> list[Any]:
    """What live players get, among all players, the others `nothing`."""
    of_player = dict(zip(live, amounts, strict=True))
    return [of_player.get(i, nothing) for i in range(players)]


def _nested(items: list[Any], shape: Sequence[int]) -> list[Any]:
    if len(shape) == 1:
        return items
    width = len(items) // shape[0] if shape[0] else 0
    return [_nested(items[i * width : (i + 1) * width], shape[1:]) for i in range(shape[0])]


def worth_table(worth: Callable[[frozenset[int]], Any], live: Sequence[int]) -> list[Fraction]:
    """v of all 2^n coalitions of the players `live`; bit t of the index says whether live[t] is in."""
    n = len(live)
    if n > MAX_PLAYERS:
        raise ValueError(f"exact_semivalue: at most {MAX_PLAYERS} live players can be enumerated, got {n}")
    coalitions = (frozenset(live[t] for t in range(n) if index >> t & 1) for index in range(1 << n))
    return [_rational(worth(coalition)) for coalition in coalitions]


def _rational(x: Any) -> Fraction:
    return Fraction(x if isinstance(x, (int, float, Fraction)) else as_float(x, "worth"))


def share(table: Sequence[Fraction], value: Semivalue) -> list[Fraction]:
    """The credits [n] of a `worth_table` [2^n]: worths are summed by coalition size first, the weights come last."""
    n = len(table).bit_length() - 1
    unit = lcm(*(worth.denominator for worth in table))
    total = [0] * (n + 1)  # [size], in 1 / unit: sum of v(S)
    joined = [[0] * (n + 1) for _ in range(n)]  # [player][size]: of those S with the player in
    for index, worth in enumerate(table):
        size, amount = index.bit_count(), worth.numerator * (unit // worth.denominator)
        total[size] += amount
        for t in range(n):
            if index >> t & 1:
                joined[t][size] += amount
    weights = value.exact_size_weights(n) if n else []
    return [
        sum((w * (own[s + 1] - (total[s] - own[s])) / comb(n - 1, s) for s, w in enumerate(weights)), Fraction(0))
        / unit
        for own in joined
    ]


def exact_interactions(
    game: Game | Callable[[frozenset[int]], Any],
    index: str = "SII",
    row: int | None = None,
    *,
    players: int | None = None,
) -> list[Any]:
    """sum over S without i and j of q_|S| (v(S+i+j) - v(S+i) - v(S+j) + v(S)), by 2^n enumeration; the diagonal as in
    `interactions`; 0 in rows and columns of masked players.

    With q_s = s! (n-2-s)! / (n-1)! for "SII", 2^(2-n) for "BII", (2/n) / C(n-1, s) for "STII".

    Args, Returns, Raises: as in `exact_semivalue`, with a matrix [players][players] in place of a list.
    Cost: 2^n worths and O(n^2 2^n) rational additions per row.

    >>> exact_interactions(lambda s: max(s, default=0), "STII", players=3)[2]
    [Fraction(0, 1), Fraction(-1, 1), Fraction(2, 1)]
    """
    one_of("exact_interactions: index", index, INDICES)
    if not isinstance(game, Game):
        return pair_shares(_table("exact_interactions", game, players), index)
    return _by_row("exact_interactions", game, partial(_pairs_of_row, game, index), row)


def _pairs_of_row(game: Game, index: str, row: int) -> list[list[Fraction]]:
    live = game.live_players(row)
    shares = pair_shares(worth_table(game.exact_worth(row), live), index)
    lines = [placed(line, live, game.players) for line in shares]
    return placed(lines, live, game.players, nothing=[Fraction(0)] * game.players)


def pair_shares(table: Sequence[Fraction], index: str) -> list[list[Fraction]]:
    """The interactions [n][n] of a `worth_table` [2^n]."""
    n = len(table).bit_length() - 1
    weight = {
        "SII": lambda s: Fraction(factorial(s) * factorial(n - 2 - s), factorial(n - 1)),
        "BII": lambda s: Fraction(1, 2 ** (n - 2)),
        "STII": lambda s: Fraction(2, n * comb(n - 1, s)),
    }[index]
    if index == "STII":
        own = [table[1 << i] - table[0] for i in range(n)]
    else:
        own = share(table, Shapley() if index == "SII" else Banzhaf())
    matrix = [[own[i] if i == j else Fraction(0) for j in range(n)] for i in range(n)]
    for i in range(n):
        for j in range(i):
            by_size = [Fraction(0)] * (n - 1)
            for s in range(1 << n):
                if not s >> i & 1 and not s >> j & 1:
                    by_size[s.bit_count()] += (
                        table[s | 1 << i | 1 << j] - table[s | 1 << i] - table[s | 1 << j] + table[s]
                    )
            matrix[i][j] = matrix[j][i] = sum((weight(s) * x for s, x in enumerate(by_size)), Fraction(0))
    return matrix


def exact_decisions(
    value: SuffixSwap | CandidateSwap, lists: Sequence[Sequence[Any]], worth: Callable[[int, list[Any]], Any]
) -> list[list[Fraction]]:
    """The credits of the candidates of each rollout of a group, and last that of its stop, as the values define them.

    Args:
        value: `SuffixSwap(lam)` or `CandidateSwap()`.
        lists: the live candidates of each rollout, in order: any objects.
        worth: what a list of candidates is worth to a rollout, counted from 0.

    Returns: Fractions, a list for each rollout.
    Cost: G^2 K worths.

    >>> exact_decisions(SuffixSwap(lam=1.0), [[1, 4], [3]], lambda rollout, them: max(them, default=0))
    [[Fraction(1, 1), Fraction(3, 1), Fraction(0, 1)], [Fraction(-1, 1), Fraction(-1, 1)]]
    """
    return [_decisions(value, i, lists, partial(worth, i)) for i in range(len(lists))]


def _decisions(value: Any, i: int, lists: Sequence[Sequence[Any]], worth: Callable[[list[Any]], Any]) -> Any:
    own, others = lists[i], [other for h, other in enumerate(lists) if h != i]
    n, whole = len(own), _rational(worth([*own]))
    if not others:
        return [Fraction(0)] * (n + 1)

    def mean(sets: Iterable[list[Any]]) -> Fraction:
        return sum((_rational(worth(them)) for them in sets), Fraction(0)) / len(others)

    if isinstance(value, CandidateSwap):
        swapped = [mean([*own[:k], *other[k : k + 1], *own[k + 1 :]] for other in others) for k in range(n)]
        return [*(whole - x for x in swapped), Fraction(0)]
    states = [*(mean([*own[:k], *other[k:]] for other in others) for k in range(n + 1)), whole]
    steps, lam = [after - before for before, after in pairwise(states)], Fraction(value.lam)
    return [sum(lam ** (j - k) * steps[j] for j in range(k, n + 1)) for k in range(n + 1)]
