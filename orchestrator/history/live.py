"""The live file as the daemon reaches it: a child process that owns it, asked one thing at a time."""

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import HistoryError
from orchestrator.history import faults
from orchestrator.history.children import command
from orchestrator.history.files import LIVE
from orchestrator.history.schema import TABLES, row
from orchestrator.values.fact import Fact

# The longest answer seen took 1.4 s (a checkpoint of 900,000 new rows); opening replays at
# most 60 s of rows. After this the child is taken to hang and is ended. A guess.
ANSWER_DEADLINE_S: Final = 60.0

# What `row` and JSON raise for a fact that is none.
_NO_FACT: Final = (AttributeError, KeyError, TypeError, ValueError)

_KINDS: Final[dict[str, type[HistoryError]]] = {
    kind.__name__: kind
    for kind in (faults.StoreUnavailable, faults.StoreLocked, faults.StoreNewer, faults.StoreDamaged)
}


class LiveFile:
    """The live file of one folder, open and locked by a child until `close`. For one thread only.

    `broken` says that it must be opened again; `rows` is how many it holds; `refusal` why
    the last refused row was refused.
    """

    def __init__(self, folder: Path) -> None:
        """Open `<folder>/live.duckdb`, made with its folder where missing.

        Raises:
            StoreUnavailable, StoreLocked, StoreNewer, StoreDamaged: see faults.
        """
        self.path = folder / LIVE
        self.broken = False
        self.refusal = ""
        try:
            self._child = subprocess.Popen(  # noqa: S603 -- our own interpreter and code, no shell
                command("orchestrator.history.keeper"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={},
                cwd="/",
                encoding="utf-8",
                start_new_session=True,
            )
        except OSError as cause:
            raise faults.StoreUnavailable(f"the history's process cannot be started: {cause}") from cause
        try:
            self.rows = int(self._ask(json.dumps({"folder": str(folder.absolute())}))["rows"])
        except HistoryError:
            self._end()
            raise

    def append(self, facts: Sequence[Fact]) -> int:
        """Store all of `facts` in one transaction, on disk when this returns; return how many could not be.

        A row that DuckDB refuses is left out and counted; the others are stored. On a fault
        nothing of `facts` is stored, unless the child died: then `rows` of the file as it
        is opened next says whether it was.
        """
        rows = []
        for fact in facts:
            try:
                rows.append(_encoded(fact))
            except _NO_FACT as cause:
                self.refusal = str(cause)
        answer = self._ask(f'{{"do": "append", "rows": [{", ".join(rows)}]}}')
        failed = int(answer["failed"])
        self.refusal = str(answer["refusal"]) or self.refusal
        self.rows += len(rows) - failed
        return failed + len(facts) - len(rows)

    def checkpoint(self) -> None:
        """Bring every stored row into the main file, which then stays as it is until the next call."""
        self._ask('{"do": "checkpoint"}')

    def close(self) -> None:
        """Give the file and its lock back, and end the child; what was stored stays stored."""
        if not self.broken:
            with contextlib.suppress(HistoryError):
                self._ask('{"do": "close"}')
        self._end()

    def _ask(self, request: str) -> dict[str, Any]:
        answer = self._exchange(request)
        if not answer.endswith("\n"):
            self.broken = True
            self._end()
            raise faults.StoreUnavailable(
                f"the history's process ended ({_end_of(self._child.returncode)})",
                where=str(self.path),
                fix="it is started again by itself; see the daemon's error output for the cause",
            )
        told: dict[str, Any] = json.loads(answer)
        if "fault" in told:
            self.broken = bool(told["broken"])
            raise _KINDS[told["fault"]](told["what"], fix=told["fix"], where=told["where"])
        return told

    def _exchange(self, request: str) -> str:
        """Return the child's answer, "" where it is gone or had to be ended for taking too long."""
        hears, says = self._child.stdin, self._child.stdout
        if hears is None or says is None or hears.closed:
            return ""
        deadline = threading.Timer(ANSWER_DEADLINE_S, self._child.kill)
        deadline.start()
        try:
            hears.write(f"{request}\n")
            hears.flush()
            return says.readline()
        except OSError:
            return ""
        finally:
            deadline.cancel()

    def _end(self) -> None:
        """Have no child: it ends at the end of its input, and is killed where it does not."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._child.wait(ANSWER_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _encoded(fact: Fact) -> str:
    at, *cells = row(fact)
    if not isinstance(at, datetime):
        raise TypeError(f"{at} is not an instant")
    return json.dumps([TABLES[type(fact)], [at.isoformat(), *cells]])


def _end_of(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
