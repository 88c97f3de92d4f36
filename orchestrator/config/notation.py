"""How people write durations, sizes, addresses, sources and capabilities; each parsed in one place.

Every function raises Unreadable, whose message never holds the value itself:
it may be a secret.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterable
from typing import Final

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
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
DEMO_MODELS: Final = ("tiny", "small")
LATER_SCHEMES: Final = frozenset({"hf", "http", "https", "ollama"})
HIGHEST_PORT: Final = 65535

# How alike two words must be to suggest one for the other, and to take one for a slip of the other.
SUGGEST: Final = 0.6
SLIP: Final = 0.85


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


def source_parts(text: str) -> tuple[str, str, str | None]:
    """Return scheme, location as written and the pinned digest: `file:PATH`, `demo:NAME`, `…@sha256:HEX`."""
    body, at, digest = text.partition("@sha256:")
    if at and not DIGEST.fullmatch(digest):
        raise Unreadable(
            "is pinned to something that is not a SHA-256", "write @sha256: and 64 digits (0-9a-f)"
        )
    scheme, colon, location = body.partition(":")
    if scheme == "demo" and colon:
        if location not in DEMO_MODELS:
            raise Unreadable("is not a shipped model", f"write {one_of(f'demo:{n}' for n in DEMO_MODELS)}")
        return scheme, location, digest or None
    if scheme == "file" and colon:
        if not location or location.endswith("/") or "\0" in location:
            raise Unreadable("names no file", "write file: and the path of a GGUF file")
        return scheme, location, digest or None
    if colon and scheme in LATER_SCHEMES:
        raise Unreadable(
            "is of a kind that this version does not have yet",
            "download the model as a GGUF file and write file:PATH",
        )
    raise Unreadable("is not a source", "write file:PATH for a GGUF file, or demo:tiny or demo:small")


def suggestion(word: str, known: Iterable[str], *, alike: float = SUGGEST) -> str | None:
    """Return the known word that was probably meant; None where there is none."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=alike)
    return close[0] if close else None


def one_of(words: Iterable[str]) -> str:
    """Return a list for people: `one of: a, b`, or the only word."""
    known = list(words)
    return known[0] if len(known) == 1 else f"one of: {', '.join(known)}"
