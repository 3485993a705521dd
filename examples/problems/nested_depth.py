"""Write nested_depth(value): how deep lists are put into one another. A value that is no list has depth 0, a list
without lists in it, also an empty one, depth 1.

nested_depth([1, [2, [3]]]) == 3
"""

TESTS = [
    (([1, [2, [3]]],), 3),
    ((5,), 0),
    (([],), 1),
    (([1, 2],), 1),
    (([[]],), 2),
    (([[1], 2, [3, [4]]],), 3),
    (("text",), 0),
    (([[[1]], []],), 3),
    (([(1, [2])],), 1),
]

RIGHT = {
    "max with a default": """
def nested_depth(value):
    if not isinstance(value, list):
        return 0
    return 1 + max((nested_depth(item) for item in value), default=0)
""",
    "levels": """
def nested_depth(value):
    depth, level = 0, [value]
    while any(isinstance(x, list) for x in level):
        depth += 1
        level = [item for x in level if isinstance(x, list) for item in x]
    return depth
""",
    "loop": """
def nested_depth(value):
    if type(value) is not list:
        return 0
    deepest = 0
    for item in value:
        deepest = max(deepest, nested_depth(item))
    return deepest + 1
""",
}

WRONG = {
    "max of nothing": """
def nested_depth(value):
    if not isinstance(value, list):
        return 0
    return 1 + max(nested_depth(item) for item in value)
""",
    "empty list is zero": """
def nested_depth(value):
    if not isinstance(value, list) or not value:
        return 0
    return 1 + max(nested_depth(item) for item in value)
""",
    "counts brackets": """
def nested_depth(value):
    return str(value).count("[")
""",
    "first item only": """
def nested_depth(value):
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth
""",
    "last item only": """
def nested_depth(value):
    if not isinstance(value, list):
        return 0
    depth = 1
    for item in value:
        depth = 1 + nested_depth(item)
    return depth
""",
    "adds depths": """
def nested_depth(value):
    if not isinstance(value, list):
        return 0
    return 1 + sum(nested_depth(item) for item in value)
""",
    "recursion into text": """
def nested_depth(value):
    try:
        items = list(value)
    except TypeError:
        return 0
    return 1 + max((nested_depth(item) for item in items), default=0)
""",
    "never ends": """
def nested_depth(value):
    depth = 0
    level = [value]
    while level:
        if any(isinstance(x, list) for x in level):
            depth += 1
            level = [i for x in level if isinstance(x, list) for i in x]
    return depth
""",
}
