"""Write merge_intervals(intervals): given a list of [start, end] pairs in any order, join those that overlap or touch
and return the joined pairs, as lists, in ascending order. Leave intervals as it was.

merge_intervals([[1, 3], [8, 10], [2, 6]]) == [[1, 6], [8, 10]]
"""

KEEP_INPUTS = True
TESTS = [
    (([[1, 3], [8, 10], [2, 6]],), [[1, 6], [8, 10]]),
    (([],), []),
    (([[4, 5]],), [[4, 5]]),
    (([[1, 4], [4, 5]],), [[1, 5]]),
    (([[1, 10], [2, 3]],), [[1, 10]]),
    (([[5, 6], [1, 2]],), [[1, 2], [5, 6]]),
    (([[1, 2], [3, 4]],), [[1, 2], [3, 4]]),
    (([[1, 9], [2, 3], [4, 5], [9, 12]],), [[1, 12]]),
    (([[-3, -1], [-2, 0]],), [[-3, 0]]),
]

RIGHT = {
    "sort and extend": """
def merge_intervals(intervals):
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
""",
    "current pair": """
def merge_intervals(intervals):
    if not intervals:
        return []
    ordered = sorted(intervals, key=lambda pair: pair[0])
    low, high = ordered[0]
    out = []
    for start, end in ordered[1:]:
        if start > high:
            out.append([low, high])
            low, high = start, end
        elif end > high:
            high = end
    return out + [[low, high]]
""",
}

WRONG = {
    "does not sort": """
def merge_intervals(intervals):
    merged = []
    for start, end in intervals:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
""",
    "touching kept apart": """
def merge_intervals(intervals):
    merged = []
    for start, end in sorted(intervals):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
""",
    "takes the last end": """
def merge_intervals(intervals):
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    return merged
""",
    "changes the pairs given": """
def merge_intervals(intervals):
    merged = []
    for pair in sorted(intervals):
        if merged and pair[0] <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], pair[1])
        else:
            merged.append(pair)
    return merged
""",
    "raises on empty": """
def merge_intervals(intervals):
    ordered = sorted(intervals)
    merged = [list(ordered[0])]
    for start, end in ordered[1:]:
        if start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
""",
    "tuples": """
def merge_intervals(intervals):
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
""",
    "forgets the last": """
def merge_intervals(intervals):
    out = []
    low = high = None
    for start, end in sorted(intervals):
        if high is not None and start <= high:
            high = max(high, end)
        else:
            if low is not None:
                out.append([low, high])
            low, high = start, end
    return out
""",
}
