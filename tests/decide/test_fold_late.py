"""Answers that come late, twice, or to nobody; and what else an event may meet."""

from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from orchestrator.decide.fold import UNLOAD_RETRY_S, fold
from orchestrator.decide.lifecycle import IllegalMove
from orchestrator.values.action import Action, Drain, Load, Unload
from orchestrator.values.catalog import Held, Problem
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.event import (
    ActionIssued,
    Event,
    LeaseReturned,
    Observed,
    ReloadAsked,
    ReplicaLoaded,
    ReplicaLost,
    ReplicaUnloaded,
    UnloadFailed,
)
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.fleet import Phase
from orchestrator.values.spec import ModelState
from tests.builders import NOW, rejection, replica, running, spec, state

OLD, NEW = spec(location="tiny"), spec(location="small")
LATER = NOW + timedelta(seconds=5)
ID = "fast-1.1"


def lost(*, draw: float = 0.0, terminal: bool = False) -> ReplicaLost:
    return ReplicaLost(
        at=LATER, replica=ID, reason="LoadFailed", message="it broke", terminal=terminal, draw=draw
    )


def test_a_load_that_ends_when_it_was_called_off_changes_no_phase_and_no_pointer() -> None:
    held = state(NEW, replica(OLD, phase="stopping", running=None))
    after = fold(held, ReplicaLoaded(at=LATER, replica=ID, running=running()))
    kept = after.state.fleet.replicas[ID]
    assert (kept.phase, kept.since, kept.running) == (Phase.STOPPING, NOW, running())
    assert after.state.models["fast"].stable is None
    assert after.facts == ()


def test_a_load_that_fails_when_it_was_called_off_changes_nothing_and_rejects_nothing() -> None:
    held = state(NEW, replica(OLD, phase="stopping"))
    after = fold(held, lost())
    assert after.state is held
    assert after.facts == ()


@pytest.mark.parametrize("wanted", [None, spec(state=ModelState.ABSENT)])
def test_what_gets_ready_when_nobody_wants_it_any_more_is_no_stable_revision(
    wanted: object,
) -> None:
    held = state(cast("None", wanted), replica(OLD, phase="starting"))
    after = fold(held, ReplicaLoaded(at=LATER, replica=ID, running=running()))
    assert after.state.fleet.replicas[ID].phase is Phase.READY
    assert after.state.models["fast"].stable is None
    assert [fact.reason for fact in after.facts] == ["Ready"]


def test_a_replica_whose_model_nobody_remembers_gets_ready_and_is_lost_without_harm() -> None:
    starting = replace(state(OLD, replica(OLD, phase="starting")), models={})
    loaded = fold(starting, ReplicaLoaded(at=LATER, replica=ID, running=running()))
    assert loaded.state.fleet.replicas[ID].phase is Phase.READY
    gone = fold(loaded.state, lost())
    assert (gone.state.fleet.replicas, gone.state.models) == ({}, {})
    assert [(f.reason, f.generation) for f in gone.facts] == [("LoadFailed", 0)]


def test_a_replica_that_gets_ready_says_how_long_it_took_and_is_the_stable_one() -> None:
    held = state(OLD, replica(OLD, phase="starting"))
    after = fold(held, ReplicaLoaded(at=LATER, replica=ID, running=running()))
    ready = after.state.fleet.replicas[ID]
    assert (ready.phase, ready.since, ready.running) == (Phase.READY, LATER, running())
    assert after.state.models["fast"].stable == OLD
    assert after.facts == (
        LifecycleFact(
            at=LATER,
            severity=Severity.NORMAL,
            reason="Ready",
            message=f"revision {OLD.revision} is ready after 5.00 s",
            model="fast",
            revision=OLD.revision,
            replica=ID,
            generation=1,
        ),
    )
    ready_now = after.state.models["fast"].conditions[ConditionType.READY]
    assert (ready_now.status, ready_now.since) == (Truth.TRUE, LATER)


def test_a_load_that_fails_is_rejected_until_its_draw_says() -> None:
    after = fold(state(OLD, replica(OLD, phase="starting")), lost(draw=0.5))
    assert after.state.models["fast"].rejected == {
        OLD.launch: rejection(OLD, first_at=LATER, last_at=LATER, retry_at=LATER + timedelta(seconds=0.75))
    }


