"""Write parse_query(query): read a text such as "a=1&b=x" into a dict from names to texts. A name without "=" has the
value "". If a name comes more than once the last value counts. Only the first "=" of a part separates; empty parts are
skipped.

parse_query("a=1&b=x") == {"a": "1", "b": "x"}
"""

TESTS = [
    (("a=1&b=x",), {"a": "1", "b": "x"}),
    (("",), {}),
    (("flag",), {"flag": ""}),
    (("a=1&a=2",), {"a": "2"}),
    (("e=m=c",), {"e": "m=c"}),
    (("a=",), {"a": ""}),
    (("a=1&&b=2&",), {"a": "1", "b": "2"}),
    (("x=1&flag&y=2",), {"x": "1", "flag": "", "y": "2"}),
]

RIGHT = {
    "partition": """
def parse_query(query):
    result = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            result[name] = value
    return result
""",
    "split once": """
def parse_query(query):
    parts = [p for p in query.split("&") if p]
    return dict((p if "=" in p else p + "=").split("=", 1) for p in parts)
""",
    "regular expression": """
import re

def parse_query(query):
    return {m[1]: m[2] or "" for m in re.finditer(r"([^&=]+)(?:=([^&]*))?", query)}
""",
}

WRONG = {
    "splits at every sign": """
def parse_query(query):
    result = {}
    for part in query.split("&"):
        if not part:
            continue
        pieces = part.split("=")
        result[pieces[0]] = pieces[1] if len(pieces) > 1 else ""
    return result
""",
    "two values needed": """
def parse_query(query):
    result = {}
    for part in query.split("&"):
        name, value = part.split("=")
        result[name] = value
    return result
""",
    "keeps empty parts": """
def parse_query(query):
    result = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        result[name] = value
    return result
""",
    "first value counts": """
def parse_query(query):
    result = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        result.setdefault(name, value)
    return result
""",
    "standard library": """
from urllib.parse import parse_qsl

def parse_query(query):
    return dict(parse_qsl(query))
""",
    "lists of values": """
from urllib.parse import parse_qs

def parse_query(query):
    return parse_qs(query, keep_blank_values=True)
""",
    "last sign": """
def parse_query(query):
    out = {}
    for part in query.split("&"):
        if "=" in part:
            name, value = part.rsplit("=", 1)
            out[name] = value
        elif part:
            out[part] = ""
    return out
""",
    "numbers": """
def parse_query(query):
    out = {}
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            out[name] = int(value) if value.isdigit() else value
    return out
""",
}
