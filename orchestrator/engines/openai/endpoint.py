"""One base URL under which somebody else serves models: what is asked of it, and what is known of it now."""

import asyncio
import difflib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from yarl import URL

from orchestrator.engines.egress import ALLOW, read_at_most, refusal_of
from orchestrator.engines.openai.quirks import Quirks
from orchestrator.errors import EngineError, EngineUnavailable, NotAllowed, SourceCorrupt, SourceNotFound
from orchestrator.values.spec import Source

# A health check that takes longer has failed; in seconds.
CHECK_S: Final = 5.0
# Failures that may pass by themselves (silence, a status of 500) count when there were so many in a row.
IN_A_ROW: Final = 3
# The list of a large provider has some hundred models.
MOST_LIST_BYTES: Final = 8 * 1024 * 1024
_NAMED_AT_MOST: Final = 5
# What an error shows of the names and addresses that a server gives, in characters.
_NAME_LENGTH: Final = 100
_URL_LENGTH: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why an endpoint does not serve.

    `certain`: nothing but a change at its end will help. `silent`: it said nothing at all.
    """

    error: EngineError
    certain: bool
    silent: bool = False


class Endpoint:
    """Asks one server, and remembers how that went.

    `trouble` is what keeps requests away from it, None where nothing does: a
    circuit breaker whose half-open state is the health check, which goes on.
    `in_flight` counts the requests under way. `place` is its host and port,
    the only form in which it may be shown. `hide` takes out of what the server
    says what must not be shown.
    """

    def __init__(
        self,
        base: URL,
        session: aiohttp.ClientSession,
        defaults: Mapping[str, float],
        *,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.base = base
        self.place = place_of(self.base)
        self.session = session
        self._hide = hide
        self.quirks = Quirks(defaults)
        self.in_flight = 0
        self.trouble: EngineError | None = None
        self.server = ""
        self.heard = False  # an answer went on since the last look
        self._spoke = False  # and between the two looks before
        self._failures = 0
        self._patience: set[asyncio.Timeout] = set()

    @property
    def answering(self) -> bool:
        """True where the answer to a request went on lately: it lives, whatever its list of models does."""
        return self.in_flight > 0 and (self.heard or self._spoke)

    def url(self, path: str) -> URL:
        """Return the URL of a path such as `/models`; what the base has behind a `?` stays."""
        return self.base.with_path(self.base.path.rstrip("/") + path, keep_query=True)

    async def look(self, source: Source) -> None:
        """Ask whether it serves the model, and take note of the answer."""
        found = await self._ask(source)
        if found is None:
            self.well()
        elif not self.answering:
            self.note(found)
            if found.silent and self.trouble is not None:
                self._lose_patience()
        self._spoke, self.heard = self.heard, False

    @asynccontextmanager
    async def awaited(self) -> AsyncIterator[None]:
        """Give one request its time; TimeoutError where the endpoint has fallen silent altogether."""
        async with asyncio.timeout(None) as patience:
            self._patience.add(patience)
            try:
                yield
            finally:
                self._patience.discard(patience)

    def well(self) -> None:
        """Take note that it serves."""
        self._failures, self.trouble = 0, None

    def note(self, found: Trouble) -> None:
        """Take note of a failure."""
        self._failures += 1
        if found.certain or self._failures >= IN_A_ROW:
            self.trouble = found.error

    async def first_look(self, source: Source) -> None:
        """Ask whether it serves the model; here one failure counts whatever it is."""
        found = await self._ask(source)
        self.trouble = None if found is None else found.error

    def _lose_patience(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._patience:
            self._patience.pop().reschedule(now_s)

    async def _ask(self, source: Source) -> Trouble | None:
        try:
            async with (
                asyncio.timeout(CHECK_S),
                self.session.get(self.url("/models"), allow_redirects=False) as answer,
            ):
                self.server = self._hide(answer.headers.get("Server", ""))[:64]
                content = await read_at_most(answer, MOST_LIST_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return trouble_of(error, self.place)
        return self._judge(answer, content, source)

    def _judge(self, answer: aiohttp.ClientResponse, content: bytes, source: Source) -> Trouble | None:
        status = answer.status
        if status == HTTPStatus.UNAUTHORIZED:
            return _certain(
                EngineUnavailable(
                    f"{self.place} refuses the key", fix="correct `api_key` in the model's file"
                )
            )
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return _certain(self._redirected(answer.headers.get("Location", "")))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            what = f"{self.place} answers with status {status}"
            return Trouble(error=EngineUnavailable(what, fix="see its log"), certain=False)
        # Everything else shows that it is there: many have no list, and some keys may not read it.
        if status != HTTPStatus.OK or not content.strip():
            return None
        return self._judge_list(content, source)

    def _judge_list(self, content: bytes, source: Source) -> Trouble | None:
        try:
            served = _names(json.loads(content))
        except (ValueError, RecursionError):
            served = None
        if served is None:
            what = f"source '{source.written}': what answers at {self.place} does not speak OpenAI's API"
            fix = "correct `endpoint` in the model's file; it usually ends in /v1"
            return _certain(SourceCorrupt(what, fix=fix))
        model = source.location
        if not served or {model, f"{model}:latest", f"models/{model}"} & served:
            return None
        near = difflib.get_close_matches(model, served, n=1) or sorted(served)[:_NAMED_AT_MOST]
        shown = ", ".join(self._hide(name)[:_NAME_LENGTH] for name in near)
        what = f"{self.place} has no model '{source.written}'"
        return _certain(SourceNotFound(what, fix=f"write as `source` one of: {shown}"))

    def _redirected(self, location: str) -> EngineError:
        try:
            target = self.base.join(URL(location)).with_user(None).with_query(None).with_fragment(None)
            where = self._hide(str(target).removesuffix("/models"))[:_URL_LENGTH]
        except ValueError:
            where = "somewhere else"
        return EngineUnavailable(
            f"{self.place} redirects to {where}, and redirects are not followed",
            fix="write that address as `endpoint` in the model's file",
        )


def trouble_of(error: Exception, place: str) -> Trouble:
    """Return what a failed request says about the endpoint."""
    refused = refusal_of(error)
    if refused is not None:
        return _certain(NotAllowed(refused.what, fix=ALLOW))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        what = f"the certificate of {place} cannot be verified: {error.certificate_error}"
        return _certain(
            EngineUnavailable(
                what, fix="give its issuer in SSL_CERT_FILE, or use http:// within your network"
            )
        )
    fix = f"see that it runs and listens, or correct `endpoint`; try: curl {place}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = _words_of(error.os_error)
        unreachable = EngineUnavailable(f"{place} cannot be reached: {cause}", fix=fix)
        return Trouble(error=unreachable, certain=True, silent=True)
    what = "does not answer in time" if isinstance(error, TimeoutError) else "closed the connection"
    return Trouble(error=EngineUnavailable(f"{place} {what}", fix=fix), certain=False, silent=True)


def _words_of(error: OSError) -> str:
    """Return the system's own words: asyncio puts the address in their place, which is said already."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error)).lower()  # looking a name up has numbers of its own


def place_of(url: URL) -> str:
    """Return the host and port of a URL: no path, user or query, which may hold secrets."""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    return f"{host}:{url.port}"


def _names(content: Any) -> set[str] | None:  # noqa: ANN401 (what JSON holds)
    """Return the names in a list of models, None where it is no such list."""
    entries = content.get("data") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        return None
    return {entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}


def _certain(error: EngineError) -> Trouble:
    return Trouble(error=error, certain=True)
