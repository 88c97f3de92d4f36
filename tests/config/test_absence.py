"""When a file that is gone counts as deleted, and when that is held."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.config.absence import Absences
from orchestrator.config.show import report
from tests.builders import NOW
from tests.config.files import ONE, Folder, put


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


def test_a_disk_taken_away_is_no_deletion() -> None:
    """The mount point stays, empty and readable, but on another device."""
    absences = Absences("models.d")
    assert not absences.judge({"a"}, {"a"}, lost="", device=1, now=NOW)
    for _ in range(2):
        assert not absences.judge({"a"}, set(), lost="", device=2, now=NOW + timedelta(hours=1))
        assert absences.held is not None
        assert "on another device than before" in absences.held.why
    assert not absences.judge({"a"}, {"a"}, lost="", device=2, now=NOW)
    assert absences.held is None


def test_a_clock_set_back_does_not_prolong_an_absence() -> None:
    absences = Absences("models.d")
    absences.judge({"a"}, set(), lost="", device=1, now=NOW + timedelta(days=1))
    assert not absences.judge({"a"}, set(), lost="", device=1, now=NOW)
    assert absences.judge({"a"}, set(), lost="", device=1, now=NOW + timedelta(seconds=2)) == {"a"}
