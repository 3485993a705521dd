"""`table`: mean marginal contributions from the worths of all coalitions.

For a row with live players L, |L| = m, coalitions S in L, bit i of the index of a coalition says whether i is in it,

    out_i = sum_{S without i} weights_|S| (v(S + i) - v(S))

Every backend module has one function

    run(values, mask, weights, row_of_count, out)

    values    [rows, 2^players], contiguous: v; entries of coalitions with a masked player must not matter
    mask      [rows, players] bool, contiguous, or None
    weights   [levels, players], compute dtype: weight of *one* coalition of s = 0 .. m - 1 players, 0 beyond
    row_of_count [players + 1] int32: from a row's number of live players to its row of weights
    out       [rows, players]: every element is written

    Compute dtype is promote(dtype of values, float32); at most 20 players.

For size weights p_s of a semivalue, weights_s = p_s / C(m - 1, s).

Promises: masked players get exactly 0. In a row with a non-finite live entry all live players get NaN, and no other
row is touched. A row's result does not depend on the other rows.

Cost: players 2^(players - 1) differences a row. Memory beside the arguments: numba 2^players numbers; Triton none;
torch 3 rows 2^(players - 1) numbers (with a mask 5).
Error: differences are taken first, so what all worths have in common costs nothing, and they are summed in a tree
(compensated, in Triton): at most (players + 6) eps/2 sum_S weights_|S| |v(S + i) - v(S)| of the compute dtype, and one
output rounding. Differences must not overflow. Worst found against rational arithmetic, 1 to 12 players: 0.22 of it, on
every backend (tests/kernels/test_kernels.py).
"""
