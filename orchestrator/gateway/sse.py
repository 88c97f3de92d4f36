"""A stream of server-sent events on its way through: what passes, and what is learnt from it."""

import json
import re
from collections.abc import Iterator
from typing import Any

USAGE = re.compile(rb'"usage"\s*:\s*\{')
EVENT_END = re.compile(rb"\r\n\r\n|\n\n")
NOTABLE = (b'"usage"', b'"error"', b"[DONE]")
DECODER = json.JSONDecoder()


class Tap:
    """Lets whole events pass unchanged and remembers what the last ones say.

    Only the beginning of an event that has not arrived in full is held back:
    no client can use it, and an error event can then always be added cleanly.

    Args:
        keep_usage: False drops the event with the usage counts, which the
            gateway asked for and the client did not.
    """

    def __init__(self, *, keep_usage: bool) -> None:
        self._keep_usage = keep_usage
        self._held = b""
        self.done = False
        self.error = ""
        self.usage: dict[str, Any] = {}
        self.timings: dict[str, Any] = {}

    def feed(self, data: bytes) -> bytes:
        """Take what arrived; return what goes on to the client now, possibly nothing."""
        if self._held:
            data = self._held + data
            self._held = b""
        if not data.endswith(b"\n\n"):
            end = _end_of_last_event(data)
            self._held = data[end:]
            data = data[:end]
        if not any(mark in data for mark in NOTABLE):
            return data
        return b"".join(event for event in _events(data) if self._passes(event))

    def rest(self) -> bytes:
        """Return what is still held back once the stream has ended; nothing comes after its end mark."""
        return b"" if self.done else self._held

    def _passes(self, event: bytes) -> bool:
        if self.done:
            return False
        payload = _payload(event)
        if payload == b"[DONE]":
            self.done = True
        elif b'"error"' in payload or USAGE.search(payload):
            return self._note(payload)
        return True

    def _note(self, payload: bytes) -> bool:
        try:
            chunk = json.loads(payload)
        except ValueError:
            return True
        if not isinstance(chunk, dict):
            return True
        if "error" in chunk:
            self.error = code_of(chunk["error"])
        if not isinstance(chunk.get("usage"), dict):
            return True
        self.usage = chunk["usage"]
        self.timings = as_object(chunk.get("timings"))
        return self._keep_usage or bool(chunk.get("choices"))


def event(content: dict[str, Any]) -> bytes:
    """Return one event with `content` as its data."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def trailing_object(answer: bytes, key: str) -> dict[str, Any]:
    """Return the last object under `key` in a JSON document, without reading all of it; {} for none.

    A key inside a string has its quotation marks escaped, so it is not mistaken for one.
    """
    found = answer.rfind(f'"{key}"'.encode())
    if found < 0:
        return {}
    text = answer[found + len(key) + 2 :].decode(errors="replace").lstrip().removeprefix(":").lstrip()
    try:
        value, _ = DECODER.raw_decode(text)
    except ValueError:
        return {}
    return as_object(value)


def code_of(error: object) -> str:
    """Return the code of an OpenAI error object, or its type, or a word that says that it had neither."""
    fields = as_object(error)
    return str(fields.get("code") or fields.get("type") or "upstream_error")


def as_object(value: object) -> dict[str, Any]:
    """Return `value` where it is a JSON object, else {}."""
    return value if isinstance(value, dict) else {}


def _end_of_last_event(data: bytes) -> int:
    lf = data.rfind(b"\n\n")
    crlf = data.rfind(b"\r\n\r\n")
    return max(lf + 2 if lf >= 0 else 0, crlf + 4 if crlf >= 0 else 0)


def _events(data: bytes) -> Iterator[bytes]:
    start = 0
    for end in EVENT_END.finditer(data):
        yield data[start : end.end()]
        start = end.end()


def _payload(event: bytes) -> bytes:
    """Return the event's data: its `data:` lines, joined as the standard says."""
    if event.startswith(b"data:") and event.find(b"\n") >= len(event) - 2:
        return event[5:].strip()
    lines = (line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(lines)
