"""The way from the event loop to the writing thread: one bounded line, in order."""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import HistoryError
from orchestrator.values.fact import Fact

# How long facts gather before they are written in one transaction, in seconds. With one
# transaction per fact, 500 facts a second would keep the disk busy all the time (each
# waits about 4 ms for it); with 200 ms they cost 5 % of a core (docs/history.md#cost).
GATHER_S: Final = 0.2
# Facts that make a transaction worth writing at once.
ENOUGH: Final = 1000


@dataclass(frozen=True, slots=True)
class Flush:
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Publish:
    done: Future[Path]


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy for publishing ended, `fault` None where it lies ready."""

    took_s: float
    fault: HistoryError | None


@dataclass(frozen=True, slots=True)
class Close:
    pass


Command = Flush | Publish | Copied | Close
Message = Fact | Command


class Inbox:
    """Facts and commands, first in, first out.

    `offer` and `send` may be called from any thread and never wait; `take` belongs to
    one thread. `held` is that thread's: how many facts it has taken and not yet stored;
    they count towards the capacity, so a disk that stays full cannot fill the memory.
    """

    def __init__(self, capacity: int) -> None:
        self.held = 0
        self.dropped = 0
        self._capacity = capacity
        self._line: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._hurry = threading.Event()

    def offer(self, fact: Fact) -> None:
        """Add `fact`, or count it as dropped where the line is full."""
        waiting = self._line.qsize()
        if waiting + self.held >= self._capacity:
            self.dropped += 1
            return
        self._line.put(fact)
        if waiting == ENOUGH:
            self._hurry.set()

    def send(self, command: Command) -> None:
        self._line.put(command)
        self._hurry.set()

    def waiting(self) -> int:
        return self._line.qsize() + self.held

    def take(self, within_s: float | None) -> list[Message]:
        """Return what came, oldest first; empty after `within_s` seconds (None: for ever) without anything.

        Facts are waited for GATHER_S longer, so that they come in groups; a command,
        or ENOUGH facts, cut that short.
        """
        try:
            first = self._line.get(timeout=within_s)
        except queue.Empty:
            return []
        if not isinstance(first, Command):
            self._hurry.wait(GATHER_S)
        self._hurry.clear()
        # What comes from here on is for the next call.
        return [first, *(self._line.get() for _ in range(self._line.qsize()))]
