"""Write rotate_list(items, k): return a new list with the items moved k places to the right, those pushed off the
end coming back at the front. k may be larger than the list, zero or negative (a move to the left). Leave items as it
was.

rotate_list([1, 2, 3, 4], 1) == [4, 1, 2, 3]
"""

KEEP_INPUTS = True
TESTS = [
    (([1, 2, 3, 4], 1), [4, 1, 2, 3]),
    (([1, 2, 3, 4], 3), [2, 3, 4, 1]),
    (([1, 2, 3, 4], 0), [1, 2, 3, 4]),
    (([1, 2, 3, 4], 4), [1, 2, 3, 4]),
    (([1, 2, 3, 4], 6), [3, 4, 1, 2]),
    (([1, 2, 3, 4], -1), [2, 3, 4, 1]),
    (([1, 2, 3], -5), [3, 1, 2]),
    ((["a"], 7), ["a"]),
    (([], 3), []),
]

RIGHT = {
    "slices": """
def rotate_list(items, k):
    if not items:
        return []
    k %= len(items)
    return items[len(items) - k:] + items[:len(items) - k]
""",
    "index arithmetic": """
def rotate_list(items, k):
    n = len(items)
    return [items[(i - k) % n] for i in range(n)]
""",
    "deque": """
from collections import deque

def rotate_list(items, k):
    d = deque(items)
    d.rotate(k)
    return list(d)
""",
}

WRONG = {
    "forgets empty input": """
def rotate_list(items, k):
    k = k % len(items)
    return items[-k:] + items[:-k] if k else list(items)
""",
    "no modulo": """
def rotate_list(items, k):
    return items[-k:] + items[:-k]
""",
    "rotates left": """
def rotate_list(items, k):
    if not items:
        return []
    k = k % len(items)
    return items[k:] + items[:k]
""",
    "changes its input": """
def rotate_list(items, k):
    if not items:
        return items
    for _ in range(k % len(items)):
        items.insert(0, items.pop())
    return items
""",
    "never ends on a negative k": """
def rotate_list(items, k):
    result = list(items)
    while k != 0 and result:
        result = [result[-1]] + result[:-1]
        k -= 1
    return result
""",
    "only counts upwards": """
def rotate_list(items, k):
    result = items.copy()
    for _ in range(k):
        result.insert(0, result.pop())
    return result
""",
    "returns None": """
def rotate_list(items, k):
    items = list(items)
    k = k % max(len(items), 1)
    items = items[-k:] + items[:-k]
""",
}
