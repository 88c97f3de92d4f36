"""One Ollama server: what is asked of it besides answers, through the `ollama` client wherever that can."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import httpx

from orchestrator.engines.egress import Egress, read_at_most, refusal_of
from orchestrator.engines.egress_httpx import GuardedTransport
from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.trouble import Refused, unreachable
from orchestrator.errors import NotAllowed

if TYPE_CHECKING:
    import ollama

# How long a server may take to answer what it only has to look up, in seconds.
CALL_S: Final = 10.0
_NOT_FOUND: Final = 404
_CREATED: Final = frozenset({200, 201})
_CHUNK: Final = 1 << 20
_ERROR_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model on a server's disk. `digest` is its manifest's."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model in a server's memory, under the name that loaded it. One that is loading is not among them."""

    name: str
    digest: str
    size_bytes: int
    vram_bytes: int
    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a server knows of a model. `blob` is the digest of its weights, which lie in `folder` there.

    `stops` are the texts at which the model ends, besides its own tokens.
    """

    blob: str
    folder: str
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    capabilities: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of what a server says while it works; sizes are 0 where it is about none."""

    status: str
    digest: str = ""
    done_bytes: int = 0
    total_bytes: int = 0


class Server:
    """Opens its connections at the first use, and is not used after `close`.

    Every verb raises EngineUnavailable where nobody answers, NotAllowed where the connection may not be made,
    and Refused where the server answers with an error.
    """

    def __init__(self, url: str, egress: Egress, *, key: str = "") -> None:
        self.url = url
        self._egress = egress
        self._key = key

    @cached_property
    def session(self) -> aiohttp.ClientSession:
        """The connections; whoever uses them says how long each answer may take."""
        return self._egress.session({"authorization": f"Bearer {self._key}"} if self._key else None)

    @cached_property
    def _client(self) -> "ollama.AsyncClient":
        import ollama  # noqa: PLC0415 (takes a quarter of a second, which a daemon without Ollama can do without)

        logging.getLogger("httpx").setLevel(logging.WARNING)  # or it tells of every request
        transport = _Keyless(GuardedTransport(self.session))
        return ollama.AsyncClient(self.url, transport=transport, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            await self._client.close()  # type: ignore[no-untyped-call]  # the client's own
        if "session" in self.__dict__:
            await self.session.close()

    async def version(self) -> str:
        async with self._call():
            async with self.session.get(f"{self.url}/api/version", allow_redirects=False) as answer:
                if answer.status != 200:  # noqa: PLR2004 (OK)
                    raise Refused(answer.status, await _said(answer))
                found = json.loads(await read_at_most(answer, _ERROR_BYTES))
            return str(found["version"])

    async def listed(self) -> dict[tuple[str, ...], Listed]:
        """Return all models on its disk, by their name's key."""
        async with self._call():
            found = (await self._client.list()).models
        made = (
            Listed(name=each.model or "", digest=each.digest or "", size_bytes=int(each.size or 0))
            for each in found
        )
        return {parse(each.name).key: each for each in made}

    async def resident(self) -> dict[tuple[str, ...], Resident]:
        """Return all models in its memory, by their name's key."""
        async with self._call():
            found = (await self._client.ps()).models
        made = (
            Resident(
                name=each.model or "",
                digest=each.digest or "",
                size_bytes=int(each.size or 0),
                vram_bytes=int(each.size_vram or 0),
                context=each.context_length or 0,
            )
            for each in found
        )
        return {parse(each.name).key: each for each in made}

    async def show(self, name: str) -> Shown | None:
        """Return what it knows of a model, None where it has none of that name."""
        try:
            async with self._call():
                found = await self._client.show(name)
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise
        path = _weights_in(found.modelfile or "")
        return Shown(
            blob=path.name.removeprefix("sha256-") if path else "",
            folder=str(path.parent.parent) if path else "",
            info=found.modelinfo or {},
            capabilities=tuple(found.capabilities or ()),
            stops=tuple(_stops_in(found.parameters or "")),
        )

    async def unload(self, name: str) -> None:
        """Ask it to let go of a model once no answer is under way; one that it does not know is gone."""
        try:
            async with self._call():
                await self._client.generate(model=name, keep_alive=0)
        except Refused as refused:
            if refused.status != _NOT_FOUND:
                raise

    async def delete(self, name: str) -> bool:
        """Delete a model from its disk; say whether it was there."""
        try:
            async with self._call():
                await self._client.delete(name)
        except Refused as refused:
            if refused.status == _NOT_FOUND:
                return False
            raise
        return True

    async def pull(self, name: str) -> AsyncIterator[Step]:
        """Yield what it says while it downloads; complete only if the last status is `success`."""
        with self._translated():
            steps: Any = await self._client.pull(name, stream=True)
            async with aclosing(steps):
                async for step in steps:
                    yield _step(step)

    async def create(self, name: str, **what: Any) -> AsyncIterator[Step]:  # noqa: ANN401 (the client's own)
        """Yield what it says while it makes a model; complete only if the last status is `success`."""
        with self._translated():
            steps: Any = await self._client.create(name, stream=True, **what)
            async with aclosing(steps):
                async for step in steps:
                    yield _step(step)

    async def has_blob(self, digest: str) -> bool:
        """Say whether a file with that SHA-256 lies on its disk."""
        async with (
            self._call(),
            self.session.head(f"{self.url}/api/blobs/sha256:{digest}", allow_redirects=False) as answer,
        ):
            return answer.status == 200  # noqa: PLR2004 (OK)

    async def send_blob(self, path: Path, digest: str, sent: "list[int]") -> None:
        """Send a file; the server checks its digest. `sent[0]` says how much of it has gone."""
        with self._translated():
            length = {"content-length": str((await asyncio.to_thread(path.stat)).st_size)}
            async with self.session.post(
                f"{self.url}/api/blobs/sha256:{digest}",
                data=_pieces(path, sent),
                headers=length,
                allow_redirects=False,
            ) as answer:
                if answer.status not in _CREATED:
                    raise Refused(answer.status, await _said(answer))

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """Bound a call in time, and translate its errors."""
        with self._translated():
            async with asyncio.timeout(CALL_S):
                yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import ollama  # noqa: PLC0415 (see `_client`)

        try:
            yield
        except ollama.ResponseError as error:
            raise Refused(max(error.status_code, 0), str(error.error)) from None
        except TimeoutError:
            raise unreachable(self.url, "it takes too long") from None
        except (aiohttp.ClientError, httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            refused = refusal_of(error)
            if refused is not None:
                raise NotAllowed(
                    refused.what,
                    fix="set `egress: true` in orchestrator.yaml, if that is meant, and restart the daemon",
                ) from None
            raise unreachable(self.url, _why(error)) from None


class _Keyless(httpx.AsyncBaseTransport):
    """Takes out the key that the client reads from the process's environment.

    That one is for ollama.com, not for whatever server a model's file names.
    """

    def __init__(self, inner: GuardedTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers.pop("authorization", None)
        return await self._inner.handle_async_request(request)


async def _pieces(path: Path, sent: "list[int]") -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, _CHUNK):
            yield piece
            sent[0] += len(piece)
    finally:
        file.close()


async def _said(answer: aiohttp.ClientResponse) -> str:
    return (await read_at_most(answer, _ERROR_BYTES)).decode(errors="replace")


def _step(step: Any) -> Step:  # noqa: ANN401 (the client's own)
    return Step(
        status=step.status or "",
        digest=step.digest or "",
        done_bytes=step.completed or 0,
        total_bytes=step.total or 0,
    )


def _weights_in(modelfile: str) -> Path | None:
    """Return the path of the weights that a Modelfile begins with."""
    for line in modelfile.splitlines():
        if line.startswith("FROM "):
            path = Path(line.removeprefix("FROM ").strip())
            return path if path.name.startswith("sha256-") else None
    return None


def _stops_in(parameters: str) -> Iterator[str]:
    """Yield the stops of a list of parameters as /api/show writes it: a name, spaces, a value in quotes."""
    for line in parameters.splitlines():
        name, _, value = line.partition(" ")
        if name == "stop":
            with suppress(ValueError):
                yield str(json.loads(value.strip()))


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError | httpx.ConnectError | ConnectionError):
        return ""
    return f"{type(error).__name__}"
