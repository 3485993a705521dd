"""Write word_wrap(text, width): break a text at spaces into lines of at most `width` characters, putting as many words
on each line as fit, and return the list of lines. A word longer than the width gets a line of its own. Several spaces
count as one. A text without words gives an empty list.

word_wrap("the quick brown fox", 10) == ["the quick", "brown fox"]
"""

TESTS = [
    (("the quick brown fox", 10), ["the quick", "brown fox"]),
    (("aaa bbb", 7), ["aaa bbb"]),
    (("aaa bbb", 6), ["aaa", "bbb"]),
    (("", 5), []),
    (("   ", 5), []),
    (("a  b", 3), ["a b"]),
    (("extraordinary day", 5), ["extraordinary", "day"]),
    (("a day extraordinary", 5), ["a day", "extraordinary"]),
    (("one", 10), ["one"]),
]

RIGHT = {
    "list of lines": """
def word_wrap(text, width):
    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
""",
    "current words": """
def word_wrap(text, width):
    lines, current = [], []
    for word in text.split():
        if current and len(" ".join(current + [word])) > width:
            lines.append(" ".join(current))
            current = []
        current.append(word)
    if current:
        lines.append(" ".join(current))
    return lines
""",
    "textwrap": """
import textwrap

def word_wrap(text, width):
    clean = " ".join(text.split())
    return textwrap.wrap(clean, width, break_long_words=False, break_on_hyphens=False)
""",
}

WRONG = {
    "forgets the space": """
def word_wrap(text, width):
    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
""",
    "less than the width": """
def word_wrap(text, width):
    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) < width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
""",
    "keeps several spaces": """
def word_wrap(text, width):
    lines = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
""",
    "cuts words": """
def word_wrap(text, width):
    return [text[i:i + width].strip() for i in range(0, len(text), width)]
""",
    "loses the last line": """
def word_wrap(text, width):
    lines, current = [], ""
    for word in text.split():
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = (current + " " + word).strip()
    return lines
""",
    "empty line first": """
def word_wrap(text, width):
    lines = []
    current = ""
    for word in text.split():
        if len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = current + " " + word if current else word
    lines.append(current)
    return lines
""",
    "never ends on a long word": """
def word_wrap(text, width):
    words, lines = text.split(), []
    while words:
        line = ""
        while words and len(line) + len(words[0]) + bool(line) <= width:
            line += (" " if line else "") + words.pop(0)
        if line:
            lines.append(line)
    return lines
""",
    "joins": """
def word_wrap(text, width):
    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return "\\n".join(lines)
""",
}
