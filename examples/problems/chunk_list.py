"""Write chunk_list(items, size): cut a list into consecutive lists of `size` items; the last may be shorter. Raise
nothing for an empty list: the answer is an empty list.

chunk_list([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
"""

TESTS = [
    (([1, 2, 3, 4, 5], 2), [[1, 2], [3, 4], [5]]),
    (([1, 2, 3, 4], 2), [[1, 2], [3, 4]]),
    (([1, 2, 3], 1), [[1], [2], [3]]),
    (([1, 2, 3], 3), [[1, 2, 3]]),
    (([1, 2, 3], 10), [[1, 2, 3]]),
    (([], 4), []),
    ((["a", "b", "c", "d", "e", "f", "g"], 3), [["a", "b", "c"], ["d", "e", "f"], ["g"]]),
]

RIGHT = {
    "range with a step": """
def chunk_list(items, size):
    return [items[i:i + size] for i in range(0, len(items), size)]
""",
    "accumulator": """
def chunk_list(items, size):
    chunks, current = [], []
    for item in items:
        current.append(item)
        if len(current) == size:
            chunks.append(current)
            current = []
    if current:
        chunks.append(current)
    return chunks
""",
    "islice": """
from itertools import islice

def chunk_list(items, size):
    it = iter(items)
    result = []
    while chunk := list(islice(it, size)):
        result.append(chunk)
    return result
""",
}

WRONG = {
    "loses the last short chunk": """
def chunk_list(items, size):
    return [items[i * size:(i + 1) * size] for i in range(len(items) // size)]
""",
    "adds an empty chunk": """
def chunk_list(items, size):
    chunks, current = [], []
    for item in items:
        current.append(item)
        if len(current) == size:
            chunks.append(current)
            current = []
    chunks.append(current)
    return chunks
""",
    "tuples": """
def chunk_list(items, size):
    return [tuple(items[i:i + size]) for i in range(0, len(items), size)]
""",
    "forgets to reset": """
def chunk_list(items, size):
    chunks = []
    current = []
    for item in items:
        current.append(item)
        if len(current) >= size:
            chunks.append(current)
    return chunks
""",
    "steps by one": """
def chunk_list(items, size):
    return [items[i:i + size] for i in range(len(items) - size + 1)]
""",
    "zip drops the rest": """
def chunk_list(items, size):
    it = iter(items)
    return [list(group) for group in zip(*[it] * size)]
""",
    "never ends when the rest is short": """
def chunk_list(items, size):
    chunks = []
    while items:
        if len(items) >= size:
            chunks.append(items[:size])
            items = items[size:]
    return chunks
""",
}
