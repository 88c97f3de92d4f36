"""The daemon: builds every object, starts every task, and ends them in order. The only wiring."""

import asyncio
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from socket import socket
from typing import Final

import uvloop

from orchestrator import clock, log
from orchestrator.config.follow import Follower
from orchestrator.config.paths import (
    cache_folder,
    configuration_folder,
    private_folder,
    runtime_folder,
    state_folder,
)
from orchestrator.config.scan import Scanner
from orchestrator.config.settings import load_settings
from orchestrator.control import lock
from orchestrator.control.greeting import greeting, hints
from orchestrator.control.loop import Loop
from orchestrator.control.operations import Facts, Operations, RecentEvents, readiness
from orchestrator.control.process import allow_open_files, stop_on_signals
from orchestrator.control.recovery import end_leftovers, first_state
from orchestrator.control.store import Store
from orchestrator.engines import kinds
from orchestrator.engines.base import Premises
from orchestrator.engines.memory.meter import Meter
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.gateway.admin import listen, serve_admin
from orchestrator.gateway.app import Gateway, build
from orchestrator.gateway.bind import bind_tcp, refuse_open_bind
from orchestrator.gateway.server import serve
from orchestrator.history.writer import HistoryWriter
from orchestrator.jobs.progress import FetchLog
from orchestrator.jobs.updates import Updates
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.settings import Settings, limits_of

logger = logging.getLogger(__name__)

EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h; the service files do not restart on it
FIRST_SETTLE_S: Final = 60.0
CLOSE_HISTORY_S: Final = 10.0
ADMIN_SOCKET: Final = "admin.sock"
HISTORY_FOLDER: Final = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line may set; None leaves it to the settings file and its defaults."""

    config: Path | None = None
    state: Path | None = None
    host: str | None = None
    port: int | None = None
    log_format: str | None = None
    verbose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where this daemon lives.

    `settings` are in force, `written` is what the settings file says;
    `named_state` is the state folder where the command line named it.
    """

    settings: Settings
    written: Settings
    config: Path
    state: Path
    runtime: Path
    named_state: Path | None


def run(options: RunOptions) -> int:
    """Run the daemon until it is told to stop.

    Returns:
        0 after SIGTERM or SIGINT; 78 where the settings are wrong; 1 where the
        daemon cannot run for another reason. What is wrong stands on stderr.
    """
    # Everything that this process and its children make is for its own user.
    os.umask(0o077)
    # Until there is something to reload, reloading is what we are about to do.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    allow_open_files()
    try:
        place = _place(options, os.environ)
        log.set_up(
            place.settings.log_format, under_systemd="JOURNAL_STREAM" in os.environ, verbose=options.verbose
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_daemon(place))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 (for the operator)
        return EXIT_CONFIG
    except OrchestratorError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 (for the operator)
        return 1
    return 0


def _place(options: RunOptions, env: Mapping[str, str]) -> Place:
    config = configuration_folder(options.config, env, Path.cwd())
    written = load_settings(config, env)
    settings = replace(
        written,
        host=written.host if options.host is None else options.host,
        port=written.port if options.port is None else options.port,
        log_format=options.log_format or written.log_format,
    )
    state = options.state.absolute() if options.state else state_folder(settings, env)
    return Place(
        settings=settings,
        written=written,
        config=config,
        state=state,
        runtime=runtime_folder(env, state),
        named_state=options.state,
    )


