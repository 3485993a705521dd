"""The parsers by themselves: texts and what is found in them."""

import pickle

import pytest

from shapley_kernels.rl import after, bulleted, candidate_ids, json_list, numbered, separated, tagged

SINGLE = [(1, 4, "a"), (6, 11, "b's"), (13, 18, 'c"d'), (20, 27, "it's")]
PARSED = [
    # JSON
    (json_list(), '["a"', [(1, 4, "a")], "truncated"),
    (json_list(), '["a",', [(1, 4, "a")], "truncated"),
    (json_list(), '["a", "b\\u00', [(1, 4, "a")], "truncated"),
    (json_list(), '[{"a": tru', [], "truncated"),
    (json_list(), "so: [", [], "truncated"),
    (json_list(), '["a",]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a" "b"]', [], "malformed"),
    (json_list(), '["a", 2, null]', [(1, 4, "a"), (6, 7, "2")], "malformed"),
    (json_list(), '["a", b, ["c"]]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a\nb"]', [], "malformed"),
    (json_list(), "[]", [], "malformed"),
    (json_list(), "[x] [1, -2.50e1] [3]", [(5, 6, "1"), (8, 15, "-2.50e1")], None),
    (json_list(), "[1, 23", [(1, 2, "1")], "truncated"),
    (json_list(), "[1, NaN]", [(1, 2, "1")], "malformed"),
    (json_list("n"), "[1, 2]", [], "malformed"),
    (
        json_list("n"),
        '{"m": ["a"], "n": ["b", {"n": 1}, 7]}',
        [(19, 22, "b"), (24, 32, '{"n": 1}'), (34, 35, "7")],
        None,
    ),
    (json_list("n"), '{"n": [], "m": [{"n": "a"}]}', [(16, 26, "a")], None),
    (json_list("n"), '{"n" : ["a", "b', [(8, 11, "a")], "truncated"),
    # nearly JSON
    (json_list(lenient=True), """['a', "b's", 'c"d', 'it\\'s', ]""", SINGLE, None),
    (json_list(lenient=True), """[{'x': ['a',], "y": 1,},]""", [(1, 23, """{'x': ['a',], "y": 1,}""")], None),
    (json_list("x", lenient=True), """{'x': ['a\nb',\n]}""", [(7, 12, "a\nb")], None),
    (json_list(lenient=True), "['a',, 'b']", [(1, 4, "a")], "malformed"),
    (json_list(lenient=True), "[,]", [], "malformed"),
    (json_list(lenient=True), "['a', 'b", [(1, 4, "a")], "truncated"),
    (json_list(lenient=True), "It's ['a'] or ['b']", [(6, 9, "a")], None),
    (json_list(), "['a'] [\"b\",]", [(7, 10, "b")], "malformed"),
    (json_list(), "none", [], "malformed"),
    (json_list(), "", [], "malformed"),
    (json_list(), '[1] and [x] then ["a"] not ["b"]', [(18, 21, "a")], None),
    (json_list(), '[["a", "b"], ["c"]]', [], "malformed"),
    (json_list(), "[[1], [2]] [3]", [], "malformed"),
    (json_list(), 'see [[1]]: ["a"]', [(12, 15, "a")], None),
    (json_list(), '[["a"', [], "truncated"),
    (json_list(), '{"names": ["a"]}', [(11, 14, "a")], None),
    (json_list(), '[{"x": ["inner"], oops}]', [], "malformed"),
    (json_list(), '[{"x": [1]}]', [(1, 11, '{"x": [1]}')], None),
    (json_list("x"), '[{"x": "a"}, {"y": "b"}]', [(1, 11, "a")], "malformed"),
    (json_list("x"), '[{"x": "a"}, "b"]', [(1, 11, "a")], "malformed"),
    (json_list("x"), '[{"x": 1.50}, {"x": null}]', [(1, 12, "1.50")], "malformed"),
    (json_list("n"), '[{"x": 1}, {"s": [{"n": "a"}]}]', [], "malformed"),
    (json_list("n"), '["b", {"s": [{"n": "a"}]}] [{"n": "c"}]', [(28, 38, "c")], None),
    (json_list("n"), '[{"x": 1}, ...]: [{"n": "c"}]', [(18, 28, "c")], None),
    (json_list("n"), '[{"x": 1}, {"s": [{"n": "a"}', [], "malformed"),
    (json_list("n"), "[{}, " * 20000, [], "malformed"),
    (json_list(), '[{"a":' * 20000, [], "truncated"),
    (json_list(), '[{"a":' * 20000 + "1" + "}]" * 20000, [], "malformed"),
    # tags
    (tagged("c"), "<c>a</c><c>b", [(0, 8, "a")], "truncated"),
    (tagged("c"), "<c>a</c><c>b</", [(0, 8, "a")], "truncated"),
    *((tagged("cd"), f"<cd>a</cd>{end}", [(0, 10, "a")], "truncated") for end in ("<c", "<cd", "</c", "</cd")),
    *((tagged("cd"), f"<cd>a</cd>{end}", [(0, 10, "a")], "truncated") for end in ("<cd ", '<cd id="1', "a < b, <c")),
    *(
        (tagged("cd"), f"<cd>a</cd>{end}", [(0, 10, "a")], None)
        for end in (" <", "</", "<d", "<cde", "<c a", "< c", "c")
    ),
    (tagged("c"), "<c>a<c>b</c></c>", [], "malformed"),
    (tagged("c"), "<c>a</c></c>", [(0, 8, "a")], "malformed"),
    (tagged("c"), "<cc>a</cc><C>b</C>", [], None),
    (tagged("a.c"), "<abc>a</abc>", [], None),
    (tagged("a"), "<a1>x</a1><a2>y</a2>", [], "malformed"),
    (tagged("a"), "<a1>x</a1> <a>y</a>", [(11, 19, "y")], None),
    (tagged("a", True), "<a1>x</a1> <a2 id='b'> y </a2>", [(0, 10, "x"), (11, 30, "y")], None),
    (tagged("a", True), "<a>x</a>", [], "malformed"),
    (tagged("a", True), "<a1>x</a1><a3>y</a3>", [(0, 10, "x")], "malformed"),
    (tagged("a", True), "<a1>x</a2>", [], "malformed"),
    (tagged("a", True), "<a1>x</a1><a1>y</a1>", [(0, 10, "x")], "malformed"),
    (tagged("a", True), "<a1>x<a2>y</a2></a1>", [], "malformed"),
    (tagged("a", True), "x </a1>", [], "malformed"),
    (tagged("a", True), "<a1>x</a1><a2>y</a3", [(0, 10, "x")], "truncated"),
    (tagged("a", True), "<a1>x</a1> <b", [(0, 10, "x")], None),
    *(
        (tagged("an", True), f"<an1>a</an1>{end}", [(0, 12, "a")], "truncated")
        for end in ("<a", "<an", "<an2", "</an2 ")
    ),
    (tagged("c"), "<c>a</c><c2", [(0, 8, "a")], None),
    # behind a mark
    (after("</think>", json_list()), '<think>["a"]</think>["b"]', [(21, 24, "b")], None),
    (after("</think>", json_list()), 'x</think>["a </think> b", "c"]', [(10, 24, "a </think> b"), (26, 29, "c")], None),
    (after("</think>", json_list()), '["a"]', [(1, 4, "a")], None),
    (after("</think>", json_list(), "malformed"), '["a"]', [], "malformed"),
    (after("</think>", json_list()), '["a"]</thi', [], "truncated"),
    (after("</think>", json_list()), '["a"] a <', [(1, 4, "a")], None),
    (after("</think>", json_list()), 'x</think>["b", "c', [(10, 13, "b")], "truncated"),
    (after("</think>", json_list()), "x</think>none", [], "malformed"),
    (after("</c>", json_list(), last=True), 'c["a"]</c> c["b"]</c>["c"]', [(22, 25, "c")], None),
    (after("</c>", json_list(), last=True), 'c["a"]</c> c["b"]</', [], "truncated"),
    (after("</c>", json_list(), last=True), 'c["a"]</c>', [], "malformed"),
    (after("</c>", json_list(), last=True), '["a"]', [(1, 4, "a")], None),
    (after("abab", separated("|"), last=True), "ababx|y", [(4, 5, "x"), (6, 7, "y")], None),
    (after("abab", separated("|"), last=True), "abab", [], None),
    (after("--", after("--", tagged("c"))), "<c>a</c>--<c>b</c>--<c>d</c>", [(20, 28, "d")], None),
    # numbers
    (numbered(), "1. a\n3. b", [(0, 4, "a")], "malformed"),
    (numbered(), "2. a", [], "malformed"),
    (numbered(), "1. a\n1. b\n1. c", [(0, 4, "a"), (5, 9, "b"), (10, 14, "c")], None),
    (numbered(), "1. a\n1. b\n2. c", [(0, 4, "a")], "malformed"),
    (numbered(), "1. a\n   1. b\n   2. c\n2. d 3. e", [(0, 20, "a\n   1. b\n   2. c"), (21, 30, "d 3. e")], None),
    (numbered(), "1. a\n  1. b\n 2. c", [(0, 11, "a\n  1. b"), (13, 17, "c")], None),
    (numbered(), "\t1. a\n\t2. b", [(1, 5, "a"), (7, 11, "b")], None),
    (numbered(), "1. a\n1) b\n2) c\n2. d", [(0, 14, "a\n1) b\n2) c"), (15, 19, "d")], None),
    (numbered(), "1.5 a\n1.\n2.", [(6, 8, ""), (9, 11, "")], None),
    (numbered(), "1. a\n2024. b", [(0, 12, "a\n2024. b")], None),
    (numbered(), "**1. A:** a\n**2. B**\nb", [(0, 11, "**A:** a"), (12, 22, "**B**\nb")], None),
    (numbered(), "(1. a\n1. b", [(6, 10, "b")], None),
    (numbered(), "1. a\n2. b\n\nOr 3.", [(0, 4, "a"), (5, 9, "b")], None),
    (numbered(), "1. a\n\nx\n\n2. b\n\ny", [(0, 7, "a\n\nx"), (9, 16, "b\n\ny")], None),
    (numbered(), "### 1. A\na\n\nx\n### 2. B\n#### b\n## End", [(0, 13, "A\na\n\nx"), (14, 29, "B\n#### b")], None),
    (numbered(), "a 1. b", [], None),
    (bulleted(), "a - b\n- c\n  - d\n* e\n- f\n\n- g", [(6, 19, "c\n  - d\n* e"), (20, 23, "f"), (25, 28, "g")], None),
    (bulleted(), "1. a\n---\n-b", [], None),
    # code fences
    (numbered(), "1. A:\n```\n1. x\n2. y\n```\n2. b", [(0, 23, "A:\n```\n1. x\n2. y\n```"), (24, 28, "b")], None),
    (numbered(), "1. ~~~~\n2. x\n~~~\n3. y\n~~~~\n2. b", [(0, 26, "~~~~\n2. x\n~~~\n3. y\n~~~~"), (27, 31, "b")], None),
    (numbered(), "```x``` a\n1. b\n2. c\n```", [(10, 14, "b")], "truncated"),
    (numbered(), "```md\n1. a\n2. b\n```\n3. c", [], "malformed"),
    (numbered(), "```md\n1. a\n2. b\n```\nSo.", [(6, 10, "a"), (11, 15, "b")], None),
    (numbered(), "```\n1. a\n2. b", [(4, 8, "a")], "truncated"),
    (numbered(), "1. a\n2. b\n```\nx", [(0, 4, "a")], "truncated"),
    (numbered(), "1. a\n2. b\n\nSo:\n```\nx", [(0, 4, "a"), (5, 9, "b")], None),
    (separated("\n"), " \n\n ", [], None),
]


