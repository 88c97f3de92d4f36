"""What lies on servers' disks for our models: a tag is pulled, a file sent, and a model of ours made of it.

Ours has the context in it, so that whoever asks for it, over whatever wire, gets the same runner. And it
keeps the weights that were meant when the tag moves on. Its name says what it was made of: it is made once.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from orchestrator.engines.base import Premises, Progress
from orchestrator.engines.library import Library
from orchestrator.engines.ollama.names import derived, parse
from orchestrator.engines.ollama.pins import Noted
from orchestrator.engines.ollama.pulling import Pulling
from orchestrator.engines.ollama.server import Listed, Server
from orchestrator.engines.ollama.translate import translated
from orchestrator.engines.ollama.trouble import Refused, check_version, of_create
from orchestrator.engines.sources import SourceChecks, check_form
from orchestrator.errors import EngineError, LoadFailed, NotAllowed, SourceCorrupt, SourceNotFound
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.fetch.shelf import Shelf

TAGS: Final = "ollama"
# Making a model reads and writes all of it; how long nothing may be said meanwhile, in seconds. A guess.
CREATE_QUIET_S: Final = 900.0
_PARTS: Final = "-00001-of-"

Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stocked:
    """A model of ours as it lies on a server.

    `digest` is its manifest's, `blob` its weights', `resolved` what its tag meant, "" for a file.
    `embeds` where it makes vectors and no text. `stops`: see Shown.
    """

    name: str
    digest: str
    blob: str
    size_bytes: int
    resolved: str
    embeds: bool
    stops: tuple[str, ...] = ()


class Stock:
    """Fetches and makes models. Starts nothing by itself, and needs no closing.

    Args:
        premises: the engine's.
        made: has every model that we make noted in it.
    """

    def __init__(self, premises: Premises, made: Noted) -> None:
        self._made = made
        self._settings = premises.settings
        self._library = Library(premises, form="gguf")
        self._shelf = Shelf(premises.cache)
        self._environment = premises.environment
        self._checks = SourceChecks(self._shelf.seals)
        self._pulling = Pulling(stall_s=premises.settings.fetch_stall_s)

    @property
    def library(self) -> Library:
        return self._library

    async def fetched(self, server: Server, spec: ModelSpec, tell: Tell) -> Stocked:
        """Have our model on the server, whatever that takes.

        Raises:
            EngineError
        """
        check_version(server.url, await server.version())
        if spec.source.scheme != TAGS:
            await self._library.ensure(spec, tell)
            return await self._of_file(server, spec, tell)
        if spec.quantize:
            raise SourceNotFound(
                f"source '{spec.source.written}' is a tag, which nobody here can quantise",
                fix="name a tag of that quantisation, such as gemma3:4b-it-q8_0, or use file: or hf:",
            )
        found = await self._of_tag(server, spec, tell)
        if found is None:
            await self._pull(server, spec, tell)
            found = await self._of_tag(server, replace(spec, source=replace(spec.source, resolved="")), tell)
        if found is None:
            raise SourceNotFound(
                f"source '{spec.source.written}' was pulled, and {server.url} does not have it"
            )
        return found

    async def present(self, server: Server, spec: ModelSpec) -> Stocked:
        """Return our model on the server, made of what is there already; nothing is downloaded.

        Raises:
            SourceNotFound: what it is made of is not there.
            EngineError
        """
        check_version(server.url, await server.version())
        if spec.source.scheme != TAGS:
            return await self._of_file(server, spec, lambda _: None)
        found = await self._of_tag(server, spec, lambda _: None)
        if found is None:
            raise SourceNotFound(
                f"source '{spec.source.written}' is not on {server.url} as it was fetched",
                fix="it is fetched before it is loaded; see `orchestrator status`",
            )
        return found

    async def names(self, server: Server, spec: ModelSpec) -> list[str]:
        """Return the names that our models of `spec` have on the server, whether they are there or not."""
        source = spec.source
        contents = {source.sha256 or source.resolved}
        if source.scheme == TAGS and contents == {""}:
            base = (await server.listed()).get(parse(source.location).key)
            contents = {base.digest if base else ""}
        elif source.scheme != TAGS:
            try:
                contents = {await self._digest(self._library.path_of(spec))}
            except (EngineError, OSError):
                return []
        return [derived(_settled(spec), content) for content in contents if content]

    async def _of_tag(self, server: Server, spec: ModelSpec, tell: Tell) -> Stocked | None:
        """Return our model, made of the tag; None where that is not there, or is not what is meant."""
        source = spec.source
        listed = await server.listed()
        base = listed.get(parse(source.location).key)
        content = source.sha256 or source.resolved or (base.digest if base else "")
        if not content:
            return None
        name = derived(_settled(spec), content)
        found = listed.get(parse(name).key)
        if found is None:
            if base is None or base.digest != content:
                return None
            await self._create(server, spec, name, {"from_": source.location}, tell)
            found = (await server.listed())[parse(name).key]
        return await self._seen(server, found, resolved="" if source.sha256 else content)

    async def _of_file(self, server: Server, spec: ModelSpec, tell: Tell) -> Stocked:
        """Return our model, made of the file that lies here."""
        path = self._library.path_of(spec)
        if _PARTS in path.name:
            raise LoadFailed(
                f"source '{spec.source.written}' is a model in several files, which Ollama does not take",
                fix="put them together with llama-gguf-split --merge",
            )
        await asyncio.to_thread(check_form, path, spec.source)
        digest = await self._digest(path)
        if spec.source.sha256 and not spec.quantize and spec.source.sha256.lower() != digest:
            raise SourceCorrupt(
                f"source '{spec.source.written}' has sha256 {digest}, and {spec.source.sha256} is asked for",
                fix="get the file again, or correct the digest if the new file is the right one",
            )
        name = derived(_settled(spec), digest)
        found = (await server.listed()).get(parse(name).key)
        if found is None:
            await self._send(server, path, digest, tell)
            what: dict[str, Any] = {"files": {"model.gguf": f"sha256:{digest}"}}
            await asyncio.to_thread(self._shelf.make)
            template = await translated(path, self._shelf.temporary, self._environment)
            if template:
                what["template"] = template
            await self._create(server, spec, name, what, tell)
            found = (await server.listed())[parse(name).key]
        return await self._seen(server, found, resolved="")

    async def _pull(self, server: Server, spec: ModelSpec, tell: Tell) -> None:
        if self._settings.offline:
            raise NotAllowed(
                f"source '{spec.source.written}' is not on {server.url}, and the settings file says "
                "`offline: true`",
                fix="allow it, or pull it by hand",
            )
        await self._pulling.pull(server, spec, tell)
        wanted = spec.source.sha256
        base = (await server.listed()).get(parse(spec.source.location).key)
        if wanted and base is not None and base.digest != wanted.lower():
            raise SourceCorrupt(
                f"source '{spec.source.written}' has the digest {base.digest} now, and {wanted} is asked for",
                fix="correct the digest in the model's file; Ollama cannot pull an older one",
            )

    async def _send(self, server: Server, path: Path, digest: str, tell: Tell) -> None:
        if await server.has_blob(digest):
            return
        total, sent = (await asyncio.to_thread(path.stat)).st_size, [0]
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(_tell_sent(sent, total, tell))
                await server.send_blob(path, digest, sent)
                telling.cancel()
        except* Refused as group:
            raise of_create(path.name, str(group.exceptions[0])) from None
        except* EngineError as group:
            raise group.exceptions[0] from None
        tell(Progress(doing="sending", done_bytes=total, total_bytes=total))

    async def _create(
        self, server: Server, spec: ModelSpec, name: str, what: dict[str, Any], tell: Tell
    ) -> None:
        """Make our model; an error line counts whatever follows it, and `success` must come."""
        parameters: dict[str, Any] = {"num_ctx": spec.context}
        if spec.accelerator == "cpu":
            parameters["num_gpu"] = 0
        tell(Progress(doing="making"))
        last = ""
        steps = server.create(name, parameters=parameters, **what)
        try:
            async with asyncio.timeout(CREATE_QUIET_S) as quiet:
                async for step in steps:
                    last = step.status
                    quiet.reschedule(asyncio.get_running_loop().time() + CREATE_QUIET_S)
        except Refused as refused:
            raise of_create(spec.source.written, refused.what) from None
        except TimeoutError:
            raise of_create(spec.source.written, f"it has said nothing for {CREATE_QUIET_S:g} s") from None
        if last != "success":
            raise of_create(spec.source.written, f"it stopped at '{last}'")
        self._made.add((server.url, name))

    async def _seen(self, server: Server, found: Listed, *, resolved: str) -> Stocked:
        shown = await server.show(found.name)
        return Stocked(
            name=found.name,
            digest=found.digest,
            blob=shown.blob if shown else "",
            size_bytes=found.size_bytes,
            resolved=resolved,
            embeds="embedding" in (shown.capabilities if shown else ()),
            stops=shown.stops if shown else (),
        )

    async def _digest(self, path: Path) -> str:
        cancelled = threading.Event()
        try:
            return await asyncio.to_thread(self._checks.digest, path, cancelled)
        finally:
            cancelled.set()


def _settled(spec: ModelSpec) -> ModelSpec:
    """Return the spec without what does not change the model on one server, so that it is not made twice."""
    return replace(spec, endpoints=(), source=replace(spec.source, resolved=""))


async def _tell_sent(sent: list[int], total: int, tell: Tell) -> None:
    while True:
        tell(Progress(doing="sending", done_bytes=min(sent[0], total), total_bytes=total))
        await asyncio.sleep(0.3)
