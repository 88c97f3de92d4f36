"""The preview: the steps in words, and that they are the ones that the loop would take."""

from dataclasses import replace
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from orchestrator.decide.fold import fold
from orchestrator.decide.plan import plan
from orchestrator.decide.preview import Step, preview
from orchestrator.decide.serving import routing_table
from orchestrator.values.action import Drain, Load, Remove, Unload
from orchestrator.values.catalog import Catalog, Reading
from orchestrator.values.demand import NO_DEMAND
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    Event,
    Removed,
    ReplicaLoaded,
    ReplicaUnloaded,
)
from orchestrator.values.fleet import Fleet, Phase, Replica
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec, ModelState, Source
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, fetched, model, rejection, replica, running, spec, state

OLD, NEW = spec(location="tiny"), spec(location="small")
LIMITS = Limits(loads_at_once=2, drain_s=30)


def reading(*specs: ModelSpec, generation: int = 1) -> CatalogRead:
    models = {s.name: model(s, generation=generation) for s in specs}
    return CatalogRead(at=NOW, reading=Reading(catalog=Catalog(models=models)))


def same(held: State) -> CatalogRead:
    """A reading that changes nothing."""
    return CatalogRead(at=NOW, reading=Reading(catalog=held.catalog))


def brief(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.action, step.replica) for step in steps]


def r(value: ModelSpec, number: int, phase: str = "ready") -> Replica:
    return replica(value, id=f"r{number}", phase=phase)


def test_a_new_model_in_full() -> None:
    assert preview(State(boot=3), reading(OLD), LIMITS) == (
        Step(
            action="load",
            model="fast",
            revision=OLD.revision,
            replica="fast-3.1",
            why="its file asks for it",
        ),
        Step(
            action="switch",
            model="fast",
            revision=OLD.revision,
            replica="fast-3.1",
            why="new requests go to it",
        ),
    )


def test_an_edit_in_full() -> None:
    held = state(OLD, r(OLD, 1), stable=OLD)
    replaced = f"replaced by {NEW.revision} (fast-1.2)"
    assert preview(held, reading(NEW, generation=2), LIMITS) == (
        Step(
            action="load",
            model="fast",
            revision=NEW.revision,
            replica="fast-1.2",
            why=f"its file asks for it in place of {OLD.revision}",
        ),
        Step(
            action="switch",
            model="fast",
            revision=NEW.revision,
            replica="fast-1.2",
            why=f"new requests go to it instead of {OLD.revision}",
        ),
        Step(action="drain", model="fast", revision=OLD.revision, replica="r1", why=replaced),
        Step(
            action="unload",
            model="fast",
            revision=OLD.revision,
            replica="r1",
            why=f"{replaced}; its last request has ended",
        ),
    )


CASES: list[tuple[str, State, CatalogRead, list[tuple[str, str]]]] = [
    ("nothing to do", state(OLD, r(OLD, 1)), reading(OLD), []),
    ("a removed file", state(OLD, r(OLD, 1)), reading(), [("drain", "r1"), ("unload", "r1")]),
    ("nothing for nobody", State(), reading(spec(state=ModelState.ABSENT)), []),
    (
        "a stray goes first",
        State(boot=1, strays=(("llama-cpp", "who"),)),
        reading(OLD),
        [("unload", "who"), ("load", "fast-1.1"), ("switch", "fast-1.1")],
    ),
    (
        "what was given up is not tried again",
        state(NEW, r(OLD, 1), stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=None)}),
        same(state(NEW)),
        [],
    ),
    (
        "nor what waits for its retry",
        state(NEW, r(OLD, 1), stable=OLD, rejected={NEW.launch: rejection(NEW)}),
        same(state(NEW)),
        [],
    ),
    (
        "an edit makes it due",
        state(NEW, r(OLD, 1), stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=None)}),
        reading(NEW, generation=2),
        [("load", "fast-1.2"), ("switch", "fast-1.2"), ("drain", "r1"), ("unload", "r1")],
    ),
    (
        "a load under way is no step, and what follows it is",
        state(NEW, r(OLD, 1), r(NEW, 2, "starting")),
        same(state(NEW)),
        [("switch", "r2"), ("drain", "r1"), ("unload", "r1")],
    ),
    (
        "a load under way that nobody wants any more is called off",
        state(NEW, r(OLD, 1), r(NEW, 2, "starting")),
        reading(OLD, generation=2),
        [("unload", "r2")],
    ),
    (
        "an unload under way is no step",
        state(None, r(OLD, 1, "stopping")),
        same(state(None)),
        [],
    ),
    (
        "a drain under way ends with an unload",
        state(NEW, r(OLD, 1, "draining"), r(NEW, 2)),
        same(state(NEW)),
        [("unload", "r1")],
    ),
    (
        "so does one that has refused to",
        state(NEW, replace(r(OLD, 1, "draining"), not_before=NOW + timedelta(seconds=5)), r(NEW, 2)),
        same(state(NEW)),
        [("unload", "r1")],
    ),
]


