"""What people see."""

from orchestrator.config.show import render, report
from orchestrator.values.catalog import Catalog, Problem, Reading


def test_nothing_wrong_is_nothing_to_say() -> None:
    assert report(Reading(catalog=Catalog())) == ""


def test_a_problem_without_a_place_has_no_source_line() -> None:
    assert render(Problem(path="models.d/a.yaml", what="is a folder")) == "models.d/a.yaml: is a folder"


def test_what_could_move_the_cursor_is_not_passed_on() -> None:
    problem = Problem(
        path="a\x1b[2J.yaml", line=1, column=3, what="'\x07' is bad", fix="x\ry", excerpt="\ta\x1b"
    )
    assert render(problem) == "a�[2J.yaml:1:3: '�' is bad\n  \ta�\n  \t ^\n  fix: x�y"


def test_the_caret_stands_below_wide_and_combining_letters() -> None:
    problem = Problem(path="p", line=1, column=6, what="w", excerpt="温e\u0301: x")
    assert render(problem).splitlines()[2] == "  " + " " * 5 + "^"


def test_files_in_and_out_of_force_are_told_apart() -> None:
    problems = tuple(
        Problem(path=path, what="w") for path in ("models.d/new.yaml", "orchestrator.yaml", "/etc/none")
    )
    assert report(Reading(catalog=Catalog(), problems=problems)).splitlines()[-1] == (
        "3 problems; models.d/new.yaml is not in force; orchestrator.yaml is not taken up"
    )
