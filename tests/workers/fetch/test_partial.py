"""Files that grow: what counts after which end, and what becomes of wrong ones."""

import hashlib
import json
from pathlib import Path

import pytest

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch import partial
from orchestrator.workers.fetch.partial import Partial
from orchestrator.workers.fetch.shelf import Shelf

CONTENT = bytes(range(256)) * 40
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    found = Shelf(tmp_path / "cache")
    found.make()
    return found


def begun(shelf: Shelf, data: bytes, *, safe: bool = False) -> None:
    """Leave so much of the file, as a process that was killed would."""
    with Partial(shelf, DIGEST, len(CONTENT)) as growing:
        growing.start_over(size_bytes=len(CONTENT), tag='"tag"')
        growing.add(data)
        if safe:
            growing.make_safe()


def resumed(shelf: Shelf, size_bytes: int = len(CONTENT)) -> Partial:
    read: list[int] = []
    with Partial(shelf, DIGEST, size_bytes) as growing:
        growing.resume(read.append)
    assert read == ([growing.done_bytes] if growing.done_bytes else [])
    return growing


def after_a_power_failure(shelf: Shelf) -> None:
    note = json.loads(shelf.note(DIGEST).read_text())
    shelf.note(DIGEST).write_text(json.dumps(note | {"boot": "another"}))


def test_all_that_was_written_counts_when_only_the_process_has_died(shelf: Shelf) -> None:
    begun(shelf, CONTENT[:1000])
    growing = resumed(shelf)
    assert (growing.done_bytes, growing.tag) == (1000, '"tag"')


def test_only_what_was_made_safe_counts_when_the_machine_has(shelf: Shelf) -> None:
    begun(shelf, CONTENT[:1000])
    after_a_power_failure(shelf)
    assert resumed(shelf).done_bytes == 0
    begun(shelf, CONTENT[:1000], safe=True)
    after_a_power_failure(shelf)
    assert resumed(shelf).done_bytes == 1000


def test_it_is_made_safe_in_steps(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "SAFE_EVERY_BYTES", 1000)
    begun(shelf, CONTENT[:2500])
    with Partial(shelf, DIGEST, len(CONTENT)) as growing:
        growing.resume(lambda _: None)
        growing.add(CONTENT[2500:2600])
    after_a_power_failure(shelf)
    assert resumed(shelf).done_bytes == 2500


def test_more_than_the_whole_file_is_nothing(shelf: Shelf) -> None:
    begun(shelf, CONTENT + b"more")
    assert resumed(shelf).done_bytes == 0


def test_the_size_is_remembered(shelf: Shelf) -> None:
    begun(shelf, CONTENT)
    assert resumed(shelf, size_bytes=0).size_bytes == len(CONTENT)


def test_a_whole_file_gets_its_name_and_its_seal(shelf: Shelf) -> None:
    begun(shelf, CONTENT[:1000])
    with Partial(shelf, DIGEST, len(CONTENT)) as growing:
        growing.resume(lambda _: None)
        growing.add(CONTENT[1000:])
        assert not shelf.is_whole(DIGEST)
        growing.finish()
    assert shelf.is_whole(DIGEST)
    assert shelf.blob(DIGEST).read_bytes() == CONTENT
    assert list(shelf.unfinished.iterdir()) == []


def test_a_wrong_file_is_gone_and_never_had_the_name(shelf: Shelf) -> None:
    with Partial(shelf, DIGEST, len(CONTENT)) as growing:
        growing.start_over(size_bytes=len(CONTENT), tag="")
        growing.add(b"x" * len(CONTENT))
        with pytest.raises(Trouble) as caught:
            growing.finish()
    assert caught.value.kind is TroubleKind.CORRUPT
    assert [*shelf.unfinished.iterdir(), *shelf.blobs.iterdir()] == []


def test_a_git_blob_has_its_length_in_its_digest(shelf: Shelf) -> None:
    digest = "git-sha1:" + hashlib.sha1(b"blob 5\0hello", usedforsecurity=False).hexdigest()
    with Partial(shelf, digest, 5) as growing:
        growing.start_over(size_bytes=5, tag="")
        growing.add(b"hello")
        growing.finish()
    assert shelf.blob(digest).read_bytes() == b"hello"
