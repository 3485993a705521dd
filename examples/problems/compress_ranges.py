"""Write compress_ranges(numbers): describe a list of distinct whole numbers, in any order, as a text in which runs of
two or more consecutive numbers are written first..last, in ascending order, separated by commas.

compress_ranges([5, 1, 2, 3, 8]) == "1..3,5,8"
"""

TESTS = [
    (([5, 1, 2, 3, 8],), "1..3,5,8"),
    (([],), ""),
    (([4],), "4"),
    (([1, 2],), "1..2"),
    (([1, 3, 5],), "1,3,5"),
    (([3, 2, 1],), "1..3"),
    (([-2, -1, 0, 4],), "-2..0,4"),
    (([7, 9, 10, 11],), "7,9..11"),
]

RIGHT = {
    "runs": """
def compress_ranges(numbers):
    runs = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)
""",
    "groupby": """
from itertools import groupby

def compress_ranges(numbers):
    parts = []
    for _, group in groupby(enumerate(sorted(numbers)), key=lambda p: p[1] - p[0]):
        run = [n for _, n in group]
        parts.append(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]))
    return ",".join(parts)
""",
    "starts and ends": """
def compress_ranges(numbers):
    have = set(numbers)
    starts = sorted(n for n in have if n - 1 not in have)
    ends = sorted(n for n in have if n + 1 not in have)
    return ",".join(f"{s}..{e}" if s < e else f"{s}" for s, e in zip(starts, ends))
""",
}

WRONG = {
    "does not sort": """
def compress_ranges(numbers):
    runs = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)
""",
    "three or more": """
def compress_ranges(numbers):
    runs = []
    for n in sorted(numbers):
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    parts = []
    for r in runs:
        if len(r) > 2:
            parts.append(f"{r[0]}..{r[-1]}")
        else:
            parts += [str(n) for n in r]
    return ",".join(parts)
""",
    "loses the last run": """
def compress_ranges(numbers):
    parts = []
    start = prev = None
    for n in sorted(numbers):
        if prev is not None and n != prev + 1:
            parts.append(str(start) if start == prev else f"{start}..{prev}")
            start = n
        if start is None:
            start = n
        prev = n
    return ",".join(parts)
""",
    "single numbers as ranges": """
def compress_ranges(numbers):
    runs = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(f"{a}..{b}" for a, b in runs)
""",
    "raises on empty": """
def compress_ranges(numbers):
    numbers = sorted(numbers)
    parts = []
    start = prev = numbers[0]
    for n in numbers[1:] + [None]:
        if n != prev + 1:
            parts.append(str(start) if start == prev else f"{start}..{prev}")
            start = n
        prev = n
    return ",".join(parts)
""",
    "dash": """
def compress_ranges(numbers):
    runs = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
""",
    "space after the comma": """
def compress_ranges(numbers):
    runs = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)
""",
    "join of ints": """
def compress_ranges(numbers):
    parts = []
    for n in sorted(numbers):
        if n - 1 in numbers:
            continue
        end = n
        while end + 1 in numbers:
            end += 1
        parts.append(n if end == n else f"{n}..{end}")
    return ",".join(parts)
""",
}
