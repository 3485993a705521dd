"""Write move_zeros(items): return a list with all zeros moved to the end and the other items in their order. False is
not a zero: only numbers equal to 0 move.

move_zeros([0, 1, 0, 3]) == [1, 3, 0, 0]
"""

TESTS = [
    (([0, 1, 0, 3],), [1, 3, 0, 0]),
    (([],), []),
    (([0, 0],), [0, 0]),
    (([1, 2],), [1, 2]),
    (([0, -1, 0, -2, 5],), [-1, -2, 5, 0, 0]),
    (([0, "a", "", 0, "b"],), ["a", "", "b", 0, 0]),
    (([0, None, 1],), [None, 1, 0]),
    (([3, 0, 0, 1],), [3, 1, 0, 0]),
]

RIGHT = {
    "two lists": """
def move_zeros(items):
    def is_zero(x):
        return x == 0 and not isinstance(x, bool)
    return [x for x in items if not is_zero(x)] + [0 for x in items if is_zero(x)]
""",
    "stable sort": """
def move_zeros(items):
    return sorted(items, key=lambda x: type(x) in (int, float) and x == 0)
""",
    "count": """
def move_zeros(items):
    rest = [x for x in items if x is False or x != 0]
    return rest + [0] * (len(items) - len(rest))
""",
}

WRONG = {
    "truth test": """
def move_zeros(items):
    return [x for x in items if x] + [x for x in items if not x]
""",
    "skips after removal": """
def move_zeros(items):
    items = list(items)
    for i, x in enumerate(items):
        if x == 0:
            items.append(items.pop(i))
    return items
""",
    "sorts everything": """
def move_zeros(items):
    return sorted(items, reverse=True)
""",
    "zeros first": """
def move_zeros(items):
    zeros = [x for x in items if x == 0]
    others = [x for x in items if x != 0]
    return zeros + others
""",
    "drops zeros": """
def move_zeros(items):
    return [x for x in items if x != 0]
""",
    "swap loses order": """
def move_zeros(items):
    items = list(items)
    left, right = 0, len(items) - 1
    while left < right:
        if items[left] == 0:
            items[left], items[right] = items[right], items[left]
            right -= 1
        else:
            left += 1
    return items
""",
    "never ends on trailing zeros": """
def move_zeros(items):
    items = list(items)
    i = 0
    while i < len(items):
        if items[i] == 0 and any(x != 0 for x in items[i:]):
            items.append(items.pop(i))
        elif items[i] != 0:
            i += 1
    return items
""",
}
