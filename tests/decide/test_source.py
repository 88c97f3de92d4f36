"""What becomes of a source: fetched, moved, deleted, each as one event."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.decide.fold import fold
from orchestrator.values.action import CallOff, Fetch, Remove
from orchestrator.values.catalog import Reading
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    Event,
    Fetched,
    FetchFailed,
    ReloadAsked,
    Removed,
    RemoveFailed,
    SourceMoved,
)
from orchestrator.values.fact import Severity
from orchestrator.values.memory import RAM, Footprint
from orchestrator.values.spec import Apply, ModelSpec, ModelState, Source, Update
from orchestrator.values.state import Rejection, Resolution, State
from tests.builders import NOW, catalog, rejection, replica, spec, state

LATER = NOW + timedelta(seconds=5)
TAG = Source(written="hf:tag", scheme="hf", location="tag")
KNOWN = Resolution(written="hf:tag", resolved="r1", newest="r1")
FOOTPRINT = Footprint(estimated={RAM: 7}, engine_version="1")


def followed(apply: Apply = Apply.NOTIFY, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    return spec(source=changes.pop("source", TAG), update=Update(check_every_s=60.0, apply=apply), **changes)


OLD = followed()
BARE = replace(state(OLD), fetched=frozenset())


def after(held: State, *events: Event) -> State:
    for event in events:
        held = fold(held, event).state
    return held


def said(held: State, event: Event) -> list[tuple[str, str]]:
    return [(fact.reason, fact.message) for fact in fold(held, event).facts]


def issued(action: Fetch | CallOff | Remove) -> ActionIssued:
    return ActionIssued(at=NOW, action=action)


def arrived(of: ModelSpec = OLD, **changes: Any) -> Fetched:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "at": LATER,
        "model": of.name,
        "launch": of.launch,
        "resolved": "r1",
        "size_bytes": 3 << 30,
        "footprint": FOOTPRINT,
    }
    return Fetched(**(fields | changes))


def failed(of: ModelSpec = OLD, **changes: Any) -> FetchFailed:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "at": LATER,
        "model": of.name,
        "launch": of.launch,
        "reason": "SourceUnreachable",
        "message": "no network",
        "terminal": False,
        "draw": 0.0,
        "fix": "look at the cable",
        "lasting": True,
    }
    return FetchFailed(**(fields | changes))


def moved(to: str) -> SourceMoved:
    return SourceMoved(at=LATER, model="fast", newest=to)


def known(held: State) -> Resolution | None:
    return held.models["fast"].resolution


def status(held: State, kind: ConditionType) -> tuple[Truth, str]:
    found = held.models["fast"].conditions[kind]
    return found.status, found.reason


FETCHING = after(BARE, issued(Fetch(model="fast", spec=OLD, why="w")))


def test_a_fetch_is_under_way_from_the_moment_it_is_issued() -> None:
    assert FETCHING.fetching == {"fast": OLD.launch}
    assert said(BARE, issued(Fetch(model="fast", spec=OLD, why="w"))) == [
        ("Fetching", "hf:tag is fetched and checked: w")
    ]
    assert status(FETCHING, ConditionType.FETCHED) == (Truth.FALSE, "Fetching")
    assert status(FETCHING, ConditionType.PROGRESSING) == (Truth.TRUE, "Fetching")


def test_what_has_arrived_is_known_with_what_it_means_and_takes() -> None:
    held = after(FETCHING, arrived())
    (desired,) = (record.desired for record in held.models.values())
    assert desired is not None
    assert desired.source.resolved == "r1"
    assert desired.launch != OLD.launch, "what can move is another revision for each thing that it meant"
    assert held.fetching == {}
    assert held.fetched == {desired.launch}
    assert held.footprints == {desired.launch: FOOTPRINT}
    assert known(held) == KNOWN
    assert said(FETCHING, arrived()) == [("Fetched", "hf:tag is here, 3.0 GiB")]
    assert said(FETCHING, arrived(size_bytes=0)) == [("Fetched", "hf:tag is here")]


def test_what_cannot_move_keeps_its_revision() -> None:
    held = after(FETCHING, arrived(resolved=""))
    assert known(held) is None
    assert held.fetched == {OLD.launch}


@pytest.mark.parametrize(
    ("case", "before", "resolved", "expected"),
    [
        ("nothing was known", None, "r1", KNOWN),
        (
            "the same again leaves a newer one known",
            replace(KNOWN, newest="r2"),
            "r1",
            replace(KNOWN, newest="r2"),
        ),
        (
            "something else is the newest that is known",
            replace(KNOWN, newest="r2"),
            "r3",
            Resolution(written="hf:tag", resolved="r3", newest="r3"),
        ),
        ("another source was known", Resolution(written="hf:x", resolved="r1", newest="x2"), "r1", KNOWN),
    ],
)
def test_what_a_source_means(
    case: str, before: Resolution | None, resolved: str, expected: Resolution
) -> None:
    held = replace(BARE, models={"fast": replace(BARE.models["fast"], resolution=before)})
    desired = held.models["fast"].desired
    assert desired is not None
    assert known(after(held, arrived(desired, resolved=resolved))) == expected, case


def test_a_fetch_for_what_is_not_asked_for_any_more_says_nothing_and_is_here_all_the_same() -> None:
    other = followed(source=replace(TAG, location="other", written="hf:other"))
    for late in (arrived(other), arrived(replace(OLD, name="gone"))):
        held = after(FETCHING, late)
        assert known(held) is None
        assert late.launch in held.fetched
        assert said(FETCHING, late) == [] or late.launch == OLD.launch


def test_an_older_fetch_does_not_end_the_newer_one() -> None:
    other = followed(source=replace(TAG, location="other", written="hf:other"))
    assert after(FETCHING, arrived(other)).fetching == {"fast": OLD.launch}
    assert after(FETCHING, failed(other)) == FETCHING


def test_a_failed_fetch_is_a_rejection_that_says_so() -> None:
    held = after(FETCHING, failed())
    (found,) = held.models["fast"].rejected.values()
    assert (found.reason, found.message, found.fix) == (
        "SourceUnreachable",
        "no network",
        "look at the cable",
    )
    assert (found.fetching, found.lasting, found.failures) == (True, True, 1)
    assert found.retry_at is not None
    assert held.fetching == {}
    assert status(held, ConditionType.FETCHED) == (Truth.FALSE, "SourceUnreachable")
    (fact,) = fold(FETCHING, failed()).facts
    assert (fact.reason, fact.message, fact.severity) == ("SourceUnreachable", "no network", Severity.WARNING)


def test_a_failure_of_what_is_not_asked_for_any_more_rejects_nothing() -> None:
    held = replace(FETCHING, fetching={"fast": "another"})
    held = after(held, failed(launch="another"))
    assert held.models["fast"].rejected == {}
    assert held.fetching == {}


def test_a_cause_that_lasts_is_told_once() -> None:
    once = after(FETCHING, failed())
    again = Fetch(model="fast", spec=OLD, why="w")
    assert said(once, issued(again)) == []
    trying = after(once, issued(again))
    assert said(trying, failed()) == []
    assert trying.fetching == {"fast": OLD.launch}
    (counted,) = after(trying, failed()).models["fast"].rejected.values()
    assert counted.failures == 2
    assert said(trying, failed(message="no disk")) == [("SourceUnreachable", "no disk")]


def test_another_cause_is_told_every_time() -> None:
    once = after(FETCHING, failed(lasting=False))
    trying = after(once, issued(Fetch(model="fast", spec=OLD, why="w")))
    assert len(said(trying, failed(lasting=False))) == 1


def test_what_has_arrived_forgets_the_failures_of_fetching_it_and_no_others() -> None:
    def rejections(*, fetching: bool) -> dict[str, Rejection]:
        held = replace(FETCHING.models["fast"], rejected={OLD.launch: rejection(OLD, fetching=fetching)})
        return dict(after(replace(FETCHING, models={"fast": held}), arrived()).models["fast"].rejected)

    assert rejections(fetching=True) == {}
    assert list(rejections(fetching=False)) == [OLD.launch]


def test_a_call_off_ends_it_in_the_books_at_once() -> None:
    assert after(FETCHING, issued(CallOff(model="fast", why="w"))).fetching == {}
    late = after(BARE, failed())
    assert (late.models["fast"].rejected, late.fetching, said(BARE, failed())) == ({}, {}, [])


def told(apply: Apply = Apply.NOTIFY, resolution: Resolution | None = KNOWN) -> State:
    return state(followed(apply), resolution=resolution)


TAKES = "hf:tag has a newer version, which takes over"
WOULD = "hf:tag has a newer version; `update: {apply: rollout}` would take it"
MOVES: list[tuple[str, State, str, Resolution | None, list[str]]] = [
    (
        "a rollout means it from now on",
        told(Apply.ROLLOUT),
        "r2",
        replace(KNOWN, resolved="r2", newest="r2"),
        [TAKES],
    ),
    ("a notice only tells of it", told(), "r2", replace(KNOWN, newest="r2"), [WOULD]),
    ("once", told(resolution=replace(KNOWN, newest="r2")), "r2", replace(KNOWN, newest="r2"), []),
    ("going back is no news", told(resolution=replace(KNOWN, newest="r2")), "r1", KNOWN, []),
    ("`never` does not even tell", told(Apply.NEVER), "r2", KNOWN, []),
    ("an answer that says nothing changes nothing", told(Apply.ROLLOUT), "", KNOWN, []),
    ("what did not move is no news", told(Apply.ROLLOUT), "r1", KNOWN, []),
    ("what was never fetched cannot have moved", told(resolution=None), "r2", None, []),
    (
        "an answer about another source changes nothing",
        told(resolution=replace(KNOWN, written="hf:x")),
        "r2",
        replace(KNOWN, written="hf:x"),
        [],
    ),
]


@pytest.mark.parametrize(
    ("held", "to", "expected", "facts"), [case[1:] for case in MOVES], ids=[case[0] for case in MOVES]
)
def test_a_source_that_may_have_moved(
    held: State, to: str, expected: Resolution | None, facts: list[str]
) -> None:
    assert known(after(held, moved(to))) == expected
    assert [message for _, message in said(held, moved(to))] == facts


def test_a_model_that_is_gone_has_no_source() -> None:
    assert after(State(), moved("r2")) == State()
    gone = state(None, replica(OLD), resolution=KNOWN)
    assert known(after(gone, moved("r2"))) == KNOWN


@pytest.mark.parametrize(
    ("apply", "drifted", "resolved"),
    [
        (Apply.NOTIFY, (Truth.TRUE, "UpdateFound"), "r1"),
        (Apply.NEVER, (Truth.FALSE, "AsFetched"), "r1"),
        (Apply.ROLLOUT, (Truth.FALSE, "AsFetched"), "r2"),
    ],
)
def test_an_edit_of_what_becomes_of_a_newer_version_holds_for_the_one_that_is_known(
    apply: Apply, drifted: tuple[Truth, str], resolved: str
) -> None:
    held = after(
        told(),
        moved("r2"),
        CatalogRead(at=LATER, reading=Reading(catalog=catalog(followed(apply), generation=2))),
    )
    assert status(held, ConditionType.DRIFTED) == drifted
    desired = held.models["fast"].desired
    assert desired is not None
    assert desired.source.resolved == resolved


GONE = spec(state=ModelState.ABSENT)
REMOVE = Remove(model="fast", spec=GONE, keep=(), why="w")


def test_a_removal_is_under_way_and_then_done_and_what_it_freed_is_told() -> None:
    removing = after(state(GONE), issued(REMOVE))
    assert removing.removing == {"fast"}
    done = Removed(at=LATER, model="fast", freed_bytes=2 << 30)
    held = after(removing, done)
    assert not held.removing
    assert held.removed == {"fast"}
    assert said(removing, done) == [("Removed", "2.0 GiB freed on the disk")]
    assert said(removing, replace(done, freed_bytes=0)) == []


def test_what_was_deleted_is_not_here_any_more_unless_others_have_it() -> None:
    held = replace(state(GONE), fetched=frozenset({"x", "y"}))
    assert after(held, Removed(at=LATER, model="fast", freed_bytes=1)).fetched == frozenset()
    other = replace(held, models={**held.models, "b": replace(state(OLD).models["fast"], name="b")})
    other = replace(other, fetched=frozenset({"x", OLD.launch}))
    assert after(other, Removed(at=LATER, model="fast", freed_bytes=1)).fetched == {OLD.launch}


def test_a_removal_that_failed_is_told_and_tried_again_when_somebody_asks() -> None:
    removing = after(state(GONE), issued(REMOVE))
    event = RemoveFailed(at=LATER, model="fast", message="it is busy")
    held = after(removing, event)
    assert not held.removing
    assert held.removed == {"fast"}
    (fact,) = fold(removing, event).facts
    assert (fact.reason, fact.message, fact.severity) == ("RemoveFailed", "it is busy", Severity.WARNING)
    assert after(held, ReloadAsked(at=LATER)).removed == frozenset()