async def _daemon(place: Place) -> None:
    began = clock.monotonic_s()
    stop = stop_on_signals()
    async with AsyncExitStack() as ends:
        house = await _build(place, ends)
        house.remember(_fact("Started", f"version {house.facts.version} on {house.facts.address}"))
        await _serve(house, began, stop)
        house.remember(_fact("Stopped", "told to stop"))
    logger.info("stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Everything that runs, built and not yet started."""

    settings: Settings
    facts: Facts
    loop: Loop
    follower: Follower
    adopted: asyncio.Event
    gateway: Gateway
    operations: Operations
    public: socket
    admin: socket
    admin_path: Path
    remember: Callable[[LifecycleFact], None]
    named_state: Path | None


async def _build(place: Place, ends: AsyncExitStack) -> House:
    """Build every object; `ends` gives all of it back, newest first.

    Sockets come before everything that takes time, so that a taken port is
    told at once.
    """
    settings = place.settings
    refuse_open_bind(settings)
    ends.callback(lock.take(private_folder(place.state)).close)
    public = bind_tcp(settings.host, settings.port)
    ends.callback(public.close)
    admin_path = private_folder(place.runtime) / ADMIN_SOCKET
    admin = listen(admin_path)
    ends.callback(admin.close)
    store = Store.open(place.state, config=place.config, now=clock.now())
    ends.callback(store.close)
    history = HistoryWriter(place.state / HISTORY_FOLDER)
    history.start()
    ends.callback(history.close, CLOSE_HISTORY_S)
    recent = RecentEvents()
    remember = _rememberer(history, recent)
    premises = _premises(place)
    engines = kinds.build_all(premises)
    ends.callback(store.forget_replicas)
    for engine in engines.values():
        ends.push_async_callback(engine.close)
    recovered = store.recover()
    # A folder that was there once may come back; one that never was is a slip of the pen.
    if not recovered.documents and not place.config.is_dir():
        raise ConfigError(
            "there is no such configuration folder",
            where=str(place.config),
            fix=f"name another with --config, or make it: orchestrator init {place.config}",
        )
    await end_leftovers(recovered.leftovers, engines, remember)
    store.forget_replicas()
    state = first_state(recovered, place.config, os.environ, boot=store.boot)
    loop = Loop(
        state=state,
        engines=engines,
        store=store,
        limits=limits_of(settings),
        look=Meter(settings).read,
        resync_every_s=settings.resync_every_s,
        remember=remember,
    )
    adopted = asyncio.Event()

    def adopt(reading: Reading) -> None:
        loop.post(CatalogRead(at=clock.now(), reading=reading))
        adopted.set()

    follower = Follower(
        Scanner(place.config, accepted=state.catalog, engines=kinds.traits(), settings=place.written),
        post=adopt,
        every_s=settings.scan_every_s,
        watch=settings.watch,
    )
    facts = Facts(
        version=_version(),
        pid=os.getpid(),
        started_at=clock.now(),
        address=_url(public),
        config_folder=place.config,
        state_folder=place.state,
        premises=premises,
    )
    gateway = build(settings, loop.leases, history, lambda: readiness(loop.leases.table, read=loop.has_read))
    ends.push_async_callback(gateway.close)
    return House(
        settings=settings,
        facts=facts,
        loop=loop,
        follower=follower,
        adopted=adopted,
        gateway=gateway,
        operations=Operations(facts=facts, loop=loop, follower=follower, history=history, recent=recent),
        public=public,
        admin=admin,
        admin_path=admin_path,
        remember=remember,
        named_state=place.named_state,
    )


def _premises(place: Place) -> Premises:
    return Premises(
        runtime=place.runtime,
        cache=cache_folder(place.settings, os.environ),
        settings=place.settings,
        environment=os.environ,
    )


async def _serve(house: House, began_s: float, stop: asyncio.Event) -> None:
    """Run every task until `stop`, then end them in order: files, requests, operator, models."""
    loop, stop_admin = house.loop, asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        looping = tasks.create_task(loop.run(), name="loop")
        following = tasks.create_task(house.follower.run(), name="follow")
        jobs = [
            tasks.create_task(Updates(loop).run(), name="updates"),
            tasks.create_task(FetchLog(loop).run(), name="fetch log"),
        ]
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, house.operations.reload_soon, tasks)
        public = tasks.create_task(
            serve(house.gateway, bound_socket=house.public, drain_s=house.settings.drain_s, stop=stop),
            name="gateway",
        )
        admin = tasks.create_task(
            serve_admin(house.operations, house.admin_path, house.admin, stop_admin), name="admin"
        )
        greeting = tasks.create_task(_greet(house, began_s), name="greet")
        await stop.wait()
        logger.info("stopping; running requests have %g s to end", house.settings.drain_s)
        house.operations.stop()
        greeting.cancel()
        following.cancel()
        for job in jobs:
            job.cancel()
        await public
        stop_admin.set()
        await admin
        looping.cancel()


async def _greet(house: House, began_s: float) -> None:
    """Say when the daemon is ready, and what to try next."""
    await house.adopted.wait()
    await house.loop.settled(FIRST_SETTLE_S)
    table = house.loop.leases.table
    house.operations.settled_first()
    lines = greeting(house.facts, table, house.loop.state.problems, took_s=clock.monotonic_s() - began_s)
    if sys.stdout.isatty() or os.environ.get("ORCHESTRATOR_HINTS"):
        program = "orchestrator" if shutil.which("orchestrator") else shlex.quote(sys.argv[0])
        lines += hints(house.facts, table, state_folder=house.named_state, program=program)
    print("\n".join(lines), flush=True)  # noqa: T201 (for the operator)


def _rememberer(history: HistoryWriter, recent: RecentEvents) -> Callable[[LifecycleFact], None]:
    def remember(fact: LifecycleFact) -> None:
        history.put(fact)
        recent.remember(fact)
        level = logging.WARNING if fact.severity is Severity.WARNING else logging.INFO
        logger.log(level, "%s%s: %s", f"{fact.model}: " if fact.model else "", fact.reason, fact.message)

    return remember


def _fact(reason: str, message: str) -> LifecycleFact:
    return LifecycleFact(at=clock.now(), severity=Severity.NORMAL, reason=reason, message=message)


def _version() -> str:
    try:
        return version("model-orchestrator")
    except PackageNotFoundError:
        return "0 (not installed)"


def _url(bound: socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
