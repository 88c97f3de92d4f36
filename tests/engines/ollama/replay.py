"""A server that answers as a real one was heard to, and takes no other requests than that one was asked.

The records in wire/ are of the version that each names. What our own requests always say besides is left out
of the comparison, as is the model's name.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

WIRE = Path(__file__).parent / "wire"
BLOBS = "/api/blobs/"
# What we always say, whatever was recorded.
OURS = frozenset({"keep_alive", "truncate", "stream", "model", "raw"})
# The limit of an answer, for a client who names none.
NO_LIMIT = 256


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((WIRE / f"{name}.json").read_text())
    return found


@dataclass
class Asked:
    method: str
    path: str
    body: Any


class Replay:
    """Answers with the given records, each once and in order; with the last one of a path again and again."""

    def __init__(self, names: Sequence[str]) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.unexpected: list[str] = []
        self.answers_to_anything = False  # with the first record, whatever is asked
        self.ignored: frozenset[str] = frozenset()  # fields that need not be as recorded
        self._records = [record(name) for name in names]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = _parsed(raw)
        self.asked.append(Asked(method=request.method, path=request.path, body=body))
        for at, each in enumerate(self._records):
            if self.answers_to_anything or self._matches(each["request"], request, body):
                if sum(_alike(other, each) for other in self._records) > 1:
                    del self._records[at]
                return await _answer(each, request)
        self.unexpected.append(f"{request.method} {request.path} {raw[:300]!r}")
        return web.json_response({"error": "nobody has recorded this"}, status=418)

    def _matches(self, wanted: dict[str, Any], request: web.Request, body: Any) -> bool:  # noqa: ANN401 (JSON)
        if wanted["method"] != request.method:
            return False
        if wanted["path"].startswith(BLOBS):
            return request.path.startswith(BLOBS)
        if wanted["path"] != request.path:
            return False
        if not isinstance(wanted["body"], dict):
            return True
        return self._compared(wanted["body"]) == self._compared(body)

    def _compared(self, body: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in body.items() if key not in OURS | self.ignored}
        options = {key: value for key, value in kept.pop("options", {}).items() if value != NO_LIMIT}
        return kept | ({"options": options} if options else {})


@asynccontextmanager
async def replaying(*names: str) -> AsyncIterator[Replay]:
    """Serve; at the end, what was asked and never recorded is a failure."""
    made = Replay(names)
    async with listening(made.handle) as url:
        made.url = url
        yield made
    assert made.unexpected == []


@asynccontextmanager
async def listening(handle: Any) -> AsyncIterator[str]:  # noqa: ANN401 (aiohttp's own kinds of handler)
    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=0.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["request"]["path"] == other["request"]["path"])


def _parsed(raw: bytes) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(raw)
    except ValueError:
        return None


async def _answer(each: dict[str, Any], request: web.Request) -> web.StreamResponse:
    headers = {"content-type": each["content_type"]} if each["content_type"] else {}
    if each["content_type"] != "application/x-ndjson":
        return web.Response(status=each["status"], body=each["body"].encode(), headers=headers)
    answer = web.StreamResponse(status=each["status"], headers=headers)
    await answer.prepare(request)
    for line in each["body"].splitlines(keepends=True):
        await answer.write(line.encode())
    if each["ended"] != "clean" and request.transport is not None:
        request.transport.abort()
    return answer
