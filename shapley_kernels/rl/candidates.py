"""Which candidate each sampled token belongs to: token ids -> bytes -> text -> spans -> a candidate per token."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from shapley_kernels.arrays import describe, integer, one_of
from shapley_kernels.rl.diagnostics import PREFIX
from shapley_kernels.rl.parsers import MALFORMED, TRUNCATED, Parser, Spans
from shapley_kernels.rl.rows import as_given, read_finished, read_flags, read_masks, read_rows
from shapley_kernels.rl.vocabulary import OWNER, Vocabulary, token_reader

STRADDLE = ("first", "last", "none")
POLICIES = ("whole", "keep", "abstain", "raise")
MOST_CANDIDATES = 1 << 20

_NOT_UTF8 = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of N rollouts.

    Attributes:
        ids: int64 [N, T], the candidate 1..K of each token, 0 for none.
        mask: bool [N, K], which candidates there are. ids, mask, stopped and counted are torch tensors on the
            device of the token ids where these are torch tensors, else numpy arrays.
        texts: the texts of the candidates of each rollout.
        problems: per rollout None, "malformed" or "truncated".
        stopped: bool [N], whether the rollout ended as its model chose: it was not cut, as far as known, and has no
            problem. `RewardAllocator` takes it.
        counted: bool [N], False for rollouts to be left out of the statistics of their group, by the policy "abstain".
        unknown_tokens: how many tokens have an id that is not in the vocabulary.
    """

    ids: Any
    mask: Any
    texts: list[list[str]]
    problems: list[str | None]
    stopped: Any
    counted: Any
    unknown_tokens: int

    @property
    def metrics(self) -> dict[str, float]:
        """How many rollouts were malformed and how many truncated, and unknown tokens, for a logger."""
        counts = {f"{PREFIX}{kind}_rollouts": float(self.problems.count(kind)) for kind in (MALFORMED, TRUNCATED)}
        return counts | {f"{PREFIX}unknown_tokens": float(self.unknown_tokens)}


def candidate_ids(
    token_ids: Any,
    tokenizer: Any,
    parser: Parser,
    *,
    mask: Any = None,
    finished: Any = None,
    straddle: str = "first",
    malformed: str = "whole",
    truncated: str = "whole",
    max_candidates: int | None = None,
    pad_to: int | None = None,
) -> Candidates:
    """The candidate of each sampled token, from the bytes of the tokens themselves: no text is encoded anew.

    Special tokens (end, padding, chat markers) have no text and belong to no candidate. Nor do ids that the vocabulary
    lacks, of which a model with a padded embedding may sample one. A character may be spread over tokens; bytes that
    are not UTF-8 read as U+FFFD.

    Args:
        token_ids: ints [N, T], or N lists or 1-D arrays of any lengths. Prompts belong outside, or masked. Or N texts,
            whose tokens are their characters, with tokenizer=None.
        tokenizer: of the packages tokenizers or transformers (a fast one), byte-level BPE or SentencePiece; a function
            from an id to its bytes (None for special tokens); or a list or dict of these.
        parser: `json_list()`, `tagged("candidate")`, `numbered()`, `separated("\\n")`, or a function from the text to
            ([(start, end, candidate), ...], problem), spans in characters and in order. `segments`, without brackets:
            the candidates are the runs of tokens that the mask leaves, such as the turns of an episode.
        mask: bools or 0/1, of the shape of token_ids; masked tokens (padding, prompt, output of tools) have no text.
        finished: bools [N], False where the rollout was cut at the length limit. Not finished and the last candidate
            reaches the end of the text: truncated, which separated and numbered candidates do not show by themselves.
            Finished but open at the end: malformed.
        straddle: whose a token is that covers more than one candidate, or a candidate and text outside: of the "first"
            or "last" candidate that it covers, or "none" of them.
        malformed: what becomes of a malformed rollout, which includes one without candidates: "whole": all its text is
            its one candidate, to be given the lowest reward (as `SetScorer` does); "keep" the candidates before the
            fault (without any, nothing punishes it); "abstain": it has none and is not `counted`; "raise" a ValueError.
        truncated: the same for truncated rollouts; "keep" keeps the complete candidates.
        max_candidates: more of them are malformed.
        pad_to: K, the number of columns of the mask; more candidates are malformed. None: max_candidates, or else the
            most that a rollout has.

    Returns:
        `Candidates`: ids [N, T], mask [N, K], texts, problems.

    Raises:
        TypeError, ValueError: arguments of the wrong kind or shape, negative ids, more unknown ids than known ones, a
            parser whose spans overlap or leave the text, and problems under "raise".

    Cost: O(tokens), on the host, less than to encode the text; waits for a GPU that holds the ids.

    >>> vocabulary = [None, b'["red', b'", "', b'blue"', b']']
    >>> from shapley_kernels.rl import json_list
    >>> found = candidate_ids([[1, 2, 3, 4, 0]], vocabulary, json_list())
    >>> found.ids.tolist(), found.mask.tolist(), found.texts
    ([[1, 1, 2, 0, 0]], [[True, True]], [['red', 'blue']])
    """
    check_policies(OWNER, straddle, malformed, truncated, max_candidates, pad_to)
    if not callable(parser):
        raise TypeError(
            f"{OWNER}: parser must be a function, such as rl.json_list(), got {describe(parser)}; the order is "
            "token_ids, tokenizer, parser"
        )
    if tokenizer is None:
        token_ids, tokenizer = _characters(token_ids), _character
    vocabulary = Vocabulary(token_reader(tokenizer))
    rows = read_rows(token_ids, f"{OWNER}: token_ids", "iu")
    masks = read_masks(mask, rows)
    ended = read_finished(finished, len(rows))
    policies = {None: "", MALFORMED: malformed, TRUNCATED: truncated}
    tokens = max(map(len, rows), default=getattr(token_ids, "shape", (0,))[-1])
    width = max_candidates if pad_to is None else pad_to
    limit = min((x for x in (max_candidates, pad_to) if x is not None), default=None)
    ids = np.zeros((len(rows), tokens), np.int64)
    texts, problems = [], []
    for i, (row, live) in enumerate(zip(rows, masks, strict=True)):
        pieces = vocabulary.pieces(row, live, i)
        runs = None
        if parser is segments:
            runs = _runs(np.ones(len(row), bool) if live is None else live)
            text, spans, problem = _texts_of(runs, pieces)
        else:
            text = _decoded(pieces)
            spans, problem = _parsed(parser, text, i)
        spans, problem = _limited(spans, problem, text, ended[i], limit)
        policy = policies[problem]
        if problem is not None:
            spans = _settled(spans, problem, policy, text, i)
        if runs is None or policy == "whole":
            runs = _owners(pieces, text, spans, straddle)
        ids[i, : len(row)] = runs * (runs <= len(spans))
        texts.append([_NOT_UTF8.sub("\ufffd", candidate) for _, _, candidate in spans])
        problems.append(problem)
    vocabulary.refuse_another_model(rows, masks)
    counts = np.array([len(row) for row in texts], int)
    present = np.arange(max(counts, default=0) if width is None else width) < counts[:, None]
    stopped = np.array([end is not False and bad is None for end, bad in zip(ended, problems, strict=True)], bool)
    counted = np.array([policies[problem] != "abstain" for problem in problems], bool)
    ids, present, stopped, counted = (as_given(x, token_ids) for x in (ids, present, stopped, counted))
    return Candidates(ids, present, texts, problems, stopped, counted, vocabulary.unknown_tokens)


