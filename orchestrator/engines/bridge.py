"""A replica's Unix socket, served inside the daemon for an engine whose own server speaks otherwise.

The gateway relays bytes to a replica's socket and knows no engine. Where what answers speaks another wire,
sits behind TCP or TLS, or knows the model under another name, a bridge serves that socket: the HTTP is the
workers' (`workers/wire.py`), and what a request becomes is the engine's `Handle`.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

from orchestrator import clock
from orchestrator.engines.crew import Crew
from orchestrator.engines.sockets import remove
from orchestrator.errors import RequestError
from orchestrator.workers import answers
from orchestrator.workers.answers import dump
from orchestrator.workers.wire import Connection, Connections, Exchange

# Answers one exchange, to its end. It is cancelled at once when the client leaves, and awaits
# `exchange.drain()` after each `send`. A RequestError becomes an answer in OpenAI's form or, once a stream
# has begun, its last event.
Handle = Callable[[Exchange], Awaitable[None]]

PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
# As for the workers: a Unix socket refuses at once what finds no place.
BACKLOG: Final = 2048

logger = logging.getLogger(__name__)


class Bridge:
    """Serves one replica's socket from `open` until `close`.

    Args:
        path: where the socket lies; its folder is private and exists.
        model: the model's own name.
        handle: answers what is posted to one of `PATHS`.
        health: what GET /health says besides that all is well; raises
            RequestError where it is not.
        hide: takes what must not be shown out of errors.
    """

    def __init__(
        self,
        path: Path,
        model: str,
        handle: Handle,
        health: Callable[[], Mapping[str, object]] = dict,
        *,
        hide: Callable[[str], str] = str,
    ) -> None:
        self.path = path
        self._model = model
        self._handle = handle
        self._health = health
        self._hide = hide
        self._created = int(clock.now().timestamp())
        self._crew = Crew()
        self._connections = Connections()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to serve.

        Raises:
            OSError: the socket cannot be made.
        """
        remove(self.path)  # one that an earlier daemon has left
        await self._crew.open()
        listener = _private_socket(self.path)
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: Connection(self._take, self._connections), sock=listener, backlog=BACKLOG
            )
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """End everything at once, answers under way included; the socket is gone when this returns."""
        server, self._server = self._server, None
        remove(self.path)
        if server is not None:
            server.close()
        await self._crew.close()
        await self._connections.abort()

    def _take(self, exchange: Exchange) -> None:
        if exchange.path in PATHS:
            if exchange.method != "POST":
                refuse(exchange, _refusal(405, f"{exchange.path} takes POST", "method_not_allowed"))
            elif not self._crew.is_open:
                refuse(exchange, _UNLOADED)
            else:
                self._begin(exchange)
        elif exchange.path == "/health":
            self._answer_health(exchange)
        elif exchange.path == "/v1/models":
            exchange.answer(200, dump(answers.models(self._model, self._created)))
        else:
            refuse(exchange, _refusal(404, f"there is nothing at {exchange.path}", "not_found"))

    def _begin(self, exchange: Exchange) -> None:
        task = self._crew.start(self._run(exchange), name=f"answer of {self._model}")

        def leave() -> None:
            task.cancel()

        exchange.gone = leave

    def _answer_health(self, exchange: Exchange) -> None:
        try:
            exchange.answer(200, dump({"status": "ok"} | dict(self._health())))
        except RequestError as error:
            refuse(exchange, error)

    def _shown(self, error: RequestError) -> RequestError:
        """Return the error without what must not be shown."""
        hide = self._hide
        return RequestError(
            hide(error.what),
            status=error.status,
            code=hide(error.code),
            fix=hide(error.fix),
            param=None if error.param is None else hide(error.param),
            retry_after_s=error.retry_after_s,
        )

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._handle(exchange)
        except RequestError as error:
            refuse(exchange, self._shown(error))
        except asyncio.CancelledError:
            refuse(exchange, _UNLOADED)
            raise
        except Exception:
            logger.exception("the bridge of model '%s' failed", self._model)
        refuse(exchange, _BUG)  # says nothing where there was an answer, as it should


def refuse(exchange: Exchange, error: RequestError) -> None:
    """Answer with an error in OpenAI's form; a stream that has begun ends with it, and without `[DONE]`."""
    end = "" if error.what.endswith(("?", ".")) else "."
    message = f"{error.what}{end} Fix: {error.fix}" if error.fix else error.what
    kind = "server_error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    body = dump(answers.error(message, kind=kind, code=error.code, param=error.param))
    if exchange.streaming:
        exchange.close_stream(b"data: " + body + b"\n\n")
        return
    after = error.retry_after_s
    exchange.answer(error.status, body, headers="" if after is None else f"retry-after: {after}\r\n")


def _refusal(status: int, what: str, code: str) -> RequestError:
    return RequestError(what, status=status, code=code)


_UNLOADED: Final = _refusal(503, "this replica is being unloaded", "shutting_down")
_BUG: Final = _refusal(500, "the bridge did not answer; this is a bug", "internal_error")


def _private_socket(path: Path) -> socket.socket:
    """Return a socket that is bound there and nobody else may use, from the first moment on."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)  # noqa: FBT003 (its signature)
        made.bind(str(path))
        path.chmod(0o600)
    except OSError:
        made.close()
        with suppress(OSError):
            path.unlink()
        raise
    return made
