"""What CPU kernels that take a vector of rows at a time, one per lane, do about masked players and bad rows."""

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._simd import lanes, load, splat, store, to_lanes, where_at_most


@helper
def without_masked(live, start, rows, players, work, own, room):  # type: ignore[no-untyped-def]
    """0 for p of masked players, in `own` [player, lane]."""
    size, real = lanes(work), work.dtype.type
    zero, one = splat(work, real(0)), splat(work, real(1))
    to_lanes(live, start * players, rows, players, players, work, room)
    for at in range(0, players * size, size):
        store(work, own + at, where_at_most(one, load(work, room + at), load(work, own + at), zero))


@helper
def first_bad_of(wrong, live, start, rows, players, out, first_bad):  # type: ignore[no-untyped-def]
    """The first row of all that is not finite, with those from `start` on that `wrong` has bits for; in these masked
    players get 0 again."""
    for row in range(rows):
        if wrong >> row & 1:
            first_bad = start + row if first_bad < 0 else first_bad
            for i in range((start + row) * players, (start + row + 1) * players):
                if live.size and live[i] == 0:
                    out[i] = 0
    return first_bad
