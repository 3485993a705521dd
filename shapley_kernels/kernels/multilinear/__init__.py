"""`multilinear`: credits of product games, v(S) = prod_{i in S} (1 + x_i) - 1.

With y_j = 1 + x_j >= 0 and m live players, a player's marginal contribution to S is x_i prod_{j in S} y_j. Averaged
over the coalitions S of the other live players, in one of two forms:

    nodes   out_i = x_i sum_q weight_q prod_{j != i} (1 - t_q + t_q y_j)
    sizes   out_i = x_i sum_s sizes_s mean over |S| = s of prod_{j in S} y_j

Every backend module has one function

    run(x, mask, t, weight, sizes, row_of_count, out)

    x         [rows, players], contiguous, live ones >= -1
    mask      [rows, players] bool, contiguous, or None; what stands at masked players must not matter
    t         [nodes], compute dtype, in [0, 1]: inclusion probabilities (`Semivalue.nodes`); None selects sizes
    weight    [nodes], compute dtype: their weights; None with t
    sizes     [levels, players], compute dtype: size weights by number of live players, 0 from s = m on; signs are free
    row_of_count [players + 1] int32: from a row's number of live players to its row of `sizes`; None with sizes None
    out       [rows, players]: every element is written

    Compute dtype is that of the tables, promote(dtype of x, float32).

Promises: masked players get exactly 0 and change nothing, nor do players with x = 0. In a row with a non-finite live x
all live players get NaN, and no other row is touched. A row's result does not depend on the other rows.

Cost: nodes O(players * nodes) per row, sizes O(players^2) per row. numba keeps players * 128 bytes (nodes) or
players^2 * 8 bytes (sizes) of workspace; torch players * nodes or players^2 numbers per row, at most 2^24 numbers at
a time beside one row's (kept for the backward where x requires grad); Triton none (nodes) or the same players^2
(sizes), at most 2^28 bytes at a time beside one row's.
Error: nothing is divided out and nothing but 1 - t and 1 + x is subtracted, each rounded once, so every factor keeps
its relative accuracy, at x = -1 and at t = 1 too: with `absolute` the same sums over |weight| or |sizes|,

    |error| <= (4 players + nodes + 4) eps/2 |x_i| absolute      (nodes, t and weight taken as they are)
    |error| <= (6 players + 4) eps/2 |x_i| absolute              (sizes)

eps of the compute dtype. Partial products over the players before i, and over those after i, must neither overflow nor
underflow for this: with x of one sign only results that do so themselves are concerned.
"""
