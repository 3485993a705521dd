"""Write integer_sqrt(n): the largest whole number whose square is at most n, for a whole number n >= 0 of any size. The
result is an int and exact.

integer_sqrt(17) == 4
"""

TESTS = [
    ((17,), 4),
    ((0,), 0),
    ((1,), 1),
    ((2,), 1),
    ((16,), 4),
    ((15,), 3),
    ((99,), 9),
    ((10**30,), 10**15),
    ((10**30 - 1,), 10**15 - 1),
    ((10**400,), 10**200),
]

RIGHT = {
    "isqrt": """
from math import isqrt

def integer_sqrt(n):
    return isqrt(n)
""",
    "newton": """
def integer_sqrt(n):
    if n < 2:
        return n
    x = n
    while x * x > n:
        x = (x + n // x) // 2
    return x
""",
    "bisection": """
def integer_sqrt(n):
    low, high = 0, n + 1
    while high - low > 1:
        mid = (low + high) // 2
        if mid * mid <= n:
            low = mid
        else:
            high = mid
    return low
""",
}

WRONG = {
    "float root": """
def integer_sqrt(n):
    return int(n ** 0.5)
""",
    "rounds": """
import math

def integer_sqrt(n):
    return round(math.sqrt(n))
""",
    "counts up": """
def integer_sqrt(n):
    r = 0
    while (r + 1) * (r + 1) <= n:
        r += 1
    return r
""",
    "division by zero": """
def integer_sqrt(n):
    x = n
    while True:
        y = (x + n // x) // 2
        if y >= x:
            return x
        x = y
""",
    "bisection never ends": """
def integer_sqrt(n):
    low, high = 0, n
    while low < high:
        mid = (low + high) // 2
        if mid * mid <= n:
            low = mid
        else:
            high = mid - 1
    return low
""",
    "half": """
def integer_sqrt(n):
    return n // 2
""",
    "upper bound too low": """
def integer_sqrt(n):
    low, high = 0, n
    while high - low > 1:
        mid = (low + high) // 2
        if mid * mid <= n:
            low = mid
        else:
            high = mid
    return low
""",
}
