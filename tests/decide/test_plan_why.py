"""Every action says why; and the bounds of loads and wakes."""

from datetime import timedelta

import pytest

from orchestrator.decide.plan import next_wake, plan
from orchestrator.values.action import Action, Drain, Load, Unload
from orchestrator.values.catalog import Catalog
from orchestrator.values.demand import NO_DEMAND, Demand
from orchestrator.values.fleet import Fleet, Replica
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec, ModelState
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, fetched, model, rejection, replica, spec, state

OLD, NEW, NEWER = spec(location="tiny"), spec(location="small"), spec(location="other")
ABSENT = spec(state=ModelState.ABSENT)
LIMITS = Limits(loads_at_once=2, drain_s=30)


def r(value: ModelSpec, number: int, phase: str = "ready", *, age_s: float = 0, why: str = "") -> Replica:
    return replica(value, id=f"r{number}", phase=phase, since=NOW - timedelta(seconds=age_s), why=why)


WHYS: list[tuple[str, State, dict[str, int], type[Action], str]] = [
    ("a new file", state(OLD), {}, Load, "its file asks for it"),
    (
        "an edit",
        state(NEW, r(OLD, 1)),
        {},
        Load,
        f"its file asks for it in place of {OLD.revision}",
    ),
    (
        "an edit, with an even newer one on its way out",
        state(NEW, r(OLD, 1), r(NEWER, 2, "draining")),
        {"r2": 1},
        Load,
        f"its file asks for it in place of {OLD.revision}",
    ),
    (
        "another try",
        state(OLD, rejected={OLD.launch: rejection(OLD, failures=2, retry_at=NOW)}),
        {},
        Load,
        "try 3, after: it broke",
    ),
    (
        "the last good one, meanwhile",
        state(NEW, stable=OLD, rejected={NEW.launch: rejection(NEW)}),
        {},
        Load,
        f"revision {NEW.revision} does not load; the last good one serves meanwhile",
    ),
    (
        "an old one that is replaced",
        state(NEW, r(OLD, 1), r(NEW, 2)),
        {},
        Drain,
        f"replaced by {NEW.revision} (r2)",
    ),
    ("one whose file is gone", state(None, r(OLD, 1)), {}, Drain, "its file is gone"),
    ("one that should be absent", state(ABSENT, r(OLD, 1)), {}, Drain, "its file says state: absent"),
    ("a load whose file is gone", state(None, r(OLD, 1, "starting")), {}, Unload, "its file is gone"),
    (
        "a load that should be absent",
        state(ABSENT, r(OLD, 1, "starting")),
        {},
        Unload,
        "its file says state: absent",
    ),
    (
        "a load that nobody wants any more while another one serves",
        state(OLD, r(OLD, 1), r(NEW, 2, "starting")),
        {},
        Unload,
        f"replaced by {OLD.revision} (r1)",
    ),
    (
        "a load that nobody wants any more while nothing serves",
        state(NEWER, r(NEW, 2, "starting")),
        {},
        Unload,
        "its file has changed again",
    ),
    (
        "a drain that has ended",
        state(NEW, r(OLD, 1, "draining", why="replaced"), r(NEW, 2)),
        {},
        Unload,
        "replaced; its last request has ended",
    ),
    (
        "a drain at its deadline",
        state(NEW, r(OLD, 1, "draining", age_s=30, why="replaced"), r(NEW, 2)),
        {"r1": 1},
        Unload,
        "replaced; its drain deadline (30 s) passed",
    ),
    (
        "a stray",
        State(strays=(("llama-cpp", "who"),)),
        {},
        Unload,
        "the engine runs it and nothing here started it",
    ),
]


@pytest.mark.parametrize(("held", "leases", "kind", "why"), [c[1:] for c in WHYS], ids=[c[0] for c in WHYS])
def test_why(held: State, leases: dict[str, int], kind: type[Action], why: str) -> None:
    (action,) = [
        action for action in plan(held, Demand(leases=leases), LIMITS, NOW) if isinstance(action, kind)
    ]
    assert action.why == why


def test_an_action_names_what_it_is_about() -> None:
    (load,) = plan(state(OLD), NO_DEMAND, LIMITS, NOW)
    assert load == Load(model="fast", replica="fast-1.1", spec=OLD, why="its file asks for it")
    (drain,) = plan(state(None, r(OLD, 1)), NO_DEMAND, LIMITS, NOW)
    assert drain == Drain(model="fast", replica="r1", why="its file is gone")
    (unload,) = plan(state(None, r(OLD, 1, "draining", why="w")), NO_DEMAND, LIMITS, NOW)
    assert unload == Unload(
        model="fast", replica="r1", engine="llama-cpp", why="w; its last request has ended"
    )
    (stray,) = plan(State(strays=(("mlx", "who"),)), NO_DEMAND, LIMITS, NOW)
    assert isinstance(stray, Unload)
    assert (stray.model, stray.replica) == ("", "who")
    assert stray.engine == "mlx"


