"""Which loads may start, and who makes room: one sentence per case."""

from dataclasses import replace

import pytest

from orchestrator.decide.admit import CALM_S
from orchestrator.decide.plan import next_wake, plan
from orchestrator.values.action import Drain
from orchestrator.values.demand import NO_DEMAND, Demand
from orchestrator.values.memory import Memory
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, model, rejection
from tests.decide.machine import always, asks, brief, later, lazy, machine, ready, seen

A, B, C = always("a"), always("b"), always("c")
LA, LB, LC = lazy("a"), lazy("b"), lazy("c")
NEW = always("a", location="new")
LIMITS = Limits(loads_at_once=2)
BIG = {"a": 5, "b": 5, "c": 5}


def unlooked(held: State, freed_s: float = 1) -> State:
    return replace(held, freed_at=later(freed_s))


CASES: list[tuple[str, State, Demand, list[str]]] = [
    ("what fits is loaded", machine(A, B), NO_DEMAND, ["load a", "load b"]),
    ("loads at once are bounded", machine(A, B, C), NO_DEMAND, ["load a", "load b"]),
    (
        "a load that was called off keeps its place until it is gone",
        machine(A, B, replicas=[ready(C, phase="stopping", running=None)]),
        NO_DEMAND,
        ["load a"],
    ),
    ("what only a request would need is left alone", machine(LA), NO_DEMAND, []),
    ("a request loads it", machine(LA), asks("a"), ["load a"]),
    ("what does not fit waits", machine(A, B, takes={"a": 5, "b": 5}), NO_DEMAND, ["load a"]),
    (
        "what always serves comes before what a request asks for",
        machine(LA, B, total=2),
        asks("a"),
        ["load b"],
    ),
    (
        "of requests the more urgent comes first",
        machine(LA, LB, total=2),
        Demand(waiting={**asks("a").waiting, **asks("b", priority=9).waiting}),
        ["load b"],
    ),
    ("of equals the one that has waited longer", machine(LA, LB, total=2), asks("b", "a"), ["load b"]),
    (
        "nothing that takes memory is loaded before it was looked at",
        replace(machine(A, LB, takes={"b": 0}), memory=Memory()),
        asks("b"),
        ["load b"],
    ),
    (
        "what was given back is free once it was looked at, and what is left is kept for who came first",
        unlooked(machine(A, LB, takes={"a": 8, "b": 2})),
        asks("b"),
        [],
    ),
    (
        "the unused one makes room for a request",
        machine(LA, LB, replicas=[ready(LB)], takes=BIG),
        asks("a", idle={"b": 300}),
        ["drain b"],
    ),
    (
        "a model that is always loaded is not pushed out",
        machine(LA, B, replicas=[ready(B)], takes={"a": 5, "b": 5}),
        asks("a"),
        [],
    ),
    (
        "nor one that is pinned",
        machine(LA, lazy("b", pinned=True), replicas=[ready(lazy("b", pinned=True))], takes=BIG),
        asks("a"),
        [],
    ),
    (
        "one that is in use is asked to leave when its requests have ended",
        machine(LA, LB, replicas=[ready(LB)], takes=BIG),
        asks("a", b=1),
        ["drain b"],
    ),
    (
        "one that is on its way out is enough",
        machine(LA, LB, LC, replicas=[ready(LB, phase="draining", patient=True), ready(LC)], takes={"a": 5}),
        asks("a", b=1, idle={"c": 300}),
        [],
    ),
    (
        "one drain is enough for two",
        machine(LA, LB, LC, replicas=[ready(LC)], takes={"a": 2, "b": 2, "c": 8}),
        asks("a", "b", idle={"c": 300}),
        ["drain c"],
    ),
    (
        "nobody is pushed out where that would not help",
        machine(
            LA, LB, C, replicas=[ready(LB), ready(C)], total=8, outside=4, takes={"a": 5, "b": 1, "c": 1}
        ),
        asks("a", idle={"b": 300}),
        [],
    ),
    (
        "who takes none of the memory that is short is left alone",
        machine(LA, LB, replicas=[ready(LB)], gpu=8, takes={"a": {"ram": 8, "gpu": 1}, "b": {"gpu": 5}}),
        asks("a", idle={"b": 300}),
        ["load a"],
    ),
    (
        "on the GPU the same holds as in the RAM",
        machine(LA, LB, replicas=[ready(LB)], gpu=8, takes={"a": {"gpu": 5}, "b": {"gpu": 5}}),
        asks("a", idle={"b": 300}),
        ["drain b"],
    ),
    (
        "a small model does not take what a big one waits for",
        machine(LA, LB, LC, replicas=[ready(LC, age_s=1)], takes={"a": 7, "b": 3, "c": 4}),
        asks("a", "b", c=1),
        [],
    ),
    (
        "but nobody waits with one that waits for programs outside",
        machine(A, LB, outside=5, takes={"a": 5, "b": 2}),
        asks("b"),
        ["load b"],
    ),
    (
        "a model that can never fit holds up nobody",
        machine(A, B, takes={"a": 9}),
        NO_DEMAND,
        ["load b"],
    ),
    (
        "a new revision that fits is loaded beside the old",
        machine(NEW, replicas=[ready(A)]),
        NO_DEMAND,
        ["load a"],
    ),
    (
        "one that does not fit beside it takes its place",
        machine(NEW, replicas=[ready(A)], takes={"a": 5, "new": 5}),
        NO_DEMAND,
        ["drain a"],
    ),
    (
        "rather others make room, where that is enough",
        machine(NEW, LB, replicas=[ready(A), ready(LB)], total=9, takes={"a": 3, "new": 4, "b": 3}),
        asks(idle={"b": 300}),
        ["drain b"],
    ),
    (
        "an update waits for a model that nobody serves",
        machine(NEW, B, replicas=[ready(A)], total=6),
        NO_DEMAND,
        ["load b", "load a"],
    ),
]


