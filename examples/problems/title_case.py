"""Write title_case(text): make the first letter of every word upper case and the others lower case, except that the
small words a, an, and, of, the are all lower case unless they come first. Words are separated by single spaces, which
stay.

title_case("the lord OF the rings") == "The Lord of the Rings"
"""

TESTS = [
    (("the lord OF the rings",), "The Lord of the Rings"),
    (("",), ""),
    (("hello",), "Hello"),
    (("A tale of two cities",), "A Tale of Two Cities"),
    (("it's mine",), "It's Mine"),
    (("WAR AND PEACE",), "War and Peace"),
    (("of mice and men",), "Of Mice and Men"),
    (("theory of an offer",), "Theory of an Offer"),
    (("catch the the bus",), "Catch the the Bus"),
]

RIGHT = {
    "enumerate": """
SMALL = {"a", "an", "and", "of", "the"}

def title_case(text):
    words = text.lower().split(" ")
    return " ".join(w if i and w in SMALL else w.capitalize() for i, w in enumerate(words))
""",
    "loop": """
def title_case(text):
    out = []
    for word in text.split():
        word = word.lower()
        if word in ("a", "an", "and", "of", "the") and out:
            out.append(word)
        else:
            out.append(word[0].upper() + word[1:])
    return " ".join(out)
""",
}

WRONG = {
    "title": """
def title_case(text):
    words = text.title().split(" ")
    small = ["A", "An", "And", "Of", "The"]
    return " ".join(w.lower() if i > 0 and w in small else w for i, w in enumerate(words))
""",
    "first word too": """
def title_case(text):
    small = {"a", "an", "and", "of", "the"}
    return " ".join(w if w in small else w.capitalize() for w in text.lower().split(" "))
""",
    "does not lower": """
def title_case(text):
    small = {"a", "an", "and", "of", "the"}
    words = text.split(" ")
    return " ".join(w if i and w in small else w[:1].upper() + w[1:] for i, w in enumerate(words))
""",
    "raises on empty": """
def title_case(text):
    small = {"a", "an", "and", "of", "the"}
    words = text.lower().split(" ")
    words = [w if w in small else w[0].upper() + w[1:] for w in words]
    words[0] = words[0][0].upper() + words[0][1:]
    return " ".join(words)
""",
    "index of equal words": """
def title_case(text):
    words = text.lower().split(" ")
    small = {"a", "an", "and", "of", "the"}
    return " ".join(w if w in small and words.index(w) > 0 else w.capitalize() for w in words)
""",
    "replaces parts of words": """
def title_case(text):
    text = " ".join(w.capitalize() for w in text.split(" "))
    for small in ("A", "An", "And", "Of", "The"):
        text = text.replace(" " + small, " " + small.lower())
    return text
""",
    "capitalizes all": """
def title_case(text):
    return " ".join(word.capitalize() for word in text.split(" "))
""",
}
