"""`multilinear`: credits of product games, v(S) = 1 - prod_{i in S} (1 - p_i), such as the chance that some succeed.

With y_j = 1 - p_j >= 0 and m live players, a player's marginal contribution to S is p_i prod_{j in S} y_j. Averaged
over the coalitions S of the other live players, in one of two forms:

    nodes   out_i = p_i sum_q weight_q prod_{j != i} (1 - t_q + t_q y_j)
    sizes   out_i = p_i sum_s sizes_s mean over |S| = s of prod_{j in S} y_j

Every backend module has one function

    run(p, mask, t, weight, sizes, row_of_count, out)

    p         [rows, players], contiguous, live ones <= 1; below 0 they are no chances, and products grow
    mask      [rows, players] bool, contiguous, or None; what stands at masked players must not matter
    t         [nodes], compute dtype, in [0, 1]: inclusion probabilities (`Semivalue.nodes`); None selects sizes
    weight    [nodes], compute dtype: their weights; None with t
    sizes     [levels, players], compute dtype: size weights by number of live players, 0 from s = m on; signs are free
    row_of_count [players + 1] int32: from a row's number of live players to its row of `sizes`; None with sizes None
    out       [rows, players]: every element is written

    Compute dtype is that of the tables, promote(dtype of p, float32).

Promises: masked players get exactly 0 and change nothing, nor do players with p = 0. In a row with a non-finite live p
all live players get NaN, and no other row is touched. A row's result does not depend on the other rows.

Cost: nodes O(players * nodes) per row, sizes O(players^2) per row. numba keeps players * 128 bytes (nodes) or
players^2 * 8 bytes (sizes) of workspace; torch players * nodes or players^2 numbers per row, at most 2^24 numbers at
a time beside one row's (kept for the backward where p requires grad); Triton none (nodes) or the same players^2
(sizes), at most 2^28 bytes at a time beside one row's.
Error: nothing is divided out and nothing but 1 - t and 1 - p is subtracted, each rounded once, so every factor keeps
its relative accuracy, at p = 1 and at t = 1 too: with `absolute` the same sums over |weight| or |sizes|,

    |error| <= (4 players + nodes + 4) eps/2 |p_i| absolute      (nodes, t and weight taken as they are)
    |error| <= (6 players + 4) eps/2 |p_i| absolute              (sizes)

eps of the compute dtype. Partial products over the players before i, and over those after i, must neither overflow nor
underflow for this: with p of one sign only results that do so themselves are concerned.
"""
