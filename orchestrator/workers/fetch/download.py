"""One file from the network onto the shelf: found there, waited for, taken up again, or fetched."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx2

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch.net import Broken, opened
from orchestrator.workers.fetch.order import Item
from orchestrator.workers.fetch.partial import Partial, digest_of
from orchestrator.workers.fetch.room import check_room
from orchestrator.workers.fetch.shelf import Shelf

# One request asks for no more than this: signed addresses expire, and the hub's servers give out no more
# than 50 GB in one piece.
WINDOW_BYTES: Final = 16 << 30
# Breaks of the connection in a row, without a byte in between, until it is left for later.
BREAKS: Final = 3
PAUSE_S: Final = 0.5
POLL_S: Final = 0.1
# How long another process may stand still: it may be reading a large file again, on a slow disk. A guess.
OTHERS_S: Final = 900.0

# What is being done, how many bytes of the file are here, and how many it has (0: not known).
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a file comes from, and who may read it. `what` is what people call it."""

    url: str
    what: str
    headers: Mapping[str, str]
    refused: Callable[[httpx2.Response], Trouble]


def have(item: Item, place: Place, client: httpx2.Client, shelf: Shelf, say: Say) -> None:
    """Have the file on the shelf, whole and checked.

    Somebody else's download of it is waited for, and gone on with where it ends early. One that was made of
    several pieces and turns out wrong is fetched a second time, from its first byte: a piece may have been
    damaged here.

    Raises:
        Trouble: it cannot be had.
    """
    waiting = _Waiting()
    while not shelf.is_whole(item.digest):
        with shelf.locked(item.digest) as mine:
            if mine:
                if not _is_good(item, shelf, say):
                    _fetch(item, place, client, shelf, say)
                return
        here = _size(shelf.partial(item.digest))
        say("downloading", here, item.size_bytes)
        waiting.check(here, place.what)
        time.sleep(POLL_S)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Waiting:
    """The patience with another process that holds the lock."""

    def __init__(self) -> None:
        self._here = -1
        self._since_s = time.monotonic()

    def check(self, here: int, what: str) -> None:
        """Raise Trouble where it has not got on for long."""
        if here != self._here:
            self._here, self._since_s = here, time.monotonic()
        elif time.monotonic() - self._since_s > OTHERS_S:
            raise Trouble(
                TroubleKind.UNREACHABLE,
                f"{what} is being fetched by another process, which has stood still for {OTHERS_S:.0f} s",
                fix="look for a process `orchestrator.workers.fetch` that hangs, and end it",
            )


def _is_good(item: Item, shelf: Shelf, say: Say) -> bool:
    """Say whether a file lies there that is what it should be; a damaged one does not afterwards."""
    blob = shelf.blob(item.digest)
    if not blob.exists():
        return False
    kind = item.digest.partition(":")[0]
    found, status = digest_of(blob, kind, lambda done: say("checking", done, item.size_bytes))
    if found == item.digest:
        shelf.seals.put(blob, item.digest, status)
        return True
    blob.unlink(missing_ok=True)  # no engine may ever load it
    return False


def _fetch(item: Item, place: Place, client: httpx2.Client, shelf: Shelf, say: Say) -> None:
    for last in (False, True):
        with Partial(shelf, item.digest, item.size_bytes) as partial:
            partial.resume(lambda done: say("checking", done, item.size_bytes))
            pieces = 1 if partial.done_bytes else 0
            pieces += _complete(partial, place, client, shelf, say)
            try:
                partial.finish()
            except Trouble as trouble:
                if last or pieces < 2:  # noqa: PLR2004 (one piece came as the server has it)
                    wanted = item.digest.replace(":", " ")
                    trouble.what = f"{place.what}: {trouble.what}, and {wanted} is asked for"
                    trouble.fix = "correct the digest if the new file is the right one, or the source"
                    raise trouble from None
            else:
                return


def _complete(partial: Partial, place: Place, client: httpx2.Client, shelf: Shelf, say: Say) -> int:
    """Have all bytes of the file, right or wrong ones; return how many requests that took."""
    requests = breaks = 0
    complete = 0 < partial.size_bytes <= partial.done_bytes
    while not complete:
        before = partial.done_bytes
        requests += 1
        try:
            complete = _ask(partial, place, client, shelf, say)
        except Broken as broken:
            breaks = 1 if partial.done_bytes > before else breaks + 1
            if breaks >= BREAKS:
                partial.make_safe()
                raise Trouble(
                    TroubleKind.UNREACHABLE,
                    f"{place.what}: {broken}",
                    fix="check the network; what has come is kept, and the download goes on from there",
                ) from None
            time.sleep(PAUSE_S * (breaks - 1))
    return requests


def _ask(partial: Partial, place: Place, client: httpx2.Client, shelf: Shelf, say: Say) -> bool:
    """Make one request for what is missing; return whether the file is complete."""
    first = partial.done_bytes
    last = first + WINDOW_BYTES - 1
    if partial.size_bytes:
        last = min(last, partial.size_bytes - 1)
    headers = {**place.headers, "accept-encoding": "identity", "range": f"bytes={first}-{last}"}
    if first and partial.tag:
        headers["if-range"] = partial.tag
    with opened(client, place.url, headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and first:
            partial.start_over(size_bytes=partial.size_bytes, tag="")
            return False
        _agree(partial, response, place)
        check_room(shelf.cache, max(partial.size_bytes - partial.done_bytes, 0))
        for data in response.iter_raw():
            partial.add(data)
            say("downloading", partial.done_bytes, partial.size_bytes)
            if partial.size_bytes and partial.done_bytes > partial.size_bytes:
                return True  # too long: it is wrong, and more of it does not mend that
    return partial.done_bytes >= partial.size_bytes if partial.size_bytes else True


def _agree(partial: Partial, response: httpx2.Response, place: Place) -> None:
    """Bring `partial` in line with what the server is about to send.

    Raises:
        Trouble: it sends no file, or another one.
        Broken: it sends another part of the file than it was asked for.
    """
    if response.status_code not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise place.refused(response)
    host = response.url.host
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Trouble(
            TroubleKind.UNREACHABLE, f"{host} sends {place.what} compressed, against what was asked"
        )
    size_bytes, first = _announced(response)
    if partial.size_bytes and size_bytes and size_bytes != partial.size_bytes and not first:
        # Nothing is lost yet, and a wrong size can be no right digest.
        partial.start_over(size_bytes=partial.size_bytes, tag="")
        raise Trouble(
            TroubleKind.CORRUPT,
            f"{place.what} has {size_bytes} bytes at {host}, and {partial.size_bytes} are expected",
            fix="look whether the source is right, and the server sends the file itself",
        )
    if first == partial.done_bytes and first:
        partial.size_bytes = partial.size_bytes or size_bytes
        return
    if first:
        raise Broken(f"{host} sends another part of the file than it was asked for")
    partial.start_over(size_bytes=partial.size_bytes or size_bytes, tag=_tag(response))


def _announced(response: httpx2.Response) -> tuple[int, int]:
    """Return the size of the whole file, 0 where it is not told, and at which byte the body begins."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        span, _, total = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
        first = span.partition("-")[0]
        return (int(total) if total.isdigit() else 0), (int(first) if first.isdigit() else 0)
    length = response.headers.get("content-length", "")
    return (int(length) if length.isdigit() else 0), 0


def _tag(response: httpx2.Response) -> str:
    """Return what a later request can ask for the same content by (RFC 9110, 13.1.5: no weak tag)."""
    tag = str(response.headers.get("etag", ""))
    return "" if tag.startswith("W/") else tag or str(response.headers.get("last-modified", ""))
