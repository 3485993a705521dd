"""Write count_vowels(text): a dict from each of the vowels a, e, i, o, u that occurs in text, in lower or upper case,
to how often it occurs. Vowels that do not occur are not in the dict.

count_vowels("Banana Boat") == {"a": 4, "o": 1}
"""

TESTS = [
    (("Banana Boat",), {"a": 4, "o": 1}),
    (("",), {}),
    (("xyz",), {}),
    (("AEIOU",), {"a": 1, "e": 1, "i": 1, "o": 1, "u": 1}),
    (("eE",), {"e": 2}),
    (("queue",), {"u": 2, "e": 2}),
    (("sky in June",), {"i": 1, "u": 1, "e": 1}),
]

RIGHT = {
    "get": """
def count_vowels(text):
    counts = {}
    for c in text.lower():
        if c in "aeiou":
            counts[c] = counts.get(c, 0) + 1
    return counts
""",
    "Counter": """
from collections import Counter

def count_vowels(text):
    return Counter(c for c in text.lower() if c in "aeiou")
""",
    "count": """
def count_vowels(text: str) -> dict:
    text = text.lower()
    return {v: text.count(v) for v in "aeiou" if v in text}
""",
}

WRONG = {
    "lower case only": """
def count_vowels(text):
    return {v: text.count(v) for v in "aeiou" if v in text}
""",
    "keeps zeros": """
def count_vowels(text):
    text = text.lower()
    return {v: text.count(v) for v in "aeiou"}
""",
    "total": """
def count_vowels(text):
    return sum(c in "aeiou" for c in text.lower())
""",
    "keys of both cases": """
from collections import defaultdict

def count_vowels(text):
    counts = defaultdict(int)
    for c in text:
        if c in "aeiouAEIOU":
            counts[c] += 1
    return counts
""",
    "key error": """
def count_vowels(text):
    counts = {}
    for c in text.lower():
        if c in "aeiou":
            counts[c] += 1
    return counts
""",
    "y too": """
def count_vowels(text):
    text = text.lower()
    return {v: text.count(v) for v in "aeiouy" if v in text}
""",
    "does not add": """
def count_vowels(text):
    counts = {}
    for c in text.lower():
        if c in "aeiou":
            counts[c] = 1
    return counts
""",
}
