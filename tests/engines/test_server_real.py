"""The contract once more, with a server that people use: the one that comes with llama-cpp-python."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.config.check import check
from orchestrator.engines import kinds
from tests.engines.conformance import EngineConformance
from tests.engines.real_time import REAL_TIME
from tests.engines.server_rig import ServerRig, ask, engine, guards

# On one event loop: the stubs of test_server.py run on both, and this server takes a second to start.
pytestmark = [REAL_TIME, pytest.mark.slow, pytest.mark.asyncio(loop_factories=["asyncio"])]

COMMAND = (
    *(sys.executable, "-m", "llama_cpp.server", "--model", "{model}"),
    *("--host", "127.0.0.1", "--port", "{port}", "--n_ctx", "512", "--n_threads", "1"),
)


@pytest.fixture
async def rig(runtime: Path) -> AsyncIterator[ServerRig]:
    made = ServerRig(runtime, COMMAND, health="/v1/models")
    yield made
    await made.engine.close()
    assert guards() == []


class TestLlamaCppServer(EngineConformance):
    @pytest.fixture
    def rig(self, rig: ServerRig) -> ServerRig:
        return rig


async def test_answers_and_streams_come_under_the_model_s_own_name(rig: ServerRig) -> None:
    running = await rig.engine.ensure_loaded("r1", rig.good)
    status, answer = await ask(running, temperature=0)
    assert status == 200
    whole = json.loads(answer)
    assert whole["model"] == "fast"
    assert whole["usage"]["completion_tokens"] == 4
    status, stream = await ask(running, temperature=0, stream=True)
    *chunks, done = [event.removeprefix("data: ") for event in stream.decode().split("\n\n") if event]
    assert done == "[DONE]"
    pieces = [json.loads(chunk) for chunk in chunks]
    assert {piece["model"] for piece in pieces} == {"fast"}
    text = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces if piece["choices"])
    assert text == whole["choices"][0]["message"]["content"]


async def test_the_example_works_as_it_is_written(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a PATH as an activated virtual environment has it."""
    folder = Path(__file__).parents[2] / "examples/server"
    catalog = check(folder, {"HOME": "/home/ann", "HF_TOKEN": "a-token"}, kinds.traits()).catalog
    beside = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{beside}{os.pathsep}{os.environ['PATH']}")
    made = engine(runtime)
    try:
        running = await made.ensure_loaded("r1", catalog.models["python"].value)
        status, answer = await ask(running)
        assert status == 200
        assert json.loads(answer)["model"] == "python"
    finally:
        await made.close()
