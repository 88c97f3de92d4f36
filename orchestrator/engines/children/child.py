"""One supervised child process: its start, its one line of answer, its log, its end.

Everything here happens in callbacks of the event loop, so that an end is seen
the moment the kernel tells of it and no task can be left behind.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, cast

from orchestrator.engines.children.cause import Cause, cause_of_end
from orchestrator.engines.children.logtail import LogTail
from orchestrator.errors import EngineError

# How long a child may take to end after SIGTERM, in seconds.
STOP_GRACE_S: Final = 5.0
# How long the kernel may take after SIGKILL, in seconds: freeing many GB of memory takes a while.
KILL_WAIT_S: Final = 10.0
# The exit is often seen before the last lines of the log; so long are they waited for, in seconds.
LAST_LINES_S: Final = 0.05
# How long the end of a child killed at its very start is waited for, in seconds.
CANCELLED_WAIT_S: Final = 1.0
MAX_ANSWER_BYTES: Final = 64 * 1024
STDIN, STDOUT, STDERR = 0, 1, 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a child is started.

    `message` is written to its standard input, which then stays open: its end
    tells the child that the parent is gone. Secrets and paths belong there;
    `argv` and `environment` can be read by others.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    message: bytes


class Child(asyncio.SubprocessProtocol):
    """A process in a session of its own.

    Args:
        log: takes its standard error.
        on_end: called once, on the event loop, when the process is gone,
            whoever ended it.
        on_output: takes its standard output as it comes; there is no `answer`
            then.
    """

    def __init__(
        self,
        log: LogTail,
        on_end: Callable[[], None],
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        self._log = log
        self._on_end = on_end
        self._on_output = on_output
        self._answer = b""
        self._answered = asyncio.Event()
        self._ended = asyncio.Event()
        self._open_pipes = {STDOUT, STDERR}
        self._why: str | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._asked_to_stop = False

    @classmethod
    async def start(
        cls,
        command: Command,
        log: LogTail,
        on_end: Callable[[], None],
        on_output: Callable[[bytes], None] | None = None,
    ) -> Self:
        """Start the process and send it its message. Cancelling leaves no process.

        Raises:
            OSError: the system will not start it.
        """
        child = cls(log, on_end, on_output)
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: child,
                *command.argv,
                env=dict(command.environment),
                cwd=str(command.folder),
                start_new_session=True,  # signals to the daemon's terminal are not for its children
            )
        except asyncio.CancelledError:
            # Both loops have killed it by now, but uvloop has not waited for its end.
            await child.wait_ended(within_s=CANCELLED_WAIT_S)
            raise
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(STDIN))
        stdin.write(command.message)
        return child

    @property
    def pid(self) -> int:
        return self._transport.get_pid() if self._transport else 0

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    @property
    def returncode(self) -> int:
        """Its exit code, or minus the number of the signal that ended it; meaningful once it has."""
        return (self._transport.get_returncode() if self._transport else None) or 0

    @property
    def cause(self) -> Cause:
        """Why the process ended; meaningful once it has."""
        if self._why is not None:
            return Cause(what=self._why)
        return cause_of_end(self.returncode, self._log.line_that_matters)

    async def answer(self) -> bytes:
        """Return the first line of its standard output; what came of it, where it ends before."""
        await self._answered.wait()
        return self._answer.partition(b"\n")[0]

    async def wait_ended(self, *, within_s: float) -> bool:
        """Return whether the process is gone by then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        return self.has_ended

    async def ended(self) -> None:
        """Return once the process, which has been killed, is gone.

        Raises:
            EngineError: it is not, long after.
        """
        if not await self.wait_ended(within_s=KILL_WAIT_S):
            raise EngineError(
                f"process {self.pid} has not ended {KILL_WAIT_S:.0f} s after it was killed",
                fix="it hangs in the kernel, usually in a driver: see dmesg",
            )

    async def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """End the process, politely first; it is gone when this returns. Cancelling kills it."""
        try:
            if not self._asked_to_stop:
                self._asked_to_stop = True
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)  # a stopped process would not see the first one
            await self.wait_ended(within_s=grace_s)
        finally:
            self.kill()
        await self.ended()

    def tell(self, number: signal.Signals) -> None:
        """Send the process alone a signal; nothing happens where it is gone."""
        self._signal(number)

    def kill(self, why: str | None = None) -> None:
        """End the process and all it started, at once; `why` becomes its cause."""
        if self.has_ended or self._transport is None:
            return
        if self._why is None:
            self._why = why
        if self._transport.get_returncode() is None:
            self._kill_group()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDERR:
            self._log.feed(data)
        elif self._on_output is not None:
            self._on_output(data)
        elif not self._answered.is_set():  # what comes later is read, so that it cannot block, and dropped
            self._answer += data
            if b"\n" in data or len(self._answer) > MAX_ANSWER_BYTES:
                self._answered.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's)
        self._open_pipes.discard(fd)
        if fd == STDOUT:
            self._answered.set()
        if self._transport and self._transport.get_returncode() is not None and not self._open_pipes:
            self._finish()

    def process_exited(self) -> None:
        self._kill_group()  # what the child started itself must not live on
        if self._open_pipes:
            asyncio.get_running_loop().call_later(LAST_LINES_S, self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        if self._ended.is_set():
            return
        self._log.end()
        self._answered.set()
        self._ended.set()
        if self._transport:
            self._transport.close()
        self._on_end()

    def _signal(self, number: signal.Signals) -> None:
        if self._transport and not self.has_ended:
            with suppress(ProcessLookupError):
                self._transport.send_signal(number)

    def _kill_group(self) -> None:
        # The child leads a session, so its group has its own number. Between its
        # end and this call the number cannot have gone round to another process.
        if not self.pid:
            return  # never started; and the number 0 would mean our own group
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM where only a zombie is left
            os.killpg(self.pid, signal.SIGKILL)
