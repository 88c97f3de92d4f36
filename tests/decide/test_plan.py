"""The plan: one sentence per case, then the promises of its docstring."""

from datetime import timedelta

import pytest

from orchestrator.decide.plan import next_wake, plan
from orchestrator.values.action import Action, Drain, Load, Unload
from orchestrator.values.catalog import Catalog
from orchestrator.values.demand import NO_DEMAND, Demand
from orchestrator.values.fleet import Fleet, Replica
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelState
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, fetched, model, rejection, replica, spec, state

OLD, NEW, NEWER = spec(location="tiny"), spec(location="small"), spec(location="other")
LIMITS = Limits(loads_at_once=2, drain_s=30)


def brief(actions: tuple[Action, ...]) -> list[str]:
    def one(action: Action) -> str:
        match action:
            case Load(spec=loaded):
                return f"load {loaded.source.location}"
            case Drain():
                return f"drain {action.replica}"
            case Unload():
                return f"unload {action.replica}"
            case _:
                return f"{type(action).__name__.lower()} {action.model}"

    return [one(action) for action in actions]


def r(location: str, number: int, phase: str = "ready", age_s: float = 0) -> Replica:
    since = NOW - timedelta(seconds=age_s)
    return replica(spec(location=location), id=f"r{number}", phase=phase, since=since)


CASES: list[tuple[str, State, dict[str, int], list[str]]] = [
    ("a new file is loaded", state(OLD), {}, ["load tiny"]),
    ("a fleet that matches needs nothing", state(OLD, r("tiny", 1)), {}, []),
    ("a load under way is not started twice", state(OLD, r("tiny", 1, "starting")), {}, []),
    (
        "an edit loads the new revision before the old one drains",
        state(NEW, r("tiny", 1)),
        {},
        ["load small"],
    ),
    (
        "the old one drains once the new one is ready",
        state(NEW, r("tiny", 1), r("small", 2)),
        {},
        ["drain r1"],
    ),
    ("a drained replica is unloaded", state(NEW, r("tiny", 1, "draining"), r("small", 2)), {}, ["unload r1"]),
    (
        "a busy replica is not unloaded",
        state(NEW, r("tiny", 1, "draining", age_s=29), r("small", 2)),
        {"r1": 1},
        [],
    ),
    (
        "a busy replica is unloaded at its drain deadline",
        state(NEW, r("tiny", 1, "draining", age_s=30), r("small", 2)),
        {"r1": 1},
        ["unload r1"],
    ),
    (
        "an edit during a load ends the load that nobody wants any more, and keeps what serves",
        state(NEWER, r("tiny", 1), r("small", 2, "starting")),
        {},
        ["unload r2", "load other"],
    ),
    (
        "an edit back during a load only ends the load",
        state(OLD, r("tiny", 1), r("small", 2, "starting")),
        {},
        ["unload r2"],
    ),
    (
        "a draining replica that is wanted again is not resurrected",
        state(OLD, r("tiny", 1, "draining"), r("small", 2)),
        {"r1": 1},
        ["load tiny"],
    ),
    (
        "state: absent drains what is ready",
        state(spec(state=ModelState.ABSENT), r("tiny", 1)),
        {},
        ["drain r1"],
    ),
    (
        "state: absent ends what is starting",
        state(spec(state=ModelState.ABSENT), r("tiny", 1, "starting")),
        {},
        ["unload r1"],
    ),
    ("a file that is gone drains what is ready", state(None, r("tiny", 1)), {}, ["drain r1"]),
    (
        "testing and deprecated models are loaded all the same",
        state(spec(state=ModelState.DEPRECATED)),
        {},
        ["load tiny"],
    ),
    (
        "a rejected revision is left alone until its retry is due, and the old one serves",
        state(NEW, r("tiny", 1), stable=OLD, rejected={NEW.launch: rejection(NEW)}),
        {},
        [],
    ),
    (
        "a rejected revision is tried again when its retry is due",
        state(NEW, r("tiny", 1), stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=NOW)}),
        {},
        ["load small"],
    ),
    (
        "the last good revision comes back where the new one does not load and nothing serves",
        state(NEW, stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=None)}),
        {},
        ["load tiny"],
    ),
    (
        "the last good revision goes on loading while the new one waits for its retry",
        state(NEW, r("tiny", 1, "starting"), stable=OLD, rejected={NEW.launch: rejection(NEW)}),
        {},
        [],
    ),
    (
        "a start of the last good revision ends once the new one is ready",
        state(NEW, r("tiny", 1, "starting"), r("small", 2), stable=OLD, rejected={}),
        {},
        ["unload r1"],
    ),
    (
        "nothing loads where the new and the last good revision were both given up",
        state(
            NEW,
            stable=OLD,
            rejected={
                NEW.launch: rejection(NEW, retry_at=None),
                OLD.launch: rejection(OLD, retry_at=None),
            },
        ),
        {},
        [],
    ),
    (
        "a change of parallel loads the same revision anew beside the old replica",
        state(spec(parallel=8), r("tiny", 1)),
        {},
        ["load tiny"],
    ),
    (
        "of two ready replicas of one launch the newer one stays",
        state(OLD, r("tiny", 1), r("tiny", 2)),
        {},
        ["drain r1"],
    ),
    ("a replica that is stopping is waited for", state(None, r("tiny", 1, "stopping")), {}, []),
]


