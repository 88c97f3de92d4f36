"""The cache's own books: seals, locks, and paths that stay inside."""

import os
import shutil
from pathlib import Path

import pytest

from orchestrator.workers.fetch.order import Item, check_path, content_digest, decode_items, encode_items
from orchestrator.workers.fetch.room import sized
from orchestrator.workers.fetch.shelf import Shelf

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    found = Shelf(tmp_path / "cache")
    found.make()
    return found


def sealed(shelf: Shelf) -> Path:
    path = shelf.blob(DIGEST)
    path.write_bytes(b"content")
    shelf.seals.put(path, DIGEST, path.stat())
    return path


def test_a_seal_holds_while_the_file_is_untouched(shelf: Shelf) -> None:
    sealed(shelf)
    assert shelf.is_whole(DIGEST)
    assert Shelf(shelf.cache).is_whole(DIGEST)


def test_a_seal_breaks_with_any_change(shelf: Shelf) -> None:
    path = sealed(shelf)
    kept = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # as who hides it would
    assert not shelf.is_whole(DIGEST)


def test_a_seal_breaks_with_another_file_in_the_place(shelf: Shelf) -> None:
    path = sealed(shelf)
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    assert not shelf.is_whole(DIGEST)


def test_a_damaged_seal_is_none(shelf: Shelf) -> None:
    sealed(shelf)
    for seal in shelf.seals.folder.iterdir():
        seal.write_bytes(b'["not an object"')
    assert not shelf.is_whole(DIGEST)


def test_a_moved_cache_keeps_its_seals(shelf: Shelf, tmp_path: Path) -> None:
    """Moved within one disk: inode and times stay."""
    sealed(shelf)
    shelf.cache.rename(tmp_path / "elsewhere")
    assert Shelf(tmp_path / "elsewhere").is_whole(DIGEST)


def test_a_lock_is_held_once(shelf: Shelf) -> None:
    with shelf.locked(DIGEST) as first:
        assert first
        with shelf.locked(DIGEST) as second:
            assert not second
    with shelf.locked(DIGEST) as again:
        assert again


def test_the_folders_are_this_user_s_alone(shelf: Shelf) -> None:
    assert {folder.stat().st_mode & 0o777 for folder in shelf.cache.iterdir()} == {0o700}


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", ".", "a/.", "a\\b", "a\0b"]
)
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        check_path(path)


def test_items_come_back_as_they_were() -> None:
    items = (Item(path="a/b.gguf", digest=DIGEST, size_bytes=7, remote="x/b.gguf"),)
    assert decode_items(encode_items(items)) == items


@pytest.mark.parametrize(
    "content", [[{"path": "a"}], [7], {"a": 1}, [{"path": "a", "digest": "md5:00"}], None]
)
def test_what_are_no_items_are_refused(content: object) -> None:
    with pytest.raises(ValueError, match="not"):
        decode_items(content)


def test_the_identity_of_several_files_does_not_depend_on_their_order() -> None:
    one, two = (Item(path=path, digest=f"sha256:{path * 64}") for path in "ab")
    assert content_digest([one]) == "a" * 64
    assert content_digest([one, two]) == content_digest([two, one]) != content_digest([one])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5_600_000_000, "5.2 GiB"),
        (1 << 62, "4096.0 PiB"),
    ],
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert sized(count) == text
