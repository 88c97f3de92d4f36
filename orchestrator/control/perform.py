"""Carrying actions out: the one place where a decision touches an engine."""

import asyncio
import logging
import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from orchestrator import clock
from orchestrator.control.headway import Headway
from orchestrator.engines.base import Engine
from orchestrator.errors import EngineError, EngineUnknown
from orchestrator.values.action import CallOff, Fetch, Load, Remove, Unload
from orchestrator.values.event import (
    Event,
    Fetched,
    FetchFailed,
    Removed,
    RemoveFailed,
    ReplicaLoaded,
    ReplicaLost,
    ReplicaUnloaded,
    UnloadFailed,
)
from orchestrator.values.hidden import Hide, hiding
from orchestrator.values.memory import Footprint
from orchestrator.values.spec import ModelSpec

log = logging.getLogger(__name__)


class Performer:
    """Performs actions and posts every outcome as an event; never raises for an engine's failure.

    Args:
        engines: by name.
        post: receives the outcomes.
    """

    def __init__(self, engines: Mapping[str, Engine], post: Callable[[Event], None]) -> None:
        self._engines = engines
        self._post = post
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._headway: dict[str, Headway] = {}
        self._hiding: dict[str, Hide] = {}  # of the replicas that are loading or loaded

    def start(self, tasks: asyncio.TaskGroup, action: Fetch | CallOff | Load | Unload | Remove) -> None:
        """Begin to perform `action` in `tasks`."""
        match action:
            case Fetch():
                self._call_off(action.model)
                task = tasks.create_task(self._fetch(action), name=f"fetch {action.model}")
                self._fetching[action.model] = task
                task.add_done_callback(lambda done: self._fetched(action.model, done))
            case CallOff():
                self._call_off(action.model)
            case Load():
                task = tasks.create_task(self._load(action), name=f"load {action.replica}")
                self._loading[action.replica] = task
                task.add_done_callback(lambda _: self._loading.pop(action.replica, None))
            case Unload():
                tasks.create_task(self._unload(action), name=f"unload {action.replica}")
            case Remove():
                tasks.create_task(self._remove(action), name=f"remove {action.model}")
            case _:
                assert_never(action)

    def progress(self, model: str) -> Headway | None:
        """Return how far the fetch of a model is; None where none is under way."""
        return self._headway.get(model)

    def lost(self, replica: str, cause: Exception) -> None:
        """Post that a replica would not load or ended by itself."""
        known = cause if isinstance(cause, EngineError) else None
        hide = self._hiding.pop(replica, str)
        self._post(
            ReplicaLost(
                at=clock.now(),
                replica=replica,
                reason=type(cause).__name__ if known else "Bug",
                message=hide(_said(cause)),
                terminal=known.terminal if known else False,
                lasting=known.lasting if known else False,
                fix=hide(known.fix) if known else "",
                draw=random.random(),  # noqa: S311 (spreads retries; nothing to guess)
            )
        )

    async def _fetch(self, action: Fetch) -> None:
        name, spec, known = action.model, action.spec, action.known
        headway = self._headway[name] = Headway()
        try:
            engine = self._engine(spec.engine)
            version = hiding(spec)(await engine.version(spec))
            found = await engine.ensure_fetched(spec, lambda news: headway.take(news, clock.monotonic_s()))
            resolved = replace(spec, source=replace(spec.source, resolved=found.resolved))
            if known is None or known.engine_version != version:
                # Another version of the engine may lay its memory out in another way.
                known = Footprint(engine_version=version)
            if not known.estimated:
                known = replace(known, estimated=await engine.estimate(resolved))
        except EngineError as error:
            self._fetch_failed(action, error)
        except Exception as error:  # noqa: BLE001 (it is logged, and becomes an event)
            _log_bug(f"fetch for {name}", spec, error)
            self._fetch_failed(action, error)
        else:
            self._post(
                Fetched(
                    at=clock.now(),
                    model=name,
                    launch=spec.launch,
                    resolved=found.resolved,
                    size_bytes=found.size_bytes,
                    footprint=replace(known, exclusive=found.exclusive),
                )
            )

    def _fetch_failed(self, action: Fetch, cause: Exception) -> None:
        known = cause if isinstance(cause, EngineError) else None
        hide = hiding(action.spec)
        self._post(
            FetchFailed(
                at=clock.now(),
                model=action.model,
                launch=action.spec.launch,
                reason=type(cause).__name__ if known else "Bug",
                message=hide(_said(cause)),
                terminal=known.terminal if known else False,
                lasting=known.lasting if known else False,
                fix=hide(known.fix) if known else "",
                draw=random.random(),  # noqa: S311 (spreads retries; nothing to guess)
            )
        )

    def _fetched(self, model: str, done: asyncio.Task[None]) -> None:
        if self._fetching.get(model) is done:
            del self._fetching[model]
            self._headway.pop(model, None)

    def _call_off(self, model: str) -> None:
        under_way = self._fetching.get(model)
        if under_way is not None:
            under_way.cancel()
            self._headway.pop(model, None)

    async def _remove(self, action: Remove) -> None:
        called_off = self._fetching.get(action.model)
        if called_off is not None:  # what it is writing now would be left over
            await asyncio.wait([called_off])
        try:
            freed = await self._engine(action.spec.engine).ensure_removed(action.spec, action.keep)
        except Exception as error:  # noqa: BLE001 (it is logged, and becomes an event)
            _log_bug(f"removal of {action.spec.source.written}", action.spec, error)
            message = hiding(action.spec)(_said(error))
            self._post(RemoveFailed(at=clock.now(), model=action.model, message=message))
        else:
            self._post(Removed(at=clock.now(), model=action.model, freed_bytes=freed))

    async def _load(self, action: Load) -> None:
        try:
            engine = self._engine(action.spec.engine)
            began_s = clock.monotonic_s()
            self._hiding[action.replica] = hiding(action.spec)
            running = await engine.ensure_loaded(action.replica, action.spec)
        except EngineError as error:
            self.lost(action.replica, error)
        except Exception as error:  # noqa: BLE001 (it is logged, and becomes an event)
            _log_bug(f"load of {action.replica}", action.spec, error)
            self.lost(action.replica, error)
        else:
            load_s = round(clock.monotonic_s() - began_s, 3)
            self._post(ReplicaLoaded(at=clock.now(), replica=action.replica, running=running, load_s=load_s))

    async def _unload(self, action: Unload) -> None:
        loading = self._loading.get(action.replica)
        if loading is not None:
            loading.cancel()
            await asyncio.wait([loading])
        try:
            await self._engine(action.engine).ensure_unloaded(action.replica)
        except Exception as error:  # noqa: BLE001 (it is logged, and becomes an event)
            hide = self._hiding.get(action.replica, str)
            log.error("unload of %s failed\n%s", action.replica, hide(_trace(error)))  # noqa: TRY400 (hidden)
            self._post(UnloadFailed(at=clock.now(), replica=action.replica, message=hide(_said(error))))
        else:
            self._hiding.pop(action.replica, None)
            self._post(ReplicaUnloaded(at=clock.now(), replica=action.replica))

    def _engine(self, name: str) -> Engine:
        engine = self._engines.get(name)
        if engine is None:
            raise EngineUnknown(f"there is no engine {name!r}", fix=f"use one of: {', '.join(self._engines)}")
        return engine


def _said(error: Exception) -> str:
    """Return what an engine said, in one sentence; a bug with its kind."""
    return error.what if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"


def _log_bug(what: str, spec: ModelSpec, error: Exception) -> None:
    """Log a failure with its trace, in which values of the model's file may stand."""
    log.error("%s failed in a way nobody thought of\n%s", what, hiding(spec)(_trace(error)))


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
