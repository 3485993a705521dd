"""Write moving_average(numbers, window): the list of averages of each `window` consecutive numbers. If there are fewer
numbers than the window is wide, the list is empty.

moving_average([1, 2, 3, 6], 2) == [1.5, 2.5, 4.5]
"""

TESTS = [
    (([1, 2, 3, 6], 2), [1.5, 2.5, 4.5]),
    (([1, 2, 3], 1), [1.0, 2.0, 3.0]),
    (([2, 4, 6], 3), [4.0]),
    (([2, 4], 3), []),
    (([], 2), []),
    (([-1, 1, -1, 1], 2), [0.0, 0.0, 0.0]),
    (([1, 1, 2], 3), [4 / 3]),
    (([0, 5, 10, 15, 20], 4), [7.5, 12.5]),
]

RIGHT = {
    "slices": """
def moving_average(numbers, window):
    return [sum(numbers[i:i + window]) / window for i in range(len(numbers) - window + 1)]
""",
    "running sum": """
def moving_average(numbers, window):
    if len(numbers) < window:
        return []
    total = sum(numbers[:window])
    averages = [total / window]
    for i in range(window, len(numbers)):
        total += numbers[i] - numbers[i - window]
        averages.append(total / window)
    return averages
""",
    "prefix sums": """
from itertools import accumulate

def moving_average(numbers, window):
    sums = [0, *accumulate(numbers)]
    return [(b - a) / window for a, b in zip(sums, sums[window:])]
""",
}

WRONG = {
    "off by one": """
def moving_average(numbers, window):
    return [sum(numbers[i:i + window]) / window for i in range(len(numbers) - window)]
""",
    "integer division": """
def moving_average(numbers, window):
    return [sum(numbers[i:i + window]) // window for i in range(len(numbers) - window + 1)]
""",
    "short windows at the end": """
def moving_average(numbers, window):
    return [sum(numbers[i:i + window]) / window for i in range(len(numbers))]
""",
    "no check for few numbers": """
def moving_average(numbers, window):
    total = sum(numbers[:window])
    averages = [total / window]
    for i in range(window, len(numbers)):
        total += numbers[i] - numbers[i - window]
        averages.append(total / window)
    return averages
""",
    "rounds": """
def moving_average(numbers, window):
    return [round(sum(numbers[i:i + window]) / window, 2) for i in range(len(numbers) - window + 1)]
""",
    "subtracts the wrong one": """
def moving_average(numbers, window):
    if len(numbers) < window:
        return []
    total = sum(numbers[:window])
    averages = [total / window]
    for i in range(window, len(numbers)):
        total += numbers[i] - numbers[i - window + 1]
        averages.append(total / window)
    return averages
""",
    "growing window": """
def moving_average(numbers, window):
    return [sum(numbers[max(0, i - window + 1):i + 1]) / min(window, i + 1) for i in range(len(numbers))]
""",
}
