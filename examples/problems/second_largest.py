"""Write second_largest(numbers): the second largest distinct value of a list, or None if there are fewer than two
distinct values.

second_largest([4, 9, 9, 7]) == 7
"""

TESTS = [
    (([4, 9, 9, 7],), 7),
    (([1, 2],), 1),
    (([2, 1],), 1),
    (([5],), None),
    (([],), None),
    (([3, 3, 3],), None),
    (([-5, -2, -9],), -5),
    (([0, -1, 0],), -1),
    (([0, -3, -1],), -1),
    (([10, 8, 9, 10, 9],), 9),
]

RIGHT = {
    "sorted set": """
def second_largest(numbers):
    distinct = sorted(set(numbers))
    return distinct[-2] if len(distinct) > 1 else None
""",
    "one pass": """
def second_largest(numbers):
    first = second = None
    for n in numbers:
        if first is None or n > first:
            first, second = n, first
        elif n != first and (second is None or n > second):
            second = n
    return second
""",
    "max of the rest": """
def second_largest(numbers):
    if not numbers:
        return None
    top = max(numbers)
    return max((n for n in numbers if n != top), default=None)
""",
}

WRONG = {
    "counts duplicates": """
def second_largest(numbers):
    if len(numbers) < 2:
        return None
    return sorted(numbers)[-2]
""",
    "raises on few": """
def second_largest(numbers):
    return sorted(set(numbers))[-2]
""",
    "starts at zero": """
def second_largest(numbers):
    first = second = 0
    for n in numbers:
        if n > first:
            first, second = n, first
        elif second < n < first:
            second = n
    return second
""",
    "forgets to shift": """
def second_largest(numbers):
    first = second = float("-inf")
    for n in numbers:
        if n > first:
            first = n
        elif n > second and n != first:
            second = n
    return second if second != float("-inf") else None
""",
    "second smallest": """
def second_largest(numbers):
    distinct = sorted(set(numbers))
    return distinct[1] if len(distinct) > 1 else None
""",
    "truth test on zero": """
def second_largest(numbers):
    first = second = None
    for n in numbers:
        if not first or n > first:
            first, second = n, first
        elif n != first and (not second or n > second):
            second = n
    return second
""",
    "prints": """
def second_largest(numbers):
    distinct = sorted(set(numbers))
    if len(distinct) < 2:
        print(None)
    else:
        print(distinct[-2])
""",
}
