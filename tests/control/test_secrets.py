"""What a reference stands for is told nowhere: not by a plan, a status, an event or the log."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engines.base import OnDisk, Progress
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.sources import SourceChecks
from orchestrator.values.spec import ModelSpec
from tests.control.desk import WITHIN_S, Desk, desk

SECRET = "hunter2-location"  # noqa: S105 (the point of it)
HIDDEN = "engine: llama-cpp\nsource: file:${env:WEIGHTS}\n"


class Checking(FakeEngine):
    """Looks at the files as the real engine does, and then only pretends to load."""

    def __init__(self) -> None:
        super().__init__(load_s=0.005, unload_s=0.005)
        self._checks = SourceChecks()

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        found = await super().ensure_fetched(spec, progress)
        if spec.name != "loaded":
            await self._checks.check(spec.source)
        return found


async def everything(house: Desk) -> str:
    """All that a person can be told, as one text."""
    operations = house.operations
    told: list[object] = [await operations.reload(WITHIN_S), await operations.status()]
    told += [await operations.describe(name) for name in house.loop.state.models]
    told += [await operations.plan(None), house.facts, house.loop.state.models, house.loop.leases.table]
    return "".join(
        item if isinstance(item, str) else f"{item!r} {json.dumps(item, default=str)}" for item in told
    )


@pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)
async def test_what_a_reference_stands_for_is_told_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WEIGHTS", f"/nowhere/{SECRET}.gguf")
    folder = tmp_path / "config/models.d"
    folder.mkdir(parents=True)
    # Another launch than that of `loaded`: what is fetched once is here for every model that has it.
    (folder / "missing.yaml").write_text(HIDDEN + "context: 99\n")
    (folder / "loaded.yaml").write_text(HIDDEN)
    (folder / "broken.yaml").write_text(HIDDEN + "context: ${env:WEIGHTS}\nstate: ${env:WEIGHTS}\n")
    async with desk(tmp_path, Checking()) as house:
        told = await everything(house)
        assert "source 'file:${env:WEIGHTS}': there is no such file" in told
        assert (await house.model("loaded"))["serving"] is not None
        assert len((await house.operations.status())["problems"]) == 2

        real = tmp_path / f"{SECRET}.gguf"
        await asyncio.to_thread(real.write_bytes, b"this is no model")
        monkeypatch.setenv("WEIGHTS", str(real))
        planned = await house.operations.plan(None)
        assert {change["class"] for change in planned["changes"]} == {"replace"}
        (folder / "missing.yaml").write_text(HIDDEN + "context: 99\nparallel: 2\n")
        told += await everything(house)
        assert "SourceCorrupt" in told
    assert SECRET not in told
    assert SECRET not in caplog.text
