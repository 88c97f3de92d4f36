"""What only several files together can get wrong."""

from pathlib import Path

from orchestrator.config.check import check, hints
from orchestrator.config.show import report
from tests.config.engines import ENGINES
from tests.config.files import BROKEN, DEFAULT, ONE, POLICY, Folder, put, start


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


def test_the_fix_lists_the_models_or_says_how_to_add_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path, fast=ONE)
    put(folder.policies, "p", POLICY.format(models="zzz"))
    assert folder.scan().problems[0].fix == "use fast; or add models.d/zzz.yaml"
    (folder.models / "fast.yaml").unlink()
    folder.scan()
    (found,) = folder.scan(after_s=2).problems
    assert found.fix == "add models.d/zzz.yaml, or name another model"


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
    reading = check(start(tmp_path, fast=ONE), {}, ENGINES)
    assert not reading.problems
    assert hints(reading) == ("no policy says `default: true`, so the model name `auto` is not served",)
