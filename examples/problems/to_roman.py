"""Write to_roman(n): the whole number n, 1 to 3999, in Roman numerals, with IV, IX, XL, XC, CD and CM for 4, 9, 40, 90,
400 and 900.

to_roman(1994) == "MCMXCIV"
"""

TESTS = [
    ((1994,), "MCMXCIV"),
    ((1,), "I"),
    ((3,), "III"),
    ((4,), "IV"),
    ((9,), "IX"),
    ((58,), "LVIII"),
    ((40,), "XL"),
    ((90,), "XC"),
    ((444,), "CDXLIV"),
    ((2023,), "MMXXIII"),
    ((3999,), "MMMCMXCIX"),
]

RIGHT = {
    "greedy": """
def to_roman(n):
    table = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
             (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    out = ""
    for value, sign in table:
        while n >= value:
            out += sign
            n -= value
    return out
""",
    "digit tables": """
def to_roman(n):
    ones = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]
    tens = ["", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"]
    hundreds = ["", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"]
    return "M" * (n // 1000) + hundreds[n // 100 % 10] + tens[n // 10 % 10] + ones[n % 10]
""",
    "replace": """
def to_roman(n):
    s = "I" * n
    for old, new in [("IIIII", "V"), ("VV", "X"), ("XXXXX", "L"), ("LL", "C"), ("CCCCC", "D"), ("DD", "M"),
                     ("DCCCC", "CM"), ("CCCC", "CD"), ("LXXXX", "XC"), ("XXXX", "XL"), ("VIIII", "IX"), ("IIII", "IV")]:
        s = s.replace(old, new)
    return s
""",
}

WRONG = {
    "only adds": """
def to_roman(n):
    out = ""
    for value, sign in [(1000, "M"), (500, "D"), (100, "C"), (50, "L"), (10, "X"), (5, "V"), (1, "I")]:
        out += sign * (n // value)
        n %= value
    return out
""",
    "forgets forty and ninety": """
def to_roman(n):
    table = {1000: "M", 900: "CM", 500: "D", 400: "CD", 100: "C", 50: "L", 10: "X", 9: "IX", 5: "V", 4: "IV", 1: "I"}
    out = ""
    for value in table:
        while n >= value:
            out += table[value]
            n -= value
    return out
""",
    "greater instead of at least": """
def to_roman(n):
    table = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
             (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    out = ""
    for value, sign in table:
        while n > value:
            out += sign
            n -= value
    return out + "I"
""",
    "if for while": """
def to_roman(n):
    table = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
             (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    out = ""
    for value, sign in table:
        if n >= value:
            out += sign
            n -= value
    return out
""",
    "wrong order of the table": """
def to_roman(n):
    table = [(1, "I"), (4, "IV"), (5, "V"), (9, "IX"), (10, "X"), (40, "XL"), (50, "L"), (90, "XC"),
             (100, "C"), (400, "CD"), (500, "D"), (900, "CM"), (1000, "M")]
    out = ""
    for value, sign in table:
        while n >= value:
            out += sign
            n -= value
    return out
""",
    "lower case": """
def to_roman(n):
    table = [(1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"),
             (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")]
    out = ""
    for value, sign in table:
        out += sign * (n // value)
        n %= value
    return out
""",
    "ends in the middle": """
def to_roman(n):
    table = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
             (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    out = ""
    for value, sign in
""",
    "hundreds from the wrong digit": """
def to_roman(n):
    ones = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]
    tens = ["", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"]
    hundreds = ["", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"]
    return "M" * (n // 1000) + hundreds[n // 100] + tens[n // 10 % 10] + ones[n % 10]
""",
}
