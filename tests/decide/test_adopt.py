"""What a reading changes: whose record is touched, and what is told of it."""

from dataclasses import replace
from datetime import timedelta

from orchestrator.decide.adopt import adopt
from orchestrator.values.catalog import Catalog, Document, Held, Problem, Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, model, policy, rejection, replica, spec, state

LATER = NOW + timedelta(seconds=5)
OLD, NEW = spec(location="tiny"), spec(location="small")
BROKEN = Problem(path="models.d/fast.yaml", line=3, column=9, what="'x' is not a number")
GONE = Held(path="models.d", why="half of the files are gone at once", since=NOW, names=frozenset({"fast"}))


def reading(
    *models: Document[ModelSpec], problems: tuple[Problem, ...] = (), held: tuple[Held, ...] = ()
) -> CatalogRead:
    catalog = Catalog(models={m.name: m for m in models})
    return CatalogRead(at=LATER, reading=Reading(catalog=catalog, problems=problems, held=held))


def two() -> tuple[Document[ModelSpec], Document[ModelSpec], State]:
    """Two models in force, with their documents."""
    fast, quality = model(spec("fast")), model(spec("quality"))
    before = State(
        catalog=Catalog(models={"fast": fast, "quality": quality}),
        models={
            "fast": ModelRecord(name="fast", document=fast),
            "quality": ModelRecord(name="quality", document=quality),
        },
    )
    return fast, quality, before


def brief(facts: tuple[LifecycleFact, ...]) -> list[tuple[str, str, str, str, int]]:
    return [(str(f.severity), f.reason, f.model, f.message, f.generation) for f in facts]


def test_the_same_reading_again_changes_nothing() -> None:
    fast, quality, before = two()
    assert adopt(before, reading(fast, quality)) == (before, (), ())


def test_only_the_model_that_was_edited_is_touched() -> None:
    fast, quality, before = two()
    edited = model(spec("fast", location="small"), generation=2)
    after, touched, facts = adopt(before, reading(edited, quality))
    assert touched == ("fast",)
    assert after.models["fast"].document is edited
    assert after.models["quality"] is before.models["quality"]
    assert after.catalog.models["fast"] is edited
    assert brief(facts) == [
        ("normal", "Accepted", "fast", "models.d/fast.yaml: source: demo:tiny → demo:small (replace)", 2)
    ]
    assert facts[0].at == LATER
    assert fast is before.models["fast"].document


def test_a_change_names_its_line() -> None:
    edited = replace(model(NEW, generation=2), lines={"source": 2})
    _, _, facts = adopt(state(OLD), reading(edited))
    assert facts[0].message == "models.d/fast.yaml:2: source: demo:tiny → demo:small (replace)"


def test_a_removed_model_without_replicas_is_forgotten_and_told() -> None:
    _, quality, before = two()
    after, touched, facts = adopt(before, reading(quality))
    assert set(after.models) == {"quality"}
    assert touched == ()
    assert brief(facts) == [
        ("normal", "Accepted", "fast", "models.d/fast.yaml: removed (was demo:tiny) (remove)", 0)
    ]


def test_a_removed_model_with_replicas_keeps_a_record_and_no_hopes() -> None:
    before = state(OLD, replica(OLD), stable=OLD, rejected={NEW.launch: rejection(NEW)}, attempted=OLD.launch)
    after, touched, _ = adopt(before, reading())
    assert after.models["fast"] == ModelRecord(name="fast", attempted=OLD.launch)
    assert touched == ("fast",)


def test_a_policy_is_told_without_a_model() -> None:
    before, default = state(OLD), policy()
    read = CatalogRead(
        at=LATER, reading=Reading(catalog=replace(before.catalog, policies={"default": default}))
    )
    after, touched, facts = adopt(before, read)
    assert after.catalog.default_policy == default.value
    assert touched == ()
    assert brief(facts) == [("normal", "Accepted", "", "policies/default.yaml: new: fast (create)", 0)]


def test_a_problem_is_told_once_for_its_model() -> None:
    fast, quality, before = two()
    after, touched, facts = adopt(before, reading(fast, quality, problems=(BROKEN,)))
    assert touched == ("fast",)
    assert brief(facts) == [
        ("warning", "NotAccepted", "fast", "models.d/fast.yaml:3:9: 'x' is not a number", 0)
    ]
    again = adopt(after, reading(fast, quality, problems=(BROKEN,)))
    assert again == (after, (), ())


