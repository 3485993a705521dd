"""`pairwise`: own worths and the weights of pairs, one weighted row sum a player.

For a row with m live players

    out_i = own a_i + pair sum_{j != i live} w_ij

Every backend module has one function

    run(w, values, mask, own, pair, row_of_count, out)

    w         [rows, players, players], contiguous, symmetric: either of w_ij and w_ji may be summed; not the diagonal
    values    [rows, players], contiguous, or None when all are 0: a
    mask      [rows, players] bool, contiguous, or None; what stands at masked players must not matter
    own       [levels], compute dtype
    pair      [levels], compute dtype
    row_of_count [players + 1] int32: from a row's number of live players to its entry in own and pair
    out       [rows, players]: every element is written

    Compute dtype is promote(dtype of w, float32).

For size weights p_s of a semivalue, own = sum_s p_s and pair = sum_s p_s s / (m - 1), the chance that a given other
player is present.

Promises: masked players get exactly 0. In a row with a non-finite live value or pair all live players get NaN, and no
other row is touched. A row's result does not depend on the other rows.

Cost: players^2 additions a row; reads w once, and holds no copy of it (torch: one). Memory bound.
Error: at most (players + 2) eps/2 (|own a_i| + |pair| sum_j |w_ij|) of the compute dtype, and one output rounding; no
sum of magnitudes may overflow. Worst found against rational arithmetic, 2 to 130 players: 0.39 of it, on every backend
(tests/kernels/test_kernels.py).
"""
