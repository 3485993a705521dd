"""Write balanced_brackets(text): True if the brackets (), [] and {} in text are closed in the right order, else False.
Other characters are ignored.

balanced_brackets("f(a[0], {})") == True
"""

TESTS = [
    (("f(a[0], {})",), True),
    (("",), True),
    (("(",), False),
    ((")",), False),
    (("([)]",), False),
    (("no brackets",), True),
    (("(()",), False),
    (("{[()]}()",), True),
    ((")(",), False),
    (("[}",), False),
]

RIGHT = {
    "stack": """
def balanced_brackets(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for c in text:
        if c in "([{":
            stack.append(c)
        elif c in pairs:
            if not stack or stack.pop() != pairs[c]:
                return False
    return not stack
""",
    "remove pairs": """
def balanced_brackets(text):
    s = "".join(c for c in text if c in "()[]{}")
    while "()" in s or "[]" in s or "{}" in s:
        s = s.replace("()", "").replace("[]", "").replace("{}", "")
    return s == ""
""",
    "expected closers": """
def balanced_brackets(text):
    closers = dict(zip("([{", ")]}"))
    expected = []
    for c in text:
        if c in closers:
            expected.append(closers[c])
        elif c in ")]}" and (not expected or expected.pop() != c):
            return False
    return len(expected) == 0
""",
}

WRONG = {
    "counts only": """
def balanced_brackets(text):
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))
""",
    "forgets open ones": """
def balanced_brackets(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for c in text:
        if c in pairs.values():
            stack.append(c)
        elif c in pairs and (not stack or stack.pop() != pairs[c]):
            return False
    return True
""",
    "pops from nothing": """
def balanced_brackets(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for c in text:
        if c in "([{":
            stack.append(c)
        elif c in ")]}":
            if stack.pop() != pairs[c]:
                return False
    return stack == []
""",
    "one depth for all": """
def balanced_brackets(text):
    depth = 0
    for c in text:
        if c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0
""",
    "round ones only": """
def balanced_brackets(text):
    depth = 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if depth < 0:
            return False
    return depth == 0
""",
    "other characters too": """
def balanced_brackets(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for c in text:
        if c in pairs and stack and stack[-1] == pairs[c]:
            stack.pop()
        else:
            stack.append(c)
    return not stack
""",
    "returns the stack": """
def balanced_brackets(text):
    stack = []
    for c in text:
        if c in "([{":
            stack.append(c)
        elif c in ")]}":
            if not stack or stack.pop() + c not in ("()", "[]", "{}"):
                return False
    return stack
""",
    "never ends on a wrong order": """
def balanced_brackets(text):
    s = "".join(c for c in text if c in "()[]{}")
    while s:
        for pair in ("()", "[]", "{}"):
            s = s.replace(pair, "")
        if len(s) == 1:
            return False
    return True
""",
}
