"""What is in force after a scan: last known good, generations, and which files are read at all."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.config import contents
from orchestrator.config.check import check, hints
from orchestrator.config.contents import Contents
from orchestrator.config.scan import Scanner
from orchestrator.config.show import report
from tests.config.engines import ENGINES
from tests.config.files import BROKEN, ONE, POLICY, TWO, Folder, permissions_bind, put, start


def test_generations_count_changes_of_meaning_only(folder: Folder) -> None:
    assert folder.generations() == {"fast": 1}
    put(folder.models, "fast", TWO)
    assert folder.generations() == {"fast": 2}
    put(folder.models, "fast", f"# a comment\n{TWO}parallel: 4\n")
    reading = folder.scan()
    assert reading.catalog.models["fast"].generation == 2
    assert reading.catalog.models["fast"].text.startswith("# a comment")
    assert reading.catalog.models["fast"].lines["context"] == 4
    put(folder.models, "fast", ONE)
    assert folder.generations() == {"fast": 3}


@pytest.mark.parametrize(
    "bad", [BROKEN, "", "# nothing\n", "\x00", "engine: [", "context: 7\n", "- a\n", "7\n"]
)
def test_a_bad_file_keeps_its_last_accepted_version(folder: Folder, bad: str) -> None:
    put(folder.models, "other", ONE)
    before = folder.scan().catalog.models["fast"]
    put(folder.models, "fast", bad)
    put(folder.models, "other", TWO)
    reading = folder.scan()
    assert reading.catalog.models["fast"] is before
    assert reading.catalog.models["other"].generation == 2
    assert {problem.path for problem in reading.problems} == {"models.d/fast.yaml"}
    assert "models.d/fast.yaml stays at its last accepted version (generation 1)" in report(reading)


def test_an_edit_that_is_taken_back_clears_the_problem_and_changes_nothing(folder: Folder) -> None:
    before = folder.scan()
    put(folder.models, "fast", BROKEN)
    assert folder.scan().problems
    put(folder.models, "fast", ONE)
    after = folder.scan()
    assert not after.problems
    assert after.catalog.models["fast"] is before.catalog.models["fast"]


def test_a_bad_file_that_was_never_accepted_is_not_in_force(folder: Folder) -> None:
    put(folder.models, "new", BROKEN)
    reading = folder.scan()
    assert set(reading.catalog.models) == {"fast"}
    assert "models.d/new.yaml is not in force" in report(reading)


def test_files_of_editors_are_passed_over(folder: Folder) -> None:
    for name in (
        ".hidden.yaml", ".fast.yaml.swp", "fast.yaml~", "#fast.yaml#", ".#fast.yaml",
        "fast.yaml.tmp", "fast.yaml.orig", "fast.yaml.bak", "README.md", "4913",
    ):  # fmt: skip
        (folder.models / name).write_text(BROKEN)
    reading = folder.scan()
    assert set(reading.catalog.models) == {"fast"}
    assert not reading.problems


def test_both_endings_are_read_but_not_for_one_name(folder: Folder) -> None:
    (folder.models / "other.yml").write_text(ONE)
    assert folder.generations() == {"fast": 1, "other": 1}
    (folder.models / "fast.yml").write_text(TWO)
    reading = folder.scan()
    assert [problem.path for problem in reading.problems] == ["models.d/fast.yaml", "models.d/fast.yml"]
    assert reading.catalog.models["fast"].value.context == 1
    (folder.models / "fast.yaml").unlink()
    reading = folder.scan()
    assert not reading.problems
    assert reading.catalog.models["fast"].path == "models.d/fast.yml"
    assert reading.catalog.models["fast"].generation == 2


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.mkdir(), "it is a folder, not a file"),
        (os.mkfifo, "it is a pipe, a socket or a device, not a file"),
        (lambda path: path.symlink_to("/none"), "is a link that leads nowhere"),
        (lambda path: path.symlink_to("fast.yaml"), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a pipe, a socket or a device, not a file"),
    ],
)
def test_what_is_no_file_is_a_problem_and_no_deletion(
    folder: Folder, make: Callable[[Path], None], what: str
) -> None:
    folder.scan()
    (folder.models / "fast.yaml").unlink()
    make(folder.models / "fast.yaml")
    for _ in range(3):
        reading = folder.scan(after_s=10)
        assert [what in problem.what for problem in reading.problems] == [True]
        assert "fast" in reading.catalog.models


@pytest.mark.skipif(not permissions_bind(), reason="this user may read everything")
def test_a_file_without_permission_keeps_its_version(folder: Folder) -> None:
    folder.scan()
    (folder.models / "fast.yaml").chmod(0)
    reading = folder.scan()
    assert "Permission denied" in reading.problems[0].what
    assert "fast" in reading.catalog.models
    (folder.models / "fast.yaml").chmod(0o644)
    assert not folder.scan().problems


def test_a_file_name_that_is_no_text_is_a_problem_like_any_other(folder: Folder) -> None:
    (Path(os.fsdecode(bytes(folder.models) + b"/\xff.yaml"))).write_text(ONE)
    (problem,) = folder.scan().problems
    assert "cannot be the name of a model" in problem.what
    report(folder.scan()).encode()


def test_an_empty_folder_gets_a_hint(tmp_path: Path) -> None:
    found = hints(check(start(tmp_path), {}, ENGINES))
    assert found == ("models.d/ has no model file, so nothing will be served",)


def test_no_such_folder(tmp_path: Path) -> None:
    reading = check(tmp_path / "none", {}, ENGINES)
    assert [problem.what for problem in reading.problems] == ["there is no such folder"]
    (tmp_path / "conf").mkdir()
    assert [p.what for p in check(tmp_path / "conf", {}, ENGINES).problems] == ["the folder is missing"]


def test_a_scan_that_finds_nothing_new_reads_no_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path, None, **{f"m{i}": ONE for i in range(1000)})
    put(folder.policies, "p", POLICY.format(models="m1"))
    put(folder.models, "broken", BROKEN)
    first = folder.scan()
    assert len(folder.reads) == 1002
    folder.reads.clear()
    assert folder.scan() is first
    assert not folder.reads
    put(folder.models, "m500", TWO)
    assert folder.scan() is not first
    assert folder.reads == ["m500.yaml"]


def test_a_touched_file_is_read_and_is_no_change(folder: Folder) -> None:
    first = folder.scan()
    os.utime(folder.models / "fast.yaml", ns=(1, 1))
    assert folder.scan() is first
    assert folder.reads == ["fast.yaml", "fast.yaml"]


def test_a_young_file_is_read_again_though_its_stamp_is_the_same(folder: Folder) -> None:
    written = (folder.models / "fast.yaml").stat().st_mtime
    folder.now = datetime.fromtimestamp(written, UTC) + timedelta(milliseconds=50)
    first = folder.scan()
    assert folder.scanner.again_in_s == 0.1
    assert folder.scan(after_s=0.1) is first
    assert folder.reads == ["fast.yaml"] * 2
    assert folder.scanner.again_in_s is None
    folder.scan(after_s=1)
    assert len(folder.reads) == 2


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    start(tmp_path, fast=ONE)
    moves = 1

    def read(path: Path | str, most_bytes: int) -> Contents:
        nonlocal moves
        found = contents.read(path, most_bytes)
        moves -= 1
        return Contents(raw=b"engine: lla", stamp=found.stamp, moved=True) if moves >= 0 else found

    scanner = Scanner(tmp_path, env={}, read=read, engines=ENGINES)
    now = clock.now() + timedelta(hours=1)
    assert not scanner.scan(now).problems
    put(tmp_path / "models.d", "fast", TWO)
    moves = 1000
    reading = scanner.scan(now)
    assert reading.catalog.models["fast"].value.context == 1
    assert scanner.again_in_s == 0.1
    moves = 0
    assert scanner.scan(now).catalog.models["fast"].value.context == 2


def test_a_changed_secret_is_a_changed_meaning(folder: Folder) -> None:
    (folder.root / "where").write_text("/models/a.gguf\n")
    put(folder.models, "fast", "engine: llama-cpp\nsource: 'file:${file:where}'\n")
    first = folder.scan().catalog.models["fast"]
    (folder.root / "where").write_text("/models/other.gguf\n")
    second = folder.scan().catalog.models["fast"]
    assert (first.generation, second.generation) == (1, 2)
    assert first.text == second.text
    (folder.root / "where").unlink()
    reading = folder.scan()
    assert [problem.line for problem in reading.problems] == [2]
    assert reading.catalog.models["fast"] is second
    (folder.root / "where").write_text("/models/other.gguf\n")
    assert folder.scan().catalog.models["fast"] is second


def test_the_repositorys_own_files_are_valid() -> None:
    reading = check(Path(__file__).parents[2], {}, ENGINES)
    assert report(reading) == ""
    assert hints(reading) == ()
    assert set(reading.catalog.models) == {"fast", "quality"}
    assert reading.catalog.default_policy is not None
