"""`scatter`: every token gets the number of its candidate.

run(table, ids, starts, out) -> place of the first bad id, or -1
count(ids, starts, counts) -> the same

table   [rollouts, 1 + K], contiguous; column 0 is for the tokens of no candidate
ids     [tokens] int32 or int64, contiguous: those of all rollouts, one rollout after the other; bad is what is not
        in 0..K
starts  [rollouts + 1] int64: rollout i has the tokens starts[i] .. starts[i + 1] - 1; None: as many as any other
out     [tokens], dtype of table: out[t] = table[rollout of t, ids[t]]; unfinished where an id is bad
counts  [rollouts, 1 + K] int64: the tokens of each candidate, and of none
"""
