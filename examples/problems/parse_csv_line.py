"""Write parse_csv_line(line): split one line at commas into a list of texts. A field may be put in double quotes, and
then commas in it do not separate and two double quotes stand for one. Spaces stay. An empty line is one empty field.

parse_csv_line('a,"b,c",d') == ["a", "b,c", "d"]
"""

TESTS = [
    (('a,"b,c",d',), ["a", "b,c", "d"]),
    (("a,b",), ["a", "b"]),
    (("",), [""]),
    (("a,,b",), ["a", "", "b"]),
    (("a,",), ["a", ""]),
    (('"say ""hi""",x',), ['say "hi"', "x"]),
    (('""',), [""]),
    ((" a , b",), [" a ", " b"]),
    (('"one"',), ["one"]),
]

RIGHT = {
    "csv module": """
import csv

def parse_csv_line(line):
    return next(csv.reader([line]), None) or [""]
""",
    "one character at a time": """
def parse_csv_line(line):
    fields, field, quoted, i = [], "", False, 0
    while i < len(line):
        c = line[i]
        if quoted:
            if c == '"' and line[i + 1:i + 2] == '"':
                field += '"'
                i += 1
            elif c == '"':
                quoted = False
            else:
                field += c
        elif c == '"':
            quoted = True
        elif c == ",":
            fields.append(field)
            field = ""
        else:
            field += c
        i += 1
    return fields + [field]
""",
    "join until the quotes are even": """
def parse_csv_line(line):
    fields, current = [], None
    for part in line.split(","):
        current = part if current is None else current + "," + part
        if current.count('"') % 2 == 0:
            if current.startswith('"'):
                current = current[1:-1].replace('""', '"')
            fields.append(current)
            current = None
    return fields
""",
}

WRONG = {
    "split": """
def parse_csv_line(line):
    return line.split(",")
""",
    "split and strip quotes": """
def parse_csv_line(line):
    return [field.strip('"') for field in line.split(",")]
""",
    "no double quotes": """
def parse_csv_line(line):
    fields, field, quoted = [], "", False
    for c in line:
        if c == '"':
            quoted = not quoted
        elif c == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += c
    fields.append(field)
    return fields
""",
    "loses the last field": """
def parse_csv_line(line):
    fields, field, quoted = [], "", False
    for c in line:
        if c == '"':
            quoted = not quoted
        elif c == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += c
    return fields
""",
    "nothing for an empty line": """
import csv

def parse_csv_line(line):
    for row in csv.reader([line]):
        return row
""",
    "strips spaces": """
import csv

def parse_csv_line(line):
    row = next(csv.reader([line]))
    return [field.strip() for field in row] or [""]
""",
    "drops empty fields": """
import re

def parse_csv_line(line):
    found = re.findall(r'"((?:[^"]|"")*)"|([^,]+)', line)
    return [a.replace('""', '"') or b for a, b in found]
""",
    "never ends at an empty end": """
def parse_csv_line(line):
    fields, i = [], 0
    while True:
        if line[i:i + 1] == '"':
            end = line.index('"', i + 1)
            fields.append(line[i + 1:end])
            i = end + 2
        else:
            end = line.find(",", i)
            fields.append(line[i:end] if end >= 0 else line[i:])
            i = end + 1 if end >= 0 else len(line)
        if i >= len(line) and fields[-1]:
            return fields
""",
}
