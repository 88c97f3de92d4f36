"""The budget: what is needed, charged and free, and what can never fit."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.decide import budget
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.spec import ModelSpec, ModelState
from orchestrator.values.state import State
from tests.builders import NOW
from tests.decide.machine import GIB, always, gib, lazy, machine, ready, seen

A, B, C = always("a"), always("b"), always("c")
BOTH = gib(ram=1, gpu=6)


def knows(of: ModelSpec, **known: object) -> State:
    return replace(machine(of), footprints={of.launch: Footprint(**known)})  # type: ignore[arg-type] # by case


NEEDS: list[tuple[str, State, ModelSpec, dict[str, int]]] = [
    ("nothing is known of a launch that was never fetched", machine(), A, {}),
    ("what was estimated has to be free", knows(A, estimated=BOTH), A, BOTH),
    (
        "what was measured takes the estimate's place, though it is less",
        knows(A, estimated=BOTH, measured=gib(ram=1, gpu=5)),
        A,
        gib(ram=1, gpu=5),
    ),
    (
        "what the file says stands where nothing is known",
        machine(),
        always("a", memory_bytes=GIB),
        gib(ram=1),
    ),
    (
        "what the file says is for the GPU, where the weights are there",
        knows(always("a", memory_bytes=GIB), estimated=BOTH),
        always("a", memory_bytes=GIB),
        gib(ram=1, gpu=1),
    ),
    (
        "what the file says is for the RAM, where nothing else is taken",
        knows(always("a", memory_bytes=3 * GIB), estimated=gib(ram=1)),
        always("a", memory_bytes=3 * GIB),
        gib(ram=3),
    ),
]


@pytest.mark.parametrize(("held", "of", "expected"), [c[1:] for c in NEEDS], ids=[c[0] for c in NEEDS])
def test_need(held: State, of: ModelSpec, expected: dict[str, int]) -> None:
    assert budget.need(held, of) == expected


def test_a_replica_is_charged_its_peak_from_the_start_and_more_where_it_takes_more() -> None:
    starting, grown = ready(A, phase="starting"), seen(ready(A), ram=3, gpu=1)
    held = machine(A, replicas=[starting])
    assert budget.charge(held, starting) == gib(ram=2)
    assert budget.charge(held, seen(ready(A), ram=1)) == gib(ram=2)
    assert budget.charge(held, grown) == gib(ram=3, gpu=1)


def test_what_is_left_may_be_less_than_nothing() -> None:
    held = machine(A, B, replicas=[ready(A), ready(B)], total=8, reserve=1, outside=4)
    assert budget.charged(held) == gib(ram=4)
    assert budget.free(held) == {RAM: -GIB}


def test_a_pool_that_does_not_exist_has_no_room() -> None:
    assert budget.fits({"cuda:0": 0}, {})
    assert not budget.fits({"cuda:0": 1}, {RAM: 5})


def test_memory_that_was_given_back_counts_once_it_was_looked_at() -> None:
    held = machine(A)
    assert not budget.is_fresh(replace(held, memory=Memory()))
    assert budget.is_fresh(held)
    assert budget.is_fresh(replace(held, freed_at=NOW))
    assert not budget.is_fresh(replace(held, freed_at=NOW + timedelta(seconds=1)))


def test_half_of_the_reserve_may_be_eaten_before_anybody_gives_way() -> None:
    def outside(taken: float) -> dict[str, int]:
        return budget.over(machine(A, replicas=[ready(A)], total=8, reserve=2, outside=taken))

    assert outside(4) == {}
    assert outside(5) == {}
    assert outside(5.5) == {RAM: int(1.5 * GIB)}


HERE = "it needs 5.0 GiB of memory"
STAY = "which stay loaded, and 8.0 GiB of memory is the whole budget"
GPU_STAY = "which stay loaded, and 6.0 GiB of cuda:0 is the whole budget"
OBSTACLES: list[tuple[str, State, ModelSpec, str]] = [
    ("what fits meets none", machine(A), A, ""),
    ("what takes nothing meets none", machine(A, total=0, takes={"a": 0}), A, ""),
    (
        "more than everything",
        machine(A, total=8, limit=4, takes={"a": 5}),
        A,
        f"{HERE}, and 4.0 GiB of memory is the whole budget",
    ),
    (
        "the reserve is no budget",
        machine(A, total=6, reserve=2, takes={"a": 5}),
        A,
        f"{HERE}, and 4.0 GiB of memory is the whole budget",
    ),
    (
        "programs outside come and go",
        machine(A, total=6, outside=5, takes={"a": 5}),
        A,
        "",
    ),
    (
        "a GPU that is not there",
        machine(A, takes={"a": {"gpu": 5}}),
        A,
        "it needs 5.0 GiB of cuda:0, and there is no cuda:0 here",
    ),
    (
        "nothing is said of pools before the first look",
        replace(machine(A, takes={"a": {"gpu": 5}}), memory=Memory()),
        A,
        "",
    ),
    (
        "what comes before it by name and is always loaded stays beside it",
        machine(A, B, takes={"a": 4, "b": 5}),
        B,
        f"{HERE} beside 4.0 GiB of memory of 'a', {STAY}",
    ),
    ("what comes first meets none", machine(A, B, takes={"a": 5, "b": 4}), A, ""),
    (
        "what is loaded already stays, whatever its name",
        machine(A, B, replicas=[ready(B)], takes={"a": 5, "b": 4}),
        A,
        f"{HERE} beside 4.0 GiB of memory of 'b', {STAY}",
    ),
    ("and is not in its own way", machine(A, B, replicas=[ready(B)], takes={"a": 5, "b": 5}), B, ""),
    ("what is loaded on demand makes room", machine(A, lazy("b"), takes={"a": 5, "b": 5}), A, ""),
    (
        "for what is loaded on demand, all that is always loaded stays",
        machine(lazy("a"), B, C, takes={"a": 5, "b": 2, "c": 2}),
        lazy("a"),
        f"{HERE} beside 4.0 GiB of memory of 'b', 'c', {STAY}",
    ),
    (
        "what will never be loaded itself is in nobody's way",
        machine(lazy("a"), B, C, takes={"a": 5, "b": 9, "c": 2}),
        lazy("a"),
        "",
    ),
    (
        "each pool counts for itself",
        machine(A, B, gpu=6, takes={"a": {"ram": 1, "gpu": 4}, "b": {"ram": 5, "gpu": 0}}),
        B,
        "",
    ),
    (
        "a pool that is short is named",
        machine(A, B, gpu=6, takes={"a": {"ram": 1, "gpu": 4}, "b": {"ram": 1, "gpu": 5}}),
        B,
        f"it needs 5.0 GiB of cuda:0 beside 4.0 GiB of cuda:0 of 'a', {GPU_STAY}",
    ),
]


@pytest.mark.parametrize(
    ("held", "of", "expected"), [c[1:] for c in OBSTACLES], ids=[c[0] for c in OBSTACLES]
)
def test_obstacle(held: State, of: ModelSpec, expected: str) -> None:
    assert budget.obstacle(held, of) == expected
    assert budget.obstacle(held, of, budget.standing(held)) == expected


def one_blob(*wanted: ModelSpec, live: tuple[ModelSpec, ...] = ()) -> State:
    """Models whose weights the engine holds once only."""
    held = machine(*wanted, replicas=[ready(each) for each in live], takes={each.name: 0 for each in wanted})
    shared = {each.launch: Footprint(exclusive="sha256:ab") for each in wanted}
    return replace(held, footprints=shared)


RIVALS: list[tuple[str, State, ModelSpec, bool]] = [
    ("weights that nothing else has meet none", one_blob(A), A, False),
    ("of two that are not loaded the first by name is served", one_blob(A, B), A, False),
    ("the other one is not", one_blob(A, B), B, True),
    ("the one that is loaded stays", one_blob(A, B, live=(B,)), A, True),
    ("and is served", one_blob(A, B, live=(B,)), B, False),
    ("a model that is absent is no rival", one_blob(always("a", state=ModelState.ABSENT), B), B, False),
]


@pytest.mark.parametrize(("held", "of", "rival"), [c[1:] for c in RIVALS], ids=[c[0] for c in RIVALS])
def test_two_models_with_the_same_weights(held: State, of: ModelSpec, *, rival: bool) -> None:
    found = budget.obstacle(held, of)
    assert found == budget.rival(held, of)
    assert bool(found) == rival
    assert "loading one would unload the other" in found or not rival


def test_other_weights_are_no_rival() -> None:
    held = one_blob(A, B)
    other = {**held.footprints, A.launch: Footprint(exclusive="sha256:cd")}
    assert budget.rival(replace(held, footprints=other), B) == ""


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 KiB"),
        (2048, "2 KiB"),
        (320 << 20, "320 MiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (-2 * GIB, "-2.0 GiB"),
    ],
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert budget.human(size) == shown


def test_amounts_of_a_pool_for_people() -> None:
    assert (budget.sized(GIB, RAM), budget.sized(GIB, "cuda:0")) == (
        "1.0 GiB of memory",
        "1.0 GiB of cuda:0",
    )


def test_the_limit_is_the_most_that_all_take_together() -> None:
    pool = Pool(total=10, reserve=2, outside=3, limit=4)
    assert (pool.room, pool.most) == (4, 4)
    assert (replace(pool, limit=None).room, replace(pool, limit=None).most) == (5, 8)
    assert replace(pool, outside=7).room == 1