@pytest.mark.parametrize(("held", "leases", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_plan(held: State, leases: dict[str, int], expected: list[str]) -> None:
    assert brief(plan(held, Demand(leases=leases), LIMITS, NOW)) == expected


def test_a_replica_that_nobody_knows_is_unloaded() -> None:
    stray = State(strays=(("llama-cpp", "who-1.1"),))
    assert brief(plan(stray, NO_DEMAND, LIMITS, NOW)) == ["unload who-1.1"]


def test_a_replica_that_would_not_go_is_left_alone_for_a_while() -> None:
    stubborn = replica(OLD, id="r1", phase="draining", not_before=NOW + timedelta(seconds=5))
    held = state(NEW, stubborn, r("small", 2))
    assert plan(held, NO_DEMAND, LIMITS, NOW) == ()
    assert next_wake(held, NO_DEMAND, LIMITS, NOW) == NOW + timedelta(seconds=5)
    assert brief(plan(held, NO_DEMAND, LIMITS, NOW + timedelta(seconds=5))) == ["unload r1"]


def test_loads_are_bounded_and_models_that_nobody_serves_come_first() -> None:
    specs = [spec(name, location="small") for name in ("a", "b", "c", "d")]
    served = replica(spec("a", location="tiny"), id="a1")
    held = fetched(
        State(
            catalog=Catalog(models={s.name: model(s) for s in specs}),
            models={s.name: ModelRecord(name=s.name, document=model(s)) for s in specs},
            fleet=Fleet(replicas={"a1": served}),
        )
    )
    assert [a.model for a in plan(held, NO_DEMAND, LIMITS, NOW)] == ["b", "c"]
    assert [a.model for a in plan(held, NO_DEMAND, Limits(loads_at_once=9), NOW)] == ["b", "c", "d", "a"]


def test_replica_ids_do_not_repeat_across_starts_of_the_daemon() -> None:
    (first,) = plan(fetched(State(boot=1, models=state(OLD).models)), NO_DEMAND, LIMITS, NOW)
    (second,) = plan(fetched(State(boot=2, models=state(OLD).models)), NO_DEMAND, LIMITS, NOW)
    assert isinstance(first, Load)
    assert isinstance(second, Load)
    assert first.replica != second.replica


@pytest.mark.parametrize(
    ("held", "leases", "wake_in_s"),
    [
        (state(OLD, r("tiny", 1)), {}, None),
        (state(NEW, r("tiny", 1, "draining", age_s=10), r("small", 2)), {"r1": 1}, 20),
        (state(NEW, r("tiny", 1), stable=OLD, rejected={NEW.launch: rejection(NEW)}), {}, 10),
        (
            state(NEW, r("tiny", 1), stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=None)}),
            {},
            None,
        ),
    ],
)
def test_the_next_wake_is_the_first_instant_at_which_time_alone_changes_the_plan(
    held: State, leases: dict[str, int], wake_in_s: float | None
) -> None:
    wake = next_wake(held, Demand(leases=leases), LIMITS, NOW)
    assert wake == (None if wake_in_s is None else NOW + timedelta(seconds=wake_in_s))
    if wake is not None:
        just_before = plan(held, Demand(leases=leases), LIMITS, wake - timedelta(milliseconds=1))
        assert just_before == ()
        assert plan(held, Demand(leases=leases), LIMITS, wake) != ()
