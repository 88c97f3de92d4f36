"""The socket that the gateway sees before a server: our name for the model, and a first answer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp
from yarl import URL

from orchestrator.engines.bridge import Bridge
from orchestrator.engines.egress import read_at_most
from orchestrator.engines.openai.endpoint import Endpoint
from orchestrator.engines.openai.upstream import MOST_ERROR_BYTES, Upstream
from orchestrator.engines.server.names import Entry, names_for
from orchestrator.engines.server.place import Place, bearer
from orchestrator.errors import LoadFailed
from orchestrator.values.hidden import hiding
from orchestrator.values.spec import ModelSpec

# By capability: what a server is asked so that it has answered once. What is not here, such as `audio`, is
# not tried.
_FIRST: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = MappingProxyType(
    {
        "chat": ("/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
        "completion": ("/completions", {"prompt": "Hi", "max_tokens": 1}),
        "embedding": ("/embeddings", {"input": "Hi"}),
    }
)
# Nothing is gained by packing what goes through this machine only.
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_SAID_LENGTH: Final = 300


class Front:
    """What stands between the gateway and one command's server, from `open` until `close`.

    Args:
        path: where the socket lies; its folder is private and exists.
        place: where the server listens.
    """

    def __init__(self, path: Path, spec: ModelSpec, place: Place) -> None:
        self._path = path
        self._spec = spec
        self._place = place
        self._session: aiohttp.ClientSession | None = None
        self._bridge: Bridge | None = None
        self._endpoint: Endpoint | None = None
        self._hide = hiding(spec)

    async def open(self, model: str, listed: Sequence[Entry]) -> None:
        """Have the server answer once under one of its names, and serve the socket.

        Args:
            model: what stands for `{model}` in the command.
            listed: the server's own list of models.

        Raises:
            LoadFailed: it answers nothing.
            OSError: the socket cannot be made.
        """
        spec = self._spec
        self._session = session = self._place.session(_HEADERS | bearer(spec.api_key))
        name = await self._answering_name(session, names_for(model, listed))
        self._endpoint = Endpoint(URL(self._place.base), session, spec.sampling.as_request_fields())
        upstream = Upstream(spec.name, name, (self._endpoint,), hide=self._hide)
        self._bridge = Bridge(self._path, spec.name, upstream.handle, hide=self._hide)
        await self._bridge.open()

    def flowed(self) -> bool:
        """Say whether something has come from the server since the last call."""
        if self._endpoint is None:
            return False
        heard, self._endpoint.heard = self._endpoint.heard, False
        return heard

    async def close(self) -> None:
        """End everything at once, answers under way included. May be called again."""
        if self._bridge is not None:
            await self._bridge.close()
        if self._session is not None:
            await self._session.close()

    async def _answering_name(self, session: aiohttp.ClientSession, names: Sequence[str]) -> str:
        """Return the name under which the server answers what the model is for."""
        said = ""
        for name in names:
            asked = list(_first_requests(name, self._spec.capabilities))
            if not asked:
                return name
            for path, body in asked:
                said = await self._ask(session, path, body)
                if not said:
                    return name
        raise LoadFailed(
            f"the server is well, but {said}",
            where=self._spec.name,
            fix="see whether `capabilities` has what the model is for, and `source` its name",
        )

    async def _ask(self, session: aiohttp.ClientSession, path: str, body: Mapping[str, object]) -> str:
        """Return what was wrong with the answer, "" for nothing."""
        try:
            async with session.post(self._place.base + path, json=body) as answer:
                content = await read_at_most(answer, MOST_ERROR_BYTES)
        except aiohttp.ClientError as error:
            return f"POST {path} fails: {type(error).__name__}"
        if answer.ok:
            return ""
        return f"POST {path} answers {answer.status}: {self._hide(_message(content))[:_SAID_LENGTH]}"


def _first_requests(name: str, capabilities: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    for capability in capabilities:
        if capability in _FIRST:
            path, body = _FIRST[capability]
            yield path, {"model": name, **body}


def _message(content: bytes) -> str:
    """Return the message of an error in OpenAI's form, else how the answer begins."""
    try:
        error = json.loads(content)["error"]
        said = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        said = content.decode(errors="replace")
    return " ".join(said.split())
