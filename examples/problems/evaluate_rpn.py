"""Write evaluate_rpn(tokens): the value of an expression in postfix form, a list of texts: whole numbers and the
operators + - * /. Division cuts off towards zero. Return None for a division by zero or a list that is no valid
expression.

evaluate_rpn(["2", "1", "+", "3", "*"]) == 9
"""

TESTS = [
    ((["2", "1", "+", "3", "*"],), 9),
    ((["7"],), 7),
    ((["4", "13", "5", "/", "+"],), 6),
    ((["5", "3", "-"],), 2),
    ((["-7", "2", "/"],), -3),
    ((["1", "0", "/"],), None),
    ((["+"],), None),
    (([],), None),
    ((["1", "2"],), None),
    ((["6", "-2", "*"],), -12),
]

RIGHT = {
    "stack": """
def evaluate_rpn(tokens):
    stack = []
    for token in tokens:
        if token not in ("+", "-", "*", "/"):
            stack.append(int(token))
            continue
        if len(stack) < 2:
            return None
        b, a = stack.pop(), stack.pop()
        if token == "/" and b == 0:
            return None
        if token == "+":
            stack.append(a + b)
        elif token == "-":
            stack.append(a - b)
        elif token == "*":
            stack.append(a * b)
        else:
            q = abs(a) // abs(b)
            stack.append(q if (a < 0) == (b < 0) else -q)
    return stack[0] if len(stack) == 1 else None
""",
    "table of functions": """
import operator

OPS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": lambda a, b: int(a / b)}

def evaluate_rpn(tokens):
    stack = []
    try:
        for t in tokens:
            if t in OPS:
                b = stack.pop()
                stack.append(OPS[t](stack.pop(), b))
            else:
                stack.append(int(t))
        (value,) = stack
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    return value
""",
}

WRONG = {
    "operands swapped": """
def evaluate_rpn(tokens):
    stack = []
    for t in tokens:
        if t in "+-*/":
            if len(stack) < 2:
                return None
            a, b = stack.pop(), stack.pop()
            if t == "/" and b == 0:
                return None
            stack.append({"+": a + b, "-": a - b, "*": a * b, "/": int(a / b) if b else 0}[t])
        else:
            stack.append(int(t))
    return stack[0] if len(stack) == 1 else None
""",
    "floor division": """
def evaluate_rpn(tokens):
    stack = []
    try:
        for t in tokens:
            if t in ("+", "-", "*", "/"):
                b, a = stack.pop(), stack.pop()
                stack.append(a + b if t == "+" else a - b if t == "-" else a * b if t == "*" else a // b)
            else:
                stack.append(int(t))
    except (IndexError, ZeroDivisionError):
        return None
    return stack[0] if len(stack) == 1 else None
""",
    "no checks": """
def evaluate_rpn(tokens):
    stack = []
    for t in tokens:
        if t in ("+", "-", "*", "/"):
            b, a = stack.pop(), stack.pop()
            if t == "+":
                stack.append(a + b)
            elif t == "-":
                stack.append(a - b)
            elif t == "*":
                stack.append(a * b)
            else:
                stack.append(int(a / b))
        else:
            stack.append(int(t))
    return stack.pop()
""",
    "no negative numbers": """
def evaluate_rpn(tokens):
    stack = []
    ops = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: int(a / b)}
    for t in tokens:
        if t.isdigit():
            stack.append(int(t))
        else:
            try:
                b, a = stack.pop(), stack.pop()
                stack.append(ops[t](a, b))
            except (IndexError, KeyError, ZeroDivisionError):
                return None
    return stack[0] if len(stack) == 1 else None
""",
    "eval": """
def evaluate_rpn(tokens):
    stack = []
    for t in tokens:
        if t in ("+", "-", "*", "/"):
            b = stack.pop()
            a = stack.pop()
            stack.append(f"({a} {t} {b})")
        else:
            stack.append(t)
    return eval(stack[0])
""",
    "ignores what is left": """
def evaluate_rpn(tokens):
    stack = []
    try:
        for t in tokens:
            if t in ("+", "-", "*", "/"):
                b, a = stack.pop(), stack.pop()
                if t == "/":
                    stack.append(int(a / b))
                else:
                    stack.append(eval(f"{a} {t} ({b})"))
            else:
                stack.append(int(t))
        return stack[-1]
    except (IndexError, ZeroDivisionError):
        return None
""",
    "zero for errors": """
def evaluate_rpn(tokens):
    stack = []
    try:
        for t in tokens:
            if t in ("+", "-", "*", "/"):
                b, a = stack.pop(), stack.pop()
                stack.append({"+": a + b, "-": a - b, "*": a * b, "/": int(a / b)}[t])
            else:
                stack.append(int(t))
        return stack[0] if len(stack) == 1 else None
    except Exception:
        return 0
""",
}