@pytest.mark.parametrize(("held", "read", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_steps(held: State, read: CatalogRead, expected: list[tuple[str, str]]) -> None:
    assert brief(preview(held, read, LIMITS)) == expected


def test_a_step_names_the_revision_of_what_ends() -> None:
    (stray,) = preview(State(strays=(("llama-cpp", "who"),)), reading(), LIMITS)
    assert (stray.revision, stray.model) == ("", "")
    steps = preview(state(OLD, r(OLD, 1)), reading(), LIMITS)
    assert {step.revision for step in steps} == {OLD.revision}


def test_loads_that_were_called_off_make_room_for_others() -> None:
    """They hold their places until they are gone; a preview that stopped there would end too early."""
    off = {f"r{n}": replace(r(spec("fast"), n, "stopping"), running=None) for n in range(2)}
    wanted = spec("quality")
    held = State(boot=1, fleet=Fleet(replicas=off), models={"fast": ModelRecord(name="fast")})
    assert brief(preview(held, reading(wanted), LIMITS)) == [
        ("load", "quality-1.1"),
        ("switch", "quality-1.1"),
    ]


# -- compared with a loop that plays it out

SPECS = st.builds(
    spec,
    st.just("x"),
    location=st.sampled_from(["tiny", "small"]),
    parallel=st.sampled_from([2, 4]),
    state=st.sampled_from([ModelState.ACTIVE, ModelState.ABSENT]),
)
NAMES = ("a", "b", "c")


@st.composite
def files(draw: st.DrawFn, generation: int) -> CatalogRead:
    found = {name: draw(st.none() | SPECS) for name in NAMES}
    specs = [replace(value, name=name) for name, value in found.items() if value]
    return reading(*specs, generation=generation)


@st.composite
def worlds(draw: st.DrawFn) -> State:
    """A state in the midst of anything: some files in force, and replicas in every phase."""
    held = fold(State(boot=1), draw(files(1))).state
    replicas = {}
    for number in range(draw(st.integers(0, 5))):
        value = replace(draw(SPECS), name=draw(st.sampled_from(NAMES)), state=ModelState.ACTIVE)
        phase = draw(st.sampled_from(["starting", "ready", "draining", "stopping"]))
        replicas[f"r{number}"] = replica(value, id=f"r{number}", phase=phase)
    names = {r.model for r in replicas.values()}
    known = {name: ModelRecord(name=name) for name in names} | dict(held.models)
    return replace(held, models=known, fleet=Fleet(replicas=replicas), started=len(replicas))


def succeed(held: State, replica_: Replica) -> State:
    name = replica_.id
    event: Event = ReplicaUnloaded(at=NOW, replica=name)
    if replica_.phase is Phase.STARTING:
        event = ReplicaLoaded(at=NOW, replica=name, running=running(name))
    return fold(held, event).state


def play(held: State, read: CatalogRead) -> tuple[State, list[tuple[str, str]]]:
    """What the loop does with `read` where every action ends well and every other one takes its time."""
    held = fetched(fold(held, read).state)
    issued: list[tuple[str, str]] = []
    for _ in range(100):
        for action in plan(held, NO_DEMAND, LIMITS, NOW):
            held = fold(held, ActionIssued(at=NOW, action=action)).state
            if isinstance(action, Remove):
                held = fold(held, Removed(at=NOW, model=action.model, freed_bytes=0)).state
            else:
                assert isinstance(action, Load | Drain | Unload)
                issued.append((type(action).__name__.lower(), action.replica))
        moving = [r for r in held.fleet.replicas.values() if r.phase in (Phase.STARTING, Phase.STOPPING)]
        draining = [r for r in held.fleet.replicas.values() if r.phase is Phase.DRAINING]
        if not moving and not draining:
            return held, issued
        if moving:
            held = succeed(held, moving[0])
    raise AssertionError("the loop never comes to rest")


@settings(max_examples=80, deadline=None)
@given(worlds(), files(2))
def test_the_preview_takes_the_steps_of_the_loop_and_ends_where_it_ends(
    held: State, read: CatalogRead
) -> None:
    # What is fetched already is no step of its own.
    steps = preview(held, read, LIMITS)
    end, issued = play(held, read)
    told = [(s.action, s.replica) for s in steps if s.action != "switch"]
    # The loop interleaves models as it happens, and gives its numbers out in that order.
    loads = {action for action in told if action[0] == "load"}
    assert {model_of(name) for _, name in loads} == {model_of(n) for a, n in issued if a == "load"}
    assert sorted(a for a in told if a[0] != "load") == sorted(a for a in issued if a[0] != "load")

    switched = {step.model: step.revision for step in steps if step.action == "switch"}
    fleet = end.fleet.replicas
    for route in routing_table(end, epoch=1).routes.values():
        assert route.replica is not None, "with every step succeeding, every wanted model is served"
        desired = end.models[route.model].desired
        assert desired is not None
        assert fleet[route.replica].launch == desired.launch
        if route.model in switched:
            assert switched[route.model] == route.revision


def model_of(replica_id: str) -> str:
    return replica_id.partition("-")[0]


@settings(max_examples=60, deadline=None)
@given(worlds(), files(2))
def test_a_replica_drains_before_it_is_unloaded_and_never_while_it_serves(
    held: State, read: CatalogRead
) -> None:
    steps = preview(held, read, LIMITS)
    assert len({(s.action, s.replica) for s in steps}) == len(steps), "no step is taken twice"
    at = {(s.action, s.replica): number for number, s in enumerate(steps)}
    for (action, name), number in at.items():
        if action == "drain":
            assert at["unload", name] > number
        if action == "load":
            assert at["switch", name] == number + 1
    routes = routing_table(fold(held, read).state, epoch=1).routes
    serving = {name: route.replica for name, route in routes.items()}
    for step in steps:
        if step.action == "switch":
            serving[step.model] = step.replica
        else:
            assert serving.get(step.model) != step.replica or step.action == "load", "it serves until then"


def test_a_preview_that_would_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.decide.preview.MOST_PASSES", 2)
    steps = preview(state(OLD, r(OLD, 1)), reading(NEW, generation=2), LIMITS)
    assert [step.action for step in steps] == ["load", "switch"]


def test_unloads_of_one_pass_come_before_its_loads() -> None:
    gone = replica(spec("old"), id="r1", phase="draining")
    held = State(boot=1, fleet=Fleet(replicas={"r1": gone}), models={"old": ModelRecord(name="old")})
    assert brief(preview(held, reading(spec("new")), LIMITS)) == [
        ("unload", "r1"),
        ("load", "new-1.1"),
        ("switch", "new-1.1"),
    ]


def test_an_update_in_place_is_expected_to_take_as_long_as_the_last_load() -> None:
    memory = Memory(pools={RAM: Pool(total=1000)}, at=NOW)
    footprints = {
        OLD.launch: Footprint(measured={RAM: 600}, load_s=4.0),
        NEW.launch: Footprint(estimated={RAM: 700}),
    }
    held = replace(state(OLD, r(OLD, 1), stable=OLD), memory=memory, footprints=footprints)
    steps = preview(held, reading(NEW, generation=2), LIMITS)
    assert [(step.action, step.takes_s, step.interrupts, step.unavailable_s) for step in steps] == [
        ("drain", None, False, None),
        ("unload", None, False, None),
        ("load", 4.0, False, None),
        ("switch", None, True, 4.0),
    ]
    assert [step.peak[RAM] for step in steps] == [600, 600, 700, 700]


def test_a_new_launch_that_was_loaded_before_is_expected_to_take_as_long_as_it_did() -> None:
    held = replace(state(OLD, r(OLD, 1), stable=OLD), footprints={NEW.launch: Footprint(load_s=2.0)})
    load, *_ = preview(held, reading(NEW, generation=2), LIMITS)
    assert (load.action, load.takes_s) == ("load", 2.0)


FAR = Source(written="hf:org/repo", scheme="hf", location="org/repo")


def test_a_download_and_a_deletion_are_steps() -> None:
    wanted = spec(source=FAR)
    assert [step.action for step in preview(State(boot=1), reading(wanted), LIMITS)] == [
        "fetch",
        "load",
        "switch",
    ]
    here = fetched(fold(State(boot=1), reading(wanted)).state)
    gone = spec(source=FAR, state=ModelState.ABSENT)
    (remove,) = preview(here, reading(gone, generation=2), LIMITS)
    assert (remove.action, remove.model, remove.why) == ("remove", "fast", "its file says state: absent")


def test_a_fetch_that_is_called_off_is_no_step() -> None:
    held = replace(State(boot=1), fetching={"gone": "launch"})
    assert preview(held, same(held), LIMITS) == ()


def test_what_the_engine_runs_and_nobody_started_is_ended_without_a_revision() -> None:
    held = State(boot=1, strays=(("llama-cpp", "who"),))
    (unload,) = preview(held, same(held), LIMITS)
    assert (unload.action, unload.replica, unload.revision, unload.model) == ("unload", "who", "", "")
