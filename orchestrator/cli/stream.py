"""The public address from the outside: one streamed chat answer at a time."""

import http.client
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypedDict
from urllib.parse import urlsplit

from orchestrator.clock import monotonic_s
from orchestrator.errors import DaemonUnreachable, RequestError

PREFIX: Final = b"data:"
DONE: Final = b"[DONE]"
MODEL_HEADER: Final = "x-orchestrator-model"
REVISION_HEADER: Final = "x-orchestrator-revision"

Message = Mapping[str, str]


class _Delta(TypedDict, total=False):
    content: str | None


class _Choice(TypedDict, total=False):
    delta: _Delta


class _Usage(TypedDict, total=False):
    completion_tokens: int


class _Timings(TypedDict, total=False):
    predicted_per_second: float


class _Event(TypedDict, total=False):
    """One `data:` of the stream, as far as it is read here."""

    choices: list[_Choice]
    usage: _Usage | None
    timings: _Timings | None
    error: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is known of an answer after its end; None where nothing was reported or measured."""

    model: str
    revision: str
    tokens: int | None
    tokens_per_s: float | None
    first_token_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One OpenAI-compatible address; `timeout_s` is the longest silence between two parts of an answer."""

    address: str
    api_key: str | None
    timeout_s: float

    def models(self) -> list[str]:
        """Return the names that a request may ask for."""
        with closing(self._connect()) as connection:
            answer = json.loads(self._send(connection, "GET", "/v1/models", None).read())
        return [str(entry["id"]) for entry in answer["data"]]

    def chat(self, model: str, messages: Sequence[Message]) -> Generator[str | Figures, None, None]:
        """Yield the pieces of the answer as they come, then its figures.

        Closing the iterator closes the connection, which stops the generation.

        Raises:
            DaemonUnreachable: nothing answers at the address.
            RequestError: the request was refused, or the answer was cut.
        """
        body = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = monotonic_s()
        with closing(self._connect()) as connection:
            response = self._send(connection, "POST", "/v1/chat/completions", body)
            served = response.getheader(MODEL_HEADER, model)
            revision = response.getheader(REVISION_HEADER, "")
            first = last = None
            tokens: int | None = None
            reported: float | None = None
            for event in self._events(response):
                if usage := event.get("usage"):
                    tokens = usage.get("completion_tokens")
                    reported = (event.get("timings") or _Timings()).get("predicted_per_second")
                for choice in event.get("choices") or ():
                    if piece := (choice.get("delta") or _Delta()).get("content"):
                        last = monotonic_s()
                        first = first or last
                        yield str(piece)
        yield Figures(
            model=served,
            revision=revision,
            tokens=tokens,
            tokens_per_s=reported or _rate(tokens, first, last),
            first_token_ms=None if first is None else (first - began) * 1000,
        )

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address if "://" in self.address else f"http://{self.address}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=self.timeout_s)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
        except TimeoutError as late:
            raise _late(self.timeout_s) from late
        except (OSError, http.client.HTTPException) as failed:
            raise DaemonUnreachable(
                f"nothing answers at {self.address} ({str(failed) or type(failed).__name__})",
                fix="start the daemon with: orchestrator run, or name another address with --address",
            ) from failed
        if response.status != http.client.OK:
            raise _refused(response.read(), response.status)
        return response

    def _events(self, response: http.client.HTTPResponse) -> Iterator[_Event]:
        """Yield the parsed events up to `[DONE]`."""
        while True:
            try:
                line = response.readline()
            except TimeoutError as late:
                raise _late(self.timeout_s) from late
            except (OSError, http.client.HTTPException, ValueError) as cut:
                raise _cut() from cut
            if not line:
                raise _cut()
            if not line.startswith(PREFIX):
                continue
            data = line.removeprefix(PREFIX).strip()
            if data == DONE:
                return
            event: _Event = json.loads(data)
            if "error" in event:
                raise _refused(data, http.client.OK)
            yield event


def _rate(tokens: int | None, first: float | None, last: float | None) -> float | None:
    """Return tokens per second after the first one, as the client saw them."""
    if tokens is None or first is None or last is None or last <= first:
        return None
    return (tokens - 1) / (last - first)


def _refused(content: bytes, status: int) -> RequestError:
    try:
        error = json.loads(content)["error"]
        what, _, fix = str(error["message"]).partition(" Fix: ")
        return RequestError(what.rstrip("."), status=status, code=str(error.get("code") or ""), fix=fix)
    except (ValueError, KeyError, TypeError):
        shown = content[:200].decode(errors="replace").strip()
        return RequestError(f"the server answered with status {status}: {shown}", status=status, code="")


def _cut() -> RequestError:
    return RequestError("the answer was cut before its end", status=502, code="cut", fix="ask again")


def _late(timeout_s: float) -> RequestError:
    return RequestError(
        f"nothing came for {timeout_s:.0f} s", status=504, code="timeout", fix="ask again, or raise --timeout"
    )
