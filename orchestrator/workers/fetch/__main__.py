"""The process that fetches: finds out which files a source means, says so, and has one after the other."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from orchestrator.workers.errand import Reporter, Trouble, TroubleKind, run
from orchestrator.workers.fetch.download import Place, have
from orchestrator.workers.fetch.holdings import Holding, Holdings
from orchestrator.workers.fetch.net import make_client, refusal
from orchestrator.workers.fetch.order import SHA256, Item, Order, decode_order
from orchestrator.workers.fetch.room import check_room, full, is_full
from orchestrator.workers.fetch.shelf import Shelf


def work(content: Mapping[str, Any], reporter: Reporter) -> Mapping[str, object]:
    """Carry out the order, and answer with what identifies the content."""
    order = decode_order(content)
    shelf = Shelf(Path(order.cache))
    holdings = Holdings(shelf)
    reporter.progress("looking", 0, 0, now=True)
    try:
        if order.verb == "look":
            holding = _look_up(order)
            holdings.put(holding, current=False)
        else:
            holding = _have(order, shelf, holdings, reporter)
    except OSError as error:
        raise _disk(error, shelf) from error
    return {"resolved": holding.resolved}


def _have(order: Order, shelf: Shelf, holdings: Holdings, reporter: Reporter) -> Holding:
    known = holdings.find(order.reference, order.resolved)
    if known is not None:
        try:
            return _fetch(order, known, shelf, holdings, reporter)
        except Trouble as trouble:
            # Histories are rewritten: the commit may be gone, and the same files lie in another one.
            if trouble.kind is not TroubleKind.NOT_FOUND:
                raise
    holding = _look_up(order)
    if order.resolved and holding.resolved != order.resolved:
        raise Trouble(
            TroubleKind.UNREACHABLE,
            "it has changed at its source since it was looked at",
            fix="wait until it is looked at again (see `update`), or pin a commit with @REVISION",
        )
    holdings.put(holding, current=not order.resolved)
    return _fetch(order, holding, shelf, holdings, reporter)


def _look_up(order: Order) -> Holding:
    if order.scheme == "hf":
        from orchestrator.workers.fetch import hub  # noqa: PLC0415 (heavy, and not every order needs it)

        commit, items = hub.look_up(order)
    else:
        commit, items = "", (_pinned(order),)
    holding = Holding(reference=order.reference, label=order.label, items=items, commit=commit)
    if order.sha256 and holding.resolved != order.sha256.lower():
        raise Trouble(
            TroubleKind.CORRUPT,
            f"it has sha256 {holding.resolved} now, and {order.sha256.lower()} is asked for",
            fix="correct the digest if the new content is right, or name the revision that has the old",
        )
    return holding


def _pinned(order: Order) -> Item:
    if not order.sha256:
        raise Trouble(
            TroubleKind.NOT_FOUND,
            "a source on the web needs its SHA-256",
            fix="write @sha256:DIGEST behind the address",
        )
    if urlsplit(order.location).scheme != "https":
        raise Trouble(
            TroubleKind.NOT_ALLOWED,
            "only addresses that begin with https: are fetched from",
            fix="use https:",
        )
    name = order.name or PurePosixPath(unquote(urlsplit(order.location).path)).name.replace("\\", "_")
    name = "model" if name in {"", ".."} or not name.isprintable() else name
    return Item(path=name, digest=f"{SHA256}:{order.sha256.lower()}")


def _place(order: Order, item: Item, commit: str) -> Place:
    if order.scheme == "hf":
        from orchestrator.workers.fetch import hub  # noqa: PLC0415 (as above)

        return hub.place_of(item, order, commit)

    def refused(response: httpx2.Response) -> Trouble:
        return refusal(response, what=item.path)

    return Place(url=order.location, what=item.path, headers={}, refused=refused)


def _fetch(order: Order, holding: Holding, shelf: Shelf, holdings: Holdings, reporter: Reporter) -> Holding:
    items = holding.items
    missing = [item for item in items if not shelf.is_whole(item.digest)]
    check_room(shelf.cache, sum(max(_left(item, shelf), 0) for item in missing))
    sizes = {item.path: item.size_bytes for item in items}
    done = {item.path: item.size_bytes - _left(item, shelf) for item in items}
    with make_client(order.stall_s) as client:
        for item in missing:

            def say(doing: str, here: int, size: int, path: str = item.path) -> None:
                done[path], sizes[path] = here, size or sizes[path]
                known = sum(sizes.values()) if all(sizes.values()) else 0
                reporter.progress(doing, sum(done.values()), known)

            have(item, _place(order, item, holding.commit), client, shelf, say)
            done[item.path] = shelf.blob(item.digest).stat().st_size
    total = sum(shelf.blob(item.digest).stat().st_size for item in items)
    reporter.progress("downloading", total, total, now=True)
    holdings.show(holding)
    return holding


def _left(item: Item, shelf: Shelf) -> int:
    """Return how many bytes of it are still to come."""
    for path in (shelf.blob(item.digest), shelf.partial(item.digest)):
        if path.is_file():
            return item.size_bytes - path.stat().st_size
    return item.size_bytes


def _disk(error: OSError, shelf: Shelf) -> Trouble:
    if is_full(error):
        return full(error, shelf.cache, 0, 0)
    return Trouble(
        TroubleKind.FAILED,
        f"the cache {shelf.cache} cannot be used: {error.strerror or error}",
        fix="check the disk, and that the daemon's user may write there",
    )


if __name__ == "__main__":
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    run(work)
