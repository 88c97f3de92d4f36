"""A real worker on a shipped model, in a child process."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

import orchestrator.demo
from orchestrator.workers.frames import Launch, Ready, decode_report, encode_launch

MODELS = Path(next(iter(orchestrator.demo.__path__)))


@dataclass(frozen=True, slots=True)
class RealWorker:
    socket: str

    async def health(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.socket)) as session,
            session.get("http://worker/health") as response,
        ):
            content = await response.json()
            assert isinstance(content, dict)
            return content


@asynccontextmanager
async def real_worker(name: str = "fast", model: str = "tiny", **launch: Any) -> AsyncIterator[RealWorker]:  # noqa: ANN401 (any field)
    """Serve a shipped model under `name`; the process is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        socket = f"{folder}/w.sock"
        fields = {"context": 512, "parallel": 2, "threads": 1} | launch
        frame = Launch(model=name, path=str(MODELS / f"{model}.gguf"), socket=socket, **fields)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orchestrator.workers.serve"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(encode_launch(frame))
            report = decode_report(await child.stdout.readline())
            assert isinstance(report, Ready), report
            yield RealWorker(socket)
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()
