"""Where a command listens."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from yarl import URL

from orchestrator.engines.egress import CONNECT_S, Egress


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`base` is the URL under which it speaks OpenAI's API, such as `http://127.0.0.1:20123/v1`.

    `socket` is the Unix socket under it, None for TCP.
    """

    base: str
    egress: Egress
    socket: Path | None = None

    @classmethod
    def on_port(cls, port: int) -> Self:
        """Return the place of a port of this machine."""
        return cls(base=f"http://127.0.0.1:{port}/v1", egress=Egress(anywhere=False))

    @classmethod
    def on_socket(cls, path: Path) -> Self:
        """Return the place of a Unix socket."""
        return cls(base="http://server/v1", egress=Egress(anywhere=False), socket=path)

    @classmethod
    def at_endpoint(cls, endpoint: str, *, anywhere: bool) -> Self:
        """Return the place of a base URL such as `http://127.0.0.1:9000/v1`.

        Raises:
            NotAllowed: it leads beyond this machine and its own networks, and not `anywhere` is allowed.
        """
        url, egress = URL(endpoint), Egress(anywhere=anywhere)
        egress.check(url)
        return cls(base=endpoint.rstrip("/"), egress=egress)

    def url(self, path: str) -> URL:
        """Return the URL of a path that has nothing to do with the API's, such as `/health`."""
        return URL(self.base).origin().join(URL(path))

    def session(self, headers: Mapping[str, str]) -> aiohttp.ClientSession:
        """Return a session that reaches it. Nothing but connecting has a deadline."""
        if self.socket is None:
            return self.egress.session(headers)
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.socket), limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        )


def bearer(api_key: str) -> dict[str, str]:
    """Return the header that carries a key; none for ""."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}
