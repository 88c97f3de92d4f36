"""One command under its guard, from its start until nothing of it is left."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.engines.children.cause import Cause
from orchestrator.engines.children.child import Child, Command
from orchestrator.engines.children.environment import worker_environment
from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.children.processes import offer_to_oom_killer
from orchestrator.engines.server.cause import cause_of
from orchestrator.engines.server.command import PACKAGE, Home
from orchestrator.workers.order import Order, decode_started, encode_order

GUARD: Final = "orchestrator.workers.guard"
# How long the guard may take to end everything, in seconds, before it is killed itself: freeing many GB of
# memory takes a while.
LAST_STEP_S: Final = 5.0
# The guard answers before the command does anything; so long is it waited for, in seconds. Not a measurement:
# starting Python takes 30 ms, and minutes on a machine that swaps.
ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How a command is started. `grace_s` is what it has between SIGTERM and SIGKILL; `mark` see Order."""

    argv: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    home: Home
    mark: str
    grace_s: float


class NotStarted(Exception):  # caught one level up, which knows the model
    """The system will not start it; the text says why."""


class Process:
    """A guarded command; started once.

    Args:
        log: takes what it writes to standard output and to standard error.
    """

    def __init__(self, log: LogTail) -> None:
        self.ended = asyncio.Event()  # set when it is gone, whoever ended it
        self.command_pid = 0
        self._log = log
        self._child: Child | None = None
        self._why = ""
        self._program = ""

    @property
    def pid(self) -> int:
        """The guard's: it leads the session."""
        return self._child.pid if self._child else 0

    @property
    def cause(self) -> Cause:
        """Why it ended; meaningful once it has."""
        if self._why:
            return Cause(what=self._why)
        return cause_of(self._child.returncode if self._child else 0, self._log, self._program)

    @property
    def was_killed(self) -> bool:
        """True where it ended by SIGKILL; that may have been the guard's own end, not the command's alone."""
        return self._child is not None and self.ended.is_set() and self._child.returncode == -signal.SIGKILL

    async def start(self, call: Call) -> None:
        """Start it. Cancelling may leave it running: end it then.

        Raises:
            NotStarted: nothing is left.
        """
        self._program = call.argv[0]
        order = Order(
            argv=call.argv,
            environment=dict(call.environment),
            folder=str(call.home.temporary),
            mark=call.mark,
            grace_s=call.grace_s,
        )
        guard = Command(
            argv=(sys.executable, "-m", GUARD),
            environment=worker_environment(call.home.own, package=PACKAGE, temporary=call.home.temporary),
            folder=call.home.temporary,
            message=encode_order(order),
        )
        try:
            self._child = await Child.start(guard, self._log, self.ended.set)
            async with asyncio.timeout(ANSWER_S):
                started = decode_started(await self._child.answer())
        except OSError as error:
            raise NotStarted(f"no process could be started: {error.strerror}") from None
        except (TimeoutError, ValueError):
            await self.end_at_once()
            raise NotStarted(f"its guard does not answer: {self.cause.what}") from None
        if started.error:
            raise NotStarted(started.error)
        self.command_pid = started.pid
        for pid in (self._child.pid, started.pid):
            offer_to_oom_killer(pid)

    async def stop(self, *, grace_s: float) -> None:
        """End it politely; nothing of it is left when this returns. Cancelling ends it at once.

        Raises:
            EngineError: it cannot be killed.
        """
        self._tell(signal.SIGTERM)
        if self._child is not None:
            await self._child.wait_ended(within_s=grace_s)
        await self.end_at_once()

    async def end_at_once(self) -> None:
        """End it with all that it has started; nothing of it is left when this returns.

        Raises:
            EngineError: it cannot be killed.
        """
        if self._child is None:
            return
        self._tell(signal.SIGUSR1)
        try:
            await self._child.wait_ended(within_s=LAST_STEP_S)
        finally:
            self._child.kill()
        await self._child.ended()

    def kill(self, why: str) -> None:
        """Begin to end it at once; `why` becomes its cause."""
        self._why = self._why or why
        self._tell(signal.SIGUSR1)
        if self._child is not None:
            asyncio.get_running_loop().call_later(LAST_STEP_S, self._child.kill)

    def _tell(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.tell(number)
            self._child.tell(signal.SIGCONT)  # a stopped process would not see the first one
