"""The worker's process: `python -m orchestrator.workers.serve`, with a `Launch` line on standard input."""

import asyncio
import contextlib
import faulthandler
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from orchestrator.workers.frames import (
    EXIT_BROKEN,
    EXIT_REFUSED,
    Failed,
    FailureKind,
    Launch,
    LoadRefused,
    Ready,
    decode_launch,
    encode_report,
)
from orchestrator.workers.parent import die_with_parent, hold_lifeline, read_line, take_stdout
from orchestrator.workers.slots import sequences_of

LOG = logging.getLogger("orchestrator.worker")
# Connections that may wait to be taken up. More than the queue holds: a Unix socket refuses at once
# what finds no place (EAGAIN), and asyncio takes that for a connection which then breaks.
BACKLOG: Final = 2048
QUEUE_LIMIT: Final = 256
# How long answers under way may go on after SIGTERM. The parent drains first: this is for the rest.
GRACE_S: Final = 5.0
# How long the interpreter lets one thread go on while another waits. The default of 5 ms would hold up a
# decode of 0.1 ms whenever the event loop happens to be busy.
_SWITCH_S: Final = 0.0005
# What a launch may ask for: the module that loads it, and the package that the module stands on.
RUNTIMES: Final = {
    "llama-cpp": ("orchestrator.workers.engine", "llama-cpp-python"),
    "mlx": ("orchestrator.workers.mlx.engine", "mlx-lm"),
}


def main() -> None:
    """Load, serve, and leave by `os._exit`: nothing may keep the process alive, not even a decode."""
    began_s = time.monotonic()
    faulthandler.enable()  # a crash in native code leaves its stack on standard error
    report_fd = take_stdout()
    os.umask(0o077)
    die_with_parent()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(_SWITCH_S)
    try:
        launch = _read_launch()
    except ValueError as error:
        sys.stderr.write(f"{error}\nThis program is started by the daemon; see `orchestrator run --help`.\n")
        os._exit(2)
    hold_lifeline(0)
    code = asyncio.run(serve(launch, report_fd, began_s))
    Path(launch.socket).unlink(missing_ok=True)
    sys.stderr.flush()
    os._exit(code)


def _read_launch() -> Launch:
    """Read what the parent wants.

    Raises:
        ValueError: it is not a launch frame, or one for another version of this program.
    """
    launch = decode_launch(read_line(0))
    if launch.runtime not in RUNTIMES:
        raise ValueError(f"there is no runtime {launch.runtime!r}")
    return launch


async def serve(launch: Launch, report_fd: int, began_s: float) -> int:
    """Serve until SIGTERM; return the exit status."""
    module, package = RUNTIMES[launch.runtime]
    # Imported here so that a missing or broken runtime is reported like any other failure.
    try:
        load = importlib.import_module(module).load
    except (ImportError, OSError, RuntimeError) as error:
        message = f"{package} does not work: {error}"
        _report(report_fd, Failed(kind=FailureKind.UNAVAILABLE, message=message))
        return EXIT_REFUSED
    from orchestrator.workers.wire import Connection, Connections  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not stop.done():
            stop.set_result(code)

    def broken() -> None:
        loop.call_soon_threadsafe(end, EXIT_BROKEN)

    try:
        service, model = load(
            launch,
            loop=loop,
            sequences=sequences_of(launch.parallel),
            queue_limit=QUEUE_LIMIT,
            broken=broken,
        )
        connections = Connections()
        server = await loop.create_unix_server(
            lambda: Connection(service.handle, connections), launch.socket, backlog=BACKLOG
        )
        os.chmod(launch.socket, 0o600)  # noqa: PTH101 (a Path's methods may not be used on an event loop)
    except LoadRefused as refused:
        _report(report_fd, Failed(kind=refused.kind, message=str(refused)))
        return EXIT_REFUSED
    except OSError as error:
        message = f"the socket {launch.socket} cannot be bound: {error.strerror or error}"
        _report(report_fd, Failed(kind=FailureKind.FAILED, message=message))
        return EXIT_REFUSED
    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C reaches the whole group; the parent decides
    _report(
        report_fd,
        Ready(
            pid=os.getpid(),
            n_vocab=model.n_vocab,
            n_parameters=model.n_parameters,
            train_context=model.train_context,
            size_bytes=model.size_bytes,
            load_ms=round((time.monotonic() - began_s) * 1e3, 1),
            reserved_bytes=service.reserved_bytes,
        ),
    )
    code = await stop
    LOG.info("stopping: %s", "decoding failed too often" if code else "asked to")
    server.close()
    service.draining = True
    if not code:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await connections.drain()
    return code


def _report(fd: int, report: Ready | Failed) -> None:
    """Write the one line, and close, so that the parent sees its end."""
    try:
        os.write(fd, encode_report(report))
        os.close(fd)
    except OSError as error:
        LOG.warning("the report could not be written: %s", error)


if __name__ == "__main__":
    main()