def test_the_last_good_one_goes_on_loading_when_the_new_one_is_tried_again() -> None:
    held = state(NEW, r(OLD, 1, "starting"), stable=OLD, rejected={NEW.launch: rejection(NEW, retry_at=NOW)})
    (load,) = plan(held, NO_DEMAND, LIMITS, NOW)
    assert isinstance(load, Load)
    assert load.spec == NEW


def test_a_start_of_the_last_good_one_is_called_off_once_the_file_asks_for_something_else() -> None:
    held = state(NEW, r(OLD, 1, "starting"), stable=OLD)
    assert [type(action) for action in plan(held, NO_DEMAND, LIMITS, NOW)] == [Unload, Load]


def many(*replicas: Replica) -> State:
    """Four new models, and these replicas of others that nobody wants or that load already."""
    specs = [spec(name) for name in "abcd"] + [r_.spec for r_ in replicas]
    documents = {s.name: model(s) for s in specs}
    return fetched(
        State(
            catalog=Catalog(models=documents),
            models={name: ModelRecord(name=name, document=doc) for name, doc in documents.items()},
            fleet=Fleet(replicas={r_.id: r_ for r_ in replicas}),
        )
    )


@pytest.mark.parametrize(
    ("replicas", "loads"),
    [
        pytest.param((), 2, id="none under way"),
        pytest.param((r(spec("x"), 1, "starting"),), 1, id="one under way"),
        pytest.param((r(spec("x"), 1, "starting"), r(spec("y"), 2, "starting")), 0, id="all places taken"),
        pytest.param(
            tuple(r(spec(name), n, "starting") for n, name in enumerate("xyz")),
            0,
            id="more under way than may be: the limit was lowered",
        ),
        pytest.param(
            (replica(spec("x"), id="r1", phase="stopping", running=None),),
            1,
            id="one that was called off keeps its place until it is gone",
        ),
        pytest.param((r(spec("x"), 1),), 2, id="what is ready takes no place"),
        pytest.param((r(spec("x"), 1, "stopping"),), 2, id="nor does what ends after it was ready"),
    ],
)
def test_loads_are_bounded_over_all_models(replicas: tuple[Replica, ...], loads: int) -> None:
    found = [
        a for a in plan(many(*replicas), NO_DEMAND, LIMITS, NOW) if isinstance(a, Load) and a.model in "abcd"
    ]
    assert [load.model for load in found] == list("abcd"[:loads])


def test_loads_are_numbered_on_from_those_before() -> None:
    held = fetched(State(boot=3, started=7, models=many().models))
    actions = plan(held, NO_DEMAND, LIMITS, NOW)
    assert [a.replica for a in actions if isinstance(a, Load)] == ["a-3.8", "b-3.9"]


@pytest.mark.parametrize(
    "rejected",
    [
        pytest.param({}, id="nothing was rejected"),
        pytest.param({OLD.launch: rejection(OLD, retry_at=NOW)}, id="it is due already"),
        pytest.param({OLD.launch: rejection(OLD, retry_at=NOW - timedelta(seconds=9))}, id="it is overdue"),
        pytest.param(
            {OLD.launch: rejection(OLD, retry_at=None), NEW.launch: rejection(NEW, retry_at=None)},
            id="all of it was given up",
        ),
    ],
)
def test_what_is_due_or_given_up_is_nothing_to_wake_for(rejected: dict[str, object]) -> None:
    assert next_wake(state(OLD, rejected=rejected), NO_DEMAND, LIMITS, NOW) is None


def test_the_earliest_of_several_instants_is_the_next_wake() -> None:
    held = state(
        NEW,
        r(OLD, 1, "draining", age_s=10),
        r(NEW, 2),
        rejected={
            NEWER.launch: rejection(NEWER, retry_at=NOW + timedelta(seconds=25)),
            OLD.launch: rejection(OLD, retry_at=NOW + timedelta(seconds=30)),
        },
    )
    assert next_wake(held, Demand(leases={"r1": 1}), LIMITS, NOW) == NOW + timedelta(seconds=20)
    assert next_wake(held, Demand(leases={"r1": 1}), Limits(drain_s=99), NOW) == NOW + timedelta(seconds=25)
    assert next_wake(held, NO_DEMAND, LIMITS, NOW) == NOW, "an idle one may be unloaded now"
