"""Write invert_dict(mapping): a dict from each value to the list of the keys that had it, in ascending order. The keys
are all texts. Leave mapping as it was.

invert_dict({"a": 1, "b": 2, "c": 1}) == {1: ["a", "c"], 2: ["b"]}
"""

KEEP_INPUTS = True
TESTS = [
    (({"a": 1, "b": 2, "c": 1},), {1: ["a", "c"], 2: ["b"]}),
    (({},), {}),
    (({"x": 0},), {0: ["x"]}),
    (({"z": 5, "m": 5, "a": 5},), {5: ["a", "m", "z"]}),
    (({"k": None, "l": "v"},), {None: ["k"], "v": ["l"]}),
    (({"b": (1, 2), "a": (1, 2)},), {(1, 2): ["a", "b"]}),
]

RIGHT = {
    "setdefault": """
def invert_dict(mapping):
    inverted = {}
    for key in sorted(mapping):
        inverted.setdefault(mapping[key], []).append(key)
    return inverted
""",
    "defaultdict": """
from collections import defaultdict

def invert_dict(mapping):
    groups = defaultdict(list)
    for key, value in mapping.items():
        groups[value].append(key)
    return {value: sorted(keys) for value, keys in groups.items()}
""",
    "comprehension": """
def invert_dict(mapping):
    return {v: sorted(k for k in mapping if mapping[k] == v) for v in mapping.values()}
""",
}

WRONG = {
    "last key only": """
def invert_dict(mapping):
    return {value: key for key, value in mapping.items()}
""",
    "lists of one": """
def invert_dict(mapping):
    return {value: [key] for key, value in mapping.items()}
""",
    "does not sort": """
def invert_dict(mapping):
    inverted = {}
    for key, value in mapping.items():
        inverted.setdefault(value, []).append(key)
    return inverted
""",
    "key error": """
def invert_dict(mapping):
    inverted = {}
    for key, value in mapping.items():
        inverted[value].append(key)
    return inverted
""",
    "skips false values": """
def invert_dict(mapping):
    inverted = {}
    for key, value in sorted(mapping.items()):
        if value:
            inverted.setdefault(value, []).append(key)
    return inverted
""",
    "empties its input": """
def invert_dict(mapping):
    inverted = {}
    while mapping:
        key, value = mapping.popitem()
        inverted.setdefault(value, []).insert(0, key)
    return inverted
""",
    "changes size while walking": """
def invert_dict(mapping):
    for key in mapping:
        value = mapping.pop(key)
        mapping.setdefault(value, []).append(key)
    return mapping
""",
    "sorted returns None": """
def invert_dict(mapping):
    inverted = {}
    for key, value in mapping.items():
        keys = inverted.get(value, [])
        keys.append(key)
        inverted[value] = keys.sort()
    return inverted
""",
}
