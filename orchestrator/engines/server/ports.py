"""Ports of this machine for commands that listen on TCP."""

import secrets
import socket
from contextlib import suppress
from typing import Final

import psutil

from orchestrator.engines.children.processes import SAME_START_S

# Below the ports that systems give out by themselves (Linux from 32768, macOS from 49152), so that no
# outgoing connection takes one between our look and the moment in which the command binds it.
_FIRST: Final = 20000
_COUNT: Final = 12000
_TRIES: Final = 100


class Ports:
    """Gives each port to one replica at a time."""

    def __init__(self) -> None:
        self._lent: set[int] = set()

    def lend(self) -> int:
        """Return a port on which nobody listens.

        Raises:
            OSError: none could be found.
        """
        for _ in range(_TRIES):
            port = _FIRST + secrets.randbelow(_COUNT)
            if port not in self._lent and _is_free(port):
                self._lent.add(port)
                return port
        raise OSError(0, f"{_TRIES} ports from {_FIRST} on were all in use")

    def take_back(self, port: int) -> None:
        """Let it be lent again."""
        self._lent.discard(port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(
                ("", port)
            )  # on all interfaces: the command may want that. Nobody can connect: no listen
        except OSError:
            return False
    return True


def stranger_on(port: int, *, family: frozenset[int], since: float) -> int:
    """Return the process that listens on `port`, is not of `family` and ran before `since`; 0 for none.

    Reads the tables of the system: not for the event loop. Where they may not
    be read, or the listener cannot be told, nobody is a stranger.

    Args:
        port: of this machine.
        family: processes that may listen there.
        since: when the command was started, in seconds since the epoch. What
            came later may well be its work: a container is no child of it.
    """
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr[1:2] != (port,):
                continue
            pid = connection.pid
            if pid and pid not in family and psutil.Process(pid).create_time() < since - SAME_START_S:
                return int(pid)
    return 0
