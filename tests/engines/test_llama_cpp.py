"""The llama-cpp engine keeps the contract, with the real worker and the shipped models."""

import asyncio
import contextlib
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from benchmarks.worker import complete
from orchestrator.engines.llama.engine import LlamaCppEngine
from orchestrator.engines.memory.weight import weight_of
from orchestrator.errors import ReplicaDied
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec
from tests.engines.conformance import Absent, Arrivals, EngineConformance, Exits
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME, SOON_S, until

pytestmark = REAL_TIME


def workers() -> list[psutil.Process]:
    """The live workers of this process."""
    found = psutil.Process().children()
    return [child for child in found if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "orchestrator.workers.serve" in child.cmdline()
    except psutil.NoSuchProcess:
        return False


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def exists(path: str) -> bool:
    return Path(path).exists()


async def chat(socket: str, said: str) -> str:
    body = {
        "model": "any",
        "messages": [{"role": "user", "content": said}],
        "max_tokens": 4,
        "temperature": 0,
    }
    limit = aiohttp.ClientTimeout(total=SOON_S)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=limit) as session,
        session.get("http://worker/health") as health,
        session.post("http://worker/v1/chat/completions", json=body) as response,
    ):
        assert health.status == 200
        assert response.status == 200, await response.text()
        answer = await response.json()
    return str(answer["choices"][0]["message"]["content"])


class LlamaCppRig:
    killed = "killed"
    tells_version = True

    def __init__(self, runtime: Path) -> None:
        self.engine = LlamaCppEngine(runtime / "run", library(runtime), threads=1, load_deadline_s=SOON_S)
        noise = runtime / "noise.gguf"
        noise.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(range(256)))
        self.good = spec("fast", location="tiny", context=128, parallel=2)
        self.other = spec("better", location="small", context=128, parallel=2)
        self.absent = Absent(
            engine=LlamaCppEngine(runtime / "absent", library(runtime), build=lambda: None), spec=self.good
        )
        self.missing = spec("missing", source=hidden(runtime / "nothing.gguf"))
        self.corrupt = spec("corrupt", source=hidden(noise))

    async def kill(self, running: Running) -> None:
        process = psutil.Process(running.pid)
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess):  # asyncio may reap it from a thread of its own
            while process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)  # noqa: ASYNC251 (so that the engine cannot hear of it before the test goes on)

    async def answers(self, running: Running) -> bool:
        try:
            return bool(await chat(running.socket, "2+2"))
        except aiohttp.ClientConnectorError:
            return False

    async def fill(self, running: Running, spec: ModelSpec) -> None:
        """Fill every token of every place; one byte is one token of the shipped models."""
        texts = (chr(ord("a") + place) * (spec.context - 2) for place in range(spec.parallel))
        await asyncio.gather(*(complete(running.socket, text, 2) for text in texts))

    async def processes(self) -> int:
        return len(workers())

    async def load_is_under_way(self) -> None:
        ready = len(await self.engine.observe())
        await until(lambda: len(workers()) > ready)


def hidden(path: Path) -> Source:
    """A source whose resolved path must not be shown."""
    return Source(written="file:${env:MODELS}/" + path.name, scheme="file", location=str(path))


@pytest.fixture
async def rig(runtime: Path) -> AsyncIterator[LlamaCppRig]:
    made = LlamaCppRig(runtime)
    yield made
    await made.engine.close()
    assert workers() == []


class TestLlamaCppEngine(EngineConformance):
    @pytest.fixture
    def rig(self, rig: LlamaCppRig) -> LlamaCppRig:
        return rig


async def test_errors_never_show_the_resolved_path(rig: LlamaCppRig) -> None:
    for bad in (rig.missing, rig.corrupt):
        verbs = (
            rig.engine.ensure_fetched(bad, Arrivals()),
            rig.engine.estimate(bad),
            rig.engine.ensure_loaded("r1", bad),
        )
        for verb in verbs:
            with pytest.raises(Exception, match="MODELS") as caught:
                await verb
            assert bad.source.location not in str(caught.value)


async def test_a_worker_that_stands_still_is_killed_and_reported(runtime: Path) -> None:
    engine = LlamaCppEngine(runtime / "run", library(runtime), threads=1, hang_deadline_s=0.4)
    exits = Exits(engine)
    try:
        running = await engine.ensure_loaded("r1", spec(context=128))
        os.kill(running.pid, signal.SIGSTOP)
        _, cause = await exits.first()
        assert isinstance(cause, ReplicaDied)
        assert cause.what.startswith("hung: no answer for 0.")
        assert workers() == []
    finally:
        await engine.close()


async def test_a_healthy_worker_outlives_the_hang_deadline(runtime: Path) -> None:
    engine = LlamaCppEngine(runtime / "run", library(runtime), threads=1, hang_deadline_s=0.4)
    try:
        running = await engine.ensure_loaded("r1", spec(context=128))
        await asyncio.sleep(1.2)
        assert set(await engine.observe()) == {"r1"}
        assert await chat(running.socket, "2+2")
    finally:
        await engine.close()


async def test_memory_is_the_process_s_own(rig: LlamaCppRig) -> None:
    await rig.engine.ensure_loaded("r1", rig.good)
    seen = (await rig.engine.observe())["r1"]
    assert 10_000_000 < seen.memory_bytes < 1_000_000_000


async def test_what_is_set_aside_for_computing_counts_before_it_is_taken(rig: LlamaCppRig) -> None:
    running = await rig.engine.ensure_loaded("r1", rig.good)
    before = (await rig.engine.observe())["r1"].memory_bytes
    weight = weight_of(running.pid)
    assert weight
    assert before > weight.ram_bytes
    await rig.fill(running, rig.good)
    after = (await rig.engine.observe())["r1"].memory_bytes
    assert abs(after - before) < 4_000_000


async def test_setting_the_clock_does_not_make_a_replica_vanish(
    rig: LlamaCppRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.engine.ensure_loaded("r1", rig.good)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)
    assert set(await rig.engine.observe()) == {"r1"}


async def test_the_socket_is_private_and_goes_with_the_worker(rig: LlamaCppRig) -> None:
    running = await rig.engine.ensure_loaded("r1", rig.good)
    folder = Path(running.socket).parent
    assert mode_of(folder) == 0o700
    await rig.engine.ensure_unloaded("r1")
    assert not exists(running.socket)
    again = await rig.engine.ensure_loaded("r1", rig.good)
    exits = Exits(rig.engine)
    await rig.kill(again)
    await exits.first()
    assert not exists(again.socket)
