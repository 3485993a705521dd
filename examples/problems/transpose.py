"""Write transpose(rows): turn a list of equally long rows into the list of columns, each a list. No rows, or rows
without items, give an empty list.

transpose([[1, 2, 3], [4, 5, 6]]) == [[1, 4], [2, 5], [3, 6]]
"""

TESTS = [
    (([[1, 2, 3], [4, 5, 6]],), [[1, 4], [2, 5], [3, 6]]),
    (([[1, 2], [3, 4]],), [[1, 3], [2, 4]]),
    (([[7]],), [[7]]),
    (([],), []),
    (([[], []],), []),
    (([[1, 2, 3]],), [[1], [2], [3]]),
    (([[1], [2]],), [[1, 2]]),
]

RIGHT = {
    "zip": """
def transpose(rows):
    return [list(column) for column in zip(*rows)]
""",
    "comprehension": """
def transpose(rows):
    if not rows:
        return []
    return [[row[i] for row in rows] for i in range(len(rows[0]))]
""",
}

WRONG = {
    "tuples": """
def transpose(rows):
    return list(zip(*rows))
""",
    "square only": """
def transpose(rows):
    n = len(rows)
    result = [row[:] for row in rows]
    for i in range(n):
        for j in range(n):
            result[j][i] = rows[i][j]
    return result
""",
    "shared rows": """
def transpose(rows):
    if not rows:
        return []
    result = [[None] * len(rows)] * len(rows[0])
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            result[j][i] = x
    return result
""",
    "raises without rows": """
def transpose(rows):
    return [[row[i] for row in rows] for i in range(len(rows[0]))]
""",
    "rotates": """
def transpose(rows):
    return [list(column) for column in zip(*rows[::-1])]
""",
    "swapped ranges": """
def transpose(rows):
    if not rows:
        return []
    return [[rows[j][i] for j in range(len(rows[0]))] for i in range(len(rows))]
""",
    "one empty column": """
def transpose(rows):
    columns = [list(column) for column in zip(*rows)]
    return columns or [[]]
""",
}
