"""What the daemon asks of the operating system for its own process."""

import asyncio
import logging
import os
import resource
import signal
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

# Each client and each worker takes a descriptor; macOS begins with 256.
OPEN_FILES: Final = 10_240


def allow_open_files() -> None:
    """Use what the system allows beyond its default, up to OPEN_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal of theirs ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("%s again: not waiting for requests", number.name)
            # The children see the end of their lifeline and go with us.
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    return stop
