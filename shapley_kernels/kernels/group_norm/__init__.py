"""`group_norm`: the credits of each group centred and divided by their standard deviation.

For the live credits x of one group, measured from one of them, so that an offset of all costs no digits:

    out = (x - center) / (std + eps),    std^2 = sum (x - mean)^2 / (count - ddof), in two passes

Every backend module has one function

    run(x, mask, order, starts, others, center, scale, ddof, min_std, eps, rounding, ranks, out) -> a bad group, or -1

    x       [rollouts, K], contiguous
    mask    [rollouts, K] bool, contiguous, or None; what stands at masked candidates must not matter
    order   [rollouts] int64, the rollouts of the first group, then those of the second, ..; None: as they stand. numpy,
            for every backend, and so is
    starts  [groups + 1] int64, where each group begins in `order`
    others  [rollouts, numbers], dtype of x, or None: further numbers of the rollouts, all live, which are normalised in
            place of x by the statistics of x; not with center "slot"
    center  one of CENTERS: the mean of the group, of its other rollouts, of its candidates at the same index, or 0
    scale   one of SCALES: the std of the group (with "slot" of the candidates at the same index), of all of x around
            its mean, or 1
    ranks   over which the groups are spread: its sum(statistic) and lowest(statistic) reduce a tensor over all of them,
            in place. All run with groups numbered alike, some of which may be empty here. None: this process alone
    out     [rollouts, K], or as others: every element is written if -1 is returned

Sums are in float64 (on devices that have none in float32). Where count <= ddof, std < min_std or std <= rounding
|mean|, out is 0: `rounding` is that of x, relative. Masked candidates get 0.

A live credit that is not finite, or a sum of squares (of differences, with scale "none"), spoils its own group (with
"slot", its slot) and no other: on the CPU one such group is returned, in the order of `starts`, and out is unfinished;
elsewhere it becomes NaN, and nobody looks.

Not everything is served everywhere: numba has no `ranks`, and Triton neither these nor `order`, `others`, groups of
different sizes or statistics of the whole batch (`serves`).
"""

CENTERS = ("group", "loo", "slot", "none")
SCALES = ("group", "batch", "none")
