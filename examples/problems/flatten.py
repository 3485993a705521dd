"""Write flatten(value): given a list that may hold lists that may hold lists, to any depth, return one flat list of
the other items in order. Strings are items, not lists.

flatten([1, [2, [3, "ab"]]]) == [1, 2, 3, "ab"]
"""

TESTS = [
    (([1, [2, [3, "ab"]]],), [1, 2, 3, "ab"]),
    (([1, 2, 3],), [1, 2, 3]),
    (([],), []),
    (([[], [[]], [[], []]],), []),
    (([[[[5]]]],), [5]),
    (([["xy", ["z"]], "w"],), ["xy", "z", "w"]),
    (([1, (2, 3), [4]],), [1, (2, 3), 4]),
    (([[1, 2], [3, 4]],), [1, 2, 3, 4]),
    (([None, [0, [False]]],), [None, 0, False]),
]

RIGHT = {
    "recursion": """
def flatten(value):
    flat = []
    for item in value:
        if isinstance(item, list):
            flat.extend(flatten(item))
        else:
            flat.append(item)
    return flat
""",
    "generator": """
def flatten(value):
    def walk(x):
        if isinstance(x, list):
            for item in x:
                yield from walk(item)
        else:
            yield x
    return list(walk(value))
""",
    "stack": """
def flatten(value):
    out = []
    stack = [iter(value)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, list):
                stack.append(iter(item))
                break
            out.append(item)
        else:
            stack.pop()
    return out
""",
}

WRONG = {
    "one level only": """
def flatten(value):
    flat = []
    for item in value:
        if isinstance(item, list):
            flat += item
        else:
            flat.append(item)
    return flat
""",
    "strings without end": """
def flatten(value):
    flat = []
    for item in value:
        try:
            flat.extend(flatten(item))
        except TypeError:
            flat.append(item)
    return flat
""",
    "drops false values": """
def flatten(value):
    flat = []
    for item in value:
        if isinstance(item, list):
            flat.extend(flatten(item))
        elif item:
            flat.append(item)
    return flat
""",
    "keeps the reverse order": """
def flatten(value):
    out, stack = [], list(value)
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        else:
            out.append(item)
    return out
""",
}
