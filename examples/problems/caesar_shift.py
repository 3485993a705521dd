"""Write caesar_shift(text, k): move each of the letters a-z and A-Z k places on in the alphabet, going round from z to
a and keeping the case. Other characters stay. k may be negative or large.

caesar_shift("Xyz!", 3) == "Abc!"
"""

TESTS = [
    (("Xyz!", 3), "Abc!"),
    (("abc", 1), "bcd"),
    (("abc", 0), "abc"),
    (("abc", -1), "zab"),
    (("Hello, World", 5), "Mjqqt, Btwqi"),
    (("Zebra", 26), "Zebra"),
    (("mn", 53), "no"),
    (("", 4), ""),
    (("12 + 3", 7), "12 + 3"),
]

RIGHT = {
    "ord and chr": """
def caesar_shift(text, k):
    out = ""
    for ch in text:
        if "a" <= ch <= "z":
            out += chr((ord(ch) - ord("a") + k) % 26 + ord("a"))
        elif "A" <= ch <= "Z":
            out += chr((ord(ch) - ord("A") + k) % 26 + ord("A"))
        else:
            out += ch
    return out
""",
    "translate": """
from string import ascii_lowercase as low, ascii_uppercase as up

def caesar_shift(text, k):
    k %= 26
    table = str.maketrans(low + up, low[k:] + low[:k] + up[k:] + up[:k])
    return text.translate(table)
""",
}

WRONG = {
    "does not go round": """
def caesar_shift(text, k):
    return "".join(chr(ord(c) + k) if c.isalpha() else c for c in text)
""",
    "loses the case": """
def caesar_shift(text, k):
    letters = "abcdefghijklmnopqrstuvwxyz"
    out = []
    for c in text.lower():
        out.append(letters[(letters.index(c) + k) % 26] if c in letters else c)
    return "".join(out)
""",
    "slices without modulo": """
def caesar_shift(text, k):
    low = "abcdefghijklmnopqrstuvwxyz"
    up = low.upper()
    table = str.maketrans(low + up, low[k:] + low[:k] + up[k:] + up[:k])
    return text.translate(table)
""",
    "lower case only": """
def caesar_shift(text, k):
    result = ""
    for c in text:
        if c.islower():
            result += chr((ord(c) - 97 + k) % 26 + 97)
        else:
            result += c
    return result
""",
    "drops other characters": """
def caesar_shift(text, k):
    result = ""
    for c in text:
        if c.isalpha():
            base = 65 if c.isupper() else 97
            result += chr((ord(c) - base + k) % 26 + base)
    return result
""",
    "one turn only": """
def caesar_shift(text, k):
    result = ""
    for c in text:
        if not c.isalpha():
            result += c
            continue
        n = ord(c) + k
        last = ord("z") if c.islower() else ord("Z")
        if n > last:
            n -= 26
        result += chr(n)
    return result
""",
    "prints": """
def caesar_shift(text, k):
    for c in text:
        if c.isalpha():
            base = 65 if c.isupper() else 97
            c = chr((ord(c) - base + k) % 26 + base)
        print(c, end="")
""",
}
