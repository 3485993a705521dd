"""Write digit_sum(n): the sum of the decimal digits of a whole number. The sign of a negative number is ignored.

digit_sum(409) == 13
"""

TESTS = [
    ((409,), 13),
    ((0,), 0),
    ((7,), 7),
    ((-25,), 7),
    ((1000,), 1),
    ((99999,), 45),
    ((-8,), 8),
    ((10**20 + 57,), 13),
]

RIGHT = {
    "text": """
def digit_sum(n):
    return sum(int(c) for c in str(abs(n)))
""",
    "modulo": """
def digit_sum(n):
    n = abs(n)
    total = 0
    while n:
        n, digit = divmod(n, 10)
        total += digit
    return total
""",
    "recursion": """
def digit_sum(n):
    n = abs(n)
    return n if n < 10 else n % 10 + digit_sum(n // 10)
""",
}

WRONG = {
    "raises on the sign": """
def digit_sum(n):
    return sum(int(c) for c in str(n))
""",
    "never ends on a negative": """
def digit_sum(n):
    total = 0
    while n != 0:
        total += n % 10
        n //= 10
    return total
""",
    "zero on a negative": """
def digit_sum(n):
    total = 0
    while n > 0:
        total += n % 10
        n //= 10
    return total
""",
    "float division": """
def digit_sum(n):
    n = abs(n)
    total = 0
    while n >= 1:
        total += int(n % 10)
        n = n / 10
    return total
""",
    "digital root": """
def digit_sum(n):
    n = abs(n)
    while n > 9:
        n = sum(map(int, str(n)))
    return n
""",
    "loses the first digit": """
def digit_sum(n):
    n = abs(n)
    total = 0
    while n >= 10:
        total += n % 10
        n //= 10
    return total
""",
    "keeps the sign": """
def digit_sum(n):
    total = sum(int(c) for c in str(abs(n)))
    return -total if n < 0 else total
""",
    "sum of text": """
def digit_sum(n):
    return sum(str(abs(n)))
""",
}
