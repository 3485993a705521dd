"""Write run_length_decode(code): undo an encoding in which every letter may be followed by a number of one or more
digits that says how often the letter is repeated; no number means once, and 0 means not at all.

run_length_decode("a3bc2") == "aaabcc"
"""

TESTS = [
    (("a3bc2",), "aaabcc"),
    (("",), ""),
    (("x",), "x"),
    (("abc",), "abc"),
    (("z12",), "z" * 12),
    (("a0b",), "b"),
    (("a2b10c",), "aa" + "b" * 10 + "c"),
    (("Q1",), "Q"),
]

RIGHT = {
    "regular expression": """
import re

def run_length_decode(code):
    return "".join(c * int(n or 1) for c, n in re.findall(r"([^0-9])([0-9]*)", code))
""",
    "loop": """
def run_length_decode(code):
    out = []
    i = 0
    while i < len(code):
        j = i + 1
        while j < len(code) and code[j].isdigit():
            j += 1
        out.append(code[i] * (int(code[i + 1:j]) if j > i + 1 else 1))
        i = j
    return "".join(out)
""",
    "letter and digits": """
def run_length_decode(code):
    result, letter, digits = "", "", ""
    for c in code + "$":
        if c.isdigit():
            digits += c
        else:
            result += letter * (int(digits) if digits else 1)
            letter, digits = c, ""
    return result
""",
}

WRONG = {
    "one digit": """
def run_length_decode(code):
    out = ""
    for c in code:
        if c.isdigit():
            out += out[-1] * (int(c) - 1)
        else:
            out += c
    return out
""",
    "expects a number always": """
import re

def run_length_decode(code):
    return "".join(c * int(n) for c, n in re.findall(r"([a-zA-Z])([0-9]+)", code))
""",
    "int of nothing": """
import re

def run_length_decode(code):
    return "".join(c * int(n) for c, n in re.findall(r"([a-zA-Z])([0-9]*)", code))
""",
    "zero is once": """
import re

def run_length_decode(code):
    out = ""
    for c, n in re.findall(r"([a-zA-Z])([0-9]*)", code):
        n = int(n) if n else 0
        out += c * max(n, 1)
    return out
""",
    "loses the last letter": """
def run_length_decode(code):
    result, letter, digits = "", "", ""
    for c in code:
        if c.isdigit():
            digits += c
        else:
            result += letter * int(digits or 1)
            letter, digits = c, ""
    return result
""",
    "steps of two": """
def run_length_decode(code):
    out = ""
    for i in range(0, len(code), 2):
        out += code[i] * int(code[i + 1])
    return out
""",
    "lower case only": """
import re

def run_length_decode(code):
    return re.sub(r"([a-z])([0-9]+)", lambda m: m[1] * int(m[2]), code)
""",
}
