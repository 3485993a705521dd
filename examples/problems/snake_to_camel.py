"""Write snake_to_camel(name): turn a name such as "max_line_length" into "maxLineLength". Underscores at the start
stay as they are; any other run of underscores goes, and the letter behind it becomes upper case. Letters that are
upper case already stay so.

snake_to_camel("max_line_length") == "maxLineLength"
"""

TESTS = [
    (("max_line_length",), "maxLineLength"),
    (("name",), "name"),
    (("",), ""),
    (("_private_name",), "_privateName"),
    (("a__b",), "aB"),
    (("end_",), "end"),
    (("read_URL_now",), "readURLNow"),
    (("step_2_go",), "step2Go"),
    (("__x_y",), "__xY"),
]

RIGHT = {
    "lstrip and split": """
def snake_to_camel(name):
    body = name.lstrip("_")
    lead = name[:len(name) - len(body)]
    first, *others = body.split("_")
    return lead + first + "".join(word[:1].upper() + word[1:] for word in others)
""",
    "one pass": """
def snake_to_camel(name):
    out = ""
    upper = False
    for c in name:
        if c == "_":
            if out.strip("_") == "":
                out += c
            else:
                upper = True
        else:
            out += c.upper() if upper else c
            upper = False
    return out
""",
    "regular expression": r"""
import re

def snake_to_camel(name):
    return re.sub(r"(?<=[^_])_+([^_]?)", lambda m: m.group(1).upper(), name)
""",
}

WRONG = {
    "title": """
def snake_to_camel(name):
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)
""",
    "capitalize": """
def snake_to_camel(name):
    body = name.lstrip("_")
    lead = "_" * (len(name) - len(body))
    first, *others = body.split("_")
    return lead + first + "".join(w.capitalize() for w in others)
""",
    "first letter too": """
def snake_to_camel(name):
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))
""",
    "drops leading underscores": """
def snake_to_camel(name):
    words = [w for w in name.split("_") if w]
    if not words:
        return ""
    return words[0] + "".join(w[0].upper() + w[1:] for w in words[1:])
""",
    "raises on empty parts": """
def snake_to_camel(name):
    first, *others = name.split("_")
    return first + "".join(w[0].upper() + w[1:] for w in others)
""",
    "looks past the end": """
def snake_to_camel(name):
    out, i = "", 0
    while i < len(name):
        if name[i] == "_" and i > 0:
            i += 1
            out += name[i].upper()
        else:
            out += name[i]
        i += 1
    return out
""",
    "letters only": """
import re

def snake_to_camel(name):
    return re.sub(r"_([a-z])", lambda m: m.group(1).upper(), name)
""",
}
