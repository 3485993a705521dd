"""Write is_palindrome(text): True if the letters and digits of text read the same in both directions, paying no
attention to case and to all other characters; else False. A text without letters and digits is a palindrome.

is_palindrome("Never odd, or even!") == True
"""

TESTS = [
    (("Never odd, or even!",), True),
    (("level",), True),
    (("Level",), True),
    (("levels",), False),
    (("",), True),
    (("?!",), True),
    (("12 21",), True),
    (("1a2",), False),
    (("a.",), True),
    (("ab",), False),
    (("abca",), False),
]

RIGHT = {
    "filter and reverse": """
def is_palindrome(text):
    kept = [c.lower() for c in text if c.isalnum()]
    return kept == kept[::-1]
""",
    "two pointers": """
def is_palindrome(text):
    i, j = 0, len(text) - 1
    while i < j:
        if not text[i].isalnum():
            i += 1
        elif not text[j].isalnum():
            j -= 1
        elif text[i].lower() != text[j].lower():
            return False
        else:
            i += 1
            j -= 1
    return True
""",
    "regular expression": """
import re

def is_palindrome(text):
    s = re.sub(r"[^a-z0-9]", "", text.lower())
    return s == s[::-1]
""",
}

WRONG = {
    "plain reverse": """
def is_palindrome(text):
    return text == text[::-1]
""",
    "ignores the case only": """
def is_palindrome(text):
    text = text.lower()
    return text == text[::-1]
""",
    "drops digits": """
def is_palindrome(text):
    kept = [c for c in text.lower() if c.isalpha()]
    return kept == kept[::-1]
""",
    "spaces only": """
def is_palindrome(text):
    s = text.replace(" ", "").lower()
    return s == s[::-1]
""",
    "compares with an iterator": """
def is_palindrome(text):
    s = "".join(c for c in text.lower() if c.isalnum())
    return s == reversed(s)
""",
    "index error without letters": """
def is_palindrome(text):
    s = [c for c in text.lower() if c.isalnum()]
    if s[0] != s[-1]:
        return False
    return s == s[::-1]
""",
    "first and last only": """
def is_palindrome(text):
    s = [c for c in text.lower() if c.isalnum()]
    return not s or s[0] == s[-1]
""",
    "never ends on a mark": """
def is_palindrome(text):
    i, j = 0, len(text) - 1
    while i < j:
        if text[i].isalnum() and text[j].isalnum():
            if text[i].lower() != text[j].lower():
                return False
            i += 1
            j -= 1
        elif text[i] == " ":
            i += 1
        elif text[j] == " ":
            j -= 1
    return True
""",
}
