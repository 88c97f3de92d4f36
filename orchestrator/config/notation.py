"""How people write durations, sizes and addresses; each parsed in one place.

Every function raises Unreadable, whose message never holds the value itself:
it may be a secret.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from orchestrator.values.spec import is_near

UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNITS_BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")
SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)")
ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")
RECURRENCES_S: Final = {"hourly": 3600.0, "daily": 86400.0, "weekly": 604800.0}
GRAPHIC: Final = re.compile(r"[!-~]+")
HIGHEST_PORT: Final = 65535

# How alike two words must be to suggest one for the other, and to take one for a slip of the other.
SUGGEST: Final = 0.6
SLIP: Final = 0.85
SHORT: Final = 3


class Unreadable(ValueError):
    """A value is not written as it should be. `what` follows the field's name in a message."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def duration_s(text: str) -> float:
    """Return seconds: `10s`, `2m`, `500ms`, `1.5h`."""
    match = DURATION.fullmatch(text)
    if not match:
        raise Unreadable("is not a duration", "write a number and a unit (ms, s, m, h, d), such as 30s")
    return float(match[1]) * UNITS_S[match[2]]


def size_bytes(text: str) -> int:
    """Return bytes: `16MiB` (binary), `16 MB` (decimal)."""
    match = SIZE.fullmatch(text)
    if not match:
        raise Unreadable("is not a size", "write 16MiB (binary) or 16MB (decimal)")
    return int(float(match[1]) * UNITS_BYTES[match[2]])


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port: `127.0.0.1:11435`, `[::1]:11435`, `localhost:11435`. Port 0 is any free one."""
    match = ADDRESS.fullmatch(text)
    fix = "write HOST:PORT, such as 127.0.0.1:11435 or [::1]:11435"
    if not match or int(match[3]) > HIGHEST_PORT:
        raise Unreadable("is not an address to listen on", fix)
    host = match[1] or match[2]
    if match[1] or re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise Unreadable("is not an address to listen on", fix) from None
    return host, int(match[3])


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a daemon that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def recurrence_s(text: str) -> float | None:
    """Return seconds between two times: `daily`, `hourly`, `weekly`, a duration; None for `never`."""
    if text == "never":
        return None
    try:
        return RECURRENCES_S[text] if text in RECURRENCES_S else duration_s(text)
    except Unreadable as unreadable:
        words = ", ".join([*RECURRENCES_S, "never"])
        raise Unreadable(unreadable.what, f"write one of: {words}; or a duration such as 12h") from None


def memory_bytes(text: str) -> int | None:
    """Return bytes, as `size_bytes`; None for `auto`."""
    try:
        return None if text == "auto" else size_bytes(text)
    except Unreadable as unreadable:
        raise Unreadable(unreadable.what, f"{unreadable.fix}; or auto") from None


def base_url(text: str) -> str:
    """Return the URL of a server without a slash at its end: `http://10.0.0.7:8000`, `https://host/api/v1`.

    Beyond the machine's own networks it has to be encrypted.
    """
    fix = "write http://HOST:PORT, or https:// for a server on the internet"
    try:
        url = urlsplit(text)
        known = url.scheme in {"http", "https"} and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        raise Unreadable("is not the URL of a server", fix) from None
    if not known or not GRAPHIC.fullmatch(text):
        raise Unreadable("is not the URL of a server", fix)
    if url.username is not None or url.password is not None:
        raise Unreadable("holds a user or a password", "write `api_key` for what the server wants to see")
    if "#" in text:
        raise Unreadable("goes on behind a #", "leave out # and what follows")
    if url.scheme == "http" and not is_near(text):
        raise Unreadable("would send requests over the internet without encryption", "write https://")
    return text.rstrip("/")


def suggestion(word: str, known: Iterable[str], *, alike: float = SUGGEST) -> str | None:
    """Return the known word that was probably meant; None where there is none."""
    # Three letters of which one differs are another word, as `gpu` and `cpu` are.
    cutoff = alike if len(word) > SHORT else max(alike, SLIP)
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def one_of(words: Iterable[str]) -> str:
    """Return a list for people: `one of: a, b`, or the only word."""
    known = list(words)
    return known[0] if len(known) == 1 else f"one of: {', '.join(known)}"
