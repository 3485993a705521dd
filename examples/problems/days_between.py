"""Write days_between(start, end): the number of days from one date to another, both texts of the form "YYYY-MM-DD". It
is negative if end comes before start.

days_between("2024-02-28", "2024-03-01") == 2
"""

TESTS = [
    (("2024-02-28", "2024-03-01"), 2),
    (("2023-02-28", "2023-03-01"), 1),
    (("2024-05-05", "2024-05-05"), 0),
    (("2023-12-31", "2024-01-01"), 1),
    (("2024-01-10", "2024-01-01"), -9),
    (("2000-01-01", "2001-01-01"), 366),
    (("1900-02-01", "1900-03-01"), 28),
    (("2024-07-01", "2024-08-01"), 31),
]

RIGHT = {
    "date": """
from datetime import date

def days_between(start, end):
    def parse(text):
        return date(*map(int, text.split("-")))
    return (parse(end) - parse(start)).days
""",
    "strptime": """
from datetime import datetime

def days_between(start, end):
    fmt = "%Y-%m-%d"
    return (datetime.strptime(end, fmt) - datetime.strptime(start, fmt)).days
""",
    "by hand": """
def days_between(start, end):
    def number(text):
        y, m, d = (int(part) for part in text.split("-"))
        if m <= 2:
            y, m = y - 1, m + 12
        return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m - 457) // 5 + d
    return number(end) - number(start)
""",
}

WRONG = {
    "absolute": """
from datetime import date

def days_between(start, end):
    a, b = date.fromisoformat(start), date.fromisoformat(end)
    return abs((b - a).days)
""",
    "start minus end": """
from datetime import date

def days_between(start, end):
    return (date.fromisoformat(start) - date.fromisoformat(end)).days
""",
    "counts both ends": """
from datetime import date

def days_between(start, end):
    return (date.fromisoformat(end) - date.fromisoformat(start)).days + 1
""",
    "months of thirty days": """
def days_between(start, end):
    def number(text):
        y, m, d = map(int, text.split("-"))
        return 365 * y + 30 * m + d
    return number(end) - number(start)
""",
    "no leap years": """
MONTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

def days_between(start, end):
    def number(text):
        y, m, d = map(int, text.split("-"))
        return 365 * y + sum(MONTHS[:m - 1]) + d
    return number(end) - number(start)
""",
    "every fourth year": """
def days_between(start, end):
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

    def number(text):
        y, m, d = map(int, text.split("-"))
        days = 365 * y + (y - 1) // 4 + sum(lengths[:m - 1]) + d
        return days + 1 if y % 4 == 0 and m > 2 else days
    return number(end) - number(start)
""",
    "returns a timedelta": """
from datetime import datetime

def days_between(start, end):
    return datetime.strptime(end, "%Y-%m-%d") - datetime.strptime(start, "%Y-%m-%d")
""",
    "never ends backwards": """
from datetime import date

def days_between(start, end):
    first = date.fromisoformat(start).toordinal()
    last = date.fromisoformat(end).toordinal()
    n = 0
    while first + n != last:
        n += 1
    return n
""",
}
