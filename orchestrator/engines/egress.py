"""What may be connected to: this machine and its own networks, and nothing else unless the user has said so.

Every connection that leaves the daemon's process for an engine's sake is made through an `Egress`. Three
things stand in its way, and each would do alone:

1. a host that by its name is not near is refused before anybody is asked for its address;
2. of the addresses that a name turns out to have, those that are not local are dropped: a name can lie;
3. a socket is only made for an address that is local, whatever the way to it was.

Redirects are connections like any other, so they are held to the same; who uses a session does not follow
them anyway. Proxies out of the environment are not used: they would be a way round all this.
"""

import errno
import socket
from collections.abc import Mapping
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from orchestrator.errors import NotAllowed
from orchestrator.values.spec import is_near

ALLOW: Final = (
    "set `egress: true` in orchestrator.yaml and restart the daemon, and name `remote` in the `tiers:` "
    "of the routing policy"
)
# What waits for a connection may try the next endpoint, and a client waits for both; in seconds.
CONNECT_S: Final = 5.0
_INLINE_BYTES: Final = 65_536
# IPv6 addresses that stand for an IPv4 address somewhere else: 6to4, Teredo, NAT64 with a prefix of its own.
_TUNNELS: Final = tuple(IPv6Network(each) for each in ("2002::/16", "2001::/32", "64:ff9b:1::/48"))


class EgressRefused(OSError):
    """A connection that may not be made. `what` says why, in words for people."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.EACCES, what)
        self.what = what


class Egress:
    """Makes connections, or refuses to.

    Args:
        anywhere: True where the user has allowed connections beyond his own
            networks, for what is to be reached this time.
    """

    def __init__(self, *, anywhere: bool) -> None:
        self.anywhere = anywhere

    def check(self, url: URL) -> None:
        """Look at what the URL itself says; no address is looked up.

        Raises:
            NotAllowed: it leads away.
        """
        try:
            self.check_host(url.raw_host or "")
        except EgressRefused as refused:
            raise NotAllowed(refused.what, fix=ALLOW) from None

    def check_host(self, host: str) -> None:
        """Raise EgressRefused where the host leads away by its name or address."""
        if self.anywhere:
            return
        address = _as_address(host)
        if address is not None:
            self._check_address(address)
        elif not host or not is_near(f"http://{host}"):
            raise EgressRefused(f"'{host}' is not on this machine or its own networks")

    def session(self, headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
        """Return a session that connects nowhere else. Nothing but connecting has a deadline."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # who asks is bounded by the gateway
                resolver=_Resolver(self),
                socket_factory=self._socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            trust_env=False,
        )

    def _socket(self, found: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one address; what is checked here is what is connected to."""
        family, kind, protocol, _, address = found
        if not self.anywhere:
            self._check_address(str(address[0]))
        return socket.socket(family, kind, protocol)

    def _check_address(self, address: str) -> None:
        if not is_local(address):
            raise EgressRefused(f"{address} is not an address of this machine or its own networks")


class _Resolver(AbstractResolver):
    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self._egress.check_host(host)
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if self._egress.anywhere or is_local(each["host"])]
        if found and not allowed:
            where = f"'{host}' has the address {found[0]['host']}"
            raise EgressRefused(f"{where}, which is not on this machine or its own networks")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def is_local(address: str) -> bool:
    """Say whether an address in its plain form is one that the internet does not route.

    False for anything that is not plainly an address: what the system would
    make of `0x08080808` or `010.8.8.8` is not guessed.
    """
    try:
        found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if any(found in tunnel for tunnel in _TUNNELS):
            return False
        found = found.ipv4_mapped or found
    return not found.is_global and not found.is_multicast


def refusal_of(error: BaseException) -> EgressRefused | None:
    """Return the refusal that a client's error goes back to, None where it is another error."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, EgressRefused):
        seen = getattr(seen, "os_error", None) or seen.__cause__ or seen.__context__
    return seen


def sendable(body: bytes) -> bytes | BytesIO:
    """Return a body in the form in which sending it does not hold up the event loop."""
    return BytesIO(body) if len(body) > _INLINE_BYTES else body


async def read_at_most(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body, or as much of it as shows that it is longer than `most` bytes."""
    pieces, size = [], 0
    async for data in answer.content.iter_any():
        pieces.append(data)
        size += len(data)
        if size > most:
            break
    return b"".join(pieces)


def _as_address(host: str) -> str | None:
    """Return what the host would be an address by, None where it is a name.

    The system takes `134744072` and `0x8.8` for addresses too: they count as such, so that they are refused.
    """
    if ":" in host:
        return host
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError, ValueError):
        return None
    return host
