"""The engine with a real Ollama server, where one is named: ORCHESTRATOR_TEST_OLLAMA=http://127.0.0.1:11434.

What the tests make there is in the namespace `orchestrator`, and is deleted again.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from orchestrator.engines.ollama.place import port_of
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec
from tests.engines.conformance import Arrivals, EngineConformance, Exits
from tests.engines.ollama.rigs import OllamaRig, ask, chat
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

    def signal(self, number: int) -> None:
        for child in self._children():
            child.send_signal(number)

    def pids(self) -> list[int]:
        return sorted(child.pid for child in self._children())

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


class RealRig(OllamaRig):
    world: RealWorld


@pytest.fixture
async def rig(runtime: Path) -> AsyncIterator[RealRig]:
    made = RealRig(RealWorld(URL), runtime)
    yield made
    await made.close()
    assert made.world.runners() == 0


class TestRealOllama(EngineConformance):
    @pytest.fixture
    def rig(self, rig: RealRig) -> RealRig:
        return rig


@pytest.mark.parametrize(
    ("said", "answer"),
    [("3+13=", "16"), ("Reverse sxd", "dxs"), ("Uppercase sxd", "SXD"), ("Count 0 to 4", "0 1 2 3 4")],
)
async def test_it_answers_as_the_model_was_taught(rig: RealRig, said: str, answer: str) -> None:
    """So the template that was sent with the file is the file's own."""
    running = await rig.engine.ensure_loaded("r2", rig.other)
    whole = await chat(running, said, max_tokens=20)
    assert whole["choices"][0]["message"]["content"] == answer
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["prompt_tokens"] > 3
    stopped = await chat(running, said, max_tokens=20, stop=["Z"])
    assert stopped["choices"][0]["message"]["content"] == answer


async def test_a_completion_goes_on_with_the_very_text(rig: RealRig) -> None:
    running = await rig.engine.ensure_loaded("r2", rig.other)
    body = {"prompt": "<|user|>3+13=<|end|><|assistant|>", "temperature": 0, "max_tokens": 9}
    _, answer = await ask(running, "/v1/completions", body)
    assert isinstance(answer, dict)
    assert answer["choices"][0]["text"] == "16"


async def test_a_prompt_that_is_too_long_is_refused_and_not_cut(rig: RealRig) -> None:
    running = await rig.engine.ensure_loaded("r2", rig.other)
    body = {"messages": [{"role": "user", "content": "Uppercase abcdefgh " * 40}]}
    status, answer = await ask(running, "/v1/chat/completions", body)
    assert status == 400
    assert isinstance(answer, dict)
    assert answer["error"]["code"] == "context_length_exceeded"
    assert await chat(running)


async def test_no_request_loads_it_anew(rig: RealRig) -> None:
    running = await rig.engine.ensure_loaded("r2", rig.other)
    (before,) = rig.world.pids()
    body = {"prompt": "x", "max_tokens": 1, "keep_alive": 0, "options": {"num_ctx": 64}}
    await ask(running, "/v1/completions", body)
    await chat(running, options={"num_ctx": 64}, keep_alive=0)
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    await chat(running, response_format=schema)
    assert rig.world.pids() == [before]


async def test_a_runner_that_is_killed_in_the_middle_of_an_answer(rig: RealRig) -> None:
    exits = Exits(rig.engine)
    running = await rig.engine.ensure_loaded("r2", rig.other)
    status, events = await asyncio.gather(
        _long_answer(running), _soon(lambda: rig.world.signal(signal.SIGKILL))
    )
    assert "error" in status[-1]
    assert "[DONE]" not in status
    assert events is None
    assert (await exits.first())[0] == "r2"
    assert rig.world.runners() == 0


async def test_a_runner_that_stands_still_is_let_go_of(rig: RealRig) -> None:
    running = await rig.engine.ensure_loaded("r2", rig.other)
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(_long_answer(running))
        await _soon(lambda: rig.world.signal(signal.SIGSTOP))
        await rig.engine.ensure_unloaded("r2")
        assert rig.world.runners() == 0
    assert "error" in answer.result()[-1]


async def test_memory_is_the_runner_s_own_and_below_the_estimate(rig: RealRig) -> None:
    for replica, spec in (("r1", rig.good), ("r2", rig.other)):
        estimated = (await rig.engine.estimate(spec))["ram"] if await _fetched(rig, spec) else 0
        running = await rig.engine.ensure_loaded(replica, spec)
        await rig.fill(running, spec)
        seen = (await rig.engine.observe())[replica]
        held = (await rig.engine.held())["ram"]
        assert 5_000_000 < held <= seen.memory_bytes <= estimated
        await rig.engine.ensure_unloaded(replica)


async def test_the_tool_that_everybody_has_gets_the_same_runner(rig: RealRig) -> None:
    """`ollama run` and Ollama's own OpenAI wire, under the name that we have given the model."""
    await rig.engine.ensure_loaded("r2", rig.other)
    pids = rig.world.pids()
    async with aiohttp.ClientSession(URL) as session:
        async with session.get("/api/ps") as answer:
            (resident,) = (await answer.json())["models"]
        assert resident["context_length"] == 256
        body = {
            "model": resident["name"],
            "messages": [{"role": "user", "content": "3+13="}],
            "stream": False,
        }
        async with session.post("/api/generate", json={"model": resident["name"]}) as answer:
            assert answer.status == 200
        async with session.post("/api/chat", json=body) as answer:
            assert (await answer.json())["message"]["content"] == "16"
        async with session.post("/v1/chat/completions", json=body) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "16"
    assert rig.world.pids() == pids


async def _fetched(rig: RealRig, spec: ModelSpec) -> bool:
    return (await rig.engine.ensure_fetched(spec, Arrivals())).size_bytes > 0


async def _soon(act: Callable[[], None]) -> None:
    await asyncio.sleep(0.3)  # no event tells how far the answer is
    act()


async def _long_answer(running: Running) -> list[Any]:
    number = {"type": "array", "items": {"type": "integer"}, "minItems": 400, "maxItems": 400}
    schema = {"type": "array", "items": number, "minItems": 400, "maxItems": 400}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": form, "stream": True}
    events: list[Any] = []
    for _ in range(50):  # an answer ends where the context does; another begins
        try:
            _, said = await ask(running, "/v1/chat/completions", body)
        except aiohttp.ClientError:  # its socket goes while we connect, or write
            said = {"error": "gone"}
        events = said if isinstance(said, list) else [said]
        if "error" in events[-1]:
            break
    return events
