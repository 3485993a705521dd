"""Write is_leap_year(year): True if a year of the Gregorian calendar is a leap year, else False: every fourth year is,
except those that 100 divides and 400 does not.

is_leap_year(2024) == True
"""

TESTS = [
    ((2024,), True),
    ((2023,), False),
    ((1900,), False),
    ((2000,), True),
    ((2100,), False),
    ((1600,), True),
    ((1996,), True),
    ((2200,), False),
]

RIGHT = {
    "one expression": """
def is_leap_year(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
""",
    "calendar": """
import calendar

def is_leap_year(year):
    return calendar.isleap(year)
""",
    "nested conditions": """
def is_leap_year(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0
""",
}

WRONG = {
    "every fourth": """
def is_leap_year(year):
    return year % 4 == 0
""",
    "no centuries": """
def is_leap_year(year):
    return year % 4 == 0 and year % 100 != 0
""",
    "wrong order of conditions": """
def is_leap_year(year):
    if year % 4 == 0:
        return True
    elif year % 100 == 0:
        return False
    elif year % 400 == 0:
        return True
    return False
""",
    "only 400": """
def is_leap_year(year):
    return year % 4 == 0 and year % 400 == 0
""",
    "the other way round": """
def is_leap_year(year):
    if year % 4 != 0:
        return True
    if year % 100 == 0:
        return year % 400 != 0
    return False
""",
    "prints": """
def is_leap_year(year):
    if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        print("True")
    else:
        print("False")
""",
    "text": """
def is_leap_year(year):
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return "leap" if leap else "not leap"
""",
    "assigns in a condition": """
def is_leap_year(year):
    if year % 400 = 0:
        return True
    return year % 4 == 0 and year % 100 != 0
""",
}
