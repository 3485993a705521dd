"""Write split_bill(cents, people): share a whole number of cents fairly among a number of people. Return the list of
shares in cents: they differ by one cent at most, add up to the bill, and the larger ones come first. If people is 0
return an empty list.

split_bill(100, 3) == [34, 33, 33]
"""

TESTS = [
    ((100, 3), [34, 33, 33]),
    ((10, 2), [5, 5]),
    ((0, 2), [0, 0]),
    ((7, 1), [7]),
    ((2, 4), [1, 1, 0, 0]),
    ((5, 0), []),
    ((101, 4), [26, 25, 25, 25]),
    ((999, 5), [200, 200, 200, 200, 199]),
]

RIGHT = {
    "divmod": """
def split_bill(cents, people):
    if people == 0:
        return []
    share, rest = divmod(cents, people)
    return [share + 1] * rest + [share] * (people - rest)
""",
    "one after another": """
def split_bill(cents, people):
    shares = []
    for left in range(people, 0, -1):
        share = -(-cents // left)
        shares.append(share)
        cents -= share
    return shares
""",
    "cent by cent": """
def split_bill(cents, people):
    shares = [0] * people
    for i in range(cents if people else 0):
        shares[i % people] += 1
    return shares
""",
}

WRONG = {
    "loses cents": """
def split_bill(cents, people):
    if people == 0:
        return []
    return [cents // people] * people
""",
    "division by zero": """
def split_bill(cents, people):
    share, rest = divmod(cents, people)
    return [share + 1] * rest + [share] * (people - rest)
""",
    "small first": """
def split_bill(cents, people):
    if not people:
        return []
    share, rest = divmod(cents, people)
    return [share] * (people - rest) + [share + 1] * rest
""",
    "rest to the first": """
def split_bill(cents, people):
    if people == 0:
        return []
    shares = [cents // people] * people
    shares[0] += cents % people
    return shares
""",
    "floats": """
def split_bill(cents, people):
    if people == 0:
        return []
    return [round(cents / people, 2)] * people
""",
    "rounds each": """
def split_bill(cents, people):
    return [round(cents / people) for _ in range(people)]
""",
    "never ends without people": """
def split_bill(cents, people):
    shares = [0] * people
    while cents:
        for i in range(people):
            if cents:
                shares[i] += 1
                cents -= 1
    return shares
""",
}