@pytest.mark.parametrize(("parser", "text", "found", "problem"), PARSED)
def test_parsers(parser, text, found, problem):
    assert parser(text) == (found, problem)
    assert pickle.loads(pickle.dumps(parser))(text) == (found, problem)


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (TypeError, lambda: json_list(1), "json_list: key must be a str, got 1"),
        (TypeError, lambda: json_list(lenient=1), "json_list: lenient must be True or False, got 1"),
        (TypeError, lambda: tagged(None), "tagged: name must be a str, got None"),
        (ValueError, lambda: tagged(""), "tagged: name must not be empty"),
        (ValueError, lambda: tagged("<c>"), "tagged: name must be that of the tag, without brackets, got '<c>'"),
        (ValueError, lambda: separated(""), "separated: separator must not be empty"),
        (TypeError, lambda: tagged("c", 3), "tagged: numbered must be True or False, got 3"),
        (TypeError, lambda: after(None, tagged("c")), "after: mark must be a str, got None"),
        (ValueError, lambda: after("", tagged("c")), "after: mark must not be empty"),
        (TypeError, lambda: after("-", tagged("c"), last=1), "after: last must be True or False, got 1"),
        (TypeError, lambda: after("-", "c"), r"after: parser must be a function, such as rl.json_list\(\), got 'c'"),
        (ValueError, lambda: after("-", tagged("c"), "no"), "after: missing.*one of 'whole', 'malformed', got 'no'"),
    ],
)
def test_errors_of_parsers(error, make, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("text", ['["a"]', 'x</think>["a"]'])
def test_a_parser_without_its_brackets(text):
    with pytest.raises(TypeError, match=r"write rl.json_list\(\), with brackets"):
        candidate_ids([list(text.encode())], lambda byte: bytes([byte]), after("</think>", json_list))
