"""The bytes that each token of a Hugging Face tokenizer stands for: text can be cut at any of them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE: Final = "\u2581"  # SentencePiece's


def pieces_of(
    tokens: Sequence[str | None], decoder: Mapping[str, Any] | None, added: Mapping[int, bool]
) -> list[bytes]:
    """Return the bytes of every token, b"" for control tokens.

    Args:
        tokens: what the vocabulary calls each token, by its number; None for numbers without one.
        decoder: the part of that name in `tokenizer.json`.
        added: tokens that stand for themselves, by number; true for control tokens.
    """
    read = _byte_level if "ByteLevel" in set(_kinds(decoder)) else _sentence_piece
    return [_piece(token, added.get(number), read) for number, token in enumerate(tokens)]


def _piece(token: str | None, control: bool | None, read: Callable[[str], bytes]) -> bytes:  # noqa: FBT001 (what `added` holds)
    if token is None or control:
        return b""
    return read(token) if control is None else token.encode()


def _kinds(decoder: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the kinds of decoder that follow one another."""
    if decoder:
        yield str(decoder.get("type"))
        for inner in decoder.get("decoders", ()):
            yield from _kinds(inner)


def _byte_level(token: str) -> bytes:
    letters = _letters()
    return b"".join(letters.get(letter) or letter.encode() for letter in token)


def spelled(piece: bytes) -> str:
    """Return the name of these bytes in a GPT-2 vocabulary."""
    return "".join(_spelling()[byte] for byte in piece)


def _sentence_piece(token: str) -> bytes:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()


@cache
def _spelling() -> Mapping[int, str]:
    return {byte[0]: letter for letter, byte in _letters().items()}


@cache
def _letters() -> Mapping[str, bytes]:
    """Return the bytes behind the 256 letters of a GPT-2 vocabulary."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    odd = (byte for byte in range(0x100) if byte not in plain)
    letters = {chr(byte): bytes([byte]) for byte in plain}
    return letters | {chr(0x100 + at): bytes([byte]) for at, byte in enumerate(odd)}
