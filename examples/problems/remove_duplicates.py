"""Write remove_duplicates(items): return a list with each item once, in the order of first appearance. The items may
be of kinds that cannot be put in a set, such as lists. Leave items as it was.

remove_duplicates([3, 1, 3, 2, 1]) == [3, 1, 2]
"""

KEEP_INPUTS = True
TESTS = [
    (([3, 1, 3, 2, 1],), [3, 1, 2]),
    (([],), []),
    (([5],), [5]),
    (([7, 7, 7, 7],), [7]),
    (([[1], [2], [1]],), [[1], [2]]),
    ((["b", "a", "b"],), ["b", "a"]),
    (([1, 2, 3],), [1, 2, 3]),
    (([4, 4, 2, 2, 4],), [4, 2]),
]

RIGHT = {
    "not in": """
def remove_duplicates(items):
    result = []
    for item in items:
        if item not in result:
            result.append(item)
    return result
""",
    "index": """
def remove_duplicates(items):
    return [x for i, x in enumerate(items) if items.index(x) == i]
""",
    "slices": '''
def remove_duplicates(items):
    """Keep only first occurrences."""
    return [items[i] for i in range(len(items)) if items[i] not in items[:i]]
''',
}

WRONG = {
    "dict keys": """
def remove_duplicates(items):
    return list(dict.fromkeys(items))
""",
    "sorts": """
def remove_duplicates(items):
    result = []
    for item in sorted(items):
        if not result or result[-1] != item:
            result.append(item)
    return result
""",
    "neighbours only": """
from itertools import groupby

def remove_duplicates(items):
    return [key for key, _ in groupby(items)]
""",
    "removes from the list it walks": """
def remove_duplicates(items):
    for item in items:
        while items.count(item) > 1:
            items.remove(item)
    return items
""",
    "keeps the last": """
def remove_duplicates(items):
    return [x for i, x in enumerate(items) if x not in items[i + 1:]]
""",
    "drops all repeated items": """
def remove_duplicates(items):
    return [x for x in items if items.count(x) == 1]
""",
    "missing colon": """
def remove_duplicates(items)
    seen = []
    for item in items:
        if item not in seen:
            seen.append(item)
    return seen
""",
}