def segments(loss_mask: Any) -> Any:
    """Candidate ids of what the model wrote in one go: 1 on the first run of tokens with loss, 2 on the next, ...

    For rollouts that tools or an environment write parts of: the players are then the turns of an episode. Any other
    division of a rollout, such as by the agents of a conversation, is an array of such ids.

    Args:
        loss_mask: bools or 0/1 [N, T], or N rows of any lengths: False for the prompt, padding, output of tools.

    Returns:
        int64 [N, T], in the container and on the device of the mask; 0 where it is False.

    Raises:
        TypeError, ValueError: a mask of another kind or shape.

    >>> segments([[0, 1, 1, 0, 0, 1, 1], [1, 1, 0]]).tolist()
    [[0, 1, 1, 0, 0, 2, 2], [1, 1, 0, 0, 0, 0, 0]]
    """
    rows = read_flags(loss_mask, "segments: loss_mask")
    ids = np.zeros((len(rows), max(map(len, rows), default=getattr(loss_mask, "shape", (0,))[-1])), np.int64)
    for out, row in zip(ids, rows, strict=True):
        out[: len(row)] = _runs(row)
    return as_given(ids, loss_mask)


def _runs(live: np.ndarray) -> np.ndarray:
    """[tokens]: 1 on the first run of True, 2 on the next, ..., 0 elsewhere."""
    return np.cumsum(live & ~np.append(False, live)[:-1]) * live


def _texts_of(runs: np.ndarray, pieces: list[bytes]) -> tuple[str, Spans, None]:
    """The text of the runs as one, and their spans in it."""
    text, spans = "", []
    for k in range(1, int(runs.max(initial=0)) + 1):
        written = _decoded([pieces[at] for at in np.flatnonzero(runs == k)])
        spans.append((len(text), len(text) + len(written), written))
        text += written
    return text, spans, None


