"""Our model's name in place of another one in JSON documents, without reading all of them.

A key inside a string has its quotation marks escaped, so `"model":"x"` in a text is never mistaken for one; a
key of a nested object is told apart by its depth. The chunks of one stream mostly differ in nothing but their
middle: what stood before or after the name in the last one is looked for first, and costs one comparison.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

_KEY: Final = b'"model"'
# A string, closed or cut off at the end (else an open one would be tried again from each quotation mark in
# it), or a bracket. What lies between matters to nobody.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_NAME: Final = re.compile(rb'\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*"|null)', re.DOTALL)
_BEFORE_KEY: Final = re.compile(rb",\s*\Z")


class Renaming:
    """Renames the model in the documents of one answer.

    Every document is a JSON object. Its own key `model` gets our name,
    whatever was there; a document without one stays as it is.
    """

    def __init__(self, model: str) -> None:
        self._name = json.dumps(model).encode()
        self._head = self._new_head = b""
        self._tail = self._new_tail = b""

    def __call__(self, document: bytes) -> bytes:
        """Return the document under our name."""
        if self._head and document.startswith(self._head):
            return self._new_head + document[len(self._head) :]
        if self._tail and document.endswith(self._tail):
            return document[: -len(self._tail)] + self._new_tail
        place = _place_of_name(document)
        if place is None:
            return document
        start, end = place
        self._learn(document, start, end)
        return document[:start] + self._name + document[end:]

    def _learn(self, document: bytes, start: int, end: int) -> None:
        """Keep what surrounds the name on the side where that is shorter."""
        if end <= len(document) - start:
            self._head, self._new_head = document[:end], document[:start] + self._name
            return
        key = document.rfind(_KEY, 0, start)
        comma = _BEFORE_KEY.search(document, max(0, key - 8), key)
        if comma is not None:
            since = comma.start()
            self._tail = document[since:]
            self._new_tail = document[since:start] + self._name + document[end:]


def _place_of_name(document: bytes) -> tuple[int, int] | None:
    """Return where the value of the document's own key `model` begins and ends."""
    first, last = document.find(_KEY), document.rfind(_KEY)
    if first < 0:
        return None
    if len(document) - last < first:
        place = _at_end(document, last)
        if place is not None:
            return place
    return _from_start(document)


def _from_start(document: bytes) -> tuple[int, int] | None:
    for depth, token in _tokens(document, 0, 0):
        if depth == 1 and token.group() == _KEY:
            name = _NAME.match(document, token.end())
            if name is not None:
                return name.span(1)
    return None


def _at_end(document: bytes, key: int) -> tuple[int, int] | None:
    """Return the place where the last `"model"` is the document's own key, None where that is not certain.

    After a comma it begins a string, as a string that ends there would have to be followed by something
    else. It is at the top if from there on one bracket more is closed than opened, and that is the last.
    """
    name = _NAME.match(document, key + len(_KEY))
    if name is None or _BEFORE_KEY.search(document, max(0, key - 8), key) is None:
        return None
    for depth, token in _tokens(document, key, 1):
        if depth == 0:
            closes = token.group() == b"}" and not document[token.end() :].strip()
            return name.span(1) if closes else None
    return None


def _tokens(document: bytes, start: int, depth: int) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Yield the tokens from `start` on, each with the depth after it."""
    for token in _TOKEN.finditer(document, start):
        first = document[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        yield depth, token
