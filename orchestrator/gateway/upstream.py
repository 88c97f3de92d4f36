"""Connections to the workers: one pool per replica, over its Unix socket."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import aiohttp

from orchestrator.errors import EngineError, ReplicaDied

# An idle connection is given up long before the worker's side gives it up (5 s
# or more), so that a request is never sent into a connection that is closing.
KEEP_ALIVE_S = 2.0
# A stream of tokens comes in small pieces; this bounds what a slow client lets pile up per request.
READ_BUFFER_BYTES = 64 * 1024


class Unreachable(EngineError):
    """No connection to the replica could be made: the request never reached it."""


class Pool:
    """The pool of connections to one replica."""

    def __init__(self, socket: str) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=socket, limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # the gateway has deadlines of its own
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        self.calls = 0

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; the answer's head has arrived when the block begins.

        Leaving the block before the answer has ended closes the connection,
        which makes the worker stop.

        Raises:
            Unreachable: there was no connection to be had.
            ReplicaDied: the connection broke, here or in the block.
        """
        self.calls += 1
        try:
            async with self._session.post(
                "http://worker" + path,
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"no connection to the worker: {error}") from error
        except aiohttp.ClientError as error:
            raise ReplicaDied(f"the worker broke the connection: {error}") from error
        finally:
            self.calls -= 1

    async def close(self) -> None:
        await self._session.close()


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

    async def prune(self, live: Collection[str]) -> bool:
        """Close the pools of replicas that are not live any more; False where one is still in use."""
        gone = [name for name in self._pools if name not in live]
        idle = [name for name in gone if not self._pools[name].calls]
        for name in idle:
            await self._pools.pop(name).close()
        return len(idle) == len(gone)

    async def close(self) -> None:
        """Close every pool, and with it every connection."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.close()
