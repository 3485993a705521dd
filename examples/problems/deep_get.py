"""Write deep_get(data, path, default=None): follow a path such as "a.b.0" through dicts and lists inside one another.
Whole numbers are indices where the data is a list. Return the default if any step is not there. An empty path returns
the data.

deep_get({"a": {"b": [10, 20]}}, "a.b.1") == 20
"""

TESTS = [
    (({"a": {"b": [10, 20]}}, "a.b.1"), 20),
    (({"a": 1}, "a"), 1),
    (({"a": 1}, "b"), None),
    (({"a": 1}, "b", "no"), "no"),
    (({"a": [1]}, "a.5", 0), 0),
    (({"a": 1}, "a.b", "x"), "x"),
    (({"a": 0}, "a", 9), 0),
    (({"a": {"1": "one"}}, "a.1"), "one"),
    (({"a": [1]}, "a.x", "d"), "d"),
    (({"a": 1}, ""), {"a": 1}),
    (({"a": None}, "a", 3), None),
]

RIGHT = {
    "loop with checks": """
def deep_get(data, path, default=None):
    if not path:
        return data
    for step in path.split("."):
        if isinstance(data, dict) and step in data:
            data = data[step]
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return default
    return data
""",
    "recursion": """
def deep_get(data, path, default=None):
    if path == "":
        return data
    step, _, rest = path.partition(".")
    try:
        item = data[int(step)] if isinstance(data, list) else data[step]
    except (KeyError, IndexError, TypeError, ValueError):
        return default
    return deep_get(item, rest, default)
""",
}

WRONG = {
    "dicts only": """
def deep_get(data, path, default=None):
    for step in path.split(".") if path else []:
        if not isinstance(data, dict) or step not in data:
            return default
        data = data[step]
    return data
""",
    "get without a check": """
def deep_get(data, path, default=None):
    for step in path.split("."):
        data = data.get(step, {})
    return data or default
""",
    "false values are missing": """
def deep_get(data, path, default=None):
    if not path:
        return data
    for step in path.split("."):
        try:
            data = data[int(step)] if isinstance(data, list) else data.get(step)
        except (AttributeError, IndexError, ValueError):
            return default
    return data or default
""",
    "numbers are always indices": """
def deep_get(data, path, default=None):
    try:
        for step in path.split(".") if path else []:
            data = data[int(step)] if step.isdigit() else data[step]
    except (KeyError, IndexError, TypeError):
        return default
    return data
""",
    "raises when missing": """
def deep_get(data, path, default=None):
    for step in path.split("."):
        data = data[int(step)] if isinstance(data, list) else data[step]
    return data
""",
    "key error only": """
def deep_get(data, path, default=None):
    if not path:
        return data
    try:
        for step in path.split("."):
            data = data[int(step)] if isinstance(data, list) else data[step]
        return data
    except KeyError:
        return default
""",
    "default is lost": """
def deep_get(data, path, default=None):
    if path == "":
        return data
    step, _, rest = path.partition(".")
    try:
        item = data[int(step)] if isinstance(data, list) else data[step]
    except Exception:
        return None
    return deep_get(item, rest)
""",
    "recursion without an end": """
def deep_get(data, path, default=None):
    step, _, rest = path.partition(".")
    if isinstance(data, list):
        if not step.isdigit() or int(step) >= len(data):
            return default
        data = data[int(step)]
    elif isinstance(data, dict) and step in data:
        data = data[step]
    elif step:
        return default
    return deep_get(data, rest, default)
""",
}
