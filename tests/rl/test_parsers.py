"""The parsers by themselves: texts and what is found in them."""

import pickle

import pytest

from shapley_kernels.rl import after, candidate_ids, json_list, numbered, separated, tagged

PARSED = [
    # JSON
    (json_list(), '["a"', [(1, 4, "a")], "truncated"),
    (json_list(), '["a",', [(1, 4, "a")], "truncated"),
    (json_list(), '["a", "b\\u00', [(1, 4, "a")], "truncated"),
    (json_list(), '[{"a": tru', [], "truncated"),
    (json_list(), "so: [", [], "truncated"),
    (json_list(), '["a",]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a" "b"]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a", 2]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a", b, ["c"]]', [(1, 4, "a")], "malformed"),
    (json_list(), '["a\nb"]', [], "malformed"),
    (json_list(), "[]", [], "malformed"),
    (json_list(), "[1, 2] [3]", [], "malformed"),
    (json_list(), "none", [], "malformed"),
    (json_list(), "", [], "malformed"),
    (json_list(), '[1] and [x] then ["a"] not ["b"]', [(18, 21, "a")], None),
    (json_list(), '{"names": ["a"]}', [(11, 14, "a")], None),
    (json_list(), '[{"x": ["inner"], oops}]', [], "malformed"),
    (json_list(), '[{"x": [1]}]', [(1, 11, '{"x": [1]}')], None),
    (json_list("x"), '[{"x": "a"}, {"y": "b"}]', [(1, 11, "a")], "malformed"),
    (json_list("x"), '[{"x": "a"}, "b"]', [(1, 11, "a")], "malformed"),
    (json_list("x"), '[{"x": 1}]', [], "malformed"),
    (json_list("n"), '[{"x": 1}, {"s": [{"n": "a"}]}]', [], "malformed"),
    (json_list("n"), '["b", {"s": [{"n": "a"}]}] [{"n": "c"}]', [(28, 38, "c")], None),
    (json_list("n"), '[{"x": 1}, ...]: [{"n": "c"}]', [(18, 28, "c")], None),
    (json_list("n"), '[{"x": 1}, {"s": [{"n": "a"}', [], "malformed"),
    (json_list("n"), "[{}, " * 20000, [], "malformed"),
    (json_list(), '[{"a":' * 20000, [], "malformed"),
    (json_list(), '[{"a": 1' + "0" * 10000 + "}]", [], "malformed"),
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
    (after("--", after("--", tagged("c"))), "<c>a</c>--<c>b</c>--<c>d</c>", [(20, 28, "d")], None),
    # numbers
    (numbered(), "1. a\n3. b", [(0, 4, "a")], "malformed"),
    (numbered(), "2. a", [], "malformed"),
    (numbered(), "1. a\n1. b", [(0, 4, "a")], "malformed"),
    (numbered(), "1. a\n   1. b\n   2. c\n2. d 3. e", [(0, 20, "a\n   1. b\n   2. c"), (21, 30, "d 3. e")], None),
    (numbered(), "1.5 a\n1.\n2)", [(6, 8, ""), (9, 11, "")], None),
    (numbered(), "1. a\n2024. b", [(0, 12, "a\n2024. b")], None),
    (numbered(), "a 1. b", [], None),
    (separated("\n"), " \n\n ", [], None),
]


@pytest.mark.parametrize(("parser", "text", "found", "problem"), PARSED)
def test_parsers(parser, text, found, problem):
    assert parser(text) == (found, problem)
    assert pickle.loads(pickle.dumps(parser))(text) == (found, problem)


@pytest.mark.parametrize("piece", ["[{", '[{"a" ', '["a\n', '["\\x', '[{"n":1}', "[{}] "])
def test_a_looping_policy_is_read_in_linear_time(piece):
    """`json` counts the lines before each error, which is quadratic: here, by how many characters it looks at."""
    looked = []

    class Text(str):
        def count(self, *where):
            looked.append(where[-1])
            return 0

    assert json_list("n")(Text(piece * 1000))[0] == []
    assert sum(looked) <= 1000 * len(piece)


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (TypeError, lambda: json_list(1), "json_list: key must be a str, got 1"),
        (TypeError, lambda: tagged(None), "tagged: name must be a str, got None"),
        (ValueError, lambda: tagged(""), "tagged: name must not be empty"),
        (ValueError, lambda: tagged("<c>"), "tagged: name must be that of the tag, without brackets, got '<c>'"),
        (ValueError, lambda: separated(""), "separated: separator must not be empty"),
        (TypeError, lambda: tagged("c", 3), "tagged: numbered must be True or False, got 3"),
        (TypeError, lambda: after(None, tagged("c")), "after: mark must be a str, got None"),
        (ValueError, lambda: after("", tagged("c")), "after: mark must not be empty"),
        (TypeError, lambda: after("-", "c"), r"after: parser must be a function, such as rl.json_list\(\), got 'c'"),
        (
            ValueError,
            lambda: after("-", tagged("c"), "no"),
            "after: missing must be one of 'whole', 'malformed', got 'no'",
        ),
    ],
)
def test_errors_of_parsers(error, make, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("text", ['["a"]', 'x</think>["a"]'])
def test_a_parser_without_its_brackets(text):
    with pytest.raises(TypeError, match=r"write rl.json_list\(\), with brackets"):
        candidate_ids([list(text.encode())], lambda byte: bytes([byte]), after("</think>", json_list))
