"""The mlx engine keeps the contract, with the real worker and the shipped models in MLX's form."""

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

import aiohttp
import psutil
import pytest

from orchestrator.engines.mlx import INSTALL, MlxEngine
from orchestrator.engines.sources import DEMO_FOLDER
from orchestrator.errors import EngineError, EngineUnavailable, SourceCorrupt
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec
from tests.engines.conformance import Absent, EngineConformance
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME, until

pytest.importorskip("mlx.core", reason="mlx is not made for this machine")

pytestmark = REAL_TIME
DAEMON_LOOP_ONLY = True
LOAD_S = 60.0  # importing takes seconds of a core, and several workers at once share it


def workers() -> list[psutil.Process]:
    """The live workers of this process."""
    return [child for child in psutil.Process().children() if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "orchestrator.workers.serve" in child.cmdline()
    except psutil.NoSuchProcess:
        return False


async def complete(socket: str, prompt: str, tokens: int) -> str:
    body = {
        "model": "any",
        "prompt": prompt,
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
    }
    limit = aiohttp.ClientTimeout(total=LOAD_S)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=limit) as session,
        session.post("http://worker/v1/completions", json=body) as response,
    ):
        assert response.status == 200, await response.text()
        answer = await response.json()
    return str(answer["choices"][0]["text"])


def not_installed(package: str) -> str:
    raise metadata.PackageNotFoundError(package)


def hidden(path: Path) -> Source:
    """A source whose resolved path must not be shown."""
    return Source(written="file:${env:MODELS}/" + path.name, scheme="file", location=str(path))


def change_architecture(folder: Path, *, to: str) -> None:
    """Have the shipped model in `folder`, under an architecture of another name."""
    shutil.copytree(DEMO_FOLDER / "tiny-mlx", folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"model_type": "llama"', f'"model_type": "{to}"'))


def bring_code(folder: Path) -> Path:
    """Have the shipped model in `folder`, its tokenizer as code; return the file by which that shows."""
    shutil.copytree(DEMO_FOLDER / "tiny-mlx", folder)
    ran = folder / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return ran


def exists(path: Path) -> bool:
    return path.exists()


class MlxRig:
    killed = "killed"
    tells_version = True

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime
        self.engine = MlxEngine(runtime / "run", library(runtime, form="mlx"), load_deadline_s=LOAD_S)
        noise = runtime / "noise"
        noise.mkdir()
        (noise / "config.json").write_text('{"model_type": "llama"}')
        (noise / "model.safetensors").write_bytes(bytes(range(256)))
        self.good = spec("fast", engine="mlx", location="tiny", context=128, parallel=2)
        self.other = spec("better", engine="mlx", location="small", context=128, parallel=2)
        self.missing = spec("missing", engine="mlx", source=hidden(runtime / "nothing"))
        self.corrupt = spec("corrupt", engine="mlx", source=hidden(noise))

    @property
    def absent(self) -> Absent:
        engine = MlxEngine(
            self._runtime / "none", library(self._runtime, form="mlx"), version_of=not_installed
        )
        return Absent(engine=engine, spec=self.good)

    async def kill(self, running: Running) -> None:
        process = psutil.Process(running.pid)
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess):  # asyncio may reap it from a thread of its own
            while process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)  # noqa: ASYNC251 (so that the engine cannot hear of it before the test goes on)

    async def answers(self, running: Running) -> bool:
        try:
            return bool(await complete(running.socket, "2+2", 4))
        except aiohttp.ClientConnectorError:
            return False

    async def fill(self, running: Running, spec: ModelSpec) -> None:
        prompts = ("abcdefgh"[at] * (spec.context - 8) for at in range(2 * spec.parallel))
        await asyncio.gather(*(complete(running.socket, prompt, 8) for prompt in prompts))

    async def processes(self) -> int:
        return len(workers())

    async def load_is_under_way(self) -> None:
        ready = len(await self.engine.observe())
        await until(lambda: len(workers()) > ready)


@pytest.fixture
async def rig(runtime: Path) -> AsyncIterator[MlxRig]:
    made = MlxRig(runtime)
    yield made
    await made.engine.close()
    assert workers() == []


class TestMlxEngine(EngineConformance):
    @pytest.fixture
    def rig(self, rig: MlxRig) -> MlxRig:
        return rig


async def test_errors_never_show_the_resolved_path(rig: MlxRig) -> None:
    for bad in (rig.missing, rig.corrupt):
        for verb in (rig.engine.ensure_fetched(bad, lambda _: None), rig.engine.ensure_loaded("r1", bad)):
            with pytest.raises(Exception, match="MODELS") as caught:
                await verb
            assert bad.source.location not in str(caught.value)


async def test_what_is_missing_names_the_command_that_installs_it(rig: MlxRig) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        await rig.absent.engine.version(rig.good)
    assert caught.value.fix == INSTALL
    (finding,) = await rig.absent.engine.diagnose()
    assert (finding.ok, finding.fix) == (False, INSTALL)


async def test_an_architecture_that_mlx_lm_does_not_know_is_terminal_and_named(rig: MlxRig) -> None:
    change_architecture(Path(rig.missing.source.location), to="quark")
    await rig.engine.ensure_fetched(rig.missing, lambda _: None)
    with pytest.raises(Exception, match="quark not supported") as caught:
        await rig.engine.ensure_loaded("r1", rig.missing)
    assert "newer mlx-lm" in str(caught.value)


async def test_a_quantised_model_is_made_once_and_served(rig: MlxRig) -> None:
    smaller = spec("smaller", engine="mlx", location="small", context=128, parallel=2, quantize="q8")
    made = await rig.engine.ensure_fetched(smaller, lambda _: None)
    again: list[object] = []
    assert await rig.engine.ensure_fetched(smaller, again.append) == made
    assert again == []  # nothing is made a second time
    assert await rig.answers(await rig.engine.ensure_loaded("r1", smaller))
    assert await rig.engine.ensure_removed(smaller, []) > 0


async def test_a_type_that_mlx_does_not_make_is_refused_with_those_that_it_does(rig: MlxRig) -> None:
    odd = spec("odd", engine="mlx", location="tiny", quantize="q4_K_M")
    with pytest.raises(EngineError, match="mixed_4_6") as caught:
        await rig.engine.ensure_fetched(odd, lambda _: None)
    assert "q4_K_M" in str(caught.value)


async def test_code_that_comes_with_a_model_is_never_run(rig: MlxRig) -> None:
    ran = bring_code(Path(rig.missing.source.location))
    with pytest.raises(SourceCorrupt):
        await rig.engine.ensure_loaded("r1", rig.missing)
    assert not exists(ran)
