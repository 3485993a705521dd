"""Write is_anagram(a, b): True if b can be made by moving the letters of a about; else False. Case and spaces do not
count; everything else does.

is_anagram("Dirty room", "dormitory") == True
"""

TESTS = [
    (("Dirty room", "dormitory"), True),
    (("listen", "silent"), True),
    (("Listen", "Silent"), True),
    (("aab", "abb"), False),
    (("abc", "ab"), False),
    (("ab", "abc"), False),
    (("", ""), True),
    (("a b", "ba"), True),
    (("it's", "sit"), False),
    (("ad", "bc"), False),
]

RIGHT = {
    "sorted": """
def is_anagram(a, b):
    def letters(s):
        return sorted(s.replace(" ", "").lower())
    return letters(a) == letters(b)
""",
    "Counter": """
from collections import Counter

def is_anagram(a, b):
    return Counter(a.lower().replace(" ", "")) == Counter(b.lower().replace(" ", ""))
""",
    "remove one by one": """
def is_anagram(a, b):
    rest = [c for c in b.lower() if c != " "]
    for c in a.lower():
        if c == " ":
            continue
        if c not in rest:
            return False
        rest.remove(c)
    return not rest
""",
}

WRONG = {
    "sets": """
def is_anagram(a, b):
    return set(a.lower()) - {" "} == set(b.lower()) - {" "}
""",
    "case counts": """
def is_anagram(a, b):
    return sorted(a.replace(" ", "")) == sorted(b.replace(" ", ""))
""",
    "spaces count": """
def is_anagram(a, b):
    return sorted(a.lower()) == sorted(b.lower())
""",
    "letters only": """
def is_anagram(a, b):
    a = sorted(c for c in a.lower() if c.isalpha())
    b = sorted(c for c in b.lower() if c.isalpha())
    return a == b
""",
    "one direction": """
def is_anagram(a, b):
    rest = list(b.lower())
    for c in a.lower().replace(" ", ""):
        if c in rest:
            rest.remove(c)
        else:
            return False
    return True
""",
    "sum of codes": """
def is_anagram(a, b):
    def code(s):
        return sum(ord(c) for c in s.lower() if c != " ")
    return code(a) == code(b)
""",
    "sort on a str": """
def is_anagram(a, b):
    a = a.lower().replace(" ", "")
    b = b.lower().replace(" ", "")
    if len(a) != len(b):
        return False
    return a.sort() == b.sort()
""",
}
