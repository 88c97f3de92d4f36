"""Runs an ASGI application on a listening socket until told to stop, and then lets its requests end."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from orchestrator.gateway.heads import BoundedConnection
from orchestrator.gateway.ports import App, Receive, Scope, Send

# A client keeps its connection between requests for about this long; a guess
# that suits people in a chat. uvicorn's 5 s makes them connect again.
KEEP_ALIVE_S: Final = 75
# How long requests that were cut off at the end of the drain get to say so.
FAREWELL_S: Final = 2.0
# uvicorn's own wait at its end; by then nothing should be left to wait for.
UVICORN_GRACE_S: Final = 1


async def serve(app: App, *, bound_socket: socket.socket, drain_s: float, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain, and return when every connection is closed.

    While draining, new requests still reach the application, with
    `scope["state"]["draining"]` True, so that it can refuse them in its own
    words. Requests that run already get the same mark; those that only wait,
    with `scope["state"]["waits"]` True, are cancelled at once, and those still
    running after `drain_s` then. The application may use the cancellation to
    send its last words. Signals are the caller's business.

    Args:
        app: serves HTTP requests; it gets no lifespan events.
        bound_socket: listens already, TCP or Unix; closed in the end.
        drain_s: how long running requests may take to end.
        stop: set by the daemon.
    """
    gate = _Gate(app)
    server = _Server(
        uvicorn.Config(
            gate,
            interface="asgi3",
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=UVICORN_GRACE_S,
        )
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[bound_socket]))
            await stop.wait()
            await gate.drain(drain_s)
            server.should_exit = True
    finally:
        server.abandon()
        bound_socket.close()


class _Server(uvicorn.Server):
    """uvicorn's server without its handling of signals.

    It would take SIGTERM for itself and raise it again when it has ended, so
    that nothing after it would run (vllm-project/vllm#50916).
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def abandon(self) -> None:
        """Close what is still open, which is something only where `serve` was cancelled."""
        for listener in getattr(self, "servers", ()):
            listener.close()
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


class _Gate:
    """Knows the requests under way; the application behind it knows whether the server drains."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._running: dict[asyncio.Task[None], Scope] = {}
        self._draining = False
        self._cut: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application runs in a task")
        if self._draining:
            scope["state"]["draining"] = True
        self._running[task] = scope
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
        finally:
            del self._running[task]

    async def drain(self, drain_s: float) -> None:
        """Return when no request runs that ran before; those that still do after `drain_s` are cancelled."""
        self._draining = True
        if not self._running:
            return
        for scope in self._running.values():
            scope["state"]["draining"] = True
        self._cancel({task for task, scope in self._running.items() if scope["state"].get("waits")})
        _, late = await asyncio.wait(self._running, timeout=drain_s)
        self._cancel(late)
        if late:
            await asyncio.wait(late, timeout=FAREWELL_S)

    def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        self._cut |= tasks
        for task in tasks:
            task.cancel()
