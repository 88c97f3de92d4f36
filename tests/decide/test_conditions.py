"""Every condition with every reason it can have."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.decide.conditions import FETCH_REASONS, conditions
from orchestrator.errors import SourceCorrupt, SourceNotFound
from orchestrator.values.catalog import Held, Problem
from orchestrator.values.condition import Condition, ConditionType, Truth
from orchestrator.values.fleet import Replica
from orchestrator.values.spec import ModelSpec, ModelState
from orchestrator.values.state import ModelRecord, Rejection, State
from tests.builders import NOW, model, rejection, replica, spec

ACCEPTED, FETCHED, READY = ConditionType.ACCEPTED, ConditionType.FETCHED, ConditionType.READY
PROGRESSING, DEGRADED, STALLED = ConditionType.PROGRESSING, ConditionType.DEGRADED, ConditionType.STALLED
OLD, NEW = spec(location="tiny"), spec(location="small")
TRUE, FALSE, UNKNOWN = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN
LATER = NOW + timedelta(seconds=5)
BROKEN = Problem(path="models.d/fast.yaml", line=3, column=9, what="'x' is not a number")
TWICE = Problem(path="models.d/fast.yaml", line=4, column=1, what="'y' is not a field")
GONE = Held(path="models.d", why="half of the files are gone at once", since=NOW, names=frozenset({"fast"}))
TRYING = (FALSE, "Trying", "what failed is tried again by itself")
NOTHING_FAILED = (FALSE, "NothingFailed", "nothing that is asked for has failed")
NOT_SERVING = (FALSE, "NotServing", "nothing serves; see Ready")
AS_ASKED = (FALSE, "AsAsked", "it is as its file asks")

Finding = tuple[Truth, str, str]


def record(wanted: ModelSpec | None = OLD, **changes: Any) -> ModelRecord:  # noqa: ANN401 (any field)
    return replace(
        ModelRecord(name="fast", document=model(wanted, generation=4) if wanted else None),
        **changes,
    )


def found(
    known: ModelRecord,
    *replicas: Replica,
    problems: tuple[Problem, ...] = (),
    held: tuple[Held, ...] = (),
) -> Mapping[ConditionType, Condition]:
    return conditions(State(), known, replicas, problems, held, LATER)


def r(value: ModelSpec, phase: str, why: str = "its file asks for it") -> Replica:
    return replica(value, phase=phase, why=why)


def failed(value: ModelSpec, **changes: Any) -> dict[str, Rejection]:  # noqa: ANN401 (any field)
    return {value.launch: rejection(value, **changes)}


Case = tuple[str, ConditionType, Mapping[ConditionType, Condition], Finding]

CASES: list[Case] = [
    ("a valid file is in force", ACCEPTED, found(record()), (TRUE, "Valid", "generation 4 is in force")),
    (
        "a broken file leaves the last version in force",
        ACCEPTED,
        found(record(), problems=(BROKEN,)),
        (
            FALSE,
            "Invalid",
            "models.d/fast.yaml:3:9: 'x' is not a number; generation 4 stays in force",
        ),
    ),
    (
        "of several problems the first is told, and how many more there are",
        ACCEPTED,
        found(record(), problems=(BROKEN, TWICE, TWICE)),
        (
            FALSE,
            "Invalid",
            "models.d/fast.yaml:3:9: 'x' is not a number (and 2 more); generation 4 stays in force",
        ),
    ),
    (
        "two problems are one and one more",
        ACCEPTED,
        found(record(), problems=(BROKEN, TWICE)),
        (
            FALSE,
            "Invalid",
            "models.d/fast.yaml:3:9: 'x' is not a number (and 1 more); generation 4 stays in force",
        ),
    ),
    (
        "a file that is gone is accepted as gone",
        ACCEPTED,
        found(record(None), r(OLD, "draining")),
        (TRUE, "Removed", "its file is gone"),
    ),
    (
        "a disappearance that is not obeyed leaves the last version in force",
        ACCEPTED,
        found(record(), held=(GONE,)),
        (FALSE, "Held", "half of the files are gone at once; generation 4 stays in force"),
    ),
    (
        "a problem is told before a hold",
        ACCEPTED,
        found(record(), problems=(BROKEN,), held=(GONE,)),
        (FALSE, "Invalid", "models.d/fast.yaml:3:9: 'x' is not a number; generation 4 stays in force"),
    ),
    (
        "nothing is fetched for nobody",
        FETCHED,
        found(record(None), r(OLD, "draining")),
        (UNKNOWN, "NotWanted", "nothing is fetched for a model that is not wanted"),
    ),
    (
        "weights that were not found",
        FETCHED,
        found(record(rejected=failed(OLD, reason="SourceNotFound", message="no such file"))),
        (FALSE, "SourceNotFound", "no such file"),
    ),
    (
        "weights that are corrupt",
        FETCHED,
        found(record(rejected=failed(OLD, reason="SourceCorrupt", message="wrong digest"))),
        (FALSE, "SourceCorrupt", "wrong digest"),
    ),
    (
        "another failure says nothing about the weights",
        FETCHED,
        found(record(rejected=failed(OLD))),
        (UNKNOWN, "NotChecked", "demo:tiny has not been looked at yet"),
    ),
    (
        "what was loaded is there",
        FETCHED,
        found(record(), r(OLD, "ready")),
        (TRUE, "Present", "demo:tiny is here and checked"),
    ),
    (
        "what serves meanwhile says nothing about the weights of the new one",
        FETCHED,
        found(record(NEW), r(OLD, "ready")),
        (UNKNOWN, "NotChecked", "demo:small has not been looked at yet"),
    ),
    (
        "a load under way has not shown the weights yet",
        FETCHED,
        found(record(), r(OLD, "starting")),
        (UNKNOWN, "NotChecked", "demo:tiny has not been looked at yet"),
    ),
    (
        "it serves",
        READY,
        found(record(), r(OLD, "ready")),
        (TRUE, "Serving", f"revision {OLD.revision} serves on replica fast-1.1"),
    ),
    ("its file is gone", READY, found(record(None)), (FALSE, "NotWanted", "its file is gone")),
    (
        "its file says absent",
        READY,
        found(record(spec(state=ModelState.ABSENT))),
        (FALSE, "NotWanted", "its file says state: absent"),
    ),
    ("it loads", READY, found(record(), r(OLD, "starting")), (FALSE, "Loading", "it is loading")),
    ("it does not load yet", READY, found(record()), (FALSE, "NotLoaded", "it is about to load")),
    (
        "it drains and nothing follows yet",
        READY,
        found(record(), r(OLD, "draining")),
        (FALSE, "NotLoaded", "it was unloaded: its file asks for it"),
    ),
    (
        "a load is progress",
        PROGRESSING,
        found(record(), r(OLD, "starting")),
        (TRUE, "Loading", f"revision {OLD.revision} loads: its file asks for it"),
    ),
    (
        "so is a drain",
        PROGRESSING,
        found(record(NEW), r(OLD, "draining", "replaced")),
        (TRUE, "Draining", f"revision {OLD.revision} finishes its requests: replaced"),
    ),
    (
        "and an unload",
        PROGRESSING,
        found(record(None), r(OLD, "stopping", "its file is gone")),
        (TRUE, "Unloading", f"revision {OLD.revision} unloads: its file is gone"),
    ),
    (
        "a load is told before a drain and an unload",
        PROGRESSING,
        found(record(NEW), r(OLD, "stopping"), r(OLD, "draining"), r(NEW, "starting", "an edit")),
        (TRUE, "Loading", f"revision {NEW.revision} loads: an edit"),
    ),
    (
        "a drain is told before an unload",
        PROGRESSING,
        found(record(NEW), r(OLD, "stopping"), r(NEW, "draining", "an edit")),
        (TRUE, "Draining", f"revision {NEW.revision} finishes its requests: an edit"),
    ),
    (
        "what is ready is settled",
        PROGRESSING,
        found(record(), r(OLD, "ready")),
        (FALSE, "Settled", "nothing is under way"),
    ),
    (
        "the old revision serves because the new one failed",
        DEGRADED,
        found(record(NEW, rejected=failed(NEW)), r(OLD, "ready")),
        (
            TRUE,
            "LoadFailed",
            f"revision {NEW.revision} failed: it broke; still serving {OLD.revision}",
        ),
    ),
    (
        "that is told before the problem of its file",
        DEGRADED,
        found(record(NEW, rejected=failed(NEW)), r(OLD, "ready"), problems=(BROKEN,)),
        (
            TRUE,
            "LoadFailed",
            f"revision {NEW.revision} failed: it broke; still serving {OLD.revision}",
        ),
    ),
    (
        "an old revision that serves while the new one loads is as asked",
        DEGRADED,
        found(record(NEW), r(OLD, "ready")),
        AS_ASKED,
    ),
    (
        "an earlier failure of what serves now is over",
        DEGRADED,
        found(record(rejected=failed(OLD)), r(OLD, "ready")),
        AS_ASKED,
    ),
    (
        "it serves an earlier version of a broken file",
        DEGRADED,
        found(record(), r(OLD, "ready"), problems=(BROKEN,)),
        (TRUE, "Invalid", "models.d/fast.yaml:3:9: 'x' is not a number; generation 4 stays in force"),
    ),
    (
        "it serves although its file is gone",
        DEGRADED,
        found(record(), r(OLD, "ready"), held=(GONE,)),
        (TRUE, "Held", "half of the files are gone at once; generation 4 stays in force"),
    ),
    ("what does not serve is not degraded", DEGRADED, found(record(), problems=(BROKEN,)), NOT_SERVING),
    (
        "nor is what failed and does not serve",
        DEGRADED,
        found(record(NEW, rejected=failed(NEW))),
        NOT_SERVING,
    ),
    (
        "what was given up says the way out",
        STALLED,
        found(record(rejected=failed(OLD, reason="CrashLoop", retry_at=None))),
        (TRUE, "CrashLoop", "it broke; to try again: edit its file, or run: orchestrator reload"),
    ),
    ("what waits for its retry is not stalled", STALLED, found(record(rejected=failed(OLD))), TRYING),
    (
        "another launch that was given up does not count",
        STALLED,
        found(record(rejected=failed(NEW, retry_at=None))),
        NOTHING_FAILED,
    ),
    (
        "nor does one of a model that nobody wants",
        STALLED,
        found(record(None, rejected=failed(OLD, retry_at=None))),
        NOTHING_FAILED,
    ),
]


@pytest.mark.parametrize(("kind", "all_", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_condition(kind: ConditionType, all_: Mapping[ConditionType, Condition], expected: Finding) -> None:
    condition = all_[kind]
    assert (condition.status, condition.reason, condition.message) == expected


def test_every_type_is_there_under_its_own_name() -> None:
    all_ = found(record())
    assert list(all_) == list(ConditionType)
    assert [condition.type for condition in all_.values()] == list(ConditionType)


@pytest.mark.parametrize(("known", "generation"), [(record(), 4), (record(None), 0)])
def test_the_generation_is_that_of_the_file(known: ModelRecord, generation: int) -> None:
    assert {c.observed_generation for c in found(known).values()} == {generation}


def test_since_is_kept_while_the_status_stays_and_moves_with_it() -> None:
    before = record(conditions=conditions(State(), record(), [], [], [], NOW))
    after = found(before, r(OLD, "starting"))
    assert after[READY].reason != before.conditions[READY].reason
    assert after[READY].since == NOW
    assert after[PROGRESSING].status is not before.conditions[PROGRESSING].status
    assert after[PROGRESSING].since == LATER


def test_a_new_condition_begins_now() -> None:
    assert {c.since for c in found(record()).values()} == {LATER}


def test_the_reasons_of_fetching_are_errors_of_the_tree() -> None:
    assert {SourceNotFound.__name__, SourceCorrupt.__name__} == FETCH_REASONS
