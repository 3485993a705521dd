"""Write binary_search(numbers, target): the index of target in an ascending list of distinct numbers, or -1 if it is
not there.

binary_search([1, 3, 5, 7], 5) == 2
"""

TESTS = [
    (([1, 3, 5, 7], 5), 2),
    (([1, 3, 5, 7], 1), 0),
    (([1, 3, 5, 7], 7), 3),
    (([1, 3, 5, 7], 4), -1),
    (([1, 3, 5, 7], 0), -1),
    (([1, 3, 5, 7], 9), -1),
    (([], 1), -1),
    (([2], 2), 0),
    (([2], 3), -1),
    (([-4, -2, 0], -2), 1),
]

RIGHT = {
    "inclusive bounds": """
def binary_search(numbers, target):
    low, high = 0, len(numbers) - 1
    while low <= high:
        mid = (low + high) // 2
        if numbers[mid] == target:
            return mid
        if numbers[mid] < target:
            low = mid + 1
        else:
            high = mid - 1
    return -1
""",
    "bisect": """
from bisect import bisect_left

def binary_search(numbers, target):
    i = bisect_left(numbers, target)
    if i < len(numbers) and numbers[i] == target:
        return i
    return -1
""",
    "recursion": """
def binary_search(numbers, target, low=0, high=None):
    if high is None:
        high = len(numbers)
    if low >= high:
        return -1
    mid = (low + high) // 2
    if numbers[mid] == target:
        return mid
    if numbers[mid] > target:
        return binary_search(numbers, target, low, mid)
    return binary_search(numbers, target, mid + 1, high)
""",
}

WRONG = {
    "stops one early": """
def binary_search(numbers, target):
    low, high = 0, len(numbers) - 1
    while low < high:
        mid = (low + high) // 2
        if numbers[mid] == target:
            return mid
        if numbers[mid] < target:
            low = mid + 1
        else:
            high = mid - 1
    return -1
""",
    "bounds do not shrink": """
def binary_search(numbers, target):
    low, high = 0, len(numbers) - 1
    while low <= high:
        mid = (low + high) // 2
        if numbers[mid] == target:
            return mid
        if numbers[mid] < target:
            low = mid
        else:
            high = mid - 1
    return -1
""",
    "returns the place to insert": """
from bisect import bisect_left

def binary_search(numbers, target):
    return bisect_left(numbers, target)
""",
    "bisect without a bound": """
from bisect import bisect_left

def binary_search(numbers, target):
    i = bisect_left(numbers, target)
    return i if numbers[i] == target else -1
""",
    "index raises": """
def binary_search(numbers, target):
    return numbers.index(target)
""",
    "recursion on slices": """
def binary_search(numbers, target):
    if not numbers:
        return -1
    mid = len(numbers) // 2
    if numbers[mid] == target:
        return mid
    if numbers[mid] > target:
        return binary_search(numbers[:mid], target)
    return binary_search(numbers[mid + 1:], target) + mid + 1
""",
    "returns a truth value": """
def binary_search(numbers, target):
    low, high = 0, len(numbers)
    while low < high:
        mid = (low + high) // 2
        if numbers[mid] == target:
            return True
        if numbers[mid] < target:
            low = mid + 1
        else:
            high = mid
    return False
""",
}
