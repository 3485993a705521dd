"""Write to_24_hours(time): turn a time such as "7:05 pm" into "19:05", two digits each. am and pm may be in any case,
with or without a space before them. 12 am is midnight and 12 pm is noon.

to_24_hours("7:05 pm") == "19:05"
"""

TESTS = [
    (("7:05 pm",), "19:05"),
    (("7:05 am",), "07:05"),
    (("12:00 am",), "00:00"),
    (("12:30 pm",), "12:30"),
    (("11:59 PM",), "23:59"),
    (("1:00am",), "01:00"),
    (("10:10 AM",), "10:10"),
    (("12:01AM",), "00:01"),
    (("12:45PM",), "12:45"),
]

RIGHT = {
    "modulo twelve": """
def to_24_hours(time):
    text = time.lower()
    hour, minute = text[:-2].strip().split(":")
    hour = int(hour) % 12 + (12 if text.endswith("pm") else 0)
    return f"{hour:02d}:{minute}"
""",
    "regular expression": """
import re

def to_24_hours(time):
    h, m, half = re.match(r"([0-9]+):([0-9]+) *([ap])m", time, re.IGNORECASE).groups()
    h = int(h)
    if h == 12:
        h = 0
    if half in "pP":
        h += 12
    return "%02d:%s" % (h, m)
""",
    "conditions": """
def to_24_hours(time):
    clean = time.replace(" ", "").lower()
    suffix, clock = clean[-2:], clean[:-2]
    h, m = map(int, clock.split(":"))
    if suffix == "am" and h == 12:
        h = 0
    elif suffix == "pm" and h != 12:
        h += 12
    return str(h).zfill(2) + ":" + str(m).zfill(2)
""",
}

WRONG = {
    "always adds twelve": """
def to_24_hours(time):
    text = time.lower().replace(" ", "")
    h, m = text[:-2].split(":")
    h = int(h)
    if text.endswith("pm"):
        h += 12
    return f"{h:02d}:{m}"
""",
    "expects a space": """
def to_24_hours(time):
    clock, half = time.lower().split(" ")
    h, m = clock.split(":")
    h = int(h) % 12
    if half == "pm":
        h += 12
    return f"{h:02d}:{m}"
""",
    "lower case only": """
def to_24_hours(time):
    h, m = time[:-2].strip().split(":")
    h = int(h) % 12
    if time.endswith("pm"):
        h += 12
    return f"{h:02d}:{m}"
""",
    "no leading zero": """
def to_24_hours(time):
    text = time.lower()
    h, m = text[:-2].strip().split(":")
    h = int(h) % 12 + 12 * text.endswith("pm")
    return f"{h}:{m}"
""",
    "midnight is twenty-four": """
def to_24_hours(time):
    text = time.lower().replace(" ", "")
    h, m = text[:-2].split(":")
    h = int(h)
    if text.endswith("pm") and h != 12:
        h += 12
    elif text.endswith("am") and h == 12:
        h = 24
    return f"{h:02d}:{m}"
""",
    "loses zeros of minutes": """
def to_24_hours(time):
    text = time.lower()
    h, m = map(int, text[:-2].split(":"))
    h = h % 12 + (12 if "pm" in text else 0)
    return f"{h:02d}:{m}"
""",
    "strptime with a space": """
from datetime import datetime

def to_24_hours(time):
    return datetime.strptime(time, "%H:%M %p").strftime("%H:%M")
""",
    "pairs": """
def to_24_hours(time):
    text = time.lower().replace(" ", "")
    h, m = map(int, text[:-2].split(":"))
    return (h % 12 + 12 * text.endswith("pm"), m)
""",
}
