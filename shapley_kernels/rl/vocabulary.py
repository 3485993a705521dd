"""What each token writes: the bytes of a token id, from the tokenizer's own vocabulary. No text is encoded anew."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

OWNER = "candidate_ids"

ReadToken: TypeAlias = Callable[[int], bytes | None]
"""Token id -> its bytes, None for special tokens; LookupError outside the vocabulary."""

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = (byte for byte in range(256) if byte not in _PRINTABLE)
ALPHABET = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + i): byte for i, byte in enumerate(_OTHERS)}
"""Byte-level BPE (GPT-2) writes bytes as characters: printable ones as themselves, the others as U+0100, U+0101, ..."""

_FALLBACK = re.compile("<0x([0-9A-Fa-f]{2})>")


def token_reader(tokenizer: Any) -> ReadToken:
    """How to read the bytes of a token.

    Args:
        tokenizer: of the packages tokenizers or transformers (a fast one), byte-level or SentencePiece; a function from
            an id to bytes, None for special tokens; or a list or dict of these.

    Raises:
        TypeError: anything else, and decoders that change text with its surroundings, such as WordPiece.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)  # of a fast tokenizer of transformers
    if hasattr(backend, "id_to_token") and hasattr(backend, "get_added_tokens_decoder"):
        return _of_tokenizers(backend, set(getattr(tokenizer, "all_special_ids", ())))
    if isinstance(tokenizer, (Mapping, list, tuple)):
        return tokenizer.__getitem__
    if not callable(tokenizer) or hasattr(tokenizer, "convert_ids_to_tokens"):
        raise TypeError(
            f"{OWNER}: tokenizer must be one of the packages tokenizers or transformers (fast), a function from an id "
            f"to bytes (None for special tokens), or a list or dict of bytes, got {type(tokenizer).__name__}"
        )
    return tokenizer


def _of_tokenizers(tokenizer: Any, special: set[int]) -> ReadToken:
    added = tokenizer.get_added_tokens_decoder()
    special = special | {token for token, entry in added.items() if entry.special}
    decode = _piece_decoder(tokenizer.decoder)

    def read(token: int) -> bytes | None:
        if token in special:
            return None
        piece = tokenizer.id_to_token(token)
        if piece is None:
            raise LookupError(token)
        return decode(piece, token in added)

    return read


def _piece_decoder(decoder: Any) -> Callable[[str, bool], bytes]:
    """The steps of a decoder of the package tokenizers, run on one vocabulary entry alone."""
    import json  # here, to keep the import of the package cheap

    steps = json.loads(decoder.__getstate__()) if decoder is not None else {"type": "None"}
    kinds: set[str] = set()
    replacements: list[tuple[str, str]] = []
    for step in steps.get("decoders", [steps]):  # of a Sequence
        kind = step["type"]
        if kind == "Metaspace":
            replacements.append((step["replacement"], " "))
        elif kind == "Replace" and "String" in step["pattern"]:
            replacements.append((step["pattern"]["String"], step["content"]))
        elif kind not in ("ByteFallback", "ByteLevel", "Fuse") and not (kind == "Strip" and "Fuse" in kinds):
            raise TypeError(
                f"{OWNER}: tokenizer has the decoder {kind}, expected ByteLevel, or SentencePiece's (Metaspace, or "
                "Replace, ByteFallback, Fuse, Strip); pass a function from an id to bytes instead"
            )
        kinds.add(kind)  # a Strip behind Fuse takes off the first space of a text; it was sampled, so it stays here

    def decode(piece: str, added: bool) -> bytes:
        for old, new in replacements:
            piece = piece.replace(old, new)
        if "ByteFallback" in kinds and (byte := _FALLBACK.fullmatch(piece)):
            return bytes([int(byte[1], 16)])
        if "ByteLevel" in kinds and not added and all(character in ALPHABET for character in piece):
            return bytes(map(ALPHABET.__getitem__, piece))
        return piece.encode()

    return decode


class Vocabulary:
    """The bytes of the tokens of one call, each looked up once."""

    def __init__(self, read: ReadToken) -> None:
        self.read = read
        self.known: dict[int, bytes] = {}
        self.unknown: dict[int, str] = {}
        """Ids that are not in the vocabulary, and where each stands first."""
        self.unknown_tokens = 0

    def pieces(self, row: np.ndarray, live: np.ndarray | None, i: int) -> list[bytes]:
        """The bytes of each token of row i, none for special, masked and unknown ones."""
        tokens = row.tolist()
        sampled = tokens if live is None else row[live].tolist()
        for token in set(sampled).difference(self.known):
            self.known[token] = self._look_up(token, row, live, i)
        if self.unknown:
            self.unknown_tokens += sum(token in self.unknown for token in sampled)
        if live is None:
            return [self.known[token] for token in tokens]
        return [self.known[token] if on else b"" for token, on in zip(tokens, live.tolist(), strict=True)]

    def _look_up(self, token: int, row: np.ndarray, live: np.ndarray | None, i: int) -> bytes:
        try:
            if token < 0:
                raise LookupError  # a list would count from its end
            piece = self.read(token)
        except (LookupError, OverflowError):
            place = f"{token} at [{i}, {np.argmax((row == token) & (True if live is None else live))}] (token last)"
            if token < 0:
                raise ValueError(
                    f"{OWNER}: token_ids must be >= 0, got {place}; mask padding and ignored labels (mask=)"
                ) from None
            self.unknown[token] = place
            return b""
        if not isinstance(piece, bytes | None):
            raise TypeError(
                f"{OWNER}: tokenizer must give bytes, or None for a special token, got {piece!r} for the id {token}; "
                "encode text as UTF-8, but take care of tokens that are parts of characters"
            )
        return piece or b""

    def refuse_another_model(self, rows: list[np.ndarray], masks: Sequence[np.ndarray | None]) -> None:
        """ValueError where more of the tokens are unknown than known."""
        sampled = sum(len(row) if live is None else int(live.sum()) for row, live in zip(rows, masks, strict=True))
        if 2 * self.unknown_tokens > sampled:
            raise ValueError(
                f"{OWNER}: token_ids must be in the vocabulary, got {next(iter(self.unknown.values()))}, and "
                f"{self.unknown_tokens} of {sampled} tokens that are not; mask padding (mask=), and check that this is "
                "the model's tokenizer"
            )
