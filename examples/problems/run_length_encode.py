"""Write run_length_encode(text): replace every run of one character by the character and the length of the run; a run
of one is written without a number.

run_length_encode("aaabcc") == "a3bc2"
"""

TESTS = [
    (("aaabcc",), "a3bc2"),
    (("",), ""),
    (("a",), "a"),
    (("abc",), "abc"),
    (("zzzzzzzzzzzz",), "z12"),
    (("aabaa",), "a2ba2"),
    (("  x",), " 2x"),
    (("aA",), "aA"),
]

RIGHT = {
    "groupby": """
from itertools import groupby

def run_length_encode(text):
    out = []
    for char, run in groupby(text):
        n = len(list(run))
        out.append(char + (str(n) if n > 1 else ""))
    return "".join(out)
""",
    "index loop": """
def run_length_encode(text):
    result = ""
    i = 0
    while i < len(text):
        j = i
        while j < len(text) and text[j] == text[i]:
            j += 1
        result += text[i]
        if j - i > 1:
            result += str(j - i)
        i = j
    return result
""",
    "regular expression": """
import re

def run_length_encode(text):
    return re.sub(r"(.)\\1+", lambda m: m[1] + str(len(m[0])), text)
""",
}

WRONG = {
    "writes the ones": """
from itertools import groupby

def run_length_encode(text):
    return "".join(c + str(len(list(g))) for c, g in groupby(text))
""",
    "loses the last run": """
def run_length_encode(text):
    out, count = "", 1
    for a, b in zip(text, text[1:]):
        if a == b:
            count += 1
        else:
            out += a + (str(count) if count > 1 else "")
            count = 1
    return out
""",
    "counts the whole text": """
def run_length_encode(text):
    out = ""
    for c in dict.fromkeys(text):
        n = text.count(c)
        out += c if n == 1 else c + str(n)
    return out
""",
    "raises on empty": """
def run_length_encode(text):
    out, last, count = "", text[0], 0
    for c in text:
        if c == last:
            count += 1
        else:
            out += last + (str(count) if count > 1 else "")
            last, count = c, 1
    return out + last + (str(count) if count > 1 else "")
""",
    "adds a number to text": """
from itertools import groupby

def run_length_encode(text):
    out = ""
    for c, g in groupby(text):
        n = len(list(g))
        out += c
        if n > 1:
            out += n
    return out
""",
    "one digit": """
import re

def run_length_encode(text):
    return re.sub(r"(.)\\1{1,8}", lambda m: m[1] + str(len(m[0])), text)
""",
    "number first": """
from itertools import groupby

def run_length_encode(text):
    out = ""
    for c, g in groupby(text):
        n = sum(1 for _ in g)
        out += (str(n) if n > 1 else "") + c
    return out
""",
    "never ends at the last run": """
def run_length_encode(text):
    out, i = "", 0
    while i < len(text):
        n = 1
        while i + n < len(text) and text[i + n] == text[i]:
            n += 1
        out += text[i] + (str(n) if n > 1 else "")
        if i + n < len(text):
            i += n
    return out
""",
}
