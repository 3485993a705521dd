"""`order`: two weighted running sums over the gaps of each sorted row.

For a row with m live players, r_[1] >= ... >= r_[m], r_[m+1] = c, gaps D_k = r_[k] - r_[k+1], and coefficients A, B, C
of m live players:

    out_[j] = sum_{k >= j} D_k A_k + sum_{k < j} D_k B_k + c C

Every backend module has one function

    run(rewards, mask, v_empty, A, B, C, row_of_count, out)

    rewards   [rows, players], contiguous
    mask      [rows, players] bool, contiguous, or None; what stands at masked players must not matter
    v_empty   [1] or [rows], compute dtype: c
    A         [levels, players], compute dtype; entry k - 1 serves the k best
    B         [levels, players], compute dtype; None when it is all 0
    C         [levels], compute dtype
    row_of_count [players + 1] int32: from a row's number of live players to its row of the three tables
    out       [rows, players]: every element is written

    Compute dtype is promote(dtype of rewards, float32).

Promises: masked players get exactly 0. In a row with a non-finite live reward or v_empty all live players get NaN,
and no other row is touched. So they do where a credit, or what it is added up from, is beyond the range of the compute
dtype (Triton: some get NaN or infinity). Equal rewards get bitwise equal results. A row's result does not depend on the
other rows.

Cost: O(players log players) per row (torch, triton); numba takes O(players log^2 players) up to 1024, and an argsort
above (docs/explanation/cpu.md). Reads and writes 2 * players * itemsize bytes per row, plus players bytes with a mask.
Error: at most (players + 2) eps/2 sum_k |D_k| (|A_k| + |B_k|) + |c C| eps of the compute dtype, and one output
rounding. Gaps must not overflow: rewards and v_empty within half the largest number of the compute dtype.

Gradients: torch differentiates itself; `_numba_backward` and `_triton_backward` have

    run(grad_out, rewards, mask, v_empty, A, B, C, row_of_count, grad_rewards, grad_v_empty)

    grad_out      [rows, players]: the gradient with respect to `out`; what stands at masked players must not matter
    grad_rewards  [rows, players]: every element is written
    grad_v_empty  [rows], compute dtype, or None: the gradient with respect to each row's c, to be summed where v_empty
                  is [1]

With g = grad_out in the order of the sorted row, G_k = g_[1] + ... + g_[k] and E_k = A_k G_k + B_k (G_m - G_k), E_0 = 0
and B_m = 0, the gradient of r_[k] is E_k - E_{k-1}, and that of c is (C - A_m) G_m. Players tied at ranks k+1 .. k+t
get (E_{k+t} - E_k) / t each: the mean over all orders of the tied, independent of their order in the row. Masked
players get exactly 0, and so does a row with a non-finite live reward or v_empty, whose credits are NaN everywhere near
it.

Cost: O(players log players) per row (triton up to 64 players: players^2 comparisons, without a shuffle).
Error: at most (2 players + 6) eps/2 (a_k + a_{k-1}) sum |g| / t of the compute dtype, a_k = |A_k| + |B_k|, and one
output rounding; for c (players + 2) eps/2 (|C| + |A_m|) sum |g|.
"""
