"""What is in force after a scan: last known good, generations, absences, and other files' claims."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.config import contents
from orchestrator.config.accepted import restore, store
from orchestrator.config.check import check, hints
from orchestrator.config.contents import Contents
from orchestrator.config.scan import Scanner
from orchestrator.config.show import report
from orchestrator.values.catalog import Catalog, Reading
from tests.config.files import MODEL, permissions_bind, put, start


class Folder:
    """A configuration folder, its scanner, and a clock that goes on by hand.

    The clock is an hour ahead of the file system's, so that no file is too
    young; tests of young files have a clock of their own.
    """

    def __init__(self, root: Path, accepted: Catalog | None = None, **models: str) -> None:
        self.root = start(root, **models)
        self.models = root / "models.d"
        self.policies = root / "policies"
        self.policies.mkdir(exist_ok=True)
        self.reads: list[str] = []
        self.now = clock.now() + timedelta(hours=1)
        self.scanner = Scanner(root, accepted, env={}, read=self._read)

    def _read(self, path: Path | str, most_bytes: int) -> Contents:
        self.reads.append(os.path.basename(path))  # noqa: PTH119 (the seam takes strings)
        return contents.read(path, most_bytes)

    def scan(self, after_s: float = 0.0) -> Reading:
        self.now += timedelta(seconds=after_s)
        return self.scanner.scan(self.now)

    def generations(self, after_s: float = 0.0) -> dict[str, int]:
        return {name: d.generation for name, d in self.scan(after_s).catalog.models.items()}

    def where(self, after_s: float = 0.0) -> list[str]:
        return [problem.where for problem in self.scan(after_s).problems]


ONE, TWO = MODEL.format(context=1), MODEL.format(context=2)
BROKEN = "engine: llama-cpp\nsource: [\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, fast=ONE)


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


def test_a_deletion_counts_only_after_two_scans_and_two_seconds(folder: Folder) -> None:
    put(folder.models, "other", ONE)
    folder.scan()
    (folder.models / "fast.yaml").unlink()
    assert "fast" in folder.generations()
    assert folder.scanner.again_in_s == 2.0
    assert "fast" in folder.generations(after_s=1.5)
    assert folder.scanner.again_in_s == 0.5
    assert "fast" not in folder.generations(after_s=0.5)
    assert folder.scanner.again_in_s is None


def test_one_scan_long_after_is_not_enough(folder: Folder) -> None:
    folder.scan()
    (folder.models / "fast.yaml").unlink()
    assert "fast" in folder.generations(after_s=3600)


def test_a_file_that_comes_back_was_never_gone(folder: Folder) -> None:
    before = folder.scan().catalog.models["fast"]
    (folder.models / "fast.yaml").unlink()
    folder.scan()
    put(folder.models, "fast", ONE)
    assert folder.scan(after_s=5).catalog.models["fast"] is before
    (folder.models / "fast.yaml").unlink()
    assert "fast" in folder.generations(after_s=5)


def test_a_file_restored_after_its_deletion_goes_on_counting(folder: Folder) -> None:
    folder.scan()
    (folder.models / "fast.yaml").unlink()
    folder.scan()
    assert folder.generations(after_s=2) == {}
    put(folder.models, "fast", ONE)
    assert folder.generations() == {"fast": 2}


def test_a_rename_is_a_new_model_and_a_deletion(folder: Folder) -> None:
    folder.scan()
    (folder.models / "fast.yaml").rename(folder.models / "swift.yaml")
    assert folder.generations() == {"fast": 1, "swift": 1}
    assert folder.generations(after_s=2) == {"swift": 1}


HELD = [
    ("one of one is a deletion", 1, 1, False),
    ("one of two is a deletion", 2, 1, False),
    ("two of two are held", 2, 2, True),
    ("two of three are held", 3, 2, True),
    ("two of four are a deletion", 4, 2, False),
    ("three of four are held", 4, 3, True),
]


@pytest.mark.parametrize(("of", "gone", "held"), [case[1:] for case in HELD], ids=[case[0] for case in HELD])
def test_many_files_gone_at_once_are_held(tmp_path: Path, of: int, gone: int, held: bool) -> None:  # noqa: FBT001
    folder = Folder(tmp_path, None, **{f"m{i}": ONE for i in range(of)})
    folder.scan()
    for i in range(gone):
        (folder.models / f"m{i}.yaml").unlink()
    folder.scan()
    reading = folder.scan(after_s=2)
    assert bool(reading.held) is held
    assert len(reading.catalog.models) == (of if held else of - gone)


def test_what_is_held_is_said_once_with_its_beginning(tmp_path: Path) -> None:
    folder = Folder(tmp_path, a=ONE, b=ONE, c=ONE)
    folder.scan()
    for name in "ab":
        (folder.models / f"{name}.yaml").unlink()
    (held,) = folder.scan().held
    assert (held.path, held.since) == ("models.d", folder.now)
    assert held.why == "2 of 3 files are gone at once; still in force: a, b"
    assert folder.scan(after_s=60).held == (held,)
    assert "orchestrator reload --confirm-removal" in report(folder.scan())


def test_files_that_return_end_the_hold(tmp_path: Path) -> None:
    folder = Folder(tmp_path, a=ONE, b=ONE)
    before = folder.scan().catalog
    folder.models.rename(tmp_path / "away")
    assert [held.why for held in folder.scan().held] == ["the folder is missing; still in force: a, b"]
    (tmp_path / "away").rename(folder.models)
    reading = folder.scan(after_s=60)
    assert not reading.held
    assert dict(reading.catalog.models) == dict(before.models)


def test_after_a_hold_the_rest_must_stay_away_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path, a=ONE, b=ONE)
    folder.scan()
    for name in "ab":
        (folder.models / f"{name}.yaml").unlink()
    folder.scan()
    folder.scan(after_s=60)
    put(folder.models, "a", ONE)
    assert set(folder.generations()) == {"a", "b"}
    assert set(folder.generations(after_s=2)) == {"a"}


def test_a_hold_forgets_how_long_an_absence_has_lasted(tmp_path: Path) -> None:
    folder = Folder(tmp_path, a=ONE, b=ONE, c=ONE)
    folder.scan()
    (folder.models / "a.yaml").unlink()
    folder.scan()
    (folder.models / "b.yaml").unlink()
    assert folder.scan(after_s=60).held
    put(folder.models, "b", ONE)
    assert set(folder.generations()) == {"a", "b", "c"}
    assert set(folder.generations(after_s=2)) == {"b", "c"}


def test_a_confirmed_removal_is_obeyed_at_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path, a=ONE, b=ONE)
    folder.scan()
    folder.models.rename(tmp_path / "away")
    folder.scan()
    (held,) = folder.scanner.confirm_removal()
    assert held.path == "models.d"
    reading = folder.scan()
    assert not reading.catalog.models
    assert not reading.held
    assert [problem.what for problem in reading.problems] == ["the folder is missing"]


def test_a_confirmation_is_for_what_was_held_only(tmp_path: Path) -> None:
    folder = Folder(tmp_path, a=ONE, b=ONE, c=ONE, d=ONE)
    folder.scan()
    assert folder.scanner.confirm_removal() == ()
    for name in "abc":
        (folder.models / f"{name}.yaml").unlink()
    assert len(folder.generations()) == 4
    folder.scanner.confirm_removal()
    put(folder.models, "a", ONE)
    assert set(folder.generations()) == {"a", "d"}


def test_a_single_model_is_held_too_when_the_folder_itself_is_gone(folder: Folder) -> None:
    folder.scan()
    folder.models.rename(folder.root / "away")
    for _ in range(3):
        assert folder.scan(after_s=60).held
    assert folder.generations() == {"fast": 1}


def test_a_models_folder_that_is_a_file_is_held(folder: Folder) -> None:
    folder.scan()
    folder.models.rename(folder.root / "away")
    folder.models.write_text("")
    assert [held.why for held in folder.scan().held] == [
        "the folder cannot be read: Not a directory; still in force: fast"
    ]


def test_no_such_folder(tmp_path: Path) -> None:
    reading = check(tmp_path / "none", {})
    assert [problem.what for problem in reading.problems] == ["there is no such folder"]
    (tmp_path / "conf").mkdir()
    assert [p.what for p in check(tmp_path / "conf", {}).problems] == ["the folder is missing"]


POLICY = "kind: routing\notherwise: [{models}]\n"
DEFAULT = "kind: routing\ndefault: true\notherwise: [fast]\n"


def test_a_policy_may_name_models_that_have_a_file(folder: Folder) -> None:
    put(folder.models, "broken", BROKEN)
    put(folder.policies, "p", POLICY.format(models="fast, broken"))
    reading = folder.scan()
    assert {problem.path for problem in reading.problems} == {"models.d/broken.yaml"}
    assert set(reading.catalog.policies) == {"p"}


def test_a_policy_that_names_a_missing_model_is_refused_at_the_word(folder: Folder) -> None:
    put(folder.policies, "p", POLICY.format(models="fast"))
    folder.scan()
    put(folder.policies, "p", POLICY.format(models="fast, fats"))
    reading = folder.scan()
    assert report(reading) == (
        "policies/p.yaml:2:19: otherwise: there is no model 'fats'\n"
        "  otherwise: [fast, fats]\n"
        "                    ^\n"
        "  fix: did you mean 'fast'?\n"
        "1 problem; policies/p.yaml stays at its last accepted version (generation 1)"
    )
    assert reading.catalog.policies["p"].value.otherwise == ("fast",)
    put(folder.models, "fats", ONE)
    reading = folder.scan()
    assert not reading.problems
    assert reading.catalog.policies["p"].generation == 2


def test_a_model_that_a_policy_names_may_still_be_deleted(folder: Folder) -> None:
    put(folder.models, "other", ONE)
    put(folder.policies, "p", POLICY.format(models="other, fast"))
    folder.scan()
    (folder.models / "other.yaml").unlink()
    assert not folder.scan().problems
    reading = folder.scan(after_s=2)
    assert set(reading.catalog.models) == {"fast"}
    assert [problem.where for problem in reading.problems] == ["policies/p.yaml:2:13"]
    assert reading.catalog.policies["p"].generation == 1


def test_two_new_defaults_are_both_refused(folder: Folder) -> None:
    put(folder.policies, "a", DEFAULT)
    put(folder.policies, "b", DEFAULT)
    reading = folder.scan()
    assert [problem.where for problem in reading.problems] == ["policies/a.yaml:2:10", "policies/b.yaml:2:10"]
    assert not reading.catalog.policies
    put(folder.policies, "b", POLICY.format(models="fast"))
    reading = folder.scan()
    assert not reading.problems
    assert reading.catalog.default_policy == reading.catalog.policies["a"].value


def test_the_default_in_force_stays_against_a_second_one(folder: Folder) -> None:
    put(folder.policies, "b", DEFAULT)
    folder.scan()
    put(folder.policies, "a", DEFAULT)
    reading = folder.scan()
    assert [problem.path for problem in reading.problems] == ["policies/a.yaml"]
    assert "policies/b.yaml is the default too" in reading.problems[0].what
    assert set(reading.catalog.policies) == {"b"}
    put(folder.policies, "b", BROKEN)
    assert set(folder.scan().catalog.policies) == {"b"}


def test_the_default_may_move_in_either_order(folder: Folder) -> None:
    put(folder.policies, "a", DEFAULT)
    put(folder.policies, "b", POLICY.format(models="fast"))
    folder.scan()
    put(folder.policies, "b", DEFAULT)
    assert folder.where() == ["policies/b.yaml:2:10"]
    put(folder.policies, "a", POLICY.format(models="fast"))
    reading = folder.scan()
    assert not reading.problems
    assert reading.catalog.default_policy == reading.catalog.policies["b"].value


def test_a_deleted_policy_is_gone(folder: Folder) -> None:
    put(folder.policies, "a", DEFAULT)
    folder.scan()
    (folder.policies / "a.yaml").unlink()
    folder.scan()
    assert not folder.scan(after_s=2).catalog.policies


def test_no_policies_folder_is_fine(tmp_path: Path) -> None:
    reading = check(start(tmp_path, fast=ONE), {})
    assert not reading.problems
    assert hints(reading) == ("no policy says `default: true`, so the model name `auto` is not served",)


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

    scanner = Scanner(tmp_path, env={}, read=read)
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


def test_what_is_stored_comes_back_the_same(folder: Folder, tmp_path: Path) -> None:
    (folder.root / "where").write_text("/models/a.gguf\n")
    put(folder.models, "fast", TWO)
    put(folder.models, "secret", "engine: llama-cpp\nsource: 'file:${file:where}'\n")
    put(folder.policies, "p", DEFAULT)
    folder.scan()
    put(folder.models, "fast", ONE)
    catalog = folder.scan().catalog
    rows = store(catalog)
    assert not any("/models/a.gguf" in row.text for row in rows)
    restored = restore(rows, tmp_path, {})
    assert dict(restored.models) == dict(catalog.models)
    assert dict(restored.policies) == dict(catalog.policies)


def test_a_restart_with_a_broken_file_starts_on_the_last_good_version(tmp_path: Path) -> None:
    first = Folder(tmp_path, fast=ONE, other=ONE)
    first.scan()
    put(first.models, "fast", TWO)
    rows = store(first.scan().catalog)
    put(first.models, "fast", BROKEN)
    (first.models / "other.yaml").unlink()

    second = Folder(tmp_path, restore(rows, tmp_path, {}))
    assert second.generations() == {"fast": 2, "other": 1}
    assert second.where() == ["models.d/fast.yaml:2:10"]
    assert second.generations(after_s=2) == {"fast": 2}
    put(second.models, "fast", ONE)
    assert second.generations() == {"fast": 3}


def test_a_stored_version_that_cannot_be_resolved_is_left_out(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.root / "where").write_text("/models/a.gguf\n")
    put(folder.models, "secret", "engine: llama-cpp\nsource: 'file:${file:where}'\n")
    rows = store(folder.scan().catalog)
    (folder.root / "where").unlink()
    restored = restore(rows, folder.root, {})
    assert set(restored.models) == {"fast"}
    assert "models.d/secret.yaml:2:9: cannot read where" in caplog.text
    again = Folder(folder.root, restored)
    assert again.where() == ["models.d/secret.yaml:2:9"]


def test_the_repositorys_own_files_are_valid() -> None:
    reading = check(Path(__file__).parents[2], {})
    assert report(reading) == ""
    assert hints(reading) == ()
    assert set(reading.catalog.models) == {"fast", "quality"}
    assert reading.catalog.default_policy is not None
