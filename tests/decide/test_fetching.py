"""What is fetched, called off and deleted: one sentence per case."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.decide.fetching import kept
from orchestrator.decide.plan import plan
from orchestrator.values.action import CallOff, Fetch, Remove
from orchestrator.values.demand import NO_DEMAND, Demand, Waiting
from orchestrator.values.memory import RAM, Footprint
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec, ModelState, Source
from orchestrator.values.state import ModelRecord, Resolution, State
from tests.builders import NOW, fetched, model, rejection
from tests.decide.machine import brief, machine, ready

LIMITS = Limits(loads_at_once=2, fetches_at_once=1)


def far(name: str, location: str = "", **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    location = location or name
    source = Source(written=f"hf:{location}", scheme="hf", location=location)
    return ModelSpec(name=name, engine="llama-cpp", source=source, **changes)


def near(name: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    source = Source(written=f"file:{name}", scheme="file", location=f"/{name}")
    return ModelSpec(name=name, engine="llama-cpp", source=source, **changes)


def bare(*wanted: ModelSpec, **changes: Any) -> State:  # noqa: ANN401 (any field of State)
    """Nothing has been fetched."""
    return replace(machine(*wanted), fetched=frozenset(), footprints={}, **changes)


def under_way(*specs: ModelSpec) -> dict[str, str]:
    return {each.name: each.launch for each in specs}


def rejected(held: State, of: ModelSpec, **changes: Any) -> State:  # noqa: ANN401 (any field of Rejection)
    record = replace(held.models[of.name], rejected={of.launch: rejection(of, fetching=True, **changes)})
    return replace(held, models={**held.models, of.name: record})


A, B, C = far("a"), far("b"), far("c")
LAZY = far("a", load=LoadWhen.ON_DEMAND)
GONE = far("a", state=ModelState.ABSENT)
CASES: list[tuple[str, State, list[str]]] = [
    ("what a file asks for is fetched before it is loaded", bare(A), ["fetch a"]),
    ("on demand too: a request should wait for the load only", bare(LAZY), ["fetch a"]),
    ("downloads at once are bounded", bare(A, B, C), ["fetch a"]),
    ("one under way counts", bare(A, B, fetching=under_way(B)), []),
    (
        "what lies here waits for no download",
        bare(A, near("b"), near("c"), near("d")),
        ["fetch a", "fetch b", "fetch c"],
    ),
    ("one under way is not started twice", bare(A, fetching=under_way(A)), []),
    ("an edit takes the place of the fetch under way", bare(A, fetching={"a": "older"}), ["fetch a"]),
    (
        "what nobody asks for any more is called off",
        bare(GONE, fetching=under_way(A)),
        ["calloff a", "remove a"],
    ),
    ("so is that of a model whose file is gone", bare(fetching=under_way(A)), ["calloff a"]),
    ("one that failed waits for its time", rejected(bare(A), A), []),
    ("and is tried again then", rejected(bare(A), A, retry_at=NOW), ["fetch a"]),
    ("one that was given up is left alone", rejected(bare(A), A, retry_at=None), []),
    ("what is being deleted is not fetched", bare(A, removing=frozenset({"a"})), []),
    (
        "what is fetched once is here for every model that has it",
        replace(bare(A), fetched=frozenset({A.launch})),
        ["load a"],
    ),
    ("an absent model is deleted", bare(GONE), ["remove a"]),
    ("once", bare(GONE, removed=frozenset({"a"})), []),
    ("and not twice at the same time", bare(GONE, removing=frozenset({"a"})), []),
    ("a model without a file is not", State(models={"a": ModelRecord(name="a")}), []),
    (
        "not while it runs",
        replace(machine(GONE, replicas=[ready(A, phase="stopping")]), removed=frozenset()),
        [],
    ),
]


@pytest.mark.parametrize(("held", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_fetching(held: State, expected: list[str]) -> None:
    assert brief(plan(held, NO_DEMAND, LIMITS, NOW)) == expected


def asked(**since_s: tuple[int, float]) -> Demand:
    """Requests wait: by model their priority, and when the first one came."""
    return Demand(
        waiting={
            name: Waiting(count=1, since=NOW + timedelta(seconds=at), priority=priority)
            for name, (priority, at) in since_s.items()
        }
    )


@pytest.mark.parametrize(
    ("held", "demand", "expected"),
    [
        pytest.param(bare(A, B, C), asked(c=(5, 0), b=(5, 1)), ["fetch c"], id="who waits comes first"),
        pytest.param(bare(A, B, C), asked(c=(5, 0), b=(6, 1)), ["fetch b"], id="the more urgent before"),
        pytest.param(bare(LAZY, B), NO_DEMAND, ["fetch b"], id="always loaded before on demand"),
        pytest.param(
            bare(A, B, far("c", "x"), far("d", "x"), far("e", "y")),
            asked(c=(5, 0)),
            ["fetch a", "fetch b", "fetch c", "fetch e"],
            id="what comes with another download keeps nobody waiting",
        ),
    ],
)
def test_the_order_of_fetches(held: State, demand: Demand, expected: list[str]) -> None:
    at_once = len(expected)
    found = plan(held, demand, Limits(loads_at_once=2, fetches_at_once=at_once), NOW)
    assert sorted(brief(found)) == expected


def test_a_fetch_says_why_and_takes_along_what_is_known() -> None:
    known = Footprint(estimated={RAM: 7})
    held = bare(A)
    assert plan(replace(held, footprints={A.launch: known}), NO_DEMAND, LIMITS, NOW) == (
        Fetch(model="a", spec=A, why="its file asks for it", known=known),
    )
    again = replace(held, fetching={"a": "older"})
    assert plan(again, NO_DEMAND, LIMITS, NOW) == (Fetch(model="a", spec=A, why="its file has changed"),)


def test_a_call_off_says_why() -> None:
    held = bare(fetching=under_way(A))
    assert plan(held, NO_DEMAND, LIMITS, NOW) == (CallOff(model="a", why="nothing asks for it any more"),)


def test_what_others_use_or_used_last_or_still_run_is_kept() -> None:
    old_b, other = far("b", "old"), far("c", "third")
    held = machine(GONE, B, replicas=[ready(other, phase="draining")])
    held = replace(held, models={**held.models, "b": replace(held.models["b"], stable=old_b)})
    (action,) = (each for each in plan(held, NO_DEMAND, LIMITS, NOW) if isinstance(each, Remove))
    assert (action.spec, action.keep, action.why) == (GONE, (B, old_b, other), "its file says state: absent")


def test_what_the_absent_model_itself_uses_is_not_kept() -> None:
    held = machine(GONE, B, replicas=[ready(A, phase="stopping")])
    assert list(kept(held, "a")) == [B]


def test_what_is_deleted_is_what_was_fetched() -> None:
    known = Resolution(written="hf:a", resolved="sha256:ab")
    record = ModelRecord(name="a", document=model(GONE), resolution=known)
    (action,) = plan(fetched(State(models={"a": record})), NO_DEMAND, LIMITS, NOW)
    assert isinstance(action, Remove)
    assert action.spec.source.resolved == "sha256:ab"
