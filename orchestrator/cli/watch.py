"""`status --watch`: the same screen, drawn anew in place every second."""

import os
import time
from contextlib import suppress
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from orchestrator import clock
from orchestrator.cli.client import Admin
from orchestrator.cli.show_status import status_lines
from orchestrator.cli.terminal import Terminal, terminal
from orchestrator.errors import DaemonUnreachable

EVERY_S: Final = 1.0


def watch(daemon: Admin, shown: Terminal) -> None:
    """Show the status until Ctrl-C; a daemon that is away is waited for.

    Raises:
        DaemonUnreachable: there was none to begin with.
    """
    lines = _screen(daemon, shown)
    with suppress(KeyboardInterrupt):
        if shown.width is None:
            while True:
                shown.piece("\n".join(lines) + "\n\n")
                time.sleep(EVERY_S)
                lines = _patient_screen(daemon, shown)
        console = Console(file=shown.out, no_color=not shown.colour, highlight=False)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(Text.from_ansi("\n".join(lines)), refresh=True)
                time.sleep(EVERY_S)
                shown = terminal(shown.out, os.environ)  # its width may have changed
                lines = _patient_screen(daemon, shown)


def _screen(daemon: Admin, shown: Terminal) -> list[str]:
    return [shown.text(line) for line in status_lines(daemon.status(), shown, clock.now())]


def _patient_screen(daemon: Admin, shown: Terminal) -> list[str]:
    try:
        return _screen(daemon, shown)
    except DaemonUnreachable as gone:
        return [shown.paint(gone.what, "bold red"), "waiting for it; Ctrl-C ends"]
