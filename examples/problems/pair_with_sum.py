"""Write pair_with_sum(numbers, target): find two numbers at different positions that add up to target and return their
indices as a tuple (i, j), i < j. If there are several pairs return the one with the smallest j, and of those the
smallest i. Return None if there is none.

pair_with_sum([2, 7, 11, 15], 9) == (0, 1)
"""

TESTS = [
    (([2, 7, 11, 15], 9), (0, 1)),
    (([3, 3], 6), (0, 1)),
    (([3, 1], 6), None),
    (([], 0), None),
    (([1, 2, 3, 4], 5), (1, 2)),
    (([-3, 4, 3], 0), (0, 2)),
    (([5, 1, 5, 0], 5), (0, 3)),
    (([0, 0, 0], 0), (0, 1)),
    (([1, 1, 4], 5), (0, 2)),
]

RIGHT = {
    "two loops": """
def pair_with_sum(numbers, target):
    for j in range(len(numbers)):
        for i in range(j):
            if numbers[i] + numbers[j] == target:
                return (i, j)
    return None
""",
    "dict of first places": """
def pair_with_sum(numbers, target):
    seen = {}
    for j, n in enumerate(numbers):
        if target - n in seen:
            return seen[target - n], j
        seen.setdefault(n, j)
""",
}

WRONG = {
    "smallest i first": """
def pair_with_sum(numbers, target):
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            if numbers[i] + numbers[j] == target:
                return (i, j)
    return None
""",
    "pairs a number with itself": """
def pair_with_sum(numbers, target):
    for j in range(len(numbers)):
        for i in range(j + 1):
            if numbers[i] + numbers[j] == target:
                return (i, j)
    return None
""",
    "dict of last places": """
def pair_with_sum(numbers, target):
    seen = {}
    for j, n in enumerate(numbers):
        if target - n in seen:
            return seen[target - n], j
        seen[n] = j
    return None
""",
    "truth test on index zero": """
def pair_with_sum(numbers, target):
    seen = {}
    for j, n in enumerate(numbers):
        i = seen.get(target - n)
        if i:
            return (i, j)
        seen.setdefault(n, j)
    return None
""",
    "returns the values": """
def pair_with_sum(numbers, target):
    for j in range(len(numbers)):
        for i in range(j):
            if numbers[i] + numbers[j] == target:
                return (numbers[i], numbers[j])
    return None
""",
    "returns a list": """
def pair_with_sum(numbers, target):
    seen = {}
    for j, n in enumerate(numbers):
        if target - n in seen:
            return [seen[target - n], j]
        seen.setdefault(n, j)
    return None
""",
    "sorts first": """
def pair_with_sum(numbers, target):
    numbers = sorted(numbers)
    i, j = 0, len(numbers) - 1
    while i < j:
        total = numbers[i] + numbers[j]
        if total == target:
            return (i, j)
        if total < target:
            i += 1
        else:
            j -= 1
    return None
""",
}
