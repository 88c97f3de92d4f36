"""Where the gateway listens: what is refused, and what went wrong in words."""

import errno
import socket

from orchestrator.errors import AddressUnavailable, ConfigError
from orchestrator.gateway.guard import is_loopback
from orchestrator.values.settings import Settings

# Connections that may wait for the server to take them up; uvicorn's own figure.
BACKLOG = 2048
FIRST_UNPRIVILEGED_PORT = 1024


def refuse_open_bind(settings: Settings) -> None:
    """Raise ConfigError where the daemon would answer other machines without asking for a key.

    Only `localhost` and loopback addresses count as this machine: what any
    other name means is decided elsewhere and may change.
    """
    if settings.api_keys or is_loopback(settings.host):
        return
    raise ConfigError(
        f"listening on '{settings.host}' without API keys would let everyone who reaches it use the models",
        fix="add `api_keys:` to orchestrator.yaml, or listen on 127.0.0.1",
        where="orchestrator.yaml",
    )


def bind_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address; connections queue until a server takes them.

    Raises:
        AddressUnavailable: the address is not ours, or the port is taken or privileged.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _not_ours(host) from error
    # `localhost` may mean ::1 first, and many clients try 127.0.0.1 only.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        # After a restart the old connections may linger in TIME_WAIT; they are no reason to refuse.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _explained(error, host, port) from error
    listener.setblocking(False)  # noqa: FBT003 (the library's signature)
    return listener


def _explained(error: OSError, host: str, port: int) -> AddressUnavailable:
    match error.errno:
        case errno.EADDRINUSE:
            return AddressUnavailable(
                f"port {port} on {host} is taken by another program",
                fix="stop it, or choose another port with `listen:` in orchestrator.yaml or `--port`",
            )
        case errno.EACCES:
            return AddressUnavailable(
                f"port {port} on {host} may not be opened by this user",
                fix=f"choose a port from {FIRST_UNPRIVILEGED_PORT} up with `listen:` in orchestrator.yaml "
                "or `--port`",
            )
        case errno.EADDRNOTAVAIL:
            return _not_ours(host)
        case _:
            return AddressUnavailable(
                f"cannot listen on {host} port {port}: {error.strerror}",
                fix="change `listen:` in orchestrator.yaml",
            )


def _not_ours(host: str) -> AddressUnavailable:
    return AddressUnavailable(
        f"'{host}' is not an address of this machine",
        fix="set `listen:` in orchestrator.yaml to 127.0.0.1, or to an address that this machine has",
    )