def _decoded(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def _characters(texts: Any) -> list[np.ndarray]:
    """Texts as rows of ids, one for each character."""
    try:
        are_texts = not isinstance(texts, (str, bytes)) and all(isinstance(text, str) for text in texts)
    except TypeError:
        are_texts = False
    if not are_texts:
        raise TypeError(
            f"{OWNER}: token_ids must be a list of texts where tokenizer is None, got {describe(texts)}; for ids, pass "
            "the model's tokenizer"
        )
    return [np.array(list(map(ord, text)), np.int64) for text in texts]


def _character(token: int) -> bytes:
    return chr(token).encode("utf-8", "surrogatepass")


def check_policies(owner: str, straddle: Any, malformed: Any, truncated: Any, max_candidates: Any, pad_to: Any) -> None:
    """Raises ValueError or TypeError for options of `candidate_ids` that it does not have."""
    for name, got, options in (
        ("straddle", straddle, STRADDLE),
        ("malformed", malformed, POLICIES),
        ("truncated", truncated, POLICIES),
    ):
        one_of(f"{owner}: {name}", got, options)
    for name, number in (("max_candidates", max_candidates), ("pad_to", pad_to)):
        if number is not None and integer(f"{owner}: {name}", number, 1, "an integer >= 1 or None") > MOST_CANDIDATES:
            raise ValueError(
                f"{owner}: {name} must be at most {MOST_CANDIDATES}, since the mask has so many columns, got "
                f"{number}; None is no limit"
            )


def _parsed(parser: Parser, text: str, i: int) -> tuple[Spans, str | None]:
    """What the parser finds, checked."""
    result = parser(text)
    try:
        spans, problem = result
        spans = [(start, end, candidate) for start, end, candidate in spans]
    except (TypeError, ValueError):
        shown = "a function" if callable(result) else repr(result)
        raise TypeError(
            f"{OWNER}: parser must return ([(start, end, candidate), ...], problem), got {shown} for rollout {i}; "
            "write rl.json_list(), with brackets"
        ) from None
    if problem not in (None, MALFORMED, TRUNCATED):
        raise ValueError(
            f"{OWNER}: parser must give None, 'malformed' or 'truncated' as the problem, "
            f"got {problem!r} for rollout {i}"
        )
    at = 0
    for start, end, candidate in spans:
        if not isinstance(candidate, str):
            raise TypeError(f"{OWNER}: parser must give candidates as str, got {candidate!r} for rollout {i}")
        if not at <= start <= end <= len(text):
            raise ValueError(
                f"{OWNER}: parser must give spans in order, without overlap, within the {len(text)} characters, "
                f"got {(start, end)} after {at} for rollout {i}"
            )
        at = end
    return spans, problem


def _limited(
    spans: Spans, problem: str | None, text: str, ended: bool | None, limit: int | None
) -> tuple[Spans, str | None]:
    """The candidates and the problem, in view of how the rollout ended and how many candidates are allowed."""
    if ended and problem == TRUNCATED:
        problem = MALFORMED
    if ended is False and problem is None and spans and not text[spans[-1][1] :].strip():
        spans, problem = spans[:-1], TRUNCATED
    if limit is not None and len(spans) > limit:
        spans, problem = spans[:limit], MALFORMED
    if not spans and problem is None:
        problem = MALFORMED
    return spans, problem


def _settled(spans: Spans, problem: str, policy: str, text: str, i: int) -> Spans:
    """The candidates of a rollout with a problem."""
    if policy == "raise":
        shown = text if len(text) <= 80 else f"{text[:50]} ... {text[-25:]}"
        raise ValueError(
            f"{OWNER}: rollout {i} is {problem}, with {len(spans)} candidates before that: {shown!r}; "
            f"{problem}='whole' punishes it, 'keep' keeps these candidates"
        )
    return {"keep": spans, "abstain": []}.get(policy, [(0, len(text), text)])


def _owners(pieces: list[bytes], text: str, spans: Spans, straddle: str) -> np.ndarray:
    """[tokens]: the candidate of each token, by its bytes."""
    where = _byte_offsets(text)
    bounds = np.array([(where[start], where[end], k) for k, (start, end, _) in enumerate(spans, 1) if start < end])
    if not len(bounds):
        return np.zeros(len(pieces), np.int64)
    starts, ends, number = bounds.T
    stop = np.cumsum(list(map(len, pieces)))
    start = np.concatenate([[0], stop[:-1]])
    first = np.searchsorted(ends, start, "right")  # the first candidate that ends behind the start of the token
    last = np.searchsorted(starts, stop, "left") - 1  # the last that starts before its end
    covers = (first <= last) & (start < stop)
    at = np.where(covers, last if straddle == "last" else first, 0)
    if straddle == "none":
        covers &= (starts[at] <= start) & (stop <= ends[at])
    return np.where(covers, number[at], 0)


def _byte_offsets(text: str) -> np.ndarray:
    """[characters + 1]: the byte that each character of the text begins at."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    sizes[(points >= 0xD800) & (points < 0xE000)] = 1  # a byte that is not UTF-8
    return np.concatenate([[0], np.cumsum(sizes)])
