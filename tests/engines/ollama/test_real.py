"""The engine with a real Ollama server, where one is named: ORCHESTRATOR_TEST_OLLAMA=http://127.0.0.1:11434.

What the tests make there is in the namespace `orchestrator`, and is deleted again.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.ollama.place import port_of
from tests.engines.conformance import EngineConformance
from tests.engines.ollama.rigs import OllamaRig
from tests.engines.real_time import REAL_TIME, until

URL = os.environ.get("ORCHESTRATOR_TEST_OLLAMA", "")

pytestmark = [
    REAL_TIME,
    pytest.mark.skipif(not URL, reason="needs a real Ollama server: ORCHESTRATOR_TEST_OLLAMA=URL names one"),
]


class RealWorld:
    def __init__(self, url: str) -> None:
        self.url = url

    def _server(self) -> psutil.Process:
        port = port_of(self.url)
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "ollama":
                for each in process.net_connections(kind="tcp"):
                    if each.status == psutil.CONN_LISTEN and each.laddr.port == port:
                        return process
        raise AssertionError(f"no Ollama server of this user listens on port {port}")

    def _children(self) -> list[psutil.Process]:
        found = self._server().children()
        return [each for each in found if _alive(each) and each.name() == "llama-server"]

    async def end_runner(self, model: str) -> None:
        size = {"fast": 253_000, "better": 945_000}[model]
        for child in self._children():
            if abs(_weights_bytes(child) - size) < 2_000:
                child.kill()
                await until(lambda child=child: not _alive(child))  # type: ignore[misc]  # bound in the loop

    def runners(self) -> int:
        return len(self._children())


def _weights_bytes(runner: psutil.Process) -> int:
    words = runner.cmdline()
    return Path(words[words.index("--model") + 1]).stat().st_size


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def rig(runtime: Path) -> AsyncIterator[OllamaRig]:
    made = OllamaRig(RealWorld(URL), runtime)
    yield made
    await made.close()
    assert made.world.runners() == 0


class TestRealOllama(EngineConformance):
    @pytest.fixture
    def rig(self, rig: OllamaRig) -> OllamaRig:
        return rig
