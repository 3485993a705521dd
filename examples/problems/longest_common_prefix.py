"""Write longest_common_prefix(words): the longest text with which every word of the list begins. For an empty list
return "".

longest_common_prefix(["flower", "flow", "flight"]) == "fl"
"""

TESTS = [
    ((["flower", "flow", "flight"],), "fl"),
    ((["dog", "car"],), ""),
    (([],), ""),
    ((["same", "same"],), "same"),
    ((["one"],), "one"),
    ((["abc", "", "ab"],), ""),
    ((["ab", "abc", "abcd"],), "ab"),
    ((["abcd", "abc", "ab"],), "ab"),
    ((["xab", "yab"],), ""),
    ((["axc", "ayc"],), "a"),
]

RIGHT = {
    "shrink": """
def longest_common_prefix(words):
    if not words:
        return ""
    prefix = words[0]
    for word in words[1:]:
        while not word.startswith(prefix):
            prefix = prefix[:-1]
    return prefix
""",
    "first and last in order": """
def longest_common_prefix(words):
    if not words:
        return ""
    a, b = min(words), max(words)
    n = 0
    while n < len(a) and a[n] == b[n]:
        n += 1
    return a[:n]
""",
    "columns": """
def longest_common_prefix(words):
    prefix = ""
    for letters in zip(*words):
        if len(set(letters)) > 1:
            break
        prefix += letters[0]
    return prefix
""",
}

WRONG = {
    "no break": """
def longest_common_prefix(words):
    prefix = ""
    for letters in zip(*words):
        if len(set(letters)) == 1:
            prefix += letters[0]
    return prefix
""",
    "raises on empty": """
def longest_common_prefix(words):
    prefix = words[0]
    for word in words[1:]:
        while not word.startswith(prefix):
            prefix = prefix[:-1]
    return prefix
""",
    "runs past a short word": """
def longest_common_prefix(words):
    if not words:
        return ""
    first = words[0]
    for i in range(len(first)):
        for word in words[1:]:
            if word[i] != first[i]:
                return first[:i]
    return first
""",
    "first two only": """
def longest_common_prefix(words):
    if len(words) < 2:
        return "".join(words)
    prefix = ""
    for a, b in zip(words[0], words[1]):
        if a != b:
            break
        prefix += a
    return prefix
""",
    "off by one": """
def longest_common_prefix(words):
    if not words:
        return ""
    shortest = min(words, key=len)
    for n in range(len(shortest)):
        if any(w[n] != shortest[n] for w in words):
            return shortest[:n]
    return shortest[:-1]
""",
    "never ends without a prefix": """
def longest_common_prefix(words):
    if not words:
        return ""
    n = len(words[0])
    while True:
        if all(w[:n] == words[0][:n] for w in words) and n > 0:
            return words[0][:n]
        n = max(n - 1, 0)
""",
    "returns None": """
def longest_common_prefix(words):
    if not words:
        return ""
    for n in range(len(words[0]), 0, -1):
        if all(w.startswith(words[0][:n]) for w in words):
            return words[0][:n]
""",
}
