"""Write median(numbers): the middle number of a list in sorted order, or the average of the two middle ones if their
count is even. For an empty list return None. Leave numbers as it was.

median([3, 1, 2]) == 2
"""

KEEP_INPUTS = True
TESTS = [
    (([3, 1, 2],), 2),
    (([4, 1, 3, 2],), 2.5),
    (([5],), 5),
    (([],), None),
    (([1, 2],), 1.5),
    (([-1, -5, -3],), -3),
    (([7, 7, 1, 1],), 4.0),
    (([10, 9, 100],), 10),
]

RIGHT = {
    "sorted": """
def median(numbers):
    if not numbers:
        return None
    s = sorted(numbers)
    mid = len(s) // 2
    return s[mid] if len(s) % 2 else (s[mid - 1] + s[mid]) / 2
""",
    "statistics": """
import statistics

def median(numbers):
    return statistics.median(numbers) if numbers else None
""",
    "both middles": """
def median(numbers):
    s, n = sorted(numbers), len(numbers)
    if n == 0:
        return None
    return (s[(n - 1) // 2] + s[n // 2]) / 2
""",
}

WRONG = {
    "does not sort": """
def median(numbers):
    if not numbers:
        return None
    mid = len(numbers) // 2
    if len(numbers) % 2:
        return numbers[mid]
    return (numbers[mid - 1] + numbers[mid]) / 2
""",
    "sorts its input": """
def median(numbers):
    if not numbers:
        return None
    numbers.sort()
    mid = len(numbers) // 2
    if len(numbers) % 2:
        return numbers[mid]
    return (numbers[mid - 1] + numbers[mid]) / 2
""",
    "integer division": """
def median(numbers):
    if not numbers:
        return None
    s = sorted(numbers)
    mid = len(s) // 2
    return s[mid] if len(s) % 2 else (s[mid - 1] + s[mid]) // 2
""",
    "upper middle": """
def median(numbers):
    if not numbers:
        return None
    return sorted(numbers)[len(numbers) // 2]
""",
    "wrong two": """
def median(numbers):
    if not numbers:
        return None
    s = sorted(numbers)
    mid = len(s) // 2
    return s[mid] if len(s) % 2 else (s[mid] + s[mid + 1]) / 2
""",
    "raises on empty": """
from statistics import median
""",
    "mean": """
def median(numbers):
    if len(numbers) == 0:
        return None
    return sum(numbers) / len(numbers)
""",
    "sorts as text": """
def median(numbers):
    s = sorted(numbers, key=str)
    if not s:
        return None
    mid = len(s) // 2
    return s[mid] if len(s) % 2 == 1 else (s[mid - 1] + s[mid]) / 2
""",
}
