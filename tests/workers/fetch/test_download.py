"""One file from a server onto the shelf, without the process around it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch import download
from orchestrator.workers.fetch.download import Place, have
from orchestrator.workers.fetch.net import make_client, refusal
from orchestrator.workers.fetch.order import Item
from orchestrator.workers.fetch.shelf import Shelf
from tests.engines.fetch.models import gguf, sha256_of
from tests.engines.fetch.origin import Answer, Origin

MODEL = gguf(1, 100_000)
ITEM = Item(path="one.gguf", digest=f"sha256:{sha256_of(MODEL)}", size_bytes=len(MODEL))


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().running() as server:
        server.files["one.gguf"] = MODEL
        yield server


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    found = Shelf(tmp_path / "cache")
    found.make()
    return found


def fetch(origin: Origin, shelf: Shelf, item: Item = ITEM) -> list[tuple[str, int, int]]:
    """Have the file, and return what was said meanwhile."""
    said: list[tuple[str, int, int]] = []
    place = Place(
        url=f"{origin.url}/files/one.gguf",
        what="one.gguf",
        headers={},
        refused=lambda response: refusal(response, what="one.gguf"),
    )
    with make_client(5.0) as client:
        have(item, place, client, shelf, lambda *words: said.append(words))
    return said


def test_a_large_file_comes_in_windows(origin: Origin, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WINDOW_BYTES", 40_000)
    said = fetch(origin, shelf)
    assert [asked.headers["range"] for asked in origin.asked] == [
        "bytes=0-39999",
        "bytes=40000-79999",
        "bytes=80000-99999",
    ]
    assert shelf.blob(ITEM.digest).read_bytes() == MODEL
    assert said[-1] == ("downloading", len(MODEL), len(MODEL))


def test_a_size_that_nobody_knows_is_learnt(origin: Origin, shelf: Shelf) -> None:
    said = fetch(origin, shelf, Item(path="one.gguf", digest=ITEM.digest))
    assert shelf.is_whole(ITEM.digest)
    assert said[-1] == ("downloading", len(MODEL), len(MODEL))


def test_another_size_is_told_before_the_body_is_read(origin: Origin, shelf: Shelf) -> None:
    with pytest.raises(Trouble, match=r"has 100000 bytes at 127\.0\.0\.1, and 7 are expected") as caught:
        fetch(origin, shelf, Item(path="one.gguf", digest=ITEM.digest, size_bytes=7))
    assert caught.value.kind is TroubleKind.CORRUPT


def test_a_body_that_is_compressed_is_refused(origin: Origin, shelf: Shelf) -> None:
    origin.instead = lambda _: Answer(headers={"Content-Encoding": "gzip"}, body=b"\x1f\x8b")
    with pytest.raises(Trouble, match="compressed"):
        fetch(origin, shelf)


def test_another_part_than_was_asked_for_is_not_taken(
    origin: Origin, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    origin.instead = lambda _: Answer(
        status=206, headers={"Content-Range": f"bytes 10-19/{len(MODEL)}"}, body=MODEL[10:20]
    )
    with pytest.raises(Trouble, match="another part of the file") as caught:
        fetch(origin, shelf)
    assert caught.value.kind is TroubleKind.UNREACHABLE
    assert not shelf.is_whole(ITEM.digest)


def test_a_process_that_holds_a_file_and_stands_still_is_not_waited_for_for_ever(
    origin: Origin, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "OTHERS_S", 0.2)
    with shelf.locked(ITEM.digest) as mine:
        assert mine
        with pytest.raises(Trouble, match="is being fetched by another process"):
            fetch(origin, shelf)
    assert origin.asked == []
    fetch(origin, shelf)
    assert shelf.is_whole(ITEM.digest)
