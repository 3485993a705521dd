"""Write prime_factors(n): the prime factors of a whole number n >= 1 in ascending order, each as often as it divides n.
For 1 the list is empty.

prime_factors(60) == [2, 2, 3, 5]
"""

TESTS = [
    ((60,), [2, 2, 3, 5]),
    ((1,), []),
    ((2,), [2]),
    ((13,), [13]),
    ((49,), [7, 7]),
    ((64,), [2, 2, 2, 2, 2, 2]),
    ((77,), [7, 11]),
    ((198,), [2, 3, 3, 11]),
]

RIGHT = {
    "divide while you can": """
def prime_factors(n):
    factors = []
    d = 2
    while d * d <= n:
        while n % d == 0:
            factors.append(d)
            n //= d
        d += 1
    if n > 1:
        factors.append(n)
    return factors
""",
    "recursion": """
def prime_factors(n):
    for d in range(2, n + 1):
        if n % d == 0:
            return [d] + prime_factors(n // d)
    return []
""",
    "up to n": """
def prime_factors(n):
    factors, d = [], 2
    while n > 1:
        if n % d:
            d += 1
        else:
            factors.append(d)
            n //= d
    return factors
""",
}

WRONG = {
    "loses the last factor": """
def prime_factors(n):
    factors = []
    d = 2
    while d * d <= n:
        while n % d == 0:
            factors.append(d)
            n //= d
        d += 1
    return factors
""",
    "each factor once": """
def prime_factors(n):
    factors = []
    d = 2
    while n > 1:
        if n % d == 0:
            factors.append(d)
            while n % d == 0:
                n //= d
        d += 1
    return factors
""",
    "misses primes": """
def prime_factors(n):
    factors = []
    for d in range(2, n):
        while n % d == 0:
            factors.append(d)
            n //= d
    return factors
""",
    "adds one": """
def prime_factors(n):
    factors = []
    d = 2
    while d * d <= n:
        while n % d == 0:
            factors.append(d)
            n //= d
        d += 1
    factors.append(n)
    return factors
""",
    "all divisors": """
def prime_factors(n):
    return [d for d in range(2, n + 1) if n % d == 0]
""",
    "if for while": """
def prime_factors(n):
    factors = []
    d = 2
    while d * d <= n:
        if n % d == 0:
            factors.append(d)
            n //= d
        d += 1
    if n > 1:
        factors.append(n)
    return factors
""",
    "never ends on an odd factor": """
def prime_factors(n):
    factors, d = [], 2
    while n > 1:
        if n % d == 0:
            factors.append(d)
            n //= d
        elif d * d > n:
            d = n
        else:
            d += 2
    return factors
""",
    "never ends on one": """
def prime_factors(n):
    factors, d = [], 2
    while True:
        while n % d == 0:
            factors.append(d)
            n //= d
            if n == 1:
                return factors
        d += 1
""",
}
