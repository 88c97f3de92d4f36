"""Connections to the workers: one pool per replica, over its Unix socket."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from orchestrator.errors import ReplicaDied
from orchestrator.gateway.connection import Connection

# Idle connections beyond what a quiet moment needs are given up after this
# time; a guess, as a new one costs little.
KEEP_ALIVE_S: Final = 15.0
# A worker that has more new connections than it can hold takes them a moment later: when a model gets ready,
# everybody who waited for it connects at once.
CROWDED_TRIES: Final = 100
CROWDED_PAUSE_S: Final = 0.02


class Unreachable(ReplicaDied):
    """No connection to the replica could be made: the request never reached it."""


class Pool:
    """The connections to one replica. `calls` counts the requests under way."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._idle: deque[tuple[float, Connection]] = deque()  # the one used last is at the end
        self._trimmer: asyncio.TimerHandle | None = None
        self.calls = 0

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncIterator[Connection]:
        """Send a request; the answer's head has arrived when the block begins.

        Leaving the block before the answer has ended closes the connection,
        which makes the worker stop.

        Raises:
            Unreachable: there was no connection to be had.
            ReplicaDied: the connection broke, here or while reading in the block.
        """
        self.calls += 1
        connection: Connection | None = None
        try:
            connection = self._take_idle() or await self._connect()
            head = (
                f"POST {path} HTTP/1.1\r\nhost: worker\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            connection.send(head.encode() + body)
            await connection.head()
            yield connection
        finally:
            self.calls -= 1
            if connection is not None:
                self._give_back(connection)

    def close(self) -> None:
        """Close the idle connections; the others are closed by the end of their calls' tasks."""
        if self._trimmer is not None:
            self._trimmer.cancel()
            self._trimmer = None
        while self._idle:
            self._idle.pop()[1].close()

    async def _connect(self) -> Connection:
        for _ in range(CROWDED_TRIES):
            try:
                _, connection = await self._loop.create_unix_connection(Connection, self._socket)
            except BlockingIOError:
                await asyncio.sleep(CROWDED_PAUSE_S)
            except OSError as error:
                raise Unreachable(f"no connection to the worker: {error}") from error
            else:
                return connection
        raise Unreachable("the worker takes no more connections")

    def _take_idle(self) -> Connection | None:
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.reusable:
            connection.close()
            return
        self._idle.append((self._loop.time(), connection))
        if self._trimmer is None:
            self._trimmer = self._loop.call_later(KEEP_ALIVE_S, self._trim)

    def _trim(self) -> None:
        too_old = self._loop.time() - KEEP_ALIVE_S
        while self._idle and self._idle[0][0] <= too_old:
            self._idle.popleft()[1].close()
        self._trimmer = self._loop.call_later(KEEP_ALIVE_S, self._trim) if self._idle else None


class Upstreams:
    """The pools of all replicas in use."""

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}

    def of(self, replica: str, socket: str) -> Pool:
        """Return the replica's pool; it is made on first use."""
        pool = self._pools.get(replica)
        if pool is None:
            pool = self._pools[replica] = Pool(socket)
        return pool

    def prune(self, live: Collection[str]) -> bool:
        """Close the pools of replicas that are not live any more; False where one is still in use."""
        gone = [name for name in self._pools if name not in live]
        idle = [name for name in gone if not self._pools[name].calls]
        for name in idle:
            self._pools.pop(name).close()
        return len(idle) == len(gone)

    def close(self) -> None:
        """Close every idle connection."""
        while self._pools:
            _, pool = self._pools.popitem()
            pool.close()
