"""Models on Ollama servers, one replica each on all servers of its model."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

from yarl import URL

from orchestrator.engines.base import Finding, OnDisk, Premises, Progress
from orchestrator.engines.crew import Crew
from orchestrator.engines.egress import Egress
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.ollama.blame import Placed, answered, placed
from orchestrator.engines.ollama.claims import Claims
from orchestrator.engines.ollama.diagnosis import findings_of
from orchestrator.engines.ollama.drift import drift_of
from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.pins import Noted, Pins
from orchestrator.engines.ollama.place import default_url, is_here, urls_of
from orchestrator.engines.ollama.reckon import Reckoner
from orchestrator.engines.ollama.registry import Registry
from orchestrator.engines.ollama.relay import Silence
from orchestrator.engines.ollama.removal import Notes, remove
from orchestrator.engines.ollama.replica import Replica, Terms
from orchestrator.engines.ollama.server import Server
from orchestrator.engines.ollama.site import Patience, Site
from orchestrator.engines.ollama.stock import TAGS, Stock, Stocked
from orchestrator.engines.ollama.tally import Tally
from orchestrator.engines.ollama.trouble import Refused, check_version
from orchestrator.engines.roster import OnDeath, Roster
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import EngineError, EngineUnavailable, NotAllowed
from orchestrator.values.fleet import Running
from orchestrator.values.memory import RAM, Pools, added
from orchestrator.values.spec import ModelSpec, is_near

# How often servers are asked whether they still hold what they should, in seconds.
WATCH_S: Final = 1.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class OllamaEngine:
    """Drives Ollama servers that somebody else has started.

    Args:
        premises: its settings give the deadlines, its environment the default server.
        patience: how long unloads take.
        watch_s: how often servers are asked what they hold.
        silence: how long a server may say nothing; None takes it from the settings.
        registry: asked what tags mean now.
        accelerators: others than the machine's only in tests.
    """

    name = "ollama"

    def __init__(
        self,
        premises: Premises,
        *,
        patience: Patience | None = None,
        watch_s: float = WATCH_S,
        silence: Silence | None = None,
        registry: Registry | None = None,
        accelerators: Accelerators | None = None,
    ) -> None:
        settings = premises.settings
        self._settings = settings
        self._environment = premises.environment
        self._may_leave = settings.egress
        self._runtime = RuntimeFolder(premises.runtime)
        self._crew = Crew()
        self._made = Noted(premises.cache / "ollama" / "made.json")
        self._stock = Stock(premises, self._made)
        self._claims = Claims()
        self._pins = Pins(self._runtime.path / "pinned.json")
        self._pulled = Noted(premises.cache / "ollama" / "pulled.json")
        self._patience = patience or Patience()
        self._registry = registry or Registry()
        first_s = max(settings.hang_deadline_s, settings.request_deadline_s)
        self._terms = Terms(
            crew=self._crew,
            load_deadline_s=settings.load_deadline_s,
            silence=silence or Silence(first_s=first_s, next_s=settings.hang_deadline_s),
            watch_s=watch_s,
        )
        self._reckoner = Reckoner(accelerators or NvidiaDriver())
        self._servers: dict[tuple[str, str], Server] = {}
        self._roster: Roster[Replica] = Roster(self._hire)
        self._closed = False

    async def version(self, spec: ModelSpec) -> str:
        """Return the versions of the servers that answer, each once.

        Raises:
            EngineUnavailable: none of them answers, or one is too old.
        """
        found: list[str] = []
        failure: EngineError | None = None
        for server in self._servers_of(spec):
            try:
                version = await answered(server.version(), server)
            except EngineUnavailable as error:
                failure = failure or placed(error, spec)
                continue
            except EngineError as error:
                raise placed(error, spec) from None
            with Placed(spec):
                check_version(server.url, version)
            found.append(version)
        if not found and failure is not None:
            raise failure
        return ", ".join(dict.fromkeys(found))

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the model on all servers that answer, on one at least: pulled or sent, and ours made of it."""
        stocked: dict[Server, Stocked] = {}
        failures: list[EngineError] = []
        tally = Tally(progress)
        meant = spec
        for server in self._servers_of(spec):
            try:
                before = await self._has_tag(server, spec)
                found = await answered(self._stock.fetched(server, meant, tally), server)
            except EngineError as error:
                failures.append(placed(error, spec))
                if not isinstance(error, EngineUnavailable):
                    raise
                continue
            if not before and await self._has_tag(server, spec):
                self._pulled.add((server.url, spec.source.location))
            stocked[server] = found
            tally.next()
            if found.resolved:  # the others are to have the same
                meant = replace(spec, source=replace(spec.source, resolved=found.resolved))
        if not stocked:
            raise failures[0]
        first = next(iter(stocked.values()))
        here = any(is_here(server.url) for server in stocked)
        where = ", ".join(sorted(server.url for server in stocked))
        return OnDisk(
            resolved=first.resolved,
            size_bytes=first.size_bytes if here else 0,
            exclusive=f"ollama weights {first.blob[:12]} at {where}" if first.blob else "",
        )

    async def newest(self, spec: ModelSpec) -> str:
        """Return the digest that the tag has in its registry now; of a file, what its own source means."""
        if spec.source.scheme != TAGS:
            return await self._stock.library.newest(spec)
        if spec.source.sha256:
            return ""
        if self._settings.offline:
            raise NotAllowed(
                f"source '{spec.source.written}' is looked up in its registry, and the settings file says "
                "`offline: true`",
                where=spec.name,
                fix="allow it, or set `update: {check: never}`",
            )
        with Placed(spec):
            return await self._registry.digest(spec.source)

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete our model, the tag if we have pulled it, and the file if we have fetched it."""
        freed = 0
        for server in self._servers_of(spec):
            with suppress(EngineUnavailable):
                freed += await answered(
                    remove(
                        server,
                        spec,
                        keep,
                        stock=self._stock,
                        notes=Notes(made=self._made, pulled=self._pulled),
                    ),
                    server,
                )
        if spec.source.scheme != TAGS:
            freed += await self._stock.library.remove(spec, [k for k in keep if k.source.scheme != TAGS])
        return freed

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Return an upper bound from the model's header, for each server on this machine."""
        parts: list[Pools] = []
        failure: EngineError | None = None
        for server in self._servers_of(spec):
            if not is_here(server.url):
                continue
            try:
                stocked = await answered(self._stock.present(server, spec), server)
                shown = await answered(server.show(stocked.name), server)
            except EngineUnavailable as error:
                failure = placed(error, spec)
                continue
            except EngineError as error:
                raise placed(error, spec) from None
            if shown is not None:
                parts.append(await self._reckoner.peak(server, shown, stocked.size_bytes, spec))
        if failure is not None and not parts:
            raise failure
        return added(parts)

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have it in the memory of all servers that answer, on one at least, for good."""
        if not self._crew.is_open and not self._closed:
            await self._crew.open()
        return await self._roster.ensure_loaded(replica, spec)

    async def ensure_unloaded(self, replica: str) -> None:
        """Have every server let go of it, with proof."""
        await self._roster.ensure_unloaded(replica)

    async def observe(self) -> Mapping[str, Running]:
        """Return the replicas that a server holds now, with what they take of this machine."""
        found = await asyncio.gather(*(self._seen(each) for each in self._roster))
        return {running.replica: running for running in found if running is not None}

    async def held(self) -> Pools:
        """Return what all replicas have in memory, loads and unloads under way included; each runner once."""
        sites = {
            (site.server.url, site.stocked.blob): site
            for each in self._roster
            for site in each.sites
            if site.stocked is not None and site.here
        }
        weights = await asyncio.gather(*(self._reckoner.weigh(site) for site in sites.values()))
        return added([{RAM: each.own_bytes} | dict(each.gpu_bytes) for each in weights if each.own_bytes])

    async def reap(self, leftovers: Sequence[Running]) -> None:  # noqa: ARG002 (we have our own list)
        """Unload what an earlier daemon has loaded for good; who does not answer is asked another time."""
        for url, name in self._pins.left():
            server = self._server(url, "", Egress(anywhere=self._may_leave))
            with suppress(EngineError, Refused):
                await server.unload(name)
                self._pins.forget((url, name))
        self._runtime.remove_stale({each.path for each in self._roster})

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Report replicas that no server holds any more; a later call replaces the one before."""
        self._roster.on_exit(report)

    async def diagnose(self) -> Sequence[Finding]:
        """Say what the models' servers are, else the usual one; what they hold, and what is not ours."""
        near = Egress(anywhere=False)
        known = [*self._servers.values()] or [self._server(default_url(self._environment), "", near)]
        servers = {server.url: server for server in known}
        return [
            finding for server in servers.values() for finding in await findings_of(server, self._environment)
        ]

    async def close(self) -> None:
        """Unload everything; nothing can be loaded afterwards."""
        self._closed = True
        try:
            await self._roster.close()
        finally:
            await self._crew.close()
            for server in self._servers.values():
                await server.close()
            self._servers.clear()

    def _hire(self, replica: str, spec: ModelSpec, on_death: OnDeath) -> Replica:
        sites = [
            Site(
                server,
                spec,
                claims=self._claims,
                pins=self._pins,
                patience=self._patience,
                stock=lambda at, what: answered(self._stock.present(at, what), at),
            )
            for server in self._servers_of(spec)
        ]
        path = self._runtime.socket_of(replica)
        return Replica(replica, spec, path, sites=sites, terms=self._terms, on_death=on_death)

    def _servers_of(self, spec: ModelSpec) -> list[Server]:
        """Return a model's servers.

        Raises:
            NotAllowed: one of them is not on our own networks, and the settings do not allow that, or the
                model's file does not say so: policies would take it for local.
        """
        urls = urls_of(spec, self._environment)
        with Placed(spec):
            for url in urls:
                self._egress(url, spec).check(URL(url))
        return [self._server(url, spec.api_key, self._egress(url, spec)) for url in urls]

    def _server(self, url: str, key: str, egress: Egress) -> Server:
        if (url, key) not in self._servers:
            self._servers[url, key] = Server(url, egress, key=key)
        return self._servers[url, key]

    def _egress(self, url: str, spec: ModelSpec) -> Egress:
        """Return what may be connected to: a name that looks near and leads away is refused in any case."""
        return Egress(anywhere=self._may_leave and bool(spec.endpoints) and not is_near(url))

    async def _has_tag(self, server: Server, spec: ModelSpec) -> bool:
        if spec.source.scheme != TAGS:
            return False
        return parse(spec.source.location).key in await answered(server.listed(), server)

    async def _seen(self, replica: Replica) -> Running | None:
        running = replica.observed()
        if running is None or await replica.look() or replica.observed() is None:
            return None
        held = [site for site in replica.sites if site.loaded]
        weights = await asyncio.gather(*(self._reckoner.weigh(site) for site in held))
        gpu = added(dict(each.gpu_bytes) for each in weights)
        return replace(
            running,
            memory_bytes=sum(each.ram_bytes for each in weights),
            gpu_bytes=tuple(sorted(gpu.items())),
            drift="; ".join([text for site in held if (text := await drift_of(site))]),
        )
