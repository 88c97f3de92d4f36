"""A loop, a follower and an operator's desk on real files, in real time; only the models are pretended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import clock
from orchestrator.config.follow import Follower
from orchestrator.config.scan import Scanner
from orchestrator.control.loop import Loop
from orchestrator.control.operations import Facts, Operations, RecentEvents
from orchestrator.control.recovery import first_state
from orchestrator.control.store import Store
from orchestrator.engines import kinds
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.history.writer import HistoryWriter
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact
from orchestrator.values.settings import Limits
from tests.builders import plenty, premises

WITHIN_S = 10.0  # generous: the machine may be busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What tests look at; `root` is the configuration folder, `facts` everything that was remembered."""

    root: Path
    engine: FakeEngine
    loop: Loop
    follower: Follower
    history: HistoryWriter
    operations: Operations
    facts: list[LifecycleFact]

    def write(self, name: str, text: str, kind: str = "models.d") -> None:
        (self.root / kind).mkdir(parents=True, exist_ok=True)
        (self.root / kind / f"{name}.yaml").write_text(text)

    async def model(self, name: str) -> Any:  # noqa: ANN401 (any JSON)
        return next(m for m in (await self.operations.status())["models"] if m["name"] == name)


@asynccontextmanager
async def desk(folder: Path, engine: FakeEngine | None = None) -> AsyncIterator[Desk]:
    """Run on the files in `folder`/config until the block ends; nothing is read unless it is asked for."""
    root, state_folder = folder / "config", folder / "state"
    state_folder.mkdir(parents=True, exist_ok=True)
    engine = engine or FakeEngine(load_s=0.005, unload_s=0.005)
    store = Store.open(state_folder, config=root, now=clock.now())
    history = HistoryWriter(state_folder / "history")
    history.start()
    facts: list[LifecycleFact] = []
    recent = RecentEvents()

    def remember(fact: LifecycleFact) -> None:
        facts.append(fact)
        recent.remember(fact)
        history.put(fact)

    state = first_state(store.recover(), root, {}, boot=store.boot)
    loop = Loop(
        state=state,
        engines={engine.name: engine},
        store=store,
        limits=Limits(drain_s=1.0),
        look=plenty,
        resync_every_s=60,
        remember=remember,
    )
    read = asyncio.Event()

    def adopt(reading: Reading) -> None:
        loop.post(CatalogRead(at=clock.now(), reading=reading))
        read.set()

    follower = Follower(
        Scanner(root, accepted=state.catalog, engines=kinds.traits()), post=adopt, every_s=60, watch="poll"
    )
    about = Facts(
        version="1.2.3",
        pid=4711,
        started_at=clock.now(),
        address="http://127.0.0.1:1",
        config_folder=root,
        state_folder=state_folder,
        premises=premises(folder),
    )
    operations = Operations(facts=about, loop=loop, follower=follower, history=history, recent=recent)
    try:
        async with asyncio.TaskGroup() as tasks:
            looping = tasks.create_task(loop.run())
            following = tasks.create_task(follower.run())
            async with asyncio.timeout(WITHIN_S):
                await read.wait()
            assert await loop.settled(WITHIN_S)
            yield Desk(
                root=root,
                engine=engine,
                loop=loop,
                follower=follower,
                history=history,
                operations=operations,
                facts=facts,
            )
            following.cancel()
            looping.cancel()
    finally:
        store.close()
        history.close(WITHIN_S)
