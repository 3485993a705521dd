"""Write merge_sorted(a, b): merge two ascending lists of numbers into one ascending list. Leave both as they were.

merge_sorted([1, 4], [2, 3, 9]) == [1, 2, 3, 4, 9]
"""

KEEP_INPUTS = True
TESTS = [
    (([1, 4], [2, 3, 9]), [1, 2, 3, 4, 9]),
    (([], []), []),
    (([], [1, 2]), [1, 2]),
    (([3], []), [3]),
    (([1, 1], [1]), [1, 1, 1]),
    (([1, 2], [3, 4]), [1, 2, 3, 4]),
    (([5, 6], [-3, -1]), [-3, -1, 5, 6]),
    (([2, 2, 8], [2, 5]), [2, 2, 2, 5, 8]),
]

RIGHT = {
    "two pointers": """
def merge_sorted(a, b):
    i = j = 0
    merged = []
    while i < len(a) and j < len(b):
        if a[i] <= b[j]:
            merged.append(a[i])
            i += 1
        else:
            merged.append(b[j])
            j += 1
    return merged + a[i:] + b[j:]
""",
    "sorted": """
def merge_sorted(a, b):
    return sorted(a + b)
""",
    "heapq": """
import heapq

def merge_sorted(a, b):
    return list(heapq.merge(a, b))
""",
}

WRONG = {
    "loses the tail": """
def merge_sorted(a, b):
    i = j = 0
    merged = []
    while i < len(a) and j < len(b):
        if a[i] <= b[j]:
            merged.append(a[i])
            i += 1
        else:
            merged.append(b[j])
            j += 1
    return merged
""",
    "drops equal items": """
def merge_sorted(a, b):
    return sorted(set(a) | set(b))
""",
    "pops its inputs": """
def merge_sorted(a, b):
    merged = []
    while a and b:
        merged.append(a.pop(0) if a[0] <= b[0] else b.pop(0))
    return merged + a + b
""",
    "never ends on equal items": """
def merge_sorted(a, b):
    i = j = 0
    merged = []
    while i < len(a) and j < len(b):
        if a[i] < b[j]:
            merged.append(a[i])
            i += 1
        elif b[j] < a[i]:
            merged.append(b[j])
            j += 1
    return merged + a[i:] + b[j:]
""",
    "sort returns None": """
def merge_sorted(a, b):
    return (a + b).sort()
""",
    "only joins": """
def merge_sorted(a, b):
    if a and b and a[0] > b[0]:
        a, b = b, a
    return a + b
""",
    "extends its input": """
def merge_sorted(a, b):
    a.extend(b)
    a.sort()
    return a
""",
}
