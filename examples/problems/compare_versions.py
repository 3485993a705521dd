"""Write compare_versions(a, b): compare two version texts such as "1.10.2" part by part as numbers. Return -1 if a is
lower, 1 if it is higher and 0 if they are equal. Missing parts count as 0.

compare_versions("1.9", "1.10") == -1
"""

TESTS = [
    (("1.9", "1.10"), -1),
    (("1.10", "1.9"), 1),
    (("1.0", "1"), 0),
    (("1", "1.0.0"), 0),
    (("1.0.1", "1"), 1),
    (("2", "1.99"), 1),
    (("1.02", "1.2"), 0),
    (("3.4.5", "3.4.5"), 0),
    (("1", "1.0.3"), -1),
    (("10", "9"), 1),
]

RIGHT = {
    "zip_longest": """
from itertools import zip_longest

def compare_versions(a, b):
    for x, y in zip_longest(a.split("."), b.split("."), fillvalue="0"):
        if int(x) != int(y):
            return -1 if int(x) < int(y) else 1
    return 0
""",
    "padded lists": """
def compare_versions(a, b):
    x = [int(p) for p in a.split(".")]
    y = [int(p) for p in b.split(".")]
    n = max(len(x), len(y))
    x += [0] * (n - len(x))
    y += [0] * (n - len(y))
    return (x > y) - (x < y)
""",
    "strip zeros": """
def compare_versions(a, b):
    def key(version):
        parts = list(map(int, version.split(".")))
        while parts and parts[-1] == 0:
            parts.pop()
        return parts
    x, y = key(a), key(b)
    if x == y:
        return 0
    return 1 if x > y else -1
""",
}

WRONG = {
    "compares text": """
def compare_versions(a, b):
    x, y = a.split("."), b.split(".")
    return (x > y) - (x < y)
""",
    "no padding": """
def compare_versions(a, b):
    x = tuple(int(p) for p in a.split("."))
    y = tuple(int(p) for p in b.split("."))
    return (x > y) - (x < y)
""",
    "shared parts only": """
def compare_versions(a, b):
    for x, y in zip(a.split("."), b.split(".")):
        if int(x) != int(y):
            return 1 if int(x) > int(y) else -1
    return 0
""",
    "as a float": """
def compare_versions(a, b):
    x, y = float(a), float(b)
    return (x > y) - (x < y)
""",
    "drops the dots": """
def compare_versions(a, b):
    x, y = int(a.replace(".", "")), int(b.replace(".", ""))
    return (x > y) - (x < y)
""",
}
