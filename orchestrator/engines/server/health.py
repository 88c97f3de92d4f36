"""Does a command's server serve? Asked over HTTP, on a port or a Unix socket."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from math import inf
from typing import Final

import aiohttp

from orchestrator.engines.egress import read_at_most
from orchestrator.engines.server.names import Entry
from orchestrator.engines.server.place import Place, bearer

# How often it is asked while it loads, and afterwards, in seconds; more often where the hang deadline is
# short.
READY_EVERY_S: Final = 0.05
READY_SLOWEST_S: Final = 0.5
EVERY_S: Final = 1.0
# How long one question may take while it loads, in seconds: it may hold its event loop meanwhile.
ANSWER_S: Final = 5.0
# How long a server may answer that there is nothing at its health path, or not for us, before that is
# believed, in seconds. A guess: paths are there from the first answer on, but a proxy may start before them.
WRONG_PATH_S: Final = 30.0
_WRONG: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
)
_LIMIT: Final = aiohttp.ClientTimeout(total=ANSWER_S)
_MODELS_BYTES: Final = 4 * 1024 * 1024
_OF_JSON: Final = (AttributeError, RecursionError)  # what it may be besides


class Outcome(Enum):
    """What waiting for a server came to."""

    WELL = auto()
    ENDED = auto()
    WRONG_PATH = auto()
    STRANGER = auto()  # somebody else answers where it should


class Health:
    """Asks one server; owns the connections for it until `close`.

    Args:
        place: where it listens.
        path: what answers 200 once it serves.
        api_key: sent with every question, "" for none.
    """

    def __init__(self, place: Place, *, path: str, api_key: str) -> None:
        self.place = place
        self._path = path
        self._headers = bearer(api_key)
        self._session: aiohttp.ClientSession | None = None
        self.status = 0  # of the last answer; 0 for none
        self.said = "nobody listens there yet"  # what the last question came to, for errors

    async def is_well(self, *, within_s: float = ANSWER_S) -> bool:
        """Ask once; `said` has what came of it."""
        self.status = await self._ask(within_s)
        return self.status // 100 == 2  # noqa: PLR2004 (of HTTP)

    @property
    def is_wrong_path(self) -> bool:
        """True where the last answer was that there is nothing at the path, or not for us."""
        return self.status in _WRONG

    async def models(self) -> tuple[Entry, ...]:
        """Return its list of models; empty where it has none.

        A server may well fail here and serve all the same: mlx_lm.server does
        so where the folder of the Hugging Face cache is missing.
        """
        try:
            async with self._open().get(f"{self.place.base}/models", timeout=_LIMIT) as answer:
                content = json.loads(await read_at_most(answer, _MODELS_BYTES))
                return tuple(
                    Entry(id=str(each["id"]), root=str(each.get("root") or "")) for each in content["data"]
                )
        except (
            aiohttp.ClientError,
            TimeoutError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
        ):
            return ()

    async def close(self) -> None:
        """Close the connections. May be called again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, within_s: float) -> int:
        url, limit = self.place.url(self._path), aiohttp.ClientTimeout(total=within_s)
        try:
            async with self._open().get(url, timeout=limit, allow_redirects=False) as answer:
                self.said = f"GET {self._path} answers {answer.status}"
                return answer.status
        except TimeoutError:
            self.said = f"GET {self._path} is not answered within {within_s:.3g} s"
        except aiohttp.ClientConnectionError:
            self.said = "nobody listens there yet"
        except aiohttp.ClientError as error:
            self.said = f"what listens there does not speak HTTP: {type(error).__name__}"
        return 0

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self.place.session(self._headers)
        return self._session


async def until_well(health: Health, ended: asyncio.Event, *, wrong_path_s: float = WRONG_PATH_S) -> Outcome:
    """Return once the server is well, `ended` is set, or its health path is surely a wrong one."""
    loop = asyncio.get_running_loop()
    pause_s, wrong_since_s = READY_EVERY_S, inf
    while not ended.is_set():
        if await health.is_well():
            break
        wrong_since_s = min(wrong_since_s, loop.time()) if health.is_wrong_path else inf
        if loop.time() - wrong_since_s > wrong_path_s:
            return Outcome.WRONG_PATH
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await ended.wait()
        pause_s = min(pause_s * 1.5, READY_SLOWEST_S)
    return Outcome.ENDED if ended.is_set() else Outcome.WELL


async def until_hung(health: Health, *, deadline_s: float, flowed: Callable[[], bool]) -> str:
    """Return why, once the server hangs: it was not well for the deadline, and sent nothing meanwhile.

    Only time in which this process runs counts, as for workers (see Probe).

    Args:
        health: of the server.
        deadline_s: how long it may stand still.
        flowed: says whether something came from it since the last call: a
            busy server may be too busy to answer, and works all the same.
    """
    loop = asyncio.get_running_loop()
    every_s = min(EVERY_S, deadline_s / 4)
    silent_s = 0.0
    while silent_s <= deadline_s:
        began_s = loop.time()
        await asyncio.sleep(every_s)
        well = await health.is_well(within_s=deadline_s)
        silent_s += min(loop.time() - began_s, 2 * every_s + deadline_s)
        if flowed() or well:
            silent_s = 0.0
    return f"hung: not well for {silent_s:.3g} s: {health.said}"
