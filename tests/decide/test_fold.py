"""What each event does to the state."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.decide.fold import fold
from orchestrator.values.action import Drain, Load, Unload
from orchestrator.values.catalog import Catalog, Document, Held, Problem, Reading
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    LeaseReturned,
    Observed,
    ReloadAsked,
    ReplicaLoaded,
    ReplicaLost,
    ReplicaUnloaded,
    UnloadFailed,
)
from orchestrator.values.fact import Severity
from orchestrator.values.fleet import Phase
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import State
from tests.builders import NOW, model, policy, rejection, replica, running, spec, state

OLD, NEW = spec(location="tiny"), spec(location="small")
LATER = NOW + timedelta(seconds=5)


def read(
    *specs: ModelSpec, policies: tuple[Document[RoutingPolicy], ...] = (), generation: int = 1
) -> CatalogRead:
    catalog = Catalog(
        models={s.name: model(s, generation=generation) for s in specs},
        policies={doc.name: doc for doc in policies},
    )
    return CatalogRead(at=LATER, reading=Reading(catalog=catalog))


def lost(replica_id: str = "fast-1.1", *, terminal: bool = False, reason: str = "LoadFailed") -> ReplicaLost:
    return ReplicaLost(
        at=LATER,
        replica=replica_id,
        reason=reason,
        message="it broke",
        terminal=terminal,
        draw=0.0,
        fix="mend it",
    )


def condition(after: State, kind: ConditionType) -> tuple[Truth, str]:
    found = after.models["fast"].conditions[kind]
    return found.status, found.reason


def test_a_reading_that_changes_nothing_changes_nothing() -> None:
    first = fold(State(), read(OLD)).state
    again = fold(first, CatalogRead(at=LATER, reading=Reading(catalog=first.catalog)))
    assert again.state is first
    assert again.facts == ()


def test_a_new_file_is_a_fact() -> None:
    folded = fold(State(), read(OLD))
    assert folded.state.models["fast"].desired == OLD
    assert [fact.message for fact in folded.facts] == ["models.d/fast.yaml: new: demo:tiny (create)"]
    assert condition(folded.state, ConditionType.ACCEPTED) == (Truth.TRUE, "Valid")
    assert condition(folded.state, ConditionType.READY) == (Truth.FALSE, "NotLoaded")


def test_an_edit_is_a_fact_with_its_old_and_new_value_and_class() -> None:
    first = fold(State(), read(OLD)).state
    folded = fold(first, read(NEW, generation=2))
    assert [fact.message for fact in folded.facts] == [
        "models.d/fast.yaml: source: demo:tiny → demo:small (replace)"
    ]
    assert folded.facts[0].generation == 2


def test_a_change_of_a_policy_is_a_fact_of_the_daemon() -> None:
    folded = fold(State(), read(OLD, policies=(policy(),)))
    assert [(f.model, f.message) for f in folded.facts if f.message.startswith("policies")] == [
        ("", "policies/default.yaml: new: fast (create)")
    ]


def test_a_change_of_comments_only_replaces_the_document_and_says_nothing() -> None:
    first = fold(State(), read(OLD)).state
    document = replace(first.catalog.models["fast"], text="# a comment")
    commented = Reading(catalog=Catalog(models={"fast": document}))
    folded = fold(first, CatalogRead(at=LATER, reading=commented))
    assert folded.facts == ()
    assert folded.state.models["fast"].document is document


def test_a_problem_degrades_a_model_that_serves() -> None:
    serving = state(OLD, replica(OLD))
    broken = Problem(path="models.d/fast.yaml", line=3, column=9, what="'x' is not a number")
    after = fold(serving, replace(read(OLD), reading=Reading(catalog=serving.catalog, problems=(broken,))))
    assert condition(after.state, ConditionType.ACCEPTED) == (Truth.FALSE, "Invalid")
    assert condition(after.state, ConditionType.DEGRADED) == (Truth.TRUE, "Invalid")
    assert condition(after.state, ConditionType.READY) == (Truth.TRUE, "Serving")
    fact = after.facts[0]
    assert (fact.severity, fact.model, fact.message) == (
        Severity.WARNING,
        "fast",
        "models.d/fast.yaml:3:9: 'x' is not a number",
    )
    healed = fold(after.state, read(OLD))
    assert condition(healed.state, ConditionType.DEGRADED) == (Truth.FALSE, "AsAsked")
    assert [fact.reason for fact in healed.facts] == ["Valid"]


def test_a_hold_is_told_once() -> None:
    held = Held(path="models.d", why="half are gone at once", since=NOW, names=frozenset({"fast"}))
    first = fold(State(), read(OLD)).state
    reading = Reading(catalog=first.catalog, held=(held,))
    after = fold(first, CatalogRead(at=LATER, reading=reading))
    assert condition(after.state, ConditionType.ACCEPTED) == (Truth.FALSE, "Held")
    assert [fact.reason for fact in after.facts] == ["Held"]
    assert fold(after.state, CatalogRead(at=LATER, reading=reading)).facts == ()


def test_a_removed_file_leaves_a_record_only_while_replicas_remain() -> None:
    empty = fold(fold(State(), read(OLD)).state, read()).state
    assert empty.models == {}
    draining = fold(state(OLD, replica(OLD, phase="stopping"), stable=OLD), read())
    assert draining.state.models["fast"].document is None
    assert draining.state.models["fast"].stable is None
    gone = fold(draining.state, ReplicaUnloaded(at=LATER, replica="fast-1.1"))
    assert gone.state.models == {}
    assert [fact.reason for fact in gone.facts] == ["Unloaded"]


def test_an_edit_makes_a_rejected_launch_due_again_and_keeps_the_stable_ones_record() -> None:
    failing = state(
        NEW, stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=None), OLD.launch: rejection(OLD)}
    )
    edited = fold(failing, read(spec(location="small", context=99), generation=2))
    assert set(edited.state.models["fast"].rejected) == {OLD.launch}
    back = fold(failing, read(OLD, generation=2))
    assert back.state.models["fast"].rejected == {}


def test_an_issued_load_starts_a_replica_before_anything_is_performed() -> None:
    before = fold(State(boot=3), read(OLD)).state
    load = Load(model="fast", replica="fast-3.1", spec=OLD, why="its file asks for it")
    after = fold(before, ActionIssued(at=LATER, action=load))
    assert after.state.fleet.replicas["fast-3.1"].phase is Phase.STARTING
    assert after.state.started == 1
    assert after.state.models["fast"].attempted == OLD.launch
    assert condition(after.state, ConditionType.PROGRESSING) == (Truth.TRUE, "Loading")
    assert condition(after.state, ConditionType.READY) == (Truth.FALSE, "Loading")


def test_issued_ends_move_the_replica() -> None:
    draining = fold(
        state(NEW, replica(OLD), replica(NEW, id="fast-1.2")),
        ActionIssued(at=LATER, action=Drain(model="fast", replica="fast-1.1", why="replaced")),
    )
    moved = draining.state.fleet.replicas["fast-1.1"]
    assert (moved.phase, moved.since, moved.why) == (Phase.DRAINING, LATER, "replaced")
    unload = Unload(model="fast", replica="fast-1.1", engine="llama-cpp", why="done")
    stopping = fold(draining.state, ActionIssued(at=LATER, action=unload))
    assert stopping.state.fleet.replicas["fast-1.1"].phase is Phase.STOPPING


def test_a_stray_that_is_being_unloaded_is_forgotten() -> None:
    unload = Unload(model="", replica="who-1.1", engine="llama-cpp", why="nothing here started it")
    folded = fold(State(strays=(("llama-cpp", "who-1.1"),)), ActionIssued(at=LATER, action=unload))
    assert folded.state.strays == ()
    assert [fact.reason for fact in folded.facts] == ["Stray"]


def test_a_loaded_replica_is_ready_and_its_spec_stable() -> None:
    starting = state(OLD, replica(OLD, phase="starting"))
    after = fold(starting, ReplicaLoaded(at=LATER, replica="fast-1.1", running=running()))
    assert after.state.fleet.replicas["fast-1.1"].phase is Phase.READY
    assert after.state.models["fast"].stable == OLD
    assert condition(after.state, ConditionType.READY) == (Truth.TRUE, "Serving")
    assert condition(after.state, ConditionType.FETCHED) == (Truth.TRUE, "Present")
    assert after.facts[0].message == f"revision {OLD.revision} is ready after 5.00 s"


def test_a_late_answer_of_a_load_that_was_called_off_changes_nothing() -> None:
    stopping = state(NEW, replica(OLD, phase="stopping"))
    after = fold(stopping, ReplicaLoaded(at=LATER, replica="fast-1.1", running=running()))
    assert after.state.fleet.replicas["fast-1.1"].phase is Phase.STOPPING
    assert after.facts == ()
    assert fold(stopping, lost()).state.fleet.replicas["fast-1.1"].phase is Phase.STOPPING


def test_a_load_that_failed_leaves_the_old_one_serving_and_says_why() -> None:
    swapping = state(NEW, replica(OLD), replica(NEW, id="fast-1.2", phase="starting"), stable=OLD)
    after = fold(swapping, lost("fast-1.2", terminal=True, reason="SourceNotFound"))
    assert set(after.state.fleet.replicas) == {"fast-1.1"}
    rejected = after.state.models["fast"].rejected[NEW.launch]
    assert (rejected.retry_at, rejected.failures) == (None, 1)
    assert condition(after.state, ConditionType.READY) == (Truth.TRUE, "Serving")
    assert condition(after.state, ConditionType.DEGRADED) == (Truth.TRUE, "SourceNotFound")
    assert condition(after.state, ConditionType.STALLED) == (Truth.TRUE, "SourceNotFound")
    assert condition(after.state, ConditionType.FETCHED) == (Truth.FALSE, "SourceNotFound")
    stalled = after.state.models["fast"].conditions[ConditionType.STALLED].message
    assert stalled.startswith("it broke; fix: mend it; to try again: ")
    message = after.state.models["fast"].conditions[ConditionType.DEGRADED].message
    assert message == f"revision {NEW.revision} failed: it broke; still serving {OLD.revision}"


def test_the_first_crash_of_a_ready_replica_is_answered_at_once() -> None:
    after = fold(state(OLD, replica(OLD)), lost(reason="ReplicaDied"))
    rejected = after.state.models["fast"].rejected[OLD.launch]
    assert not rejected.blocks(LATER)
    assert after.facts[0].severity is Severity.WARNING


def test_a_draining_replica_that_ends_is_no_reason_to_reject_anything() -> None:
    after = fold(state(NEW, replica(OLD, phase="draining"), replica(NEW, id="fast-1.2")), lost())
    assert after.state.models["fast"].rejected == {}
    assert set(after.state.fleet.replicas) == {"fast-1.2"}


def test_an_unload_that_failed_is_tried_again_later() -> None:
    after = fold(
        state(None, replica(OLD, phase="stopping")),
        UnloadFailed(at=LATER, replica="fast-1.1", message="it will not"),
    )
    kept = after.state.fleet.replicas["fast-1.1"]
    assert (kept.phase, kept.not_before) == (Phase.DRAINING, LATER + timedelta(seconds=5))


def test_an_observation_finds_what_died_unnoticed() -> None:
    held = state(OLD, replica(OLD))
    after = fold(held, Observed(at=LATER, running={"llama-cpp": {}}, draw=0.0))
    assert after.state.fleet.replicas == {}
    assert [fact.reason for fact in after.facts] == ["ReplicaDied"]


def test_an_observation_older_than_the_replica_says_nothing_about_it() -> None:
    held = state(OLD, replica(OLD, since=LATER))
    after = fold(held, Observed(at=LATER, running={"llama-cpp": {}}, draw=0.0))
    assert set(after.state.fleet.replicas) == {"fast-1.1"}


@pytest.mark.parametrize("phase", ["starting", "stopping"])
def test_an_observation_leaves_actions_under_way_alone(phase: str) -> None:
    held = state(OLD, replica(OLD, phase=phase))
    after = fold(held, Observed(at=LATER, running={"llama-cpp": {}}, draw=0.0))
    assert set(after.state.fleet.replicas) == {"fast-1.1"}


def test_an_engine_that_did_not_answer_says_nothing() -> None:
    held = state(OLD, replica(OLD))
    assert fold(held, Observed(at=LATER, running={}, draw=0.0)).state.fleet == held.fleet


def test_an_observation_brings_memory_up_to_date_and_finds_strays() -> None:
    now_bigger = replace(running(), memory_bytes=77)
    seen = {"llama-cpp": {"fast-1.1": now_bigger, "who-1.1": running("who-1.1")}}
    after = fold(state(OLD, replica(OLD)), Observed(at=LATER, running=seen, draw=0.0))
    assert after.state.fleet.replicas["fast-1.1"].running == now_bigger
    assert after.state.strays == (("llama-cpp", "who-1.1"),)


def test_failures_are_forgotten_after_a_minute_of_being_ready() -> None:
    held = state(OLD, replica(OLD), rejected={OLD.launch: rejection(OLD), NEW.launch: rejection(NEW)})
    seen = {"llama-cpp": {"fast-1.1": running()}}
    early = fold(held, Observed(at=NOW + timedelta(seconds=59), running=seen, draw=0.0))
    assert set(early.state.models["fast"].rejected) == {OLD.launch, NEW.launch}
    steady = fold(held, Observed(at=NOW + timedelta(seconds=60), running=seen, draw=0.0))
    assert set(steady.state.models["fast"].rejected) == {NEW.launch}


def test_a_reload_makes_everything_due_again() -> None:
    held = state(OLD, rejected={OLD.launch: rejection(OLD, retry_at=None)})
    assert fold(held, ReloadAsked(at=LATER)).state.models["fast"].rejected == {}


def test_events_about_replicas_that_nobody_knows_change_nothing() -> None:
    held = state(OLD, replica(OLD))
    for event in (
        lost("who"),
        ReplicaLoaded(at=LATER, replica="who", running=running("who")),
        ReplicaUnloaded(at=LATER, replica="who"),
        UnloadFailed(at=LATER, replica="who", message=""),
        LeaseReturned(at=LATER, replica="fast-1.1"),
    ):
        assert fold(held, event).state is held


def test_a_condition_keeps_its_since_while_its_status_stays() -> None:
    first = fold(State(), read(OLD)).state
    edited = fold(first, replace(read(NEW, generation=2), at=LATER + timedelta(seconds=9))).state
    before, after = (s.models["fast"].conditions[ConditionType.ACCEPTED] for s in (first, edited))
    assert after.since == before.since
    assert after.observed_generation == 2
