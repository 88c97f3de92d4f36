"""Who takes new requests, and the table that says so."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from types import MappingProxyType

import pytest

from orchestrator.decide.plan import plan
from orchestrator.decide.serving import routing_table, serving, stalled, unready
from orchestrator.values.catalog import Catalog
from orchestrator.values.demand import NO_DEMAND
from orchestrator.values.fleet import Fleet, Replica
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.policy import Tier
from orchestrator.values.routing import Route
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec, ModelState, Sampling, Source
from orchestrator.values.state import ModelRecord, Rejection, State
from tests.builders import NOW, model, policy, rejection, replica, spec, state
from tests.decide.machine import always, machine

OLD, NEW, OTHER = spec(location="tiny"), spec(location="small"), spec(location="other")
ABSENT = spec(state=ModelState.ABSENT)


def record(wanted: ModelSpec | None, stable: ModelSpec | None = None, **rejected: Rejection) -> ModelRecord:
    by_launch = {{"old": OLD, "new": NEW}[key].launch: found for key, found in rejected.items()}
    document = model(wanted) if wanted else None
    return ModelRecord(name="fast", document=document, stable=stable, rejected=by_launch)


def r(value: ModelSpec, number: int, phase: str = "ready") -> Replica:
    return replica(value, id=f"r{number}", phase=phase)


SERVES: list[tuple[str, ModelRecord, list[Replica], str | None]] = [
    ("nothing runs, nothing serves", record(OLD), [], None),
    ("the one that is ready serves", record(OLD), [r(OLD, 1)], "r1"),
    ("a model that nobody wants is not served", record(None), [r(OLD, 1)], None),
    ("nor is one that should be absent", record(ABSENT), [r(OLD, 1)], None),
    ("the old one serves until the new one is ready", record(NEW), [r(OLD, 1), r(NEW, 2, "starting")], "r1"),
    ("the desired one comes first", record(NEW, OLD), [r(NEW, 1), r(OLD, 2)], "r1"),
    ("then the stable one", record(NEW, OLD), [r(OLD, 1), r(OTHER, 2)], "r1"),
    ("then whatever is ready", record(NEW), [r(OTHER, 1)], "r1"),
    ("without a stable one, too, the newest of what is ready", record(NEW), [r(OLD, 1), r(OTHER, 2)], "r2"),
    ("the newest of equals", record(OLD), [r(OLD, 1), r(OLD, 2), r(OLD, 3)], "r3"),
    ("one that drains takes nothing new", record(OLD), [r(OLD, 1, "draining")], None),
    ("nor one that stops", record(OLD), [r(OLD, 1, "stopping")], None),
    ("nor one without a socket", record(OLD), [replica(OLD, running=None)], None),
    (
        "a stable launch that is desired, too, is the desired one",
        record(OLD, OLD),
        [r(OLD, 1), r(NEW, 2)],
        "r1",
    ),
]


@pytest.mark.parametrize(("known", "fleet", "expected"), [c[1:] for c in SERVES], ids=[c[0] for c in SERVES])
def test_serving(known: ModelRecord, fleet: list[Replica], expected: str | None) -> None:
    found = serving(known, fleet)
    assert (found.id if found else None) == expected


def test_age_decides_between_equals_only() -> None:
    for fleet in permutations([r(NEW, 1), r(OLD, 2), r(OTHER, 3)]):
        found = serving(record(NEW, OLD), fleet)
        assert found is not None
        assert found.id == "r1"


UNREADY: list[tuple[str, ModelRecord, list[Replica], str]] = [
    ("nobody wants it", record(None), [], "nothing asks for it"),
    ("it should be absent", record(ABSENT), [], "nothing asks for it"),
    ("it is new", record(OLD), [], "it is about to load"),
    ("it loads", record(OLD), [r(OLD, 1, "starting")], "it is loading"),
    (
        "it loads after a failure",
        record(OLD, old=rejection(OLD)),
        [r(OLD, 1, "starting")],
        "it is loading again after: it broke",
    ),
    (
        "it waits for another try",
        record(OLD, old=rejection(OLD, retry_at=NOW + timedelta(seconds=5))),
        [],
        "it failed and is tried again at 12:00:05 UTC: it broke",
    ),
    ("it was given up", record(OLD, old=rejection(OLD, retry_at=None)), [], "it was given up: it broke"),
    (
        "the failures of another launch are no reason",
        record(OLD, new=rejection(NEW, retry_at=None)),
        [],
        "it is about to load",
    ),
    (
        "one that drains is not loading",
        record(OLD),
        [replica(OLD, phase="draining", why="its memory is needed")],
        "it was unloaded: its memory is needed",
    ),
]


@pytest.mark.parametrize(
    ("known", "fleet", "expected"), [c[1:] for c in UNREADY], ids=[c[0] for c in UNREADY]
)
def test_unready(known: ModelRecord, fleet: list[Replica], expected: str) -> None:
    assert unready(State(), known, fleet) == expected


NEVER, SOON = rejection(retry_at=None), rejection()
STALLED: list[tuple[str, ModelRecord, bool]] = [
    ("a model that nobody wants waits for nothing", record(None), False),
    ("a new model will be tried", record(NEW), False),
    ("one that waits for its retry will be tried", record(NEW, new=SOON), False),
    ("one that was given up will not", record(NEW, new=NEVER), True),
    ("unless its last good revision can serve", record(NEW, OLD, new=NEVER), False),
    ("or will be tried again", record(NEW, OLD, new=NEVER, old=SOON), False),
    ("or it is only the last good one that was given up", record(NEW, OLD, new=SOON, old=NEVER), False),
    ("both were given up", record(NEW, OLD, new=NEVER, old=NEVER), True),
]


@pytest.mark.parametrize(("known", "expected"), [c[1:] for c in STALLED], ids=[c[0] for c in STALLED])
def test_stalled(known: ModelRecord, *, expected: bool) -> None:
    assert stalled(State(), known) == expected


def test_a_route_to_a_ready_replica_takes_the_live_fields_from_the_file_in_force() -> None:
    wanted = spec(
        location="small",
        state=ModelState.TESTING,
        capabilities=("embedding",),
        sampling=Sampling(seed=7),
    )
    table = routing_table(state(wanted, replica(OLD)), epoch=3)
    assert table.epoch == 3
    assert table.routes == {
        "fast": Route(
            model="fast",
            state=ModelState.TESTING,
            capabilities=("embedding",),
            sampling=Sampling(seed=7),
            replica="fast-1.1",
            revision=OLD.revision,
            socket="/run/fast-1.1.sock",
        )
    }


@pytest.mark.parametrize(
    ("held", "unready_", "is_stalled"),
    [
        pytest.param(state(OLD), "it is about to load", False, id="new"),
        pytest.param(
            state(OLD, rejected={OLD.launch: NEVER}), "it was given up: it broke", True, id="given up"
        ),
        pytest.param(
            state(NEW, r(OLD, 1, "starting"), rejected={NEW.launch: NEVER}),
            "it is loading again after: it broke",
            False,
            id="given up, and yet something is coming",
        ),
    ],
)
def test_a_route_without_a_replica_says_why(held: State, unready_: str, *, is_stalled: bool) -> None:
    route = routing_table(held, epoch=1).routes["fast"]
    assert (route.replica, route.revision, route.socket) == (None, None, None)
    assert (route.unready, route.stalled) == (unready_, is_stalled)


def test_a_route_to_what_can_never_fit_says_so_while_it_is_fetched_again() -> None:
    memory = Memory(pools={RAM: Pool(total=1000)}, at=NOW)
    known = {OLD.launch: Footprint(measured={RAM: 2000})}
    held = replace(state(OLD), memory=memory, footprints=known, fetching={"fast": OLD.launch})
    route = routing_table(held, epoch=1).routes["fast"]
    assert (route.stalled, route.progress) == (True, "fetching")
    assert "is the whole budget" in route.unready


def test_a_model_that_serves_is_not_stalled_whatever_was_given_up() -> None:
    held = state(NEW, replica(OLD), rejected={NEW.launch: NEVER})
    route = routing_table(held, epoch=1).routes["fast"]
    assert (route.replica, route.unready, route.stalled) == ("fast-1.1", "", False)


def test_models_that_nobody_wants_have_no_route() -> None:
    assert routing_table(state(ABSENT, replica(OLD)), epoch=1).routes == {}
    assert routing_table(state(None, replica(OLD)), epoch=1).routes == {}


def test_each_model_is_served_by_its_own_replicas() -> None:
    specs = [spec("a"), spec("b")]
    held = State(
        catalog=Catalog(models={s.name: model(s) for s in specs}),
        models={s.name: ModelRecord(name=s.name, document=model(s)) for s in specs},
        fleet=Fleet(replicas={"b1": replica(specs[1], id="b1")}),
    )
    routes = routing_table(held, epoch=1).routes
    assert {name: route.replica for name, route in routes.items()} == {"a": None, "b": "b1"}


def test_the_table_holds_the_policies_and_names_the_default_one() -> None:
    named, default = policy("other", default=False), policy("main")
    with_default = State(catalog=Catalog(policies={"other": named, "main": default}))
    table = routing_table(with_default, epoch=1)
    assert table.policies == {"other": named.value, "main": default.value}
    assert table.default_policy == "main"
    without = State(catalog=Catalog(policies=MappingProxyType({"other": named})))
    assert routing_table(without, epoch=1).default_policy is None


def test_what_can_never_fit_is_refused_though_its_next_try_would_be_due() -> None:
    old, new = always("a", location="old"), always("a")
    held = machine(new, total=1)
    failed = {new.launch: rejection(new, retry_at=NOW), old.launch: rejection(old, retry_at=NOW)}
    tried = replace(held.models["a"], rejected=failed)
    assert routing_table(replace(held, models={"a": tried}), epoch=1).routes["a"].stalled
    assert routing_table(held, epoch=1).routes["a"].stalled
    roomy = replace(machine(new), models={"a": tried})
    assert not routing_table(roomy, epoch=1).routes["a"].stalled


def test_a_model_whose_turn_to_be_downloaded_has_not_come_says_so() -> None:
    far = Source(written="hf:org/repo", scheme="hf", location="org/repo")
    lazy = replace(OLD, source=far, load=LoadWhen.ON_DEMAND)
    held = replace(machine(lazy), fetched=frozenset(), footprints={})
    route = routing_table(held, epoch=1).routes[lazy.name]
    assert route.unready == "hf:org/repo is fetched after other downloads"
    assert route.progress == "fetching later"
    begun = replace(held, fetching={lazy.name: lazy.launch})
    route = routing_table(begun, epoch=1).routes[lazy.name]
    assert (route.unready, route.progress) == ("hf:org/repo is being fetched and checked", "fetching")


FAR = spec(endpoints=("https://api.example.com/v1",))


@pytest.mark.parametrize(
    ("tiers", "asked"), [((Tier.LOCAL,), []), ((Tier.LOCAL, Tier.REMOTE), ["Fetch"])], ids=["no", "yes"]
)
def test_a_remote_model_that_no_policy_may_use_is_not_even_looked_at(
    tiers: tuple[Tier, ...], asked: list[str]
) -> None:
    held = state(FAR)
    held = replace(
        held,
        fetched=frozenset(),
        catalog=replace(held.catalog, policies={"default": policy(tiers=tiers)}),
    )
    assert [type(action).__name__ for action in plan(held, NO_DEMAND, Limits(), NOW)] == asked
    route = routing_table(held, epoch=1).routes["fast"]
    assert route.stalled is not bool(asked)
    assert ("no policy names `remote`" in route.unready) is not bool(asked)
