"""The parsers by themselves: texts and what is found in them."""

import pickle

import pytest

from shapley_kernels.rl import json_list, numbered, separated, tagged

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
    ],
)
def test_errors_of_parsers(error, make, message):
    with pytest.raises(error, match=message):
        make()
