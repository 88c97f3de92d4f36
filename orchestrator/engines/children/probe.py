"""Does a worker still make progress? Asked once a second over its socket, in callbacks, without a task."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

# How often a worker is asked, in seconds; more often where the hang deadline is short.
EVERY_S: Final = 1.0
MAX_REPLY_BYTES: Final = 64 * 1024
_REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n"


class Probe:
    """Watches one worker until it hangs or `stop` is called.

    A worker hangs when it has not answered for the deadline, or when it says
    twice in a row that it has requests under way and has not moved for the
    deadline. Only time in which this process runs counts: after a suspended
    machine wakes, every worker has its whole deadline again.

    Args:
        path: of the worker's Unix socket.
        hang_deadline_s: how long it may stand still.
        on_hang: called once, on the event loop, with one sentence.

    `memory_bytes` is what the worker said last of its own memory (see the
    workers' Vital); 0 where it leaves that to the kernel.
    """

    def __init__(self, path: str, *, hang_deadline_s: float, on_hang: Callable[[str], None]) -> None:
        self.memory_bytes = 0
        self._path = path
        self._deadline_s = hang_deadline_s
        self._every_s = min(EVERY_S, hang_deadline_s / 4)
        self._on_hang = on_hang
        self._loop = asyncio.get_running_loop()
        self._ticked_s = self._loop.time()
        self._silent_s = 0.0
        self._stuck_at: object = None
        self._connection: socket.socket | None = None
        self._reply = b""
        self._timer = self._loop.call_later(self._every_s, self._tick)

    def stop(self) -> None:
        """Ask no more. May be called again."""
        self._timer.cancel()
        self._hang_up()

    def _tick(self) -> None:
        now_s = self._loop.time()
        self._silent_s += min(now_s - self._ticked_s, 2 * self._every_s)
        self._ticked_s = now_s
        if self._silent_s > self._deadline_s:
            self._hung(f"hung: no answer for {self._silent_s:.3g} s")
            return
        self._timer = self._loop.call_later(self._every_s, self._tick)
        if self._connection is None:
            self._ask()

    def _ask(self) -> None:
        self._reply = b""
        try:
            self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:  # this process has no file descriptor left, for which no worker can answer
            self._silent_s = 0.0
            return
        try:
            self._connection.settimeout(0)
            self._connection.connect(self._path)
            self._connection.send(_REQUEST)
        except FileNotFoundError:  # nobody will ever reach it again
            self._hung("hung: no answer, because its socket was removed")
        except OSError:  # nobody listens, or the queue is full: silence, which counts
            self._hang_up()
        else:
            self._loop.add_reader(self._connection, self._on_readable)

    def _on_readable(self) -> None:
        if self._connection is None:
            return
        try:
            data = self._connection.recv(MAX_REPLY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._reply += data
        if data and not _is_whole(self._reply) and len(self._reply) < MAX_REPLY_BYTES:
            return
        self._hang_up()
        self._judge(_body(self._reply))

    def _judge(self, health: dict[str, object] | None) -> None:
        if health is None:
            return
        self._silent_s = 0.0
        told = health.get("memory_bytes")
        self.memory_bytes = told if isinstance(told, int) else 0
        age_ms, steps = health.get("progress_age_ms"), health.get("steps")
        stuck = (
            bool(health.get("active"))
            and isinstance(age_ms, int | float)
            and age_ms > self._deadline_s * 1000
        )
        if stuck and self._stuck_at == (steps,):
            # Once is not enough: after both processes were frozen together the
            # first answer still counts the time of the freeze.
            self._hung(f"hung: no progress for {float(str(age_ms)) / 1000:.3g} s with requests under way")
        self._stuck_at = (steps,) if stuck else None

    def _hung(self, why: str) -> None:
        self.stop()
        self._on_hang(why)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._loop.remove_reader(self._connection)
            self._connection.close()
            self._connection = None


def _is_whole(reply: bytes) -> bool:
    head, end, body = reply.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return bool(end) and len(body) >= int(value)
    return False


def _body(reply: bytes) -> dict[str, object] | None:
    """Return the JSON object of a successful reply; None for anything else."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        return None
    with suppress(ValueError):
        content = json.loads(body)
        if isinstance(content, dict):
            return content
    return None
