"""An upstream's stream of events on its way to the gateway."""

import re
from typing import Final

from orchestrator.engines.openai.refusals import Said, in_answer
from orchestrator.engines.openai.rename import Renaming

DONE: Final = b"data: [DONE]\n\n"
# An event that is longer than this is none; in bytes.
MOST_EVENT_BYTES: Final = 4 * 1024 * 1024
# A choice that has ended; in a text its quotation marks would be escaped. Some say "" of one that has not.
_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"[^"]')


class Malformed(Exception):
    """The stream is no stream of OpenAI's."""


class Stream:
    """Takes bytes as they come, gives whole events under our model's name.

    Comments and keep-alives, names and numbers of events are left out: the
    gateway and OpenAI's clients know only data. `done` is set by `[DONE]`,
    `error` by an event that tells of one; after either nothing more is given.
    """

    def __init__(self, rename: Renaming, *, choices: int = 1) -> None:
        self._rename = rename
        self._unfinished = choices
        self._rest = b""
        self.done = False
        self.error: Said | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what goes on to the client now, possibly nothing.

        Raises:
            Malformed: this is no event that we know.
        """
        data = self._rest + data if self._rest else data
        if b"\r" in data:
            data = _with_line_feeds(data)
        end = data.rfind(b"\n\n")
        if end < 0:
            self._rest = data
            if len(data) > MOST_EVENT_BYTES:
                raise Malformed("an event without end")
            return b""
        self._rest = data[end + 2 :]
        passing: list[bytes] = []
        for event in data[:end].split(b"\n\n"):
            payload = _payload(event)
            if payload:
                self._take(payload, passing)
            if self.done or self.error is not None:
                break
        return b"".join(passing)

    def end(self) -> bytes:
        """Take note that no more comes: a last event may lack the empty line behind it.

        Some servers, `transformers serve` among them, send no `[DONE]`. The
        answer is whole all the same where each choice has said why it ended.
        """
        return b"" if self.done or self.error is not None else self.feed(b"\n\n") + self._last_word()

    def _last_word(self) -> bytes:
        """Return what is missing at the end of a whole answer."""
        if self.done or self.error is not None or self._unfinished > 0:
            return b""
        self.done = True
        return DONE

    def _take(self, payload: bytes, passing: list[bytes]) -> None:
        if payload == b"[DONE]":
            self.done = True
            passing.append(DONE)
            return
        if not payload.startswith(b"{"):
            raise Malformed("an event that is not JSON")
        self.error = in_answer(payload)
        if self.error is None:
            self._unfinished -= len(_FINISHED.findall(payload))
            passing.append(b"data: %b\n\n" % self._rename(payload))


def _payload(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = (line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
    return b" ".join(lines).strip()  # JSON has no line breaks but between its tokens


def _with_line_feeds(data: bytes) -> bytes:
    """Return the data with one kind of line end; a carriage return at its very end may be half of one."""
    half = b"\r" if data.endswith(b"\r") else b""
    return data[: len(data) - len(half)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + half
