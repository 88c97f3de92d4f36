"""One replica on one server: loaded and kept there, looked after, and let go of with proof."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from orchestrator.clock import monotonic_s
from orchestrator.engines.egress import read_at_most
from orchestrator.engines.ollama.claims import Claims
from orchestrator.engines.ollama.local import Runner, runner_of
from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.pins import Pins
from orchestrator.engines.ollama.place import is_here, port_of
from orchestrator.engines.ollama.request import ALWAYS, KEEP
from orchestrator.engines.ollama.server import Resident, Server
from orchestrator.engines.ollama.stock import Stocked
from orchestrator.engines.ollama.trouble import Refused, of_load, unreachable
from orchestrator.engines.ollama.words import said_in
from orchestrator.errors import EngineError, EngineUnavailable, LoadFailed
from orchestrator.values.spec import ModelSpec

# How often a server is asked whether a model is gone, in seconds.
POLL_S: Final = 0.05
# A load that was given up is not listed while it goes on: what is gone is not listed for so long, in seconds.
SETTLED_S: Final = 0.4
# A server that does not answer in time is asked again before it counts as lost.
_MISSES: Final = 3
_OK: Final = 200
# The first answer is one token, or one vector.
_FIRST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an unload may take, in seconds.

    Until it is asked for again, until the runner is killed where that is safe, and until it has failed.
    """

    again_s: float = 2.0
    kill_s: float = 10.0
    fail_s: float = 15.0