@pytest.mark.parametrize(("held", "demand", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_admission(held: State, demand: Demand, expected: list[str]) -> None:
    assert brief(plan(held, demand, LIMITS, NOW)) == expected


def test_one_that_failed_does_not_push_its_own_old_revision_out_again() -> None:
    held = machine(NEW, replicas=[ready(A)], takes={"a": 5, "new": 5})
    due = rejection(NEW, retry_at=NOW)
    held = replace(held, models={"a": replace(held.models["a"], rejected={NEW.launch: due}, stable=A)})
    assert brief(plan(held, NO_DEMAND, LIMITS, NOW)) == []


def test_drains_for_memory_are_patient_and_drains_in_its_own_place_are_not() -> None:
    held = machine(LA, LB, replicas=[ready(LB)], takes=BIG)
    (drain,) = plan(held, asks("a", idle={"b": 300}), LIMITS, NOW)
    assert drain == Drain(model="b", replica="b", why="its memory is needed for 'a'", patient=True)
    held = machine(NEW, replicas=[ready(A)], takes={"a": 5, "new": 5})
    (drain,) = plan(held, NO_DEMAND, LIMITS, NOW)
    why = f"revision {NEW.revision} takes its place: both do not fit into memory"
    assert drain == Drain(model="a", replica="a", why=why)


PRESSED: list[tuple[str, State, Demand, list[str]]] = [
    (
        "a little of the reserve moves nothing",
        machine(A, replicas=[ready(A)], reserve=2, outside=5),
        NO_DEMAND,
        [],
    ),
    (
        "what is loaded on demand goes first",
        machine(A, LB, replicas=[ready(A), ready(LB)], outside=5),
        NO_DEMAND,
        ["drain b"],
    ),
    (
        "of those the one that nobody uses",
        machine(LA, LB, replicas=[ready(LA), ready(LB)], outside=5),
        asks(a=1),
        ["drain b"],
    ),
    (
        "then what is always loaded",
        machine(A, B, replicas=[ready(A), ready(B)], outside=5),
        NO_DEMAND,
        ["drain a"],
    ),
    (
        "all that may go, where even that is not enough",
        machine(A, lazy("b", pinned=True), replicas=[ready(A), ready(lazy("b", pinned=True))], outside=8),
        NO_DEMAND,
        ["drain a"],
    ),
    (
        "what is on its way out counts",
        machine(A, LB, replicas=[ready(A), ready(LB, phase="draining", patient=True)], outside=5),
        asks(b=1),
        [],
    ),
    (
        "what is idle for too long leaves for that reason",
        machine(A, lazy("b", idle_s=60), replicas=[ready(A), ready(lazy("b", idle_s=60))], outside=5),
        asks(idle={"b": 300}),
        ["drain b"],
    ),
]


@pytest.mark.parametrize(
    ("held", "demand", "expected"), [c[1:] for c in PRESSED], ids=[c[0] for c in PRESSED]
)
def test_programs_outside_take_the_memory(held: State, demand: Demand, expected: list[str]) -> None:
    assert brief(plan(held, demand, LIMITS, NOW)) == expected


def test_a_drain_for_programs_outside_says_so() -> None:
    (drain,) = plan(machine(A, B, replicas=[ready(A), ready(B)], outside=5), NO_DEMAND, LIMITS, NOW)
    why = "other programs take the memory that it needs"
    assert drain == Drain(model="a", replica="a", why=why, patient=True, pressed=True)


def test_after_pressure_only_what_somebody_waits_for_comes_back_at_once() -> None:
    held = replace(machine(A, LB), pressed_at=later(-CALM_S + 1))
    assert brief(plan(held, asks("b"), LIMITS, NOW)) == ["load b"]
    assert next_wake(held, asks("b"), LIMITS, NOW) == later(1)
    assert brief(plan(held, NO_DEMAND, LIMITS, later(1))) == ["load a"]


IDLE = lazy("a", idle_s=60)
IDLES: list[tuple[str, State, Demand, list[str], float | None]] = [
    ("not yet", machine(IDLE, replicas=[ready(IDLE)]), asks(idle={"a": 59}), [], 1),
    ("it is time", machine(IDLE, replicas=[ready(IDLE)]), asks(idle={"a": 60}), ["drain a"], None),
    ("one that is in use has not begun to be idle", machine(IDLE, replicas=[ready(IDLE)]), asks(a=1), [], 60),
    (
        "since it became ready, where nobody ever used it",
        machine(IDLE, replicas=[ready(IDLE)]),
        asks(),
        ["drain a"],
        None,
    ),
    (
        "somebody is about to use it",
        machine(IDLE, replicas=[ready(IDLE)]),
        asks("a", idle={"a": 300}),
        [],
        None,
    ),
    (
        "what is always loaded is never idle",
        machine(A, replicas=[ready(A)]),
        asks(idle={"a": 9999}),
        [],
        None,
    ),
    (
        "what grows while it is idle is not in the way",
        machine(IDLE, replicas=[seen(ready(IDLE), ram=3)]),
        asks(idle={"a": 1}),
        [],
        59,
    ),
]


@pytest.mark.parametrize(
    ("held", "demand", "expected", "wake_s"), [c[1:] for c in IDLES], ids=[c[0] for c in IDLES]
)
def test_idle(held: State, demand: Demand, expected: list[str], wake_s: float | None) -> None:
    assert brief(plan(held, demand, LIMITS, NOW)) == expected
    wake = next_wake(held, demand, LIMITS, NOW)
    assert wake == (None if wake_s is None else later(wake_s))


def sharing(held: State, *specs: ModelSpec) -> State:
    """The state in which the engine can hold the weights of these specs only once."""
    footprints = {each.launch: replace(held.footprints[each.launch], exclusive="weights") for each in specs}
    return replace(held, footprints={**held.footprints, **footprints})


FAILED_ONCE = ModelRecord(
    name="a", document=model(NEW), stable=A, rejected={NEW.launch: rejection(NEW, retry_at=NOW)}
)
SHARED: list[tuple[str, State, list[str]]] = [
    (
        "the old revision goes first, though both would fit",
        sharing(machine(NEW, replicas=[ready(A)]), A, NEW),
        ["drain a"],
    ),
    (
        "the new one waits until the old one is gone",
        sharing(machine(NEW, replicas=[ready(A, phase="stopping")]), A, NEW),
        [],
    ),
    ("and is loaded then", sharing(machine(NEW), NEW), ["load a"]),
    (
        "one that has failed before is not tried again at that price",
        sharing(
            replace(machine(NEW, replicas=[ready(A)]), models={"a": FAILED_ONCE}),
            A,
            NEW,
        ),
        [],
    ),
    (
        "another model that has them is not pushed out",
        sharing(machine(A, B, replicas=[ready(B)]), A, B),
        [],
    ),
]


@pytest.mark.parametrize(("held", "expected"), [c[1:] for c in SHARED], ids=[c[0] for c in SHARED])
def test_weights_that_the_engine_holds_only_once(held: State, expected: list[str]) -> None:
    assert brief(plan(held, NO_DEMAND, LIMITS, later(20))) == expected


def test_a_stable_revision_that_can_not_fit_any_more_is_not_brought_back() -> None:
    held = machine(NEW, total=4, takes={"new": 5, "a": 5})
    footprints = {**held.footprints, A.launch: held.footprints[NEW.launch]}
    held = replace(held, footprints=footprints, fetched=held.fetched | {A.launch})
    held = replace(held, models={"a": replace(held.models["a"], stable=A)})
    assert brief(plan(held, NO_DEMAND, LIMITS, NOW)) == []
    roomy = replace(held, memory=machine(total=8).memory)
    assert brief(plan(roomy, NO_DEMAND, LIMITS, NOW)) == ["load a"]


def test_only_the_end_of_its_requests_ends_a_patient_drain() -> None:
    held = machine(LB, replicas=[ready(LB, phase="draining", patient=True)])
    assert brief(plan(held, asks(b=1), LIMITS, later(9999))) == []
    assert next_wake(held, asks(b=1), LIMITS, NOW) is None
    assert brief(plan(held, asks(), LIMITS, NOW)) == ["unload b"]