def test_a_crash_of_a_replica_that_was_ready_long_enough_counts_from_one() -> None:
    steady = replica(OLD, since=LATER - timedelta(seconds=60))
    young = replica(OLD, since=LATER - timedelta(seconds=59))
    for crashed, failures in ((steady, 1), (young, 4)):
        held = state(OLD, crashed, rejected={OLD.launch: rejection(OLD, failures=3)})
        rejected = fold(held, lost()).state.models["fast"].rejected[OLD.launch]
        assert rejected.failures == failures


def test_an_observation_found_dead_spreads_its_retry_by_the_draw_of_the_observation() -> None:
    held = state(OLD, replica(OLD), rejected={OLD.launch: rejection(OLD)})
    after = fold(held, Observed(at=LATER, running={"llama-cpp": {}}, draw=0.5))
    rejected = after.state.models["fast"].rejected[OLD.launch]
    assert (rejected.reason, rejected.message) == ("ReplicaDied", "the engine no longer runs it")
    assert rejected.retry_at == LATER + timedelta(seconds=1.5)


def test_an_observation_at_the_very_instant_of_a_phase_says_nothing_about_it() -> None:
    held = state(OLD, replica(OLD))
    same = fold(held, Observed(at=NOW, running={"llama-cpp": {}}, draw=0.0))
    assert set(same.state.fleet.replicas) == {ID}
    newer = fold(held, Observed(at=NOW + timedelta(microseconds=1), running={"llama-cpp": {}}, draw=0.0))
    assert newer.state.fleet.replicas == {}


def test_a_draining_replica_that_is_gone_is_found_and_rejects_nothing() -> None:
    held = state(NEW, replica(OLD, phase="draining"), replica(NEW, id="fast-1.2"))
    seen = {"llama-cpp": {"fast-1.2": running("fast-1.2")}}
    after = fold(held, Observed(at=LATER, running=seen, draw=0.0))
    assert set(after.state.fleet.replicas) == {"fast-1.2"}
    assert after.state.models["fast"].rejected == {}
    assert [fact.reason for fact in after.facts] == ["ReplicaDied"]


def test_strays_are_those_of_the_newest_observation() -> None:
    held = replace(state(OLD), strays=(("llama-cpp", "old"),))
    after = fold(held, Observed(at=LATER, running={"mlx": {"new": running("new")}}, draw=0.0))
    assert after.state.strays == (("mlx", "new"),)


def test_a_replica_is_looked_for_in_its_own_engine() -> None:
    held = state(OLD, replica(OLD))
    seen = {"llama-cpp": {}, "mlx": {ID: running()}}
    after = fold(held, Observed(at=LATER, running=seen, draw=0.0))
    assert after.state.fleet.replicas == {}


def test_an_unload_that_failed_is_a_warning_and_waits() -> None:
    held = state(None, replica(OLD, phase="stopping"))
    after = fold(held, UnloadFailed(at=LATER, replica=ID, message="it will not"))
    kept = after.state.fleet.replicas[ID]
    assert (kept.phase, kept.since) == (Phase.DRAINING, LATER)
    assert kept.not_before == LATER + timedelta(seconds=UNLOAD_RETRY_S)
    assert [(f.severity, f.reason, f.message) for f in after.facts] == [
        (Severity.WARNING, "UnloadFailed", "it will not")
    ]


def test_an_unload_says_why_and_which_file_it_was() -> None:
    held = state(OLD, replica(OLD, phase="stopping", why="replaced"))
    after = fold(held, ReplicaUnloaded(at=LATER, replica=ID))
    assert [(f.message, f.generation) for f in after.facts] == [
        (f"revision {OLD.revision} is unloaded: replaced", 1)
    ]
    assert "fast" in after.state.models


def test_a_model_without_a_file_is_remembered_until_its_last_replica_is_gone() -> None:
    two = state(None, replica(OLD, phase="stopping"), replica(OLD, id="fast-1.2", phase="stopping"))
    one = fold(two, ReplicaUnloaded(at=LATER, replica=ID)).state
    assert set(one.models) == {"fast"}
    assert fold(one, ReplicaUnloaded(at=LATER, replica="fast-1.2")).state.models == {}