class Site:
    """Used by one replica.

    Args:
        stock: returns the model as it lies on the server, made there if need be.
    """

    def __init__(
        self,
        server: Server,
        spec: ModelSpec,
        *,
        claims: Claims,
        pins: Pins,
        patience: Patience,
        stock: Callable[[Server, ModelSpec], Any],
    ) -> None:
        self.server = server
        self.spec = spec
        self.here = is_here(server.url)
        self.loaded = False
        self.in_flight = 0
        self.stocked: Stocked | None = None  # set while it is, or may be, in the server's memory
        self.runner: Runner | None = None
        self.resident: Resident | None = None  # as it was last seen
        self.unsure = True  # a load of it may be under way that nobody lists
        self._claims = claims
        self._pins = pins
        self._patience = patience
        self._stock = stock
        self._misses = 0

    async def load(self) -> None:
        """Have it in memory for good, and have it answer once.

        Raises:
            EngineError
        """
        stocked: Stocked = await self._stock(self.server, self.spec)
        self._claims.take(self, stocked)
        self._pins.add((self.server.url, stocked.name))
        self.stocked = stocked
        await self._answer_once(stocked)
        self.resident = (await self._ask_resident()).get(parse(stocked.name).key)
        if self.resident is None:
            raise LoadFailed(
                f"{self.server.url} has loaded it and let go of it again",
                fix="look what else is loaded there: ollama ps",
            )
        if self.here:
            self.runner = await asyncio.to_thread(runner_of, stocked.blob, port_of(self.server.url))
        self._misses = 0
        self.loaded, self.unsure = True, False

    async def check(self) -> str:
        """Return why it is not there any more, "" if it is."""
        if self.stocked is None:
            return "it is not loaded"
        if self.runner is not None and not await asyncio.to_thread(lambda runner: runner.alive, self.runner):
            return f"its runner at {self.server.url} has ended; the server's log says why"
        try:
            found = await self.server.resident()
        except EngineUnavailable as error:
            self._misses = _MISSES if error.what.endswith(self.server.url) else self._misses + 1
            return error.what if self._misses >= _MISSES else ""
        except (Refused, EngineError) as error:
            return f"{self.server.url}: {error.what}"
        self._misses = 0
        self.resident = found.get(parse(self.stocked.name).key)
        return await self._fault(self.stocked)

    async def release(self) -> None:
        """Have it out of the server's memory, as far as no other replica lives there; with proof.

        Raises:
            EngineError: it will not go.
        """
        self.loaded = False
        stocked = self.stocked
        if stocked is None:
            return
        if not self._claims.shared(self, stocked):
            await self._until_gone(stocked)
        self.stocked = self.runner = self.resident = None
        self.unsure = True
        self._claims.give_back(self, stocked)
        self._pins.remove((self.server.url, stocked.name))

    def forsake(self) -> None:
        """Give up what would not go, so that it can be loaded again; it stays noted for the next daemon."""
        if self.stocked is not None:
            self._claims.give_back(self, self.stocked)
        self.loaded, self.stocked, self.runner, self.resident = False, None, None, None

    async def _fault(self, stocked: Stocked) -> str:
        """Return what is wrong although the server answers."""
        if self.resident is None:
            return f"its runner is gone: the server at {self.server.url} has unloaded it, or was restarted"
        if not self.unsure:
            return ""
        try:
            shown = await self.server.show(stocked.name)
        except (EngineError, Refused):
            return ""
        return (
            "" if shown else f"{stocked.name} was deleted at {self.server.url}, and cannot be asked any more"
        )

    async def _until_gone(self, stocked: Stocked) -> None:
        """Ask, look, and insist."""
        began_s, patience = monotonic_s(), self._patience
        asked_s = absent_s = None
        killed = False
        while (now_s := monotonic_s()) - began_s < patience.fail_s:
            try:
                if asked_s is None or now_s - asked_s >= patience.again_s:
                    await self.server.unload(stocked.name)
                    asked_s = now_s
                listed = parse(stocked.name).key in await self.server.resident()
            except EngineUnavailable:
                return await self._without_server()
            except Refused:
                listed = True
            runner = await self._living(stocked)
            if listed or runner is not None:
                absent_s = None
                if runner is not None and not killed and now_s - began_s >= patience.kill_s:
                    killed = runner.kill()
            elif self._proven(absent_s := absent_s or now_s, now_s):
                return None
            else:
                asked_s = None if asked_s is not None and now_s - asked_s >= SETTLED_S / 2 else asked_s
            await asyncio.sleep(POLL_S)
        raise EngineError(
            f"{self.server.url} does not let go of {stocked.name}: its runner does not end",
            where=self.spec.name,
            fix=f"ollama stop {stocked.name}; if that does not help, restart the Ollama server",
        )

    def _proven(self, absent_s: float, now_s: float) -> bool:
        """Say whether it is gone for good: at once where it was surely loaded, else after a while."""
        return not self.unsure or now_s - absent_s >= SETTLED_S

    async def _living(self, stocked: Stocked) -> Runner | None:
        """Return the process that still runs it, None where there is none or none can be seen."""
        runner = self.runner
        if runner is not None and await asyncio.to_thread(lambda: runner.alive):
            return runner
        if not self.here or not self.unsure:
            return None
        return await asyncio.to_thread(runner_of, stocked.blob, port_of(self.server.url))

    async def _without_server(self) -> None:
        """Have a server's runner go where the server itself has: one that was killed leaves it behind."""
        if self.runner is not None:
            await asyncio.to_thread(self.runner.kill)

    async def _ask_resident(self) -> dict[tuple[str, ...], Resident]:
        try:
            return await self.server.resident()
        except Refused as refused:
            raise of_load(refused.status, refused.what, self.server.url) from None

    async def _answer_once(self, stocked: Stocked) -> None:
        """Have the server load it and make one token, or one vector; the caller bounds the time."""
        path, body = _first_request(self.spec, stocked)
        try:
            async with self.server.session.post(
                f"{self.server.url}{path}", json=body, allow_redirects=False
            ) as answer:
                said = await read_at_most(answer, _FIRST_BYTES)
                status = answer.status
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise unreachable(self.server.url) from None
            raise LoadFailed(f"{self.server.url} broke off while it was loading") from None
        if status != _OK or not _is_answer(said, path):
            raise of_load(status, said_in(said.strip().rpartition(b"\n")[2]), self.server.url)


def _first_request(spec: ModelSpec, stocked: Stocked) -> tuple[str, dict[str, Any]]:
    if stocked.embeds:
        return "/api/embed", {"model": stocked.name, "input": ["Hi"], "keep_alive": KEEP}
    body = {"model": stocked.name, **ALWAYS, "stream": False, "options": {"num_predict": 1}}
    if "chat" in spec.capabilities:
        return "/api/chat", body | {"messages": [{"role": "user", "content": "Hi"}]}
    return "/api/generate", body | {"prompt": "Hi", "raw": True}


def _is_answer(body: bytes, path: str) -> bool:
    try:
        said = json.loads(body)
    except ValueError:
        return False
    return isinstance(said, dict) and (
        bool(said.get("embeddings")) if path == "/api/embed" else "error" not in said
    )
