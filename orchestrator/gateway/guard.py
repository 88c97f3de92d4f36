"""Who may ask: the Host and Origin of a request, and its API key.

A page of the open web can make its visitor's browser send requests to an
address of the visitor's own machine, under the page's own host name (DNS
rebinding) or across origins. On a loopback bind, where no key is needed, the
Host and Origin headers are what tells such a request from the user's own.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from orchestrator.errors import RequestError
from orchestrator.gateway.record import HEADER_NAMES
from orchestrator.values.settings import Settings

PREFLIGHT_AGE_S: Final = 600
HOST: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::[0-9]*)?")
# Scheme and place alone, as browsers write it: nothing to be read in two ways comes back in an answer.
ORIGIN: Final = re.compile(r"https?://([a-z0-9.:\[\]-]+)")
EXPOSED: Final = ", ".join([*HEADER_NAMES, "retry-after"]).encode()
Headers = list[tuple[bytes, bytes]]


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """True where `host`, a name or an address without a port, can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Checks requests against the settings. Header names are lower case."""

    def __init__(self, settings: Settings) -> None:
        self._checks_host = is_loopback(settings.host)
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.allowed_origins)
        self._keys = tuple(key.encode() for key in settings.api_keys)

    def check_place(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise RequestError with status 403 where Host or Origin is not one of ours."""
        host = _text(headers.get(b"host")).lower()
        if self._checks_host and not self._allows_host(host):
            raise RequestError(
                f"the Host header names '{host}', which is not this machine",
                status=403,
                code="host_not_allowed",
                fix="call the daemon as localhost or 127.0.0.1, or add the name to `allowed_hosts:` "
                "in orchestrator.yaml",
            )
        origin = _text(headers.get(b"origin"))
        if origin and not self.allows_origin(origin):
            raise RequestError(
                f"the page {origin} may not use this daemon",
                status=403,
                code="origin_not_allowed",
                fix="add it to `allowed_origins:` in orchestrator.yaml if you trust it",
            )

    def check_key(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise RequestError with status 401 where keys are set and the request has none of them."""
        if not self._keys:
            return
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        # Every key is compared, and in constant time: how long it takes tells nothing about any of them.
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        if scheme.lower() == b"bearer" and any(matches):
            return
        raise RequestError(
            "the API key is wrong" if key else "an API key is needed",
            status=401,
            code="invalid_api_key",
            fix="send `Authorization: Bearer KEY` with one of the `api_keys:` of orchestrator.yaml",
        )

    def allows_origin(self, origin: str) -> bool:
        """True for the origin of a page from this machine or of one in the settings."""
        if origin.lower() in self._origins:
            return True
        found = ORIGIN.fullmatch(origin.lower())
        return found is not None and is_loopback(_without_port(found[1]))

    def cors(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Return the headers that let the page read the answer, if a page asks and may."""
        origin = headers.get(b"origin")
        if origin is None or not self.allows_origin(_text(origin)):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        ]

    def preflight(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Return what a preflight request is told besides `cors`, after it has passed `check_place`."""
        wanted = headers.get(b"access-control-request-headers", b"")
        return [
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", str(PREFLIGHT_AGE_S).encode()),
        ]

    def _allows_host(self, host: str) -> bool:
        name = _without_port(host)
        return is_loopback(name) or host in self._hosts or name in self._hosts


def _without_port(host: str) -> str:
    """Return the name or address in a Host header; "" where it is none."""
    found = HOST.fullmatch(host)
    return found[1] if found else ""


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").strip()
