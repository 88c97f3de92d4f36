"""One request, over its redirects: where it may lead, what goes along, and what a refusal means."""

import contextlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx2

from orchestrator.workers.errand import Trouble, TroubleKind

MOST_REDIRECTS: Final = 8
CONNECT_S: Final = 15.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Headers that are meant for the first server alone.
_PRIVATE: Final = frozenset({"authorization", "cookie"})


class Broken(Exception):
    """The connection could not be made, ended early, or stood still; the text says which."""


def make_client(stall_s: float) -> httpx2.Client:
    """Return a client that gives up where nothing comes for `stall_s`; proxies and CAs by the environment."""
    timeout = httpx2.Timeout(stall_s, connect=min(stall_s, CONNECT_S))
    return httpx2.Client(timeout=timeout, follow_redirects=False)


@contextlib.contextmanager
def opened(client: httpx2.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """Yield the answer to a GET, after its redirects, whatever its status; its body is still to be read.

    A redirect from https leads to https only, and to another server it takes no credentials along.

    Raises:
        Broken: there is no answer.
        Trouble: it is a redirect that must not be followed.
    """
    target, sent = httpx2.URL(url), {name.lower(): value for name, value in headers.items()}
    for _ in range(MOST_REDIRECTS):
        with readable(target.host), client.stream("GET", target, headers=sent) as response:
            if response.status_code not in _REDIRECTS:
                yield response
                return
            following = _following(target, response)
        if origin(following) != origin(target):
            sent = {name: value for name, value in sent.items() if name not in _PRIVATE}
        target = following
    raise Trouble(TroubleKind.UNREACHABLE, f"{urlsplit(url).hostname} redirects in circles")


@contextlib.contextmanager
def readable(host: str) -> Iterator[None]:
    """Have what goes wrong with a connection raised as Broken, without the URL: that may hold a secret."""
    try:
        yield
    except httpx2.TimeoutException as error:
        what = (
            "cannot be reached"
            if isinstance(error, httpx2.ConnectTimeout)
            else "has sent nothing for a while"
        )
        raise Broken(f"{host} {what}") from None
    except httpx2.RemoteProtocolError:
        raise Broken(f"{host} has ended the connection early") from None
    except httpx2.ConnectError as error:
        raise Broken(f"{host} cannot be reached: {error}") from None
    except httpx2.TransportError as error:
        raise Broken(f"the connection to {host} broke: {type(error).__name__}") from None


def refusal(response: httpx2.Response, *, what: str) -> Trouble:
    """Return what an error status means for `what`, such as "FILE at HOST"."""
    status = response.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return overloaded(response)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"{response.url.host} refuses to give out {what} (HTTP {status})",
            fix="check the credentials that the source names, and that they may read it",
        )
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"there is no {what} at {response.url.host} (HTTP {status})",
            fix="correct the source: it may have moved, or been deleted",
        )
    return Trouble(
        TroubleKind.UNREACHABLE, f"{response.url.host} answers HTTP {status} where {what} is asked for"
    )


def overloaded(response: httpx2.Response) -> Trouble:
    """Return what a 429 or 5xx says: not now."""
    status, host = response.status_code, response.url.host
    after = response.headers.get("retry-after", "")
    when = (
        f"; it asks to wait {after} s"
        if after.isdigit()
        else f"; it asks to wait until {after}"
        if after
        else ""
    )
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Trouble(
            TroubleKind.UNREACHABLE,
            f"{host} allows no more requests for now (HTTP 429){when}",
            fix="wait; with `hf: {token: …}` in the settings file (read at the start) the hub allows more",
        )
    return Trouble(TroubleKind.UNREACHABLE, f"{host} is in trouble (HTTP {status}){when}")


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Return what makes a server the same one."""
    return (url.scheme, url.host, url.port)


def _following(target: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    try:
        following = target.join(response.headers["location"])
    except (KeyError, httpx2.InvalidURL):
        raise Trouble(TroubleKind.UNREACHABLE, f"{target.host} redirects to nowhere") from None
    allowed = {"https"} if target.scheme == "https" else {"http", "https"}
    if following.scheme not in allowed:
        raise Trouble(
            TroubleKind.NOT_ALLOWED,
            f"{target.host} redirects from https to {following.scheme}, which anybody on the way can change",
            fix="use another address for the file",
        )
    return following
