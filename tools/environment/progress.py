"""Long steps, shown as they go: one line that moves on a terminal, a line now and then elsewhere."""

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO

TICK_S = 1.0
QUIET_S = 15.0
QUIET_SHARE = 0.1
COUNTED = re.compile(r"\[(\d+)/(\d+)\]")


class Step:
    """One step of the set-up: what it does, how far it is, and at the end how long it took."""

    def __init__(self, label: str, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._stream = stream
        self._clock = clock
        self._moving = stream.isatty()
        self._began = clock()
        self._said_at = self._began
        self._said_share = 0.0
        self._done = 0
        self._total = 0

    def at(self, done: int, total: int) -> None:
        """Say that `done` of `total` parts are done; shown at once on a terminal, at times elsewhere."""
        self._done, self._total = done, total
        self.tick()

    def tick(self) -> None:
        """Let time pass: a terminal sees the seconds count, a log gets a line every 10 % or 15 s."""
        now = self._clock()
        share = self._done / self._total if self._total else 0.0
        if self._moving:
            self._stream.write(f"\r\x1b[K{self._line(now)}")
        elif now - self._said_at >= QUIET_S or share - self._said_share >= QUIET_SHARE:
            self._stream.write(f"{self._line(now)}\n")
        else:
            return
        self._said_at, self._said_share = now, share
        self._stream.flush()

    def finish(self, result: str) -> None:
        """Replace the moving line by what came of the step."""
        start = "\r\x1b[K" if self._moving else ""
        self._stream.write(f"{start}setup: {result} ({self._clock() - self._began:.1f} s)\n")
        self._stream.flush()

    def abandon(self) -> None:
        """Take the moving line away: what follows is a problem."""
        if self._moving:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _line(self, now: float) -> str:
        counted = f" [{self._done}/{self._total}] {100 * self._done // self._total} %" if self._total else ""
        return f"setup: {self._label}{counted} {now - self._began:.0f} s"


def run_logged(
    command: Sequence[str],
    *,
    log: Path,
    step: Step,
    environ: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
) -> tuple[int, list[str]]:
    """Run `command` without standard input; return its exit status and every line it wrote.

    The lines go to `log` too, as they come. A line with `[3/40]` moves `step`,
    unless `on_line` is given to read the lines instead.
    """
    lines: list[str] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
        ) as process,
    ):
        try:
            for line in _lines(process.stdout, step):
                kept.write(f"{line}\n")
                kept.flush()
                lines.append(line)
                if on_line is not None:
                    on_line(line)
                elif counted := COUNTED.search(line):
                    step.at(int(counted[1]), int(counted[2]))
        except BaseException:
            process.terminate()
            raise
    return process.returncode, lines


def _lines(pipe: IO[bytes] | None, step: Step) -> Iterator[str]:
    """Yield the lines that come out of `pipe`; tick `step` once a second while it is silent."""
    if pipe is None:
        return
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(TICK_S):
                step.tick()
                continue
            chunk = os.read(pipe.fileno(), 65536)
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
    if rest:
        yield rest.decode(errors="replace")
