"""`group_norm`: the credits of each group centred and divided by their standard deviation.

For the live credits x of one group, measured from one of them, so that an offset of all costs no digits:

    out = (x - center) / (std + eps),    std^2 = sum (x - mean)^2 / (count - ddof), in two passes

On the CPU (`_numba`), for groups of any size in any order:

    run(x, mask, order, starts, center, scale, ddof, min_std, eps, rounding, out) -> -1, or a bad group

    x       [rollouts, K], contiguous
    mask    [rollouts, K] bool, contiguous, or None; what stands at masked candidates must not matter
    order   [rollouts] int64, the rollouts of the first group, then those of the second, ..; None: as they stand
    starts  [groups + 1] int64, where each group begins in `order`
    center  index in CENTERS: the group, its other rollouts, its candidates at the same index, or 0
    scale   index in SCALES: the group (with "slot" the candidates at the same index), all of x around its mean, or 1
    out     [rollouts, K], dtype of x: every element is written if -1 is returned. Else the result is where a group
            begins in `order` of which a live credit, or the sum of squares (of differences, with scale "none"), is not
            finite (of all groups together: 0)

On the GPU (`_triton`), for groups of one size, x [groups, size, K]. Groups over ranks, batch statistics on the GPU and
other devices are served by `rl.advantages`, one operation of torch after the other.

Sums are in float64. Where count <= ddof, std < min_std or std <= rounding |mean|, out is 0: `rounding` is that of x,
relative. Masked candidates get 0.
"""

CENTERS = ("group", "loo", "slot", "none")
SCALES = ("group", "batch", "none")