def test_another_problem_is_told_and_the_known_one_is_not_told_again() -> None:
    fast, quality, before = two()
    first, _, _ = adopt(before, reading(fast, quality, problems=(BROKEN,)))
    other = Problem(path="models.d/quality.yaml", what="the file is empty")
    _, touched, facts = adopt(first, reading(fast, quality, problems=(BROKEN, other)))
    assert touched == ("quality",)
    assert brief(facts) == [
        ("warning", "NotAccepted", "quality", "models.d/quality.yaml: the file is empty", 0)
    ]


def test_a_hold_is_told_once_and_touches_the_models_that_it_names() -> None:
    fast, quality, before = two()
    first, touched, facts = adopt(before, reading(fast, quality, held=(GONE,)))
    assert touched == ("fast",)
    assert brief(facts) == [("warning", "Held", "", "models.d: half of the files are gone at once", 0)]
    more = replace(GONE, names=frozenset({"fast", "quality"}))
    second, touched, facts = adopt(first, reading(fast, quality, held=(more,)))
    assert touched == ("fast", "quality")
    assert [fact.reason for fact in facts] == ["Held"]
    _, _, facts = adopt(second, reading(fast, quality, problems=(BROKEN,), held=(more,)))
    assert [fact.reason for fact in facts] == ["NotAccepted"], "what else happens does not tell it again"


def test_trouble_with_a_file_that_no_model_has_is_told_without_one() -> None:
    fast, quality, before = two()
    unknown = Problem(path="models.d/new.yaml", line=1, column=1, what="no")
    folder = Held(path="models.d", why="the folder is gone", since=NOW)
    _, touched, facts = adopt(before, reading(fast, quality, problems=(unknown,), held=(folder,)))
    assert touched == ()
    assert [(f.reason, f.model) for f in facts] == [("NotAccepted", ""), ("Held", "")]


def test_the_end_of_all_problems_is_told_and_touches_their_models() -> None:
    fast, quality, before = two()
    other = replace(BROKEN, path="models.d/quality.yaml")
    bad, _, _ = adopt(before, reading(fast, quality, problems=(BROKEN, other)))
    better, touched, facts = adopt(bad, reading(fast, quality, problems=(other,)))
    assert (touched, facts) == (("fast",), ())
    _, touched, facts = adopt(better, reading(fast, quality))
    assert touched == ("quality",)
    assert brief(facts) == [("normal", "Valid", "", "every file is valid again", 0)]


def test_a_file_that_was_broken_when_nothing_else_was_known_is_told() -> None:
    _, _, facts = adopt(State(), reading(problems=(BROKEN,)))
    assert [(f.severity, f.model) for f in facts] == [(Severity.WARNING, "")]


def rejected_after(before: State, document: Document[ModelSpec]) -> set[str]:
    after, _, _ = adopt(before, reading(document))
    return set(after.models["fast"].rejected)


def test_an_edit_of_meaning_makes_what_was_rejected_due_again() -> None:
    before = state(NEW, rejected={NEW.launch: rejection(NEW, retry_at=None)})
    assert rejected_after(before, model(replace(NEW, parallel=9), generation=2)) == set()
    assert rejected_after(before, model(NEW, generation=2)) == set()


def test_a_change_of_comments_does_not() -> None:
    before = state(NEW, rejected={NEW.launch: rejection(NEW, retry_at=None)})
    assert rejected_after(before, replace(model(NEW), text="# new")) == {NEW.launch}


def test_the_stable_launch_keeps_its_failures_until_it_is_asked_for_itself() -> None:
    rejected = {OLD.launch: rejection(OLD, retry_at=None)}
    before = state(NEW, stable=OLD, rejected=rejected)
    other = spec(location="other")
    assert rejected_after(before, model(other, generation=2)) == {OLD.launch}
    assert rejected_after(before, model(OLD, generation=2)) == set()


def test_what_is_stable_and_attempted_survives_an_edit() -> None:
    before = state(OLD, stable=OLD, attempted=OLD.launch)
    after, _, _ = adopt(before, reading(model(NEW, generation=2)))
    record = after.models["fast"]
    assert (record.stable, record.attempted) == (OLD, OLD.launch)