def test_every_issued_action_is_a_fact_with_its_reason() -> None:
    held = state(OLD, replica(OLD), replica(OLD, id="fast-1.2", phase="draining"))
    actions: list[tuple[Load | Drain | Unload, str, str]] = [
        (
            Load(model="fast", replica="fast-1.3", spec=NEW, why="w"),
            "Loading",
            f"revision {NEW.revision} loads: w",
        ),
        (Drain(model="fast", replica=ID, why="w"), "Draining", f"revision {OLD.revision}: w"),
        (
            Unload(model="fast", replica="fast-1.2", engine="llama-cpp", why="w"),
            "Unloading",
            f"revision {OLD.revision}: w",
        ),
    ]
    for action, reason, message in actions:
        (fact,) = fold(held, ActionIssued(at=LATER, action=action)).facts
        assert (fact.at, fact.reason, fact.message, fact.replica) == (LATER, reason, message, action.replica)
        assert (fact.model, fact.generation, fact.severity) == ("fast", 1, Severity.NORMAL)


def test_a_stray_that_is_unloaded_is_a_warning_and_the_others_stay() -> None:
    held = replace(state(OLD), strays=(("llama-cpp", "a"), ("llama-cpp", "b")))
    unload = Unload(model="", replica="a", engine="llama-cpp", why="who is that")
    after = fold(held, ActionIssued(at=LATER, action=unload))
    assert after.state.strays == (("llama-cpp", "b"),)
    assert after.facts == (
        LifecycleFact(
            at=LATER, severity=Severity.WARNING, reason="Stray", message="who is that", replica="a"
        ),
    )


def test_a_reload_makes_the_conditions_hopeful_again() -> None:
    given_up = state(OLD, rejected={OLD.launch: rejection(OLD, retry_at=None)})
    stalled = fold(given_up, Observed(at=LATER, running={}, draw=0.0)).state
    after = fold(stalled, ReloadAsked(at=LATER)).state.models["fast"]
    assert after.conditions[ConditionType.STALLED].status is Truth.FALSE
    assert after.conditions[ConditionType.READY].message == "it is about to load"


def test_a_lease_that_comes_back_changes_nothing_by_itself() -> None:
    held = state(OLD, replica(OLD, phase="draining"))
    assert fold(held, LeaseReturned(at=LATER, replica=ID)).state is held


def test_a_move_that_the_table_does_not_have_is_a_bug_and_is_not_hidden() -> None:
    with pytest.raises(IllegalMove, match="no move from ready on unload"):
        fold(
            state(OLD, replica(OLD)),
            ActionIssued(
                at=LATER, action=Unload(model="fast", replica=ID, engine="llama-cpp", why="too early")
            ),
        )


def test_an_event_or_an_action_of_an_unknown_kind_is_a_bug_and_is_not_passed_over() -> None:
    with pytest.raises(AssertionError):
        fold(state(OLD), cast("Event", "no event"))
    with pytest.raises(AssertionError):
        fold(state(OLD), ActionIssued(at=LATER, action=cast("Action", "no action")))


def test_an_observation_that_finds_nothing_new_leaves_every_record_as_it_is() -> None:
    held = state(OLD, replica(OLD), rejected={NEW.launch: rejection(NEW)})
    seen = {"llama-cpp": {ID: running()}}
    after = fold(held, Observed(at=NOW + timedelta(hours=1), running=seen, draw=0.0))
    assert after.state.models == held.models
    assert after.state.models["fast"] is held.models["fast"]
    assert after.facts == ()


def test_the_last_failure_of_what_is_steady_is_forgotten_and_the_conditions_follow() -> None:
    held = state(OLD, replica(OLD), rejected={OLD.launch: rejection(OLD, retry_at=None)})
    held = fold(held, ReplicaLoaded(at=NOW, replica="who", running=running("who"))).state
    seen = {"llama-cpp": {ID: running()}}
    after = fold(held, Observed(at=NOW + timedelta(seconds=60), running=seen, draw=0.0)).state.models["fast"]
    assert after.rejected == {}
    assert after.conditions[ConditionType.STALLED].status is Truth.FALSE


def test_trouble_with_the_file_of_another_model_is_none_of_this_one() -> None:
    other = "models.d/other.yaml"
    held = replace(
        state(OLD, replica(OLD)),
        problems=(Problem(path=other, what="no"),),
        held=(Held(path="models.d", why="gone", since=NOW, names=frozenset({"other"})),),
    )
    after = fold(held, ReloadAsked(at=LATER)).state.models["fast"]
    assert after.conditions[ConditionType.ACCEPTED].reason == "Valid"
