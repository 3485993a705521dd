"""Write first_unique_char(text): the index of the first character that occurs only once in text, or -1 if there is
none. Upper and lower case are different characters.

first_unique_char("swiss") == 1
"""

TESTS = [
    (("swiss",), 1),
    (("level",), 2),
    (("aabb",), -1),
    (("",), -1),
    (("z",), 0),
    (("aA",), 0),
    (("abcab",), 2),
    (("aabbc",), 4),
    (("abca",), 1),
]

RIGHT = {
    "count": """
def first_unique_char(text):
    for i, c in enumerate(text):
        if text.count(c) == 1:
            return i
    return -1
""",
    "Counter and next": """
from collections import Counter

def first_unique_char(text):
    counts = Counter(text)
    return next((i for i, c in enumerate(text) if counts[c] == 1), -1)
""",
    "find and rfind": """
def first_unique_char(text):
    places = [text.find(c) for c in text if text.find(c) == text.rfind(c)]
    return places[0] if places else -1
""",
}

WRONG = {
    "looks ahead only": """
def first_unique_char(text):
    for i, c in enumerate(text):
        if c not in text[i + 1:]:
            return i
    return -1
""",
    "returns the character": """
def first_unique_char(text):
    for c in text:
        if text.count(c) == 1:
            return c
    return -1
""",
    "returns None": """
def first_unique_char(text):
    for i in range(len(text)):
        if text.count(text[i]) == 1:
            return i
""",
    "ignores the case": """
def first_unique_char(text):
    text = text.lower()
    for i, c in enumerate(text):
        if text.count(c) == 1:
            return i
    return -1
""",
    "stops too early": """
def first_unique_char(text):
    for i in range(len(text) - 1):
        if text.count(text[i]) == 1:
            return i
    return -1
""",
    "else in the loop": """
def first_unique_char(text):
    for i, c in enumerate(text):
        if text.count(c) == 1:
            return i
        else:
            return -1
""",
    "raises when there is none": """
def first_unique_char(text):
    return [text.count(c) for c in text].index(1)
""",
}
