"""`order`: two weighted running sums over the gaps of each sorted row.

For a row with m live players, r_[1] >= ... >= r_[m], r_[m+1] = c, gaps D_k = r_[k] - r_[k+1], and coefficients A, B, C
of m live players:

    out_[j] = sum_{k >= j} D_k A_k + sum_{k < j} D_k B_k + c C

Every backend module has one function

    run(rewards, mask, v_empty, inside, outside, empty, level_of, out)

    rewards   [rows, players], contiguous
    mask      [rows, players] bool, contiguous, or None; what stands at masked players must not matter
    v_empty   [1] or [rows], compute dtype: c
    inside    [levels, players], compute dtype: A; entry k - 1 serves the k best
    outside   [levels, players], compute dtype: B; None when it is all 0
    empty     [levels], compute dtype: C
    level_of  [players + 1] int32: from a row's number of live players to its row of the three tables
    out       [rows, players]: every element is written

    Compute dtype is promote(dtype of rewards, float32).

Promises: masked players get exactly 0. In a row with a non-finite live reward or v_empty all live players get NaN,
and no other row is touched. Equal rewards get bitwise equal results. A row's result does not depend on the other rows.

Cost: O(players log players) per row (torch, triton); numba takes O(players^2) steps up to 8 players, O(players log^2
players) steps of whole vectors up to 1024, and an argsort above. Reads and writes 2 * players * itemsize bytes per row,
plus players bytes with a mask.
Error: at most (players + 2) eps/2 sum_k |D_k| (|A_k| + |B_k|) + |c C| eps of the compute dtype, and one output
rounding. Gaps must not overflow: rewards and v_empty within half the largest number of the compute dtype.
"""
