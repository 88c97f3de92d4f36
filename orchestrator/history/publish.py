"""The published file: a whole, consistent copy that anybody may open."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator import clock
from orchestrator.errors import HistoryError
from orchestrator.history import copier
from orchestrator.history.faults import StoreUnavailable, explain
from orchestrator.history.files import PUBLISHED

# A copy runs at about 1 GB/s where the disk is idle and is waited for 5 s by people; this
# is for a disk that hangs. A guess.
COPY_DEADLINE_S: Final = 300.0

Done = Callable[[float, HistoryError | None], None]


def publish(live: Path, number: int) -> None:
    """Put a copy of `live` in the place of the published file, in one step.

    `live` must not change meanwhile. `number` differs from call to call. Killed at any
    point, the published file is the old one or the new one.

    Raises:
        HistoryError: it could not be copied; the old copy is still there.
    """
    published = live.with_name(PUBLISHED)
    target = live.with_name(f"{PUBLISHED}.{os.getpid()}-{number}.tmp")
    command = [sys.executable, "-I", "-S", copier.__file__, str(live), str(target)]
    try:
        done = subprocess.run(  # noqa: S603 -- our own interpreter and file, no shell
            command,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={},
            timeout=COPY_DEADLINE_S,
        )
        if done.returncode:
            words = done.stderr.decode("utf-8", "replace").strip()
            raise _unpublished(words or f"the copying process ended with {done.returncode}", published)
        # The log of a reader that opened the last copy for writing does not belong to this one.
        published.with_name(f"{PUBLISHED}.wal").unlink(missing_ok=True)
        target.replace(published)
    except subprocess.TimeoutExpired as cause:
        raise _unpublished(f"the copy took longer than {COPY_DEADLINE_S:.0f} s", published) from cause
    except OSError as cause:
        raise _unpublished(str(cause), published) from cause
    finally:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)


def _unpublished(words: str, published: Path) -> HistoryError:
    fault = explain(OSError(words), published)
    reason, fix = words, "the old copy stays readable; it is tried again by itself"
    if isinstance(fault, StoreUnavailable):
        reason, fix = fault.what.rpartition(": ")[2], fault.fix
    return HistoryError(f"the published history cannot be refreshed: {reason}", where=str(published), fix=fix)


class Publisher:
    """Makes copies one at a time, each in a thread of its own, and says when one has ended."""

    def __init__(self) -> None:
        self._number = 0

    def start(self, live: Path, done: Done) -> None:
        """Copy `live`; `done(took_s, fault)` is called from another thread at the end, whatever happens."""
        self._number += 1
        threading.Thread(
            target=self._run, args=(live, self._number, done), name="history-copy", daemon=True
        ).start()

    @staticmethod
    def _run(live: Path, number: int, done: Done) -> None:
        began = clock.monotonic_s()
        fault: HistoryError | None = None
        try:
            publish(live, number)
        except HistoryError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 -- whoever waits for the copy must hear of every end
            fault = _unpublished(f"{type(error).__name__}: {error}", live.with_name(PUBLISHED))
        done(clock.monotonic_s() - began, fault)
