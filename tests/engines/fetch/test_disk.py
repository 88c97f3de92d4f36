"""Disks that are full, before and in the middle; files that are damaged later."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import DiskFull, EngineError
from orchestrator.values.settings import Settings
from tests.engines.fetch.models import gguf, hub, sha256_of
from tests.engines.fetch.origin import Answer, Asked, Origin, Repository
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals

pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]


async def test_no_room_is_said_before_the_first_byte(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    large = {"sha256": "0" * 64, "size": 1 << 50, "pointerSize": 1}
    sibling = {"rfilename": "one.gguf", "size": 1 << 50, "blobId": "0" * 40, "lfs": large}
    listing = json.dumps({"id": "org/one", "sha": "0" * 40, "siblings": [sibling]})
    origin.instead = lambda _: Answer(headers={"Content-Type": "application/json"}, body=listing.encode())
    with pytest.raises(DiskFull, match=r"1\.0 PiB and 256\.0 MiB to spare are needed .* are free") as caught:
        await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())
    assert caught.value.lasting
    assert str(runtime / "cache") in caught.value.what
    assert origin.bodies() == []


async def test_a_disk_that_fills_up_in_the_middle_keeps_what_has_come(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    model = gguf()
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    partial = runtime / "cache" / "partial" / f"sha256-{sha256_of(model)}"

    def full(asked: Asked) -> None:
        if asked.path.startswith("/files/"):
            return
        partial.parent.mkdir(parents=True, exist_ok=True)
        if not partial.is_symlink():
            partial.symlink_to("/dev/full")

    origin.instead = full
    books = library(runtime, settings=settings)
    with pytest.raises(DiskFull, match=r"no room left after .* of 97\.7 KiB"):
        await books.ensure(hub("org/one"), Arrivals())
    assert partial.is_symlink()
    partial.unlink()
    origin.instead = lambda _: None
    await books.ensure(hub("org/one"), Arrivals())
    assert books.path_of(hub("org/one")).read_bytes() == model


async def test_a_cache_that_cannot_be_made_is_told(origin: Origin, settings: Settings, runtime: Path) -> None:
    (runtime / "cache").write_bytes(b"a file")
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf()})
    with pytest.raises(EngineError, match="File exists"):
        await library(runtime, settings=settings).ensure(hub("org/one"), Arrivals())


async def test_a_file_that_was_damaged_is_fetched_again(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    model = gguf()
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    books = library(runtime, settings=settings)
    await books.ensure(hub("org/one"), Arrivals())
    blob = books.path_of(hub("org/one")).resolve()
    blob.chmod(0o600)
    blob.write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    await books.ensure(hub("org/one"), Arrivals())
    assert books.path_of(hub("org/one")).read_bytes() == model
    assert len(origin.bodies()) == 2


async def test_a_file_that_was_only_touched_is_read_and_not_fetched(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    model = gguf()
    origin.repositories["org/one"] = Repository(files={"one.gguf": model})
    books = library(runtime, settings=settings)
    await books.ensure(hub("org/one"), Arrivals())
    books.path_of(hub("org/one")).resolve().touch()
    await books.ensure(hub("org/one"), Arrivals())
    assert len(origin.bodies()) == 1


async def test_a_damaged_note_of_what_is_here_is_looked_up_again(
    origin: Origin, settings: Settings, runtime: Path
) -> None:
    origin.repositories["org/one"] = Repository(files={"one.gguf": gguf()})
    books = library(runtime, settings=settings)
    fetched = await books.ensure(hub("org/one"), Arrivals())
    notes = [path for path in (runtime / "cache" / "holdings").rglob("*") if path.is_file()]
    for note in notes:
        note.write_bytes(b"\0" * 10)
    assert await books.ensure(hub("org/one"), Arrivals()) == fetched
    assert len(notes) == 2
    assert len(origin.bodies()) == 1
