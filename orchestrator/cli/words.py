"""Quantities as people say them."""

from datetime import datetime
from typing import Final

REVISION_SHOWN: Final = 8
KIB: Final = 1024
MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86400


def size(count: int) -> str:
    """Return a number of bytes in binary units: `812 KiB`, `1.4 GiB`; `-` for none."""
    if count <= 0:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < KIB:
            digits = 0 if value >= 10 or unit == "B" else 1  # noqa: PLR2004 (two digits are enough)
            return f"{value:.{digits}f} {unit}"
        value /= KIB
    return f"{value:.1f} TiB"


def span(seconds: float) -> str:
    """Return a duration in its one or two largest units: `840 ms`, `12 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 1:
        return f"{max(0, int(seconds * 1000))} ms"
    if seconds < MINUTE_S:
        return f"{int(seconds)} s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S:.0f} min"
    if seconds < DAY_S:
        return _two(seconds, HOUR_S, "h", MINUTE_S, "min")
    return _two(seconds, DAY_S, "d", HOUR_S, "h")


def _two(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    whole, rest = divmod(seconds, large)
    tail = f" {rest // small:.0f} {small_unit}" if rest >= small else ""
    return f"{whole:.0f} {large_unit}{tail}"


def ago(instant: str, now: datetime) -> str:
    """Return how long before `now` the ISO 8601 `instant` was, as `span`; "" for no instant."""
    if not instant:
        return ""
    return span(max(1.0, (now - datetime.fromisoformat(instant)).total_seconds()))


def until(instant: str, now: datetime) -> str:
    """Return how long after `now` the ISO 8601 `instant` is: `in 12 s`, or `now` where it has passed."""
    left = (datetime.fromisoformat(instant) - now).total_seconds()
    return f"in {span(left)}" if left >= 1 else "now"


def revision(digest: str | None) -> str:
    """Return the first digits of a revision, enough to tell it from others; `-` for none."""
    return digest[:REVISION_SHOWN] if digest else "-"


def count(number: int, one: str, many: str = "") -> str:
    """Return `1 file`, `2 files`; `many` where the plural is not formed with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def shown(value: object) -> str:
    """Return a configuration value as a file would have it: `[chat, code]`, `{top_k: 40}`, `none`."""
    match value:
        case None | "":
            return "(none)"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return f"[{', '.join(shown(item) for item in value)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)
