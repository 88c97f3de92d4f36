"""What is to be fetched: the words that the daemon and its child share."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

SHA256: Final = "sha256"
GIT_SHA1: Final = "git-sha1"
_DIGEST: Final = re.compile(r"sha256:[0-9a-fA-F]{64}|git-sha1:[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file.

    `path` is its name among the others, `digest` `sha256:HEX` or
    `git-sha1:HEX`, `size_bytes` 0 where it is not known, `remote` its path in
    its repository ("" outside of one).
    """

    path: str
    digest: str
    size_bytes: int = 0
    remote: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a child is asked for.

    `verb` is `fetch` or `look` (only find out what the source means now).
    `location`, `sha256` and `resolved` are as in Source. `reference` is what
    the answer is remembered by, `label` a name for people. `name` is what a
    file on the web is called, "" for its name there. `token` is never shown.
    """

    verb: str
    cache: str
    scheme: str
    location: str = field(repr=False)
    form: str
    reference: str
    label: str
    name: str = ""
    sha256: str | None = None
    resolved: str = ""
    endpoint: str = ""
    token: str = field(default="", repr=False)
    stall_s: float = 60.0


def encode_items(items: Iterable[Item]) -> list[dict[str, object]]:
    """Return them as they go into JSON."""
    return [asdict(item) for item in items]


def decode_items(content: Any) -> tuple[Item, ...]:  # noqa: ANN401 (from JSON)
    """Read them back; fields that are not known are ignored.

    Raises:
        ValueError: they are not items, or one's path would leave its folder.
    """
    try:
        known = [{f.name: each[f.name] for f in fields(Item) if f.name in each} for each in content]
        items = tuple(Item(**each) for each in known)
        for item in items:
            check_path(item.path)
            check_digest(item.digest)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not items: {error!r}") from error
    return items


def encode_order(order: Order) -> dict[str, object]:
    """Return the order as it goes into JSON."""
    return asdict(order)


def decode_order(content: Mapping[str, Any]) -> Order:
    """Read it back; fields that are not known are ignored."""
    return Order(**{f.name: content[f.name] for f in fields(Order) if f.name in content})


def check_path(path: str) -> None:
    """Return if `path` stays inside the folder that it is put under.

    Raises:
        ValueError: it does not.
    """
    parts = path.split("/")
    if "\\" in path or not path.isprintable() or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"not a path inside a folder: {path!r}")


def check_digest(digest: str) -> None:
    """Return if `digest` is one of ours: files are called by it.

    Raises:
        ValueError: it is not.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a digest: {digest!r}")


def content_digest(items: Sequence[Item]) -> str:
    """Return what identifies the files: the SHA-256 of a single one; of several, that of their list."""
    if len(items) == 1 and items[0].digest.startswith(f"{SHA256}:"):
        return items[0].digest.partition(":")[2]
    listed = "".join(f"{item.digest} {item.path}\n" for item in sorted(items, key=lambda item: item.path))
    return hashlib.sha256(listed.encode()).hexdigest()
