"""When a worker counts as hung."""

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.engines.children.probe import Probe
from tests.engines.real_time import REAL_TIME, SOON_S

pytestmark = REAL_TIME

DEADLINE_S = 0.25
HEALTHY = json.dumps({"status": "ok", "active": 0, "queued": 0, "progress_age_ms": 0, "steps": 1}).encode()
OLD = json.dumps({"status": "ok", "active": 0, "queued": 0, "progress_age_ms": 9e9, "steps": 1}).encode()


def reply(body: bytes, status: str = "200 OK") -> list[bytes]:
    return [b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)]


@asynccontextmanager
async def answering(
    path: Path, pieces: list[bytes], *, then_close: bool = True
) -> AsyncIterator[list[bytes]]:
    """Answer every connection with `pieces`; give the list of what was asked."""
    asked: list[bytes] = []
    quiet = asyncio.Event()
    quiet.set()
    open_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        quiet.clear()
        with suppress(ConnectionError, EOFError):
            await answer(reader, writer)
        writer.close()
        open_connections -= 1
        if not open_connections:
            quiet.set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if not then_close:
            await reader.read()  # until the other side has heard enough

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield asked
    finally:
        server.close()
        async with asyncio.timeout(SOON_S):
            await quiet.wait()
        await server.wait_closed()


class Verdict:
    """What a probe says, and when."""

    def __init__(self, path: Path, *, hang_deadline_s: float = DEADLINE_S) -> None:
        self.why = ""
        self._said = asyncio.Event()
        self._probe = Probe(str(path), hang_deadline_s=hang_deadline_s, on_hang=self._hung)

    def _hung(self, why: str) -> None:
        assert not self.why, "said once"
        self.why = why
        self._said.set()

    async def hung(self) -> str:
        async with asyncio.timeout(SOON_S):
            await self._said.wait()
        return self.why

    async def after(self, seconds: float) -> str:
        """What it has said by then."""
        await asyncio.sleep(seconds)
        self._probe.stop()
        return self.why


HEALTHY_ANSWERS = [
    ("in one piece", reply(HEALTHY), True),
    ("byte by byte", [bytes([byte]) for byte in reply(HEALTHY)[0]], True),
    ("on a connection that stays open", reply(HEALTHY), False),
    ("without a length", [b"HTTP/1.1 200 OK\r\n\r\n", HEALTHY], True),
    ("idle since long ago", reply(OLD), True),
]


@pytest.mark.parametrize(
    ("how", "pieces", "then_close"), HEALTHY_ANSWERS, ids=[c[0] for c in HEALTHY_ANSWERS]
)
async def test_a_healthy_answer_keeps_a_worker_alive(
    runtime: Path, how: str, pieces: list[bytes], *, then_close: bool
) -> None:
    async with answering(runtime / "s", pieces, then_close=then_close) as asked:
        assert await Verdict(runtime / "s").after(2 * DEADLINE_S) == "", how
    assert len(asked) >= 2
    assert asked[0].startswith(b"GET /health HTTP/1.1\r\n")


NO_ANSWERS = [
    ("an error", reply(HEALTHY, "500 Internal Server Error")),
    ("no JSON", reply(b"hello")),
    ("no object", reply(b"[]")),
    ("no HTTP", [b"hello\n"]),
    ("nothing", []),
    ("without end", [b"x" * 10_000] * 10),
]


@pytest.mark.parametrize(("what", "pieces"), NO_ANSWERS, ids=[case[0] for case in NO_ANSWERS])
async def test_what_is_no_answer_is_silence(runtime: Path, what: str, pieces: list[bytes]) -> None:
    async with answering(runtime / "s", pieces):
        assert "no answer for 0." in await Verdict(runtime / "s").hung(), what


async def test_nobody_there_is_silence(runtime: Path) -> None:
    async with answering(runtime / "s", []):
        pass  # the file stays
    (runtime / "s").touch()
    assert "no answer for" in await Verdict(runtime / "s").hung()


async def test_a_socket_that_was_removed_is_no_matter_of_patience(runtime: Path) -> None:
    async with asyncio.timeout(SOON_S):
        assert "its socket was removed" in await Verdict(runtime / "nothing", hang_deadline_s=600).hung()


async def test_time_in_which_this_process_stood_still_does_not_count(runtime: Path) -> None:
    async with answering(runtime / "s", reply(HEALTHY)):
        verdict = Verdict(runtime / "s", hang_deadline_s=DEADLINE_S)
        await asyncio.sleep(DEADLINE_S / 3)
        time.sleep(2 * DEADLINE_S)  # noqa: ASYNC251 (a machine that sleeps, as far as this process can tell)
        assert await verdict.after(DEADLINE_S / 2) == ""


async def test_when_no_file_can_be_opened_the_watch_goes_on_and_no_worker_is_blamed(runtime: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with answering(runtime / "s", []):
        verdict = Verdict(runtime / "s")
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            await asyncio.sleep(2 * DEADLINE_S)
            assert verdict.why == ""
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert "no answer" in await verdict.hung()


async def test_a_stopped_probe_is_silent(runtime: Path) -> None:
    verdict = Verdict(runtime / "nothing")
    assert await verdict.after(0.05) == ""
    await asyncio.sleep(2 * DEADLINE_S)
    assert verdict.why == ""


async def test_no_progress_twice_in_a_row_is_a_hang(runtime: Path) -> None:
    stuck = json.dumps({"active": 2, "progress_age_ms": 60_000, "steps": 7}).encode()
    async with answering(runtime / "s", reply(stuck)) as asked:
        assert await Verdict(runtime / "s").hung() == "hung: no progress for 60 s with requests under way"
    assert len(asked) == 2
