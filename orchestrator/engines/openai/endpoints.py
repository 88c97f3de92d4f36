"""All endpoints of one model file, behind one session that connects to nothing else than it may."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from yarl import URL

from orchestrator.engines.egress import ALLOW, Egress
from orchestrator.engines.openai.endpoint import Endpoint
from orchestrator.errors import EngineError, EngineUnavailable, LoadFailed, NotAllowed
from orchestrator.values.hidden import hiding
from orchestrator.values.spec import ModelSpec

AGENT: Final = "model-orchestrator"


class Endpoints:
    """The endpoints of a spec; made on the event loop, and closed by whoever made it.

    Args:
        spec: what is asked for.
        egress: whether the settings let requests leave the machine's own networks.

    Raises:
        NotAllowed: they do not, and an endpoint lies beyond, or is paid for.
        LoadFailed: the key cannot be sent, or an endpoint is no URL.
    """

    def __init__(self, spec: ModelSpec, *, egress: bool) -> None:
        if spec.remote and not egress:
            what = "costs money" if spec.paid else "is beyond this machine's own networks"
            raise NotAllowed(
                f"its endpoint {what}, and the settings do not allow that", where=spec.name, fix=ALLOW
            )
        bases = [_base(url, spec.name) for url in spec.endpoints]
        self.spec = spec
        self.hide = hiding(spec)
        # A name that looks near and leads away is refused whatever is allowed: policies take it for local.
        self._guard = Egress(anywhere=egress and spec.remote)
        self._session = self._guard.session(_headers(spec.name, spec.api_key.strip()))
        defaults = spec.sampling.as_request_fields()
        self.all = tuple(Endpoint(base, self._session, defaults, hide=self.hide) for base in bases)

    @property
    def reason(self) -> EngineError | None:
        """Why no endpoint serves, terminal only where each of them is out for good; None where one does."""
        troubles = [endpoint.trouble for endpoint in self.all if endpoint.trouble is not None]
        if len(troubles) < len(self.all):
            return None
        if not troubles:
            return EngineUnavailable(
                "it has no endpoint", where=self.spec.name, fix="write `endpoint` in its file"
            )
        first = min(troubles, key=lambda each: each.terminal)
        what = "; ".join(dict.fromkeys(each.what for each in troubles))
        return type(first)(what, where=self.spec.name, fix=first.fix)

    @property
    def answering(self) -> bool:
        """True where one of them is in the middle of an answer."""
        return any(endpoint.answering for endpoint in self.all)

    @property
    def server(self) -> str:
        """What the first one that said so calls itself, "" where none did."""
        return next((endpoint.server for endpoint in self.all if endpoint.server), "")

    async def first_look(self) -> None:
        """Return once each was asked and at least one serves the model.

        Raises:
            EngineError: `reason`.
        """
        for endpoint in self.all:
            try:
                self._guard.check(endpoint.base)
            except NotAllowed as refused:
                refused.where = self.spec.name
                raise
        async with asyncio.TaskGroup() as looks:
            for endpoint in self.all:
                looks.create_task(endpoint.first_look(self.spec.source))
        if (reason := self.reason) is not None:
            raise reason

    async def look(self) -> None:
        """Ask all again; `reason` says what came of it."""
        async with asyncio.TaskGroup() as looks:
            for endpoint in self.all:
                looks.create_task(endpoint.look(self.spec.source))

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def _base(url: str, name: str) -> URL:
    with suppress(ValueError):
        base = URL(url)
        if base.scheme in {"http", "https"} and base.host:
            return base
    raise LoadFailed("its `endpoint` is not a URL", where=name, fix="write it as http://HOST:PORT/v1")


def _headers(name: str, key: str) -> Mapping[str, str]:
    headers = {"User-Agent": AGENT, "Content-Type": "application/json", "Accept-Encoding": "identity"}
    if not key:
        return headers
    if not (key.isascii() and key.isprintable()):
        raise LoadFailed(
            "its `api_key` holds characters that cannot be sent", where=name, fix="correct the key"
        )
    return headers | {"Authorization": f"Bearer {key}"}
