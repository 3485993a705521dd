"""Write to_base(n, base): the whole number n written in the given base, 2 to 16, with the digits 0-9 and a-f and a
minus sign in front if n is negative.

to_base(255, 16) == "ff"
"""

TESTS = [
    ((255, 16), "ff"),
    ((5, 2), "101"),
    ((0, 7), "0"),
    ((-5, 2), "-101"),
    ((10, 10), "10"),
    ((8, 3), "22"),
    ((16, 16), "10"),
    ((-31, 16), "-1f"),
    ((1, 2), "1"),
]

RIGHT = {
    "divmod loop": """
def to_base(n, base):
    if n == 0:
        return "0"
    digits, m = "", abs(n)
    while m:
        m, r = divmod(m, base)
        digits = "0123456789abcdef"[r] + digits
    return "-" + digits if n < 0 else digits
""",
    "recursion": """
def to_base(n, base):
    if n < 0:
        return "-" + to_base(-n, base)
    if n < base:
        return "0123456789abcdef"[n]
    return to_base(n // base, base) + "0123456789abcdef"[n % base]
""",
}

WRONG = {
    "empty for zero": """
def to_base(n, base):
    digits, m = "", abs(n)
    while m:
        m, r = divmod(m, base)
        digits = "0123456789abcdef"[r] + digits
    return ("-" if n < 0 else "") + digits
""",
    "reversed": """
def to_base(n, base):
    if n == 0:
        return "0"
    digits, m = "", abs(n)
    while m:
        digits += "0123456789abcdef"[m % base]
        m //= base
    return ("-" if n < 0 else "") + digits
""",
    "ten for a": """
def to_base(n, base):
    if n == 0:
        return "0"
    sign, n, digits = ("-" if n < 0 else ""), abs(n), []
    while n:
        digits.append(str(n % base))
        n //= base
    return sign + "".join(reversed(digits))
""",
    "never ends on a negative": """
def to_base(n, base):
    if n == 0:
        return "0"
    digits = []
    while n != 0:
        digits.append("0123456789abcdef"[n % base])
        n //= base
    return "".join(digits[::-1])
""",
    "upper case": """
def to_base(n, base):
    if n < 0:
        return "-" + to_base(-n, base)
    if n < base:
        return "0123456789ABCDEF"[n]
    return to_base(n // base, base) + "0123456789ABCDEF"[n % base]
""",
    "built-in bases only": """
def to_base(n, base):
    formats = {2: "b", 8: "o", 10: "d", 16: "x"}
    return format(n, formats[base])
""",
    "int the wrong way": """
def to_base(n, base):
    return str(int(str(n), base))
""",
    "stops at the base": """
def to_base(n, base):
    sign = "-" if n < 0 else ""
    n, out = abs(n), ""
    while n > base:
        out = "0123456789abcdef"[n % base] + out
        n //= base
    return sign + "0123456789abcdef"[n % base] + out
""",
}
