"""What the tests of the engine `server` share: its rig, and commands that start the stub."""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from orchestrator.engines.base import Premises
from orchestrator.engines.server.engine import ServerEngine
from orchestrator.values.fleet import Running
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec
from tests.engines.conformance import Absent
from tests.engines.real_time import SOON_S, until

STUB = str(Path(__file__).parent / "stub_server.py")


def engine(
    folder: Path,
    *,
    grace_s: float = 5.0,
    wrong_path_s: float = 20.0,
    **settings: Any,  # noqa: ANN401 (any setting)
) -> ServerEngine:
    changed = {"load_deadline_s": SOON_S, **settings}
    premises = Premises(
        runtime=folder / "run",
        cache=folder / "cache",
        settings=Settings(**changed),
        environment={"PATH": os.environ["PATH"], "DAEMON_TOKEN": "the daemon's own"},
    )
    return ServerEngine(premises, grace_s=grace_s, wrong_path_s=wrong_path_s)


def stub(mood: str = "good", *more: str, name: str = "fast", **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    """A model whose command is the stub in this mood, on a port."""
    command = (sys.executable, STUB, mood, "--port", "{port}", "--model", "{model}", *more)
    return served(name, **({"command": command} | changes))


def served(name: str = "fast", **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {"engine": "server", "context": 128}
    return spec(name, **(fields | changes))


def hidden(path: Path) -> Source:
    """A source whose resolved path must not be shown."""
    return Source(written="file:${env:MODELS}/" + path.name, scheme="file", location=str(path))


def guards() -> list[psutil.Process]:
    """The live guards of this process."""
    return [child for child in psutil.Process().children() if _is_guard(child)]


def _is_guard(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "orchestrator.workers.guard" in child.cmdline()
    except psutil.NoSuchProcess:
        return False


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def command_of(running: Running) -> psutil.Process:
    """The command itself, under its guard."""
    (command,) = psutil.Process(running.pid).children()
    return command


async def ask(running: Running, path: str = "/v1/chat/completions", **fields: Any) -> tuple[int, bytes]:  # noqa: ANN401 (a request's)
    """Ask a replica over its socket; return the status and all that came."""
    body = {"model": "fast", "messages": [{"role": "user", "content": "2+2"}], "max_tokens": 4} | fields
    limit = aiohttp.ClientTimeout(total=SOON_S)
    connector = aiohttp.UnixConnector(running.socket)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=limit) as session,
        session.post(f"http://replica{path}", json=body) as answer,
    ):
        return answer.status, await answer.read()


class ServerRig:
    """The engine with stubs, or with a real server in their place."""

    killed = "killed"
    tells_version = True

    def __init__(self, folder: Path, command: tuple[str, ...], **changes: Any) -> None:  # noqa: ANN401 (any field)
        self.engine = engine(folder)
        noise = folder / "noise.gguf"
        noise.write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(range(256)))
        changes["command"] = command
        self.good = served("fast", location="tiny", **changes)
        self.other = served("better", location="small", **changes)
        self.missing = served("missing", source=hidden(folder / "nothing.gguf"), **changes)
        self.corrupt = served("corrupt", source=hidden(noise), **changes)
        gone = served("absent", **(changes | {"command": ("no-such-server", "--port", "{port}")}))
        self.absent = Absent(engine=engine(folder / "absent"), spec=gone)

    async def kill(self, running: Running) -> None:
        process = psutil.Process(running.pid)
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess):  # asyncio may reap it from a thread of its own
            while process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)  # noqa: ASYNC251 (so that the engine cannot hear of it before the test goes on)

    async def answers(self, running: Running) -> bool:
        try:
            status, content = await ask(running)
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError):
            return False
        assert status == 200, content
        return bool(content)

    async def fill(self, running: Running, spec: ModelSpec) -> None:  # noqa: ARG002 (what it may take cannot be known)
        await asyncio.gather(*(ask(running, max_tokens=64) for _ in range(4)))

    async def processes(self) -> int:
        return len(guards())

    async def load_is_under_way(self) -> None:
        ready = len(await self.engine.observe())
        await until(lambda: len(guards()) > ready)
