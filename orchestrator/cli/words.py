"""Quantities as people say them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

REVISION_SHOWN: Final = 8
KIB: Final = 1024
MIB: Final = KIB * KIB
GIB: Final = MIB * KIB
TENTHS_UNTIL_S: Final = 9.95
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


def amount(count: int) -> str:
    """Return a number of bytes as `size` does, and `nothing` for none."""
    return size(count) if count > 0 else "nothing"


def course(counts: Sequence[int]) -> str:
    """Return numbers of bytes that follow each other, in one unit: `2.0 → 6.0 → 4.0 GiB`."""
    most = max(counts, default=0)
    one, unit, digits = (GIB, "GiB", 1) if most >= GIB else (MIB, "MiB", 0)
    return " → ".join(f"{count / one:.{digits}f}" for count in counts) + f" {unit}"


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


def about(seconds: float) -> str:
    """Return a measured duration: `840 ms`, `2.4 s`, else as `span`."""
    return f"{seconds:.1f} s" if 1 <= seconds < TENTHS_UNTIL_S else span(seconds)


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
