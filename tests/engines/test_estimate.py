"""What comes of dry runs that misbehave; what they find is a matter of the worker's tests and a benchmark."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.children.launching import Workplace
from orchestrator.engines.llama.estimate import dry_run
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import EngineError, LoadFailed, SourceCorrupt
from orchestrator.values.spec import Source
from tests.builders import spec
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME

STUB = str(Path(__file__).parent / "stub_worker.py")
HIDDEN = "/secret/model.gguf"
SPEC = spec(source=Source(written="file:${env:PLACE}/model.gguf", scheme="file", location=HIDDEN))


def place(runtime: Path) -> Workplace:
    return Workplace(
        argv=(),
        runtime=RuntimeFolder(runtime / "run"),
        path_of=lambda _: Path(HIDDEN),
        threads=1,
        load_deadline_s=1.0,
        hang_deadline_s=1.0,
    )


def children() -> int:
    found = psutil.Process().children()
    return sum(child.status() != psutil.STATUS_ZOMBIE for child in found)


@pytest.mark.parametrize(
    ("mood", "leaf", "said"),
    [
        ("refuse:corrupt", SourceCorrupt, "source 'file:${env:PLACE}/model.gguf': no use for"),
        ("refuse:failed", LoadFailed, "no use for"),
        ("garbage", LoadFailed, "said 'loading file:${env:PLACE}/model.gguf' in place of its report"),
        ("ok", LoadFailed, "in place of its report"),
        ("crash:6", LoadFailed, "its memory cannot be estimated: crashed (SIGABRT)"),
        ("exit:7", LoadFailed, "error: cannot use file:${env:PLACE}/model.gguf"),
        ("never", EngineError, "its memory could not be estimated within 0.5 s"),
    ],
)
async def test_an_estimate_that_fails_names_its_cause_and_leaves_no_process(
    runtime: Path, mood: str, leaf: type[EngineError], said: str
) -> None:
    deadline_s = 0.5 if mood == "never" else 20.0
    with pytest.raises(leaf) as caught:
        await dry_run(SPEC, place(runtime), command=(sys.executable, STUB, mood), deadline_s=deadline_s)
    assert said in caught.value.what
    assert caught.value.where == SPEC.name
    assert caught.value.fix
    assert HIDDEN not in str(caught.value)
    await until(lambda: children() == 0)


async def test_a_program_that_cannot_be_started_is_an_engine_error(runtime: Path) -> None:
    with pytest.raises(EngineError, match="no process could be started"):
        await dry_run(SPEC, place(runtime), command=("/nonexistent",))


async def test_cancelling_leaves_no_process(runtime: Path) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await dry_run(SPEC, place(runtime), command=(sys.executable, STUB, "never"))
    assert children() == 0
