"""What comes of workers that misbehave: a stub in several moods stands in for the real one."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.llama.engine import LlamaCppEngine
from orchestrator.engines.sockets import remove
from orchestrator.errors import EngineError, LoadFailed, LoadTimedOut, SourceCorrupt, SourceNotFound
from orchestrator.values.fleet import Running
from orchestrator.values.spec import Source
from tests.builders import spec
from tests.engines.conformance import Exits
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME, SOON_S, until

pytestmark = REAL_TIME

STUB = str(Path(__file__).parent / "stub_worker.py")
HIDDEN = "/secret/model.gguf"
SPEC = spec(source=Source(written="file:${env:PLACE}/model.gguf", scheme="file", location=HIDDEN))


def engine_of(runtime: Path, mood: str, *, load_s: float = SOON_S, hang_s: float = SOON_S) -> LlamaCppEngine:
    return LlamaCppEngine(
        runtime / "run",
        library(runtime),
        load_deadline_s=load_s,
        hang_deadline_s=hang_s,
        command=(sys.executable, STUB, mood),
    )


def stubs() -> list[int]:
    """The live stubs of this process."""
    found = []
    for child in psutil.Process().children():
        try:
            if child.status() != psutil.STATUS_ZOMBIE and STUB in child.cmdline():
                found.append(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


async def health_of(running: Running) -> dict[str, object]:
    reader, writer = await asyncio.open_unix_connection(running.socket)
    writer.write(b"GET /health HTTP/1.1\r\nHost: worker\r\n\r\n")
    async with asyncio.timeout(SOON_S):
        reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    content = json.loads(reply.partition(b"\r\n\r\n")[2])
    assert isinstance(content, dict)
    return content


LOADS_THAT_FAIL = [
    (
        "refuse:not_found",
        SourceNotFound,
        "source 'file:${env:PLACE}/model.gguf': no use for file:${env:PLACE}",
    ),
    ("refuse:corrupt", SourceCorrupt, "no use for"),
    ("refuse:unknown_architecture", SourceCorrupt, "no use for"),
    ("refuse:out_of_memory", LoadFailed, "no use for"),
    ("refuse:failed", LoadFailed, "no use for"),
    ("garbage", LoadFailed, "said 'loading file:${env:PLACE}/model.gguf' in place of its report"),
    (
        "exit:7",
        LoadFailed,
        "the worker never got ready: ended by itself with exit code 7; its log ends with: error: cannot use",
    ),
    (
        f"crash:{signal.SIGKILL}",
        LoadFailed,
        "the worker never got ready: killed (SIGKILL); the kernel's out-of-memory killer",
    ),
    (f"crash:{signal.SIGBUS}", LoadFailed, "was the model file changed in place?"),
]


@pytest.mark.parametrize(("mood", "leaf", "said"), LOADS_THAT_FAIL, ids=[case[0] for case in LOADS_THAT_FAIL])
async def test_a_load_that_fails_names_its_cause_and_leaves_no_process(
    runtime: Path, mood: str, leaf: type[EngineError], said: str
) -> None:
    engine = engine_of(runtime, mood)
    with pytest.raises(leaf) as caught:
        await engine.ensure_loaded("r1", SPEC)
    assert said in caught.value.what
    assert caught.value.where == SPEC.name
    assert HIDDEN not in str(caught.value)
    assert stubs() == []
    assert await engine.observe() == {}


async def test_joined_loads_share_the_error_and_one_process(runtime: Path) -> None:
    engine = engine_of(runtime, "exit:7")
    loads = (engine.ensure_loaded("r1", SPEC) for _ in range(3))
    first, *others = await asyncio.gather(*loads, return_exceptions=True)
    assert isinstance(first, LoadFailed)
    assert all(other is first for other in others)


async def test_a_worker_that_never_gets_ready_is_a_timeout(runtime: Path) -> None:
    engine = engine_of(runtime, "never", load_s=0.2)
    with pytest.raises(LoadTimedOut, match=r"not ready within 0\.2 s"):
        await engine.ensure_loaded("r1", SPEC)
    assert stubs() == []


async def test_a_worker_that_closes_its_output_does_not_load(runtime: Path) -> None:
    """At once on asyncio's loop; at the deadline on uvloop's, whose children hold each pipe twice."""
    engine = engine_of(runtime, "mute", load_s=2.0)
    with pytest.raises((LoadFailed, LoadTimedOut)):
        await engine.ensure_loaded("r1", SPEC)
    assert stubs() == []


async def test_a_timeout_of_the_caller_is_the_caller_s(runtime: Path) -> None:
    engine = engine_of(runtime, "never")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await engine.ensure_loaded("r1", SPEC)
    assert stubs() == []


async def test_a_program_that_cannot_be_started_is_a_load_failure(runtime: Path) -> None:
    engine = LlamaCppEngine(runtime / "run", library(runtime), command=("/nonexistent",))
    with pytest.raises(LoadFailed, match="no process could be started: No such file"):
        await engine.ensure_loaded("r1", SPEC)


async def test_a_worker_without_progress_is_killed(runtime: Path) -> None:
    engine = engine_of(runtime, "stuck", hang_s=0.4)
    exits = Exits(engine)
    await engine.ensure_loaded("r1", SPEC)
    _, cause = await exits.first()
    assert cause.what == "hung: no progress for 3.6e+03 s with requests under way"
    assert stubs() == []


async def test_a_worker_that_moves_is_not_killed_however_old_its_last_token(runtime: Path) -> None:
    """After both processes were frozen together, its clock has run on but it is healthy."""
    engine = engine_of(runtime, "busy", hang_s=0.2)
    exits = Exits(engine)
    await engine.ensure_loaded("r1", SPEC)
    await asyncio.sleep(0.8)
    assert exits.reports == []
    await engine.close()


async def test_a_removed_socket_counts_as_a_hang(runtime: Path) -> None:
    engine = engine_of(runtime, "ok", hang_s=0.4)
    exits = Exits(engine)
    running = await engine.ensure_loaded("r1", SPEC)
    remove(Path(running.socket))
    _, cause = await exits.first()
    assert cause.what.startswith("hung: no answer")


async def test_a_flood_of_log_does_not_stop_a_load(runtime: Path) -> None:
    engine = engine_of(runtime, "flood")
    await engine.ensure_loaded("r1", SPEC)
    await engine.close()


async def test_what_a_worker_has_started_ends_with_it(runtime: Path) -> None:
    engine = engine_of(runtime, "parent")
    exits = Exits(engine)
    running = await engine.ensure_loaded("r1", SPEC)
    grandchild = (await health_of(running))["grandchild"]
    assert isinstance(grandchild, int)
    os.kill(running.pid, signal.SIGKILL)
    await exits.first()
    await until(lambda: not psutil.pid_exists(grandchild) or _is_zombie(grandchild))


async def test_a_worker_is_told_what_it_needs_and_no_secret(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "OPENAI_API_KEY", "HF_TOKEN", "GGML_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = engine_of(runtime, "environment")
    health = await health_of(await engine.ensure_loaded("r1", SPEC))
    assert "secret" not in json.dumps(health["environment"])
    assert "OMP_NUM_THREADS" in json.dumps(health["environment"])
    assert HIDDEN not in json.dumps([health["argv"], health["environment"]])
    launch = health["launch"]
    assert isinstance(launch, dict)
    expected = {
        "model": "fast",
        "path": HIDDEN,
        "context": 4096,
        "parallel": 4,
        "threads": None,
        "warm": True,
    }
    assert {name: launch[name] for name in expected} == expected
    await engine.close()


async def test_the_kill_of_a_worker_is_noticed_soon(runtime: Path) -> None:
    """The figure of docs and benchmarks is far lower; a test machine may be busy."""
    engine = engine_of(runtime, "ok")
    exits = Exits(engine)
    running = await engine.ensure_loaded("r1", SPEC)
    loop = asyncio.get_running_loop()
    killed_s = loop.time()
    os.kill(running.pid, signal.SIGKILL)
    await exits.first()
    assert loop.time() - killed_s < 2.0


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_load_can_be_cancelled_at_any_moment(runtime: Path) -> None:
    engine = engine_of(runtime, "ok")
    for delay_ms in range(0, 100, 4):
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_ms / 1000):
                await engine.ensure_loaded("r1", SPEC)
        loaded = set(await engine.observe())
        assert len(stubs()) == len(loaded)
        await engine.ensure_unloaded("r1")
        assert stubs() == []


async def test_a_load_can_be_ended_at_any_moment(runtime: Path) -> None:
    engine = engine_of(runtime, "ok")
    exits = Exits(engine)
    for delay_ms in range(0, 100, 4):
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(_outcome_of(engine.ensure_loaded("r1", SPEC)))
            await asyncio.sleep(delay_ms / 1000)
            await engine.ensure_unloaded("r1")
        assert stubs() == []
        outcome = load.result()
        assert isinstance(outcome, Running) or "unloaded" in outcome.what
    assert exits.reports == []


async def _outcome_of(load: Awaitable[Running]) -> Running | EngineError:
    try:
        return await load
    except EngineError as failure:
        return failure
