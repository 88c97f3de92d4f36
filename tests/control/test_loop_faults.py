"""Engines that cannot be asked, and state that cannot be read or written."""

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.control.loop import Loop
from orchestrator.control.observe import OBSERVE_DEADLINE_S
from orchestrator.control.store import FILE, Store, peek
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.errors import EngineError, StateError
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fleet import Running
from orchestrator.values.settings import Limits
from orchestrator.values.state import State
from tests.builders import CONFIG, NOW, catalog, plenty, spec
from tests.control.desk import WITHIN_S


class Mute(FakeEngine):
    """Cannot be asked what it runs: it fails, or never answers."""

    def __init__(self, fault: Exception | None) -> None:
        super().__init__("mlx")
        self._fault = fault
        self.asked = asyncio.Event()

    async def observe(self) -> Mapping[str, Running]:
        self.asked.set()
        if self._fault is None:
            await asyncio.Event().wait()
            raise AssertionError
        raise self._fault


@pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (EngineError("nobody is in"), "nobody is in"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread"),
        (None, "no answer in time"),
    ],
)
async def test_an_engine_that_cannot_be_asked_is_logged_and_the_others_are_looked_after(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception | None,
    said: str,
) -> None:
    monkeypatch.setattr("orchestrator.control.observe.OBSERVE_DEADLINE_S", 0.01)
    assert OBSERVE_DEADLINE_S > 1, "the real one is generous"
    mute, engine = Mute(fault), FakeEngine(load_s=0.005)
    store = Store.open(tmp_path, config=CONFIG, now=NOW)
    loop = Loop(
        state=State(boot=1),
        engines={"mlx": mute, "llama-cpp": engine},
        store=store,
        limits=Limits(),
        look=plenty,
        resync_every_s=60,
        remember=lambda _: None,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run())
        loop.post(CatalogRead(at=clock.now(), reading=Reading(catalog=catalog(spec(location="tiny")))))
        epoch = loop.leases.table.epoch
        while not any(route.replica for route in loop.leases.table.routes.values()):
            assert await loop.leases.changed(epoch, WITHIN_S)
            epoch = loop.leases.table.epoch
        (lost,) = loop.state.fleet.replicas
        async with asyncio.timeout(WITHIN_S):
            await mute.asked.wait()  # what follows a load is over
        engine.on_exit(lambda _replica, _cause: None)
        engine.die(lost)
        loop.leases.suspect(lost)
        async with asyncio.timeout(WITHIN_S):
            while lost in loop.state.fleet.replicas:
                await loop.leases.changed(loop.leases.table.epoch, WITHIN_S)
        running.cancel()
    store.close()
    assert "engine mlx cannot be observed: " in caplog.text
    assert said in caplog.text


def test_a_state_that_another_process_keeps_locked_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path, config=CONFIG, now=NOW).close()
    connect = sqlite3.connect

    def impatient(*arguments: object, **options: object) -> sqlite3.Connection:
        return connect(*arguments, **(options | {"timeout": 0.01}))  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", impatient)
    other = connect(tmp_path / FILE, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(StateError, match="cannot be written: database is locked") as caught:
        Store.open(tmp_path, config=CONFIG, now=NOW)
    assert caught.value.where == str(tmp_path / FILE)
    other.close()
    assert (tmp_path / FILE).exists(), "a locked file is no damaged file"
    Store.open(tmp_path, config=CONFIG, now=NOW).close()


def test_a_state_that_cannot_be_looked_at_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this was a database once " * 200)
    with pytest.raises(StateError, match="the daemon's state cannot be read") as caught:
        peek(tmp_path, CONFIG)
    assert caught.value.where == str(tmp_path / FILE)
