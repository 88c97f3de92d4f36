"""Text out of token bytes: whole characters only, and never a part of a stop string."""

import codecs
from collections.abc import Sequence


def held_back(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of `text` may be the beginning of a stop string."""
    longest = min(len(text), max((len(stop) for stop in stops), default=1) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(stop.startswith(tail) for stop in stops):
            return length
    return 0


class TextFlow:
    """Turns the bytes of one answer, piece by piece, into text that can be sent.

    What was sent is always a prefix of the answer, up to and without the first stop string. Bytes that are no
    UTF-8 become U+FFFD, as soon as it is certain that they are none.
    """

    __slots__ = ("_decode", "_held", "_stops")

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""

    def feed(self, piece: bytes) -> tuple[str, bool]:
        """Take the bytes of a token; return the text to send now, and whether a stop string was met."""
        text = self._decode(piece)
        if not self._stops:
            return text, False
        return self._scan(self._held + text)

    def close(self) -> tuple[str, bool]:
        """Take the end of the answer; return the text held back, and whether a stop string was in it."""
        text = self._held + self._decode(b"", final=True)
        self._stops, stops = (), self._stops
        cut = first_stop(text, stops)
        return (text, False) if cut < 0 else (text[:cut], True)

    def _scan(self, text: str) -> tuple[str, bool]:
        cut = first_stop(text, self._stops)
        if cut >= 0:
            self._held = ""
            return text[:cut], True
        keep = held_back(text, self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False


def first_stop(text: str, stops: Sequence[str]) -> int:
    """Return where the earliest stop string begins; -1 where there is none."""
    return min((at for at in map(text.find, stops) if at >= 0), default=-1)
