"""What references to sources turned out to be: which files, with which digests, and what engines see of them.

holdings/REFERENCE/RESOLVED.json   the files of one content that a reference has meant
holdings/REFERENCE/current         which of them it means until somebody asks for another
models/LABEL/RESOLVED/PATH         a link to a blob, under the name that the file has at its source
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.workers.fetch.order import Item, content_digest, decode_items, encode_items
from orchestrator.workers.fetch.shelf import Shelf, name_of, read_json, write_json

_CURRENT: Final = "current"
_SHORT: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The files that a reference means, or has meant; `commit` is where they are from, "" outside the hub."""

    reference: str
    label: str
    items: tuple[Item, ...]
    commit: str = ""

    @property
    def resolved(self) -> str:
        """What identifies the content."""
        return content_digest(self.items)


class Holdings:
    """The holdings of one cache; all is read anew from the disk each time."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._folder = shelf.cache / "holdings"
        self._models = shelf.cache / "models"

    def find(self, reference: str, resolved: str = "") -> Holding | None:
        """Return what the reference means: this content, or the current one; None where that is not known."""
        folder = self._folder / reference
        wanted = resolved or str(read_json(folder / _CURRENT).get("resolved", ""))
        return _read(folder / f"{wanted}.json") if wanted else None

    def put(self, holding: Holding, *, current: bool) -> None:
        """Remember it."""
        folder = self._folder / holding.reference
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"label": holding.label, "commit": holding.commit, "items": encode_items(holding.items)}
        write_json(folder / f"{holding.resolved}.json", content)
        if current:
            write_json(folder / _CURRENT, {"resolved": holding.resolved})

    def forget(self, reference: str, resolved: str = "") -> None:
        """Know nothing of this content, or of any that the reference has meant; its view goes too."""
        folder = self._folder / reference
        gone = [holding for holding in _all(folder) if resolved in {"", holding.resolved}]
        for holding in gone:
            (folder / f"{holding.resolved}.json").unlink(missing_ok=True)
        if not resolved or read_json(folder / _CURRENT).get("resolved") == resolved:
            (folder / _CURRENT).unlink(missing_ok=True)
        left = {self.view(holding) for holding in self.all()}
        for view in {self.view(holding) for holding in gone} - left:
            shutil.rmtree(view, ignore_errors=True)
            _remove_if_empty(view.parent)
        _remove_if_empty(folder)

    def all(self) -> Iterator[Holding]:
        """Return every holding of every reference."""
        if self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                yield from _all(folder)

    def of(self, reference: str) -> tuple[Holding, ...]:
        """Return all that the reference has meant."""
        return tuple(_all(self._folder / reference))

    def view(self, holding: Holding) -> Path:
        """Return the folder in which an engine finds the files under their own names."""
        return self._models / holding.label / holding.resolved[:_SHORT]

    def show(self, holding: Holding) -> None:
        """Have that folder."""
        folder = self.view(holding)
        for item in holding.items:
            link = folder / item.path
            blob = os.path.relpath(self._shelf.blob(item.digest), link.parent)
            link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not link.is_symlink() or os.readlink(link) != blob:  # noqa: PTH115 (the text itself)
                fresh = link.with_name(f".{name_of(item.digest)}.{os.getpid()}")
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(blob)
                fresh.replace(link)

    def is_whole(self, holding: Holding) -> bool:
        """Say whether every file of it is here, checked, and to be seen."""
        folder = self.view(holding)
        return all(
            self._shelf.is_whole(item.digest) and (folder / item.path).exists() for item in holding.items
        )


def _all(folder: Path) -> Iterator[Holding]:
    for path in sorted(folder.glob("*.json")):
        holding = _read(path)
        if holding is not None:
            yield holding


def _read(path: Path) -> Holding | None:
    content = read_json(path)
    try:
        items = decode_items(content["items"])
        label, commit = str(content["label"]), str(content["commit"])
    except (KeyError, ValueError):
        return None  # damaged: it is looked up again
    return Holding(reference=path.parent.name, label=label, commit=commit, items=items) if items else None


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
