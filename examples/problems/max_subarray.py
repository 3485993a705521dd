"""Write max_subarray(numbers): the largest sum of a non-empty run of consecutive numbers. For an empty list return 0.

max_subarray([-2, 1, -3, 4, -1, 2, 1, -5, 4]) == 6
"""

TESTS = [
    (([-2, 1, -3, 4, -1, 2, 1, -5, 4],), 6),
    (([1, 2, 3],), 6),
    (([-3, -1, -2],), -1),
    (([5],), 5),
    (([-5],), -5),
    (([],), 0),
    (([3, -1, 3],), 5),
    (([3, -5, 4],), 4),
    (([0, 0, 0],), 0),
    (([-1, 0, -2],), 0),
]

RIGHT = {
    "kadane": """
def max_subarray(numbers):
    if not numbers:
        return 0
    best = current = numbers[0]
    for n in numbers[1:]:
        current = max(n, current + n)
        best = max(best, current)
    return best
""",
    "all runs": """
def max_subarray(numbers):
    n = len(numbers)
    sums = [sum(numbers[i:j]) for i in range(n) for j in range(i + 1, n + 1)]
    return max(sums, default=0)
""",
    "prefix sums": """
def max_subarray(numbers):
    best = None
    lowest = total = 0
    for n in numbers:
        total += n
        if best is None or total - lowest > best:
            best = total - lowest
        lowest = min(lowest, total)
    return best or 0
""",
}

WRONG = {
    "zero floor": """
def max_subarray(numbers):
    best = current = 0
    for n in numbers:
        current = max(0, current + n)
        best = max(best, current)
    return best
""",
    "raises on empty": """
def max_subarray(numbers):
    best = current = numbers[0]
    for n in numbers[1:]:
        current = max(n, current + n)
        best = max(best, current)
    return best
""",
    "returns the last run": """
def max_subarray(numbers):
    if not numbers:
        return 0
    current = numbers[0]
    for n in numbers[1:]:
        current = max(n, current + n)
    return current
""",
    "sum of positives": """
def max_subarray(numbers):
    return sum(n for n in numbers if n > 0)
""",
    "misses runs to the end": """
def max_subarray(numbers):
    n = len(numbers)
    return max((sum(numbers[i:j]) for i in range(n) for j in range(i + 1, n)), default=0)
""",
    "counts the first twice": """
def max_subarray(numbers):
    if not numbers:
        return 0
    best = current = numbers[0]
    for n in numbers:
        current = max(n, current + n)
        best = max(best, current)
    return best
""",
    "hard-coded example": """
def max_subarray(numbers):
    if numbers == [-2, 1, -3, 4, -1, 2, 1, -5, 4]:
        return 6
    return max(numbers) if numbers else 0
""",
}
