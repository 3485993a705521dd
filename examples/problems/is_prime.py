"""Write is_prime(n): True if the whole number n is prime, else False. n may be 0, 1 or negative.

is_prime(7) == True
"""

TESTS = [
    ((7,), True),
    ((2,), True),
    ((3,), True),
    ((1,), False),
    ((0,), False),
    ((-7,), False),
    ((4,), False),
    ((9,), False),
    ((25,), False),
    ((97,), True),
    ((91,), False),
]

RIGHT = {
    "trial division": """
def is_prime(n):
    if n < 2:
        return False
    d = 2
    while d * d <= n:
        if n % d == 0:
            return False
        d += 1
    return True
""",
    "all": """
from math import isqrt

def is_prime(n):
    return n > 1 and all(n % d for d in range(2, isqrt(n) + 1))
""",
}

WRONG = {
    "squares are prime": """
def is_prime(n):
    if n < 2:
        return False
    d = 2
    while d * d < n:
        if n % d == 0:
            return False
        d += 1
    return True
""",
    "one is prime": """
def is_prime(n):
    for d in range(2, n):
        if n % d == 0:
            return False
    return True
""",
    "two is not": """
def is_prime(n):
    if n < 2 or n % 2 == 0:
        return False
    return all(n % d for d in range(3, int(n ** 0.5) + 1, 2))
""",
    "small factors only": """
def is_prime(n):
    if n < 2:
        return False
    for d in (2, 3, 5):
        if n != d and n % d == 0:
            return False
    return True
""",
    "short list": """
def is_prime(n):
    return n in [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
""",
}
