"""Watches where a process connects to, whatever code does it: Python itself tells of each attempt.

In a test, `with watching() as seen:`. For a whole program, `python -m tests.egress_watch LOG MODULE [ARG …]`
runs `python -m MODULE ARG …` and appends a line to LOG for each attempt: `connect ADDRESS` or `lookup HOST`.

Children are other processes: they are watched only if they are started so. libuv looks names up by itself, so
under uvloop `lookup` is told only of what goes through Python's own resolver; connecting is told on both.
"""

import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path

_LISTENERS: list[Callable[[str, str], None]] = []
_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKING_UP = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})


@dataclass
class Seen:
    """Where the process tried to connect to, and the names that it looked up."""

    connected: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    def note(self, kind: str, what: str) -> None:
        (self.connected if kind == "connect" else self.looked_up).append(what)

    @property
    def away(self) -> list[str]:
        """The addresses that lie beyond this machine and its own networks."""
        return [address for address in self.connected if leads_away(address)]


def leads_away(address: str) -> bool:
    """Judge an address without the code under test."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return True  # nothing that is told of should be anything but an address
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return found.is_global


@contextmanager
def watching() -> Iterator[Seen]:
    """Watch this process for a while."""
    seen = Seen()
    with _told_to(seen.note):
        yield seen


@contextmanager
def _told_to(listener: Callable[[str, str], None]) -> Iterator[None]:
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def _hook(event: str, args: tuple[object, ...]) -> None:
    if not _LISTENERS or not event.startswith("socket."):
        return
    if event in _CONNECTING:
        address = args[1]
        if isinstance(address, tuple):  # a text or bytes is the path of a Unix socket
            _tell("connect", str(address[0]))
    elif event in _LOOKING_UP and args[0]:
        _tell("lookup", str(args[0]))


def _tell(kind: str, what: str) -> None:
    for listener in tuple(_LISTENERS):
        listener(kind, what)


sys.addaudithook(_hook)  # it cannot be taken away again, so it costs next to nothing while nobody listens


def main() -> None:
    log, module, *args = sys.argv[1:]
    sys.argv = [module, *args]
    with Path(log).open("a", buffering=1) as file, _told_to(lambda kind, what: print(kind, what, file=file)):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
