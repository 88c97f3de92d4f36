"""Where Ollama servers are, and whether that is this machine."""

import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import psutil

from orchestrator.values.spec import ModelSpec

PORT: Final = 11434
_PORTS: Final = {"http": 80, "https": 443}
_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (what a server listens on; a client connects to loopback)


def default_url(environment: Mapping[str, str]) -> str:
    """Return the server that Ollama's own programs would talk to: $OLLAMA_HOST, read as they read it."""
    written = environment.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, found, rest = written.partition("://")
    if not found:
        scheme, rest = "http", written
    try:
        split = urlsplit(f"//{rest}")
        host, port = split.hostname or "127.0.0.1", split.port
    except ValueError:
        return f"http://127.0.0.1:{PORT}"
    if host in _ANY:
        host = "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    port = port or (_PORTS.get(scheme, PORT) if found else PORT)
    return f"{scheme}://{host}:{port}{split.path.rstrip('/')}"


def urls_of(spec: ModelSpec, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the servers of a model, without a slash at the end and each once."""
    written = spec.endpoints or (default_url(environment),)
    return tuple(dict.fromkeys(url.rstrip("/") for url in written))


def is_here(url: str) -> bool:
    """Say whether a server is on this machine, by its address: no name is looked up."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost") or host == socket.gethostname().lower():
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or host in _own_addresses()


def shown(url: str) -> str:
    """Return a server's address as it may be shown: a user or a path in it may hold a secret."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}"


def port_of(url: str) -> int:
    """Return the port that a URL leads to."""
    split = urlsplit(url)
    return split.port or _PORTS.get(split.scheme, PORT)


def _own_addresses() -> frozenset[str]:
    found = (each.address for all_of_one in psutil.net_if_addrs().values() for each in all_of_one)
    return frozenset(address.partition("%")[0] for address in found)
