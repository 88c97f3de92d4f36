"""One start of a command, on a port or a socket of its own."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.children.processes import started_at
from orchestrator.engines.server.cause import address_was_in_use, fix_for, last_lines
from orchestrator.engines.server.command import PORT, SOCKET, Home, filled, redaction, uses
from orchestrator.engines.server.health import Health, Outcome, until_well
from orchestrator.engines.server.place import Place
from orchestrator.engines.server.ports import Ports, stranger_on
from orchestrator.engines.server.process import Call, NotStarted, Process
from orchestrator.engines.server.tree import end_bearers, tree_of
from orchestrator.engines.sockets import RuntimeFolder, remove
from orchestrator.errors import LoadFailed
from orchestrator.values.spec import ModelSpec

_DEAF: Final = "`health:` has to be a path that answers 200 without a key, such as /health or /v1/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How commands are started.

    `mark` begins what `Order.mark` is, and `egress` allows endpoints beyond the
    user's own networks.
    """

    runtime: RuntimeFolder
    ports: Ports
    home: Home
    mark: str
    egress: bool
    wrong_path_s: float
    grace_s: float


class Attempt:
    """One process of a command, and the way to it; started once, and then ended.

    Args:
        model: what stands for `{model}`.
        environment: all that the command may know.

    Raises:
        LoadFailed: it cannot be told where the command listens.
        NotAllowed: it listens beyond the user's own networks.
    """

    def __init__(
        self, replica: str, spec: ModelSpec, terms: Terms, *, model: str, environment: Mapping[str, str]
    ) -> None:
        self.log = LogTail(replica, redaction(spec, model))
        self.process = Process(self.log)
        self._spec = spec
        self._terms = terms
        self._socket = own_socket_of(terms.runtime, replica)
        self._port = 0  # set where it listens on one that we have chosen
        self._at_endpoint = False  # where it chooses its address itself
        self._cleared = False
        self.health = Health(self._place(), path=spec.health, api_key=spec.api_key)
        self._call = Call(
            argv=filled(spec, port=self._port, socket=self._socket, model=model),
            environment=environment,
            home=terms.home,
            mark=f"{terms.mark}:{replica}",
            grace_s=terms.grace_s,
        )

    async def run(self) -> Outcome:
        """Start it, and return what came of it.

        Raises:
            LoadFailed: the system will not start it, or somebody else has its address.
        """
        if self._at_endpoint and await self.health.is_well():
            raise LoadFailed(
                f"something answers at {self._spec.endpoints[0]} before the command was started",
                where=self._spec.name,
                fix="stop it, or let the model use it: `engine: openai` without `command`",
            )
        self._terms.runtime.make()
        remove(self._socket)  # one that an earlier process has left would be taken for a live one
        try:
            await self.process.start(self._call)
        except NotStarted as failure:
            raise LoadFailed(
                f"the command does not start: {failure}",
                where=self._spec.name,
                fix="check `command`, and the limits on processes and memory",
            ) from None
        outcome = await until_well(self.health, self.process.ended, wrong_path_s=self._terms.wrong_path_s)
        if outcome is Outcome.WELL and self._port and await asyncio.to_thread(self._stranger):
            return Outcome.STRANGER
        return outcome

    def another_port_may_help(self, outcome: Outcome) -> bool:
        """Say whether it has lost its port to somebody who was quicker."""
        if outcome is Outcome.ENDED and self._port:
            return address_was_in_use(self.log)
        return outcome is Outcome.STRANGER

    def failure(self, outcome: Outcome) -> LoadFailed:
        """Return why it did not get ready; where it has ended, its last lines included."""
        where = self._spec.name
        if outcome is Outcome.STRANGER:
            return LoadFailed(f"another program answers on port {self._port}", where=where)
        if outcome is Outcome.WRONG_PATH:
            return LoadFailed(f"the server runs, but {self.health.said}", where=where, fix=_DEAF)
        cause = self.process.cause
        return LoadFailed(f"the command never got ready: {cause.what}", where=where, fix=cause.fix)

    def so_far(self) -> tuple[str, str]:
        """Return what is known of one that takes too long, and what may help, "" for nothing."""
        said = last_lines(self.log)
        state = f"{self.health.said}; its log ends with: {said}" if said else self.health.said
        return state, _DEAF if self.health.status else fix_for(self.log.lines, self._call.argv[0])

    async def stop(self) -> None:
        """End it politely; nothing of it is left when this returns."""
        await self.health.close()
        await self.process.stop(grace_s=self._terms.grace_s)
        await self.end_rest()
        self.clear()

    async def end_at_once(self) -> None:
        """End it; nothing of it is left when this returns."""
        await self.health.close()
        await self.process.end_at_once()
        await self.end_rest()
        self.clear()

    async def end_rest(self) -> None:
        """End what is left where its guard was killed: the guard alone knows of other sessions."""
        if self.process.was_killed:
            await asyncio.to_thread(end_bearers, self._call.mark)

    def clear(self) -> None:
        """Give back the port and the socket of a process that is gone. May be called again."""
        if not self._cleared:
            self._cleared = True
            remove(self._socket)
            self._terms.ports.take_back(self._port)

    def _place(self) -> Place:
        if uses(self._spec, PORT):
            try:
                self._port = self._terms.ports.lend()
            except OSError as error:
                raise LoadFailed(str(error.strerror), where=self._spec.name) from None
            return Place.on_port(self._port)
        if uses(self._spec, SOCKET):
            return Place.on_socket(self._socket)
        if self._spec.endpoints:
            self._at_endpoint = True
            # A name that looks near and leads away is refused in any case: policies take it for local.
            anywhere = self._terms.egress and self._spec.remote
            return Place.at_endpoint(self._spec.endpoints[0], anywhere=anywhere)
        raise LoadFailed(
            "nothing says where the command listens",
            where=self._spec.name,
            fix="put {port} or {socket} into `command`, or add `endpoint:`",
        )

    def _stranger(self) -> int:
        pid = self.process.pid
        return stranger_on(self._port, family=tree_of(pid), since=started_at(pid))


def own_socket_of(runtime: RuntimeFolder, replica: str) -> Path:
    """Return where a command listens that takes a `{socket}`."""
    return runtime.socket_of(f"{replica} itself")
