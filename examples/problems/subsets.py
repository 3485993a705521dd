"""Write subsets(items): the list of all sub-lists of a list of distinct numbers, each with its items in their order;
shorter ones first, and those of equal length in order of the positions taken. Leave items as it was.

subsets([1, 2]) == [[], [1], [2], [1, 2]]
"""

KEEP_INPUTS = True
TESTS = [
    (([1, 2],), [[], [1], [2], [1, 2]]),
    (([],), [[]]),
    (([5],), [[], [5]]),
    (([1, 2, 3],), [[], [1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3]]),
    (([3, 1],), [[], [3], [1], [3, 1]]),
    (([2, 9, 4],), [[], [2], [9], [4], [2, 9], [2, 4], [9, 4], [2, 9, 4]]),
]

RIGHT = {
    "combinations": """
from itertools import combinations

def subsets(items):
    return [list(c) for size in range(len(items) + 1) for c in combinations(items, size)]
""",
    "grow by one": """
def subsets(items):
    level, result = [(-1, [])], []
    while level:
        result += [chosen for _, chosen in level]
        level = [(j, chosen + [items[j]]) for i, chosen in level for j in range(i + 1, len(items))]
    return result
""",
    "recursion": """
def subsets(items):
    def pick(rest, size):
        if size == 0:
            return [[]]
        if len(rest) < size:
            return []
        return [[rest[0]] + tail for tail in pick(rest[1:], size - 1)] + pick(rest[1:], size)
    return [s for size in range(len(items) + 1) for s in pick(items, size)]
""",
}

WRONG = {
    "order of bits": """
def subsets(items):
    n = len(items)
    return [[items[i] for i in range(n) if mask >> i & 1] for mask in range(2 ** n)]
""",
    "tuples": """
from itertools import combinations

def subsets(items):
    return [c for size in range(len(items) + 1) for c in combinations(items, size)]
""",
    "without the empty one": """
from itertools import combinations

def subsets(items):
    return [list(c) for size in range(1, len(items) + 1) for c in combinations(items, size)]
""",
    "without the full one": """
from itertools import combinations

def subsets(items):
    return [list(c) for size in range(len(items)) for c in combinations(items, size)]
""",
    "sorts by value": """
def subsets(items):
    found = [[]]
    for x in items:
        found += [s + [x] for s in found]
    return sorted(found, key=lambda s: (len(s), s))
""",
    "permutations": """
from itertools import permutations

def subsets(items):
    return [list(p) for size in range(len(items) + 1) for p in permutations(items, size)]
""",
}
