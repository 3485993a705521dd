"""`knapsack`: credits of games on a sum of independent integers, v(S) = E[worth(min(sum of the weights drawn, cap))].

A present player succeeds with its chance and then adds its weight to the total. With D_i(w) = worth(min(w + w_i, cap))
- worth(w), and P(w) the chance that the others in the coalition total w < cap,

    nodes   out_i = chance_i sum_q node_weight_q sum_w P(w; each other live player present with probability t_q) D_i(w)
    sizes   out_i = chance_i sum_s sizes_s sum_w P(w; mean over the coalitions of s other live players) D_i(w)

Every backend module has one function

    run(chance, weight, mask, worth, t, node_weight, sizes, row_of_count, out)

    chance       [rows, players], contiguous, in [0, 1]; None: all 1
    weight       [rows, players] int32 >= 0, contiguous; None: all 1
    mask         [rows, players] bool, contiguous, or None; what stands at masked players must not matter
    worth        [1 or rows, cap + 1], compute dtype, finite: of a total of 0 .. cap; larger totals count as cap
    t            [nodes], compute dtype, in [0, 1]: inclusion probabilities (`Semivalue.nodes`); None selects sizes
    node_weight  [nodes], compute dtype: their weights; None with t
    sizes        [levels, players], compute dtype: size weights by number of live players, 0 from that number on; signs
                 are free
    row_of_count [players + 1] int32: from a row's number of live players to its row of `sizes`; None with sizes None
    out          [rows, players]: every element is written

    Compute dtype is that of `worth`, promote(dtype of chance, float32).

Promises: masked players get exactly 0 and change nothing. In a row with a non-finite live chance all live players get
NaN, and no other row is touched. A row's result does not depend on the other rows.

Method: everybody but i is added to the state by halving. The state of a set of players holds everybody outside it; the
states of its two halves follow by adding the other half. Nothing is ever taken out again, and the worth is met only in
D_i, at the leaves: no division by small numbers and no difference of large ones. numba does without for up to 8 players
without chances, whose worth is the same in all rows and rises evenly below cap: it takes the D_i of all coalitions.

Cost: with a state of `nodes` or `players` times cap numbers, players * log2(players) steps over it per row: O(nodes
cap players log players), or O(cap players^2 log players) for sizes. Workspace log2(players) + 2 states per row: numba
for one row (sizes: only up to the largest size with a weight), or, by nodes without weights, for a vector of rows;
torch log2(players) of them for at most 2^22 numbers of state at a time beside one row's (all steps are kept for the
backward where chance or worth require grad); Triton for at most 2^28 bytes at a time beside one row's.
Error: all terms but D_i are >= 0. With `absolute` the same sums over |node_weight| or |sizes| and |D_i|,

    |error| <= (6 players + states + cap + 6) eps/2 chance_i absolute     (t and weights taken as they are)

with `states` the nodes or players, eps of the compute dtype.
"""
