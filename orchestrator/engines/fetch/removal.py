"""Deleting what no model uses any more."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.workers.fetch.holdings import Holdings
from orchestrator.workers.fetch.shelf import Shelf

Wanted = tuple[str, str]  # a reference, and the content that is meant; "" for all that it has meant


def remove_unused(shelf: Shelf, holdings: Holdings, reference: str, keep: Iterable[Wanted]) -> int:
    """Forget what `reference` has meant, as far as `keep` does not mean it; return the bytes that frees.

    A file that any other reference in the cache means stays; so does one that is being fetched now.
    """
    kept = {content for other, content in keep if other == reference}
    gone = [holding for holding in holdings.of(reference) if not kept & {"", holding.resolved}]
    for holding in gone:
        holdings.forget(reference, holding.resolved)
    used = {item.digest for holding in holdings.all() for item in holding.items}
    digests = {item.digest for holding in gone for item in holding.items} - used
    return sum(_delete(shelf, digest) for digest in sorted(digests))


def _delete(shelf: Shelf, digest: str) -> int:
    with shelf.locked(digest) as mine:
        if not mine:
            return 0
        shelf.seals.forget(shelf.blob(digest))
        shelf.note(digest).unlink(missing_ok=True)
        return _unlinked(shelf.blob(digest)) + _unlinked(shelf.partial(digest))


def _unlinked(path: Path) -> int:
    with suppress(FileNotFoundError):
        size_bytes = path.stat().st_size
        path.unlink()
        return size_bytes
    return 0
