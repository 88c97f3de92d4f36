"""Who makes room first: one sentence per case."""

from dataclasses import replace

import pytest

from orchestrator.decide.evict import enough, on_demand, under_pressure, victims
from orchestrator.values.demand import NO_DEMAND, Demand
from orchestrator.values.fleet import Replica
from orchestrator.values.settings import Limits
from orchestrator.values.state import State
from tests.builders import NOW
from tests.decide.machine import GIB, always, asks, gib, lazy, machine, ready

LIMITS = Limits(min_residency_s=10)
A, B, C, W = lazy("a"), lazy("b"), lazy("c"), lazy("w")
ALL = [ready(A), ready(B), ready(C)]


def loads_in(held: State, **load_s: float) -> State:
    """The state with measured load times by source."""
    found = dict(held.footprints)
    for each in held.models.values():
        if each.desired and (known := load_s.get(each.name)):
            found[each.desired.launch] = replace(found[each.desired.launch], load_s=known)
    return replace(held, footprints=found)


ORDERS: list[tuple[str, State, Demand, list[str]]] = [
    (
        "unused for longest first",
        machine(A, B, C, W, replicas=ALL),
        asks(idle={"a": 100, "b": 300, "c": 200}),
        ["b", "c", "a"],
    ),
    (
        "the big one first, of those that are used alike",
        machine(A, B, C, W, replicas=ALL, takes={"a": 1, "b": 4, "c": 2}),
        asks(idle={"a": 100, "b": 100, "c": 100}),
        ["b", "c", "a"],
    ),
    (
        "the one that is soon back first",
        loads_in(machine(A, B, C, W, replicas=ALL), a=9, b=1, c=5),
        asks(idle={"a": 100, "b": 100, "c": 100}),
        ["b", "c", "a"],
    ),
    (
        "those in use last",
        machine(A, B, C, W, replicas=ALL, takes={"a": 7}),
        asks(idle={"b": 900, "c": 900}, a=1),
        ["b", "c", "a"],
    ),
    ("by name where nothing tells them apart", machine(A, B, C, W, replicas=ALL), NO_DEMAND, ["a", "b", "c"]),
    (
        "who has come only now stays",
        machine(A, B, W, replicas=[ready(A, age_s=5), ready(B)]),
        asks(idle={"b": 900}, a=1),
        ["b"],
    ),
    (
        "who is always loaded stays",
        machine(always("a"), B, W, replicas=[ready(always("a")), ready(B)]),
        asks(idle={"a": 900, "b": 900}),
        ["b"],
    ),
    (
        "who is pinned stays",
        machine(lazy("a", pinned=True), B, W, replicas=[ready(lazy("a", pinned=True)), ready(B)]),
        asks(idle={"a": 900, "b": 900}),
        ["b"],
    ),
    (
        "who takes nothing gives nothing",
        machine(A, B, W, replicas=[ready(A), ready(B)], takes={"a": 0, "b": 1}),
        asks(idle={"a": 900, "b": 900}),
        ["b"],
    ),
    (
        "who is not ready is no choice",
        machine(A, B, W, replicas=[ready(A, phase="starting"), ready(B, phase="draining")]),
        NO_DEMAND,
        [],
    ),
    ("nobody makes room for himself", machine(W, replicas=[ready(W)]), NO_DEMAND, []),
    ("a model whose file is gone goes", machine(W, replicas=[ready(A)]), NO_DEMAND, ["a"]),
]


@pytest.mark.parametrize(("held", "demand", "expected"), [c[1:] for c in ORDERS], ids=[c[0] for c in ORDERS])
def test_who_makes_room_for_a_request(held: State, demand: Demand, expected: list[str]) -> None:
    assert [each.id for each in victims(held, demand, LIMITS, NOW, W)] == expected


def test_a_model_that_should_always_be_loaded_waits_for_nobodys_residency() -> None:
    held = machine(A, always("w"), replicas=[ready(A, age_s=1)])
    busy = asks(a=1)
    assert victims(held, busy, LIMITS, NOW, W) == []
    assert [each.id for each in victims(held, busy, LIMITS, NOW, always("w"))] == ["a"]


def test_programs_outside_push_out_those_on_demand_before_the_others() -> None:
    always_b = always("b")
    held = machine(A, always_b, C, replicas=[ready(always_b), ready(A, age_s=1), ready(C)])
    order = under_pressure(held, asks(idle={"b": 900, "c": 10}, a=1), NOW)
    assert [each.id for each in order] == ["c", "a", "b"], "whoever has come only now is no exception"


def test_which_models_need_not_be_in_memory() -> None:
    held = machine(A, always("b"))
    assert [on_demand(held, name) for name in ("a", "b", "gone")] == [True, False, True]


def sizes(*gibs: float) -> tuple[State, list[Replica]]:
    specs = [lazy(f"r{at}") for at in range(len(gibs))]
    takes = {each.name: size for each, size in zip(specs, gibs, strict=True)}
    replicas = [ready(each) for each in specs]
    return machine(*specs, replicas=replicas, takes=takes), replicas


@pytest.mark.parametrize(
    ("what", "order", "needed", "left", "expected"),
    [
        ("nothing is needed", [1, 2], 0, 0, []),
        ("what is free is enough", [1, 2], 3, 3, []),
        ("from the front", [1, 2, 4], 2, 1, ["r0"]),
        ("as many as it takes", [1, 2, 4], 3, 0, ["r0", "r1"]),
        ("a big one makes the small ones before it superfluous", [1, 1, 4], 4, 0, ["r2"]),
        ("one of them, where that is so", [1, 2, 4], 6, 0, ["r1", "r2"]),
        ("all of them are not enough", [1, 2], 4, 0, None),
        ("there is nobody", [], 1, 0, None),
        ("what is missing already is made up for", [2, 2], 1, -2, ["r0", "r1"]),
    ],
)
def test_the_fewest_that_make_room(
    what: str, order: list[float], needed: float, left: float, expected: list[str] | None
) -> None:
    held, replicas = sizes(*order)
    chosen = enough(held, replicas, gib(ram=needed), {"ram": int(left * GIB)})
    assert (chosen is None) == (expected is None), what
    assert [each.id for each in chosen or []] == (expected or [])
