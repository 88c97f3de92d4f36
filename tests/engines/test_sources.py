"""Where model files lie, and what is said of those that are no good."""

import asyncio
import hashlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engines import sources
from orchestrator.engines.sources import DEMO_FOLDER, SourceChecks, path_of
from orchestrator.errors import EngineError, SourceCorrupt, SourceNotFound
from orchestrator.values.spec import Source
from orchestrator.workers.fetch.shelf import Seals
from tests.engines.real_time import REAL_TIME

pytestmark = REAL_TIME

GOOD = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1) + bytes(1000)


def source_of(path: Path, sha256: str | None = None) -> Source:
    return Source(written="file:${env:PLACE}/m.gguf", scheme="file", location=str(path), sha256=sha256)


def demo(name: str) -> Source:
    return Source(written=f"demo:{name}", scheme="demo", location=name)


@pytest.mark.parametrize("name", ["tiny", "small"])
async def test_the_shipped_models_are_whole(name: str) -> None:
    assert path_of(demo(name)).parent == DEMO_FOLDER
    await SourceChecks().check(demo(name))


@pytest.mark.parametrize("name", ["huge", "../demo/tiny", "", "tiny.gguf"])
def test_a_model_that_is_not_shipped_names_those_that_are(name: str) -> None:
    with pytest.raises(SourceNotFound, match="demo:small, demo:tiny"):
        path_of(demo(name))


def test_a_source_of_another_engine_is_refused_with_the_ways_there_are() -> None:
    with pytest.raises(SourceNotFound, match="use file:/path"):
        path_of(Source(written="gemma3:1b", scheme="ollama", location="gemma3:1b"))


NO_MODELS: list[tuple[str, bytes, str]] = [
    ("empty", b"", "is not a GGUF file"),
    ("noise", b"noise" * 100, "is not a GGUF file"),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    ("a web page", b"<!DOCTYPE html><html>404", "is a web page"),
    ("an archive", b"PK\x03\x04" + bytes(100), "convert_hf_to_gguf"),
    ("an old format", b"tjgg" + bytes(100), "before 2023"),
    ("only the magic", b"GGUF", "is cut short"),
    ("a version from the future", struct.pack("<4sIQQ", b"GGUF", 9, 1, 1), "version 9"),
    ("fewer bytes than its header promises", struct.pack("<4sIQQ", b"GGUF", 3, 10_000, 1), "is cut short"),
    ("an absurd count", struct.pack("<4sIQQ", b"GGUF", 3, 1, 2**63) + bytes(1000), "is cut short"),
]


@pytest.mark.parametrize(("what", "content", "said"), NO_MODELS, ids=[case[0] for case in NO_MODELS])
async def test_what_is_not_a_model_is_told_by_its_first_bytes(
    tmp_path: Path, what: str, content: bytes, said: str
) -> None:
    path = tmp_path / f"{what}.gguf"
    path.write_bytes(content)
    with pytest.raises(SourceCorrupt, match=said) as caught:
        await SourceChecks().check(source_of(path))
    assert str(tmp_path) not in str(caught.value)


def missing(folder: Path) -> Path:
    return folder / "nothing"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_bytes(b"")
    return folder / "file" / "model"


def a_folder(folder: Path) -> Path:
    return folder


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize("place", [missing, below_a_file, a_folder, a_pipe])
async def test_what_is_no_file_is_not_found(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    with pytest.raises(SourceNotFound) as caught:
        await SourceChecks().check(source_of(place(tmp_path)))
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.fix


async def test_a_file_that_may_not_be_read_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD)
    path.chmod(0)
    if os.getuid() == 0:  # root may read everything
        monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SourceNotFound, match="may not be read"):
        await SourceChecks().check(source_of(path))


async def test_the_pinned_digest_is_checked_in_either_case(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD)
    digest = hashlib.sha256(GOOD).hexdigest()
    await SourceChecks().check(source_of(path, digest))
    await SourceChecks().check(source_of(path, digest.upper()))
    with pytest.raises(SourceCorrupt, match=f"has sha256 {digest}"):
        await SourceChecks().check(source_of(path, "0" * 64))


async def test_an_untouched_file_is_hashed_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD)
    pinned = source_of(path, hashlib.sha256(GOOD).hexdigest())
    checks = SourceChecks()
    await checks.check(pinned)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "sha256", _forbidden)
        await checks.check(pinned)
    path.write_bytes(GOOD[:-1] + b"x")
    with pytest.raises(SourceCorrupt):
        await checks.check(pinned)


async def test_a_shipped_model_that_was_changed_is_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.gguf").write_bytes(GOOD)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  mine.gguf\n")
    monkeypatch.setattr(sources, "DEMO_FOLDER", tmp_path)
    with pytest.raises(SourceCorrupt, match="is asked for"):
        await SourceChecks().check(demo("mine"))


async def test_cancelling_stops_the_hashing_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD + bytes(1_000_000))
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(hashlib, "sha256", SlowDigest)
    SlowDigest.updates = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await SourceChecks().check(source_of(path, "0" * 64))
    await asyncio.get_running_loop().shutdown_default_executor()
    assert SlowDigest.updates < 100


async def test_a_disk_that_fails_is_no_verdict_on_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD)
    monkeypatch.setattr(sources, "check_form", _broken_disk)
    with pytest.raises(EngineError, match="cannot be read: Input/output error") as caught:
        await SourceChecks().check(source_of(path))
    assert not caught.value.terminal


class SlowDigest:
    updates = 0

    def update(self, chunk: bytes) -> None:
        assert chunk
        type(self).updates += 1
        time.sleep(0.01)

    def hexdigest(self) -> str:
        return ""


def _forbidden() -> None:
    raise AssertionError("hashed again")


def _broken_disk(path: Path, source: Source) -> int:
    raise OSError(5, "Input/output error", str(path), None, source.location)


async def test_a_digest_is_remembered_beyond_the_daemon_s_end(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD)
    digest = hashlib.sha256(GOOD).hexdigest()
    seals = Seals(tmp_path / "seals")
    checks = SourceChecks(seals)
    assert checks.known(path) == ""
    await checks.check(source_of(path, digest))
    assert SourceChecks(seals).known(path) == digest
    path.write_bytes(GOOD[:-1] + b"x")
    assert SourceChecks(seals).known(path) == ""
    with pytest.raises(SourceCorrupt):
        await SourceChecks(seals).check(source_of(path, digest))


async def test_what_cannot_be_remembered_is_checked_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD)
    (tmp_path / "file").write_bytes(b"")
    checks = SourceChecks(Seals(tmp_path / "file" / "seals"))
    await checks.check(source_of(path, hashlib.sha256(GOOD).hexdigest()))
