"""The pairs at the head of a GGUF file that say how a chat is written. Reads the head of the file only."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_WANTED: Final = "tokenizer.chat_template"
_TOKENS: Final = "tokenizer.ggml.tokens"
_IDS: Final = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id")
_LONGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The chat template in Jinja, "" where there is none, and the texts of the tokens around a document."""

    template: str = ""
    bos: str = ""
    eos: str = ""


def header_of(path: Path) -> Header:
    """Return what the file says; nothing where it cannot be read that way: who loads it will say why."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (OSError, struct.error, ValueError, LookupError, OverflowError, RecursionError, MemoryError):
        return Header()


def _read(file: BinaryIO) -> Header:
    _, _, _, pairs = struct.unpack("<4sIQQ", file.read(24))
    template, tokens, ids = "", list[str](), dict[str, int]()
    for _ in range(pairs):
        key = _text(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if key == _WANTED and kind == _STRING:
            template = _text(file)
        elif key == _TOKENS and kind == _ARRAY:
            _, count = struct.unpack("<IQ", file.read(12))
            tokens = [_text(file) for _ in range(count)]
        elif key in _IDS and kind in {4, 5}:
            (ids[key],) = struct.unpack("<I", file.read(4))
        else:
            _skip(file, kind)

    def token(key: str) -> str:
        number = ids.get(key, -1)
        return tokens[number] if 0 <= number < len(tokens) else ""

    return Header(template=template, bos=token(_IDS[0]), eos=token(_IDS[1]))


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST:
        raise ValueError("no such text")
    return file.read(length).decode(errors="replace")


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        (length,) = struct.unpack("<Q", file.read(8))
        file.seek(length, 1)
        return
    if kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in _SIZES:
            file.seek(_SIZES[inner] * count, 1)
            return
        for _ in range(count):
            _skip(file, inner)
        return
    file.seek(_SIZES[kind], 1)
