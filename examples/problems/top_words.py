"""Write top_words(text, k): the k most frequent words of a text, most frequent first, words of equal frequency in
alphabetical order. Words are separated by white space; case does not count and words are returned in lower case. If
there are fewer than k different words return them all.

top_words("b a b c a d", 2) == ["a", "b"]
"""

TESTS = [
    (("b a b c a d", 2), ["a", "b"]),
    (("", 3), []),
    (("one", 1), ["one"]),
    (("The the THE cat", 1), ["the"]),
    (("x y", 5), ["x", "y"]),
    (("z y x", 2), ["x", "y"]),
    (("a a b", 0), []),
    (("dog cat dog bird cat dog", 3), ["dog", "cat", "bird"]),
    (("a  b\nb", 1), ["b"]),
]

RIGHT = {
    "sort by count and word": """
from collections import Counter

def top_words(text, k):
    counts = Counter(text.lower().split())
    return sorted(counts, key=lambda w: (-counts[w], w))[:k]
""",
    "two sorts": """
def top_words(text, k):
    words = text.lower().split()
    distinct = sorted(dict.fromkeys(words))
    distinct.sort(key=words.count, reverse=True)
    return distinct[:k]
""",
    "heapq": """
import heapq

def top_words(text, k):
    counts = {}
    for w in text.lower().split():
        counts[w] = counts.get(w, 0) + 1
    best = heapq.nsmallest(k, ((-n, w) for w, n in counts.items()))
    return [w for _, w in best]
""",
}

WRONG = {
    "first come on ties": """
from collections import Counter

def top_words(text, k):
    return [w for w, _ in Counter(text.lower().split()).most_common(k)]
""",
    "reverse alphabet on ties": """
from collections import Counter

def top_words(text, k):
    counts = Counter(text.lower().split())
    return sorted(counts, key=lambda w: (counts[w], w), reverse=True)[:k]
""",
    "case counts": """
from collections import Counter

def top_words(text, k):
    counts = Counter(text.split())
    return sorted(counts, key=lambda w: (-counts[w], w))[:k]
""",
    "pairs": """
from collections import Counter

def top_words(text, k):
    counts = Counter(text.lower().split())
    return sorted(counts.items(), key=lambda p: (-p[1], p[0]))[:k]
""",
    "raises on few words": """
def top_words(text, k):
    words = text.lower().split()
    distinct = sorted(dict.fromkeys(words), key=lambda w: (-words.count(w), w))
    return [distinct[i] for i in range(k)]
""",
    "splits at single spaces": """
from collections import Counter

def top_words(text, k):
    counts = Counter(text.lower().split(" "))
    return sorted(counts, key=lambda w: (-counts[w], w))[:k]
""",
    "least frequent first": """
from collections import Counter

def top_words(text, k):
    counts = Counter(text.lower().split())
    return sorted(counts, key=lambda w: (counts[w], w))[-k:]
""",
    "alphabetical only": """
def top_words(text, k):
    return sorted(dict.fromkeys(text.lower().split()))[:k]
""",
}
