"""Write collatz_steps(n): starting from a whole number n, halve it if it is even, else take 3n + 1, and return how many
steps it takes to reach 1. For n below 1 return -1.

collatz_steps(6) == 8
"""

TESTS = [
    ((6,), 8),
    ((1,), 0),
    ((2,), 1),
    ((3,), 7),
    ((16,), 4),
    ((27,), 111),
    ((0,), -1),
    ((-5,), -1),
]

RIGHT = {
    "loop": """
def collatz_steps(n):
    if n < 1:
        return -1
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
""",
    "recursion": """
def collatz_steps(n):
    if n < 1:
        return -1
    if n == 1:
        return 0
    return 1 + collatz_steps(3 * n + 1 if n % 2 else n // 2)
""",
}

WRONG = {
    "never ends below one": """
def collatz_steps(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
""",
    "counts the start": """
def collatz_steps(n):
    if n < 1:
        return -1
    steps = 1
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
""",
    "returns the sequence": """
def collatz_steps(n):
    path = [n]
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        path.append(n)
    return path
""",
    "zero below one": """
def collatz_steps(n):
    steps = 0
    while n > 1:
        if n % 2:
            n = 3 * n + 1
        else:
            n //= 2
        steps += 1
    return steps
""",
    "recursion without a floor": """
def collatz_steps(n):
    if n == 1:
        return 0
    if n % 2 == 0:
        return 1 + collatz_steps(n // 2)
    return 1 + collatz_steps(3 * n + 1)
""",
    "gives up": """
def collatz_steps(n):
    for step in range(100):
        if n == 1:
            return step
        n = n // 2 if n % 2 == 0 else 3 * n + 1
    return -1
""",
    "two steps at once": """
def collatz_steps(n):
    if n < 1:
        return -1
    steps = 0
    while n != 1:
        if n % 2 == 0:
            n //= 2
        else:
            n = (3 * n + 1) // 2
        steps += 1
    return steps
""",
    "example by heart": """
def collatz_steps(n):
    known = {1: 0, 2: 1, 6: 8}
    return known.get(n, -1)
""",
}
