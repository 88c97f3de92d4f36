"""The promises of the plan, against a small world in which anything may happen in any order."""

from dataclasses import replace
from datetime import datetime, timedelta

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.decide.budget import obstacle
from orchestrator.decide.fold import fold
from orchestrator.decide.plan import plan
from orchestrator.decide.preview import preview
from orchestrator.decide.serving import routing_table
from orchestrator.values.action import CallOff, Drain, Fetch, Load, Remove, Unload
from orchestrator.values.catalog import Catalog, Document, Reading
from orchestrator.values.demand import Demand, Waiting
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    Event,
    Fetched,
    FetchFailed,
    MemoryRead,
    Observed,
    ReloadAsked,
    Removed,
    RemoveFailed,
    ReplicaLoaded,
    ReplicaLost,
    ReplicaUnloaded,
    RequestWaits,
    UnloadFailed,
)
from orchestrator.values.fleet import Phase, Running
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec, ModelState
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, model, running, spec

NAMES = ("fast", "quality", "third")
LIMITS = Limits(loads_at_once=2, drain_s=30)
LOCATIONS = st.sampled_from(["tiny", "small", "big", "bad"])
# What a replica takes, in pretended bytes; not all of them fit into the pool together.
SIZES = {"tiny": 2_000, "small": 3_000, "big": 7_000, "bad": 1_000}
TOTAL, RESERVE = 10_000, 1_000


class World(RuleBasedStateMachine):
    """One daemon; `running` is what the engine really runs, `leases` what requests hold.

    `outside` is what other programs take of the memory, `seen_outside` what was seen of it last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = State(boot=1)
        self.now: datetime = NOW
        self.running: dict[str, Running] = {}
        self.loading: set[str] = set()
        self.unloading: set[str] = set()
        self.leases: dict[str, int] = {}
        self.waiting: dict[str, Waiting] = {}
        self.fetching: dict[str, ModelSpec] = {}
        self.removing: set[str] = set()
        self.generation = 0
        self.outside = self.seen_outside = 0
        self.files: dict[str, Document[ModelSpec]] = {}

    # -- what the loop does after every event

    def demand(self) -> Demand:
        return Demand(leases=self.leases, waiting=self.waiting)

    def tell(self, event: Event) -> None:
        served_before = self.served()
        self.state = fold(self.state, event).state
        pushed: set[str] = set()
        for action in plan(self.state, self.demand(), LIMITS, self.now):
            self.state = fold(self.state, ActionIssued(at=self.now, action=action)).state
            match action:
                case Load():
                    assert action.replica not in self.running, "an id is never used twice"
                    self.loading.add(action.replica)
                    self.check_budget(action)
                case Unload():
                    held = self.leases.get(action.replica, 0)
                    replica = self.state.fleet.replicas.get(action.replica)
                    assert held == 0 or self.deadline_passed(action.replica), "a busy replica is not unloaded"
                    assert replica is None or replica.phase is Phase.STOPPING
                    self.loading.discard(action.replica)
                    self.unloading.add(action.replica)
                case Drain():
                    pushed |= {action.model} if action.patient or "both do not fit" in action.why else set()
                case Fetch():
                    self.fetching[action.model] = action.spec
                case CallOff():
                    del self.fetching[action.model]
                case Remove():
                    self.removing.add(action.model)
        for name in set(self.waiting) & self.served():
            del self.waiting[name]
        if isinstance(event, CatalogRead):
            wanted = {name for name, record in self.state.models.items() if record.desired}
            lost = (served_before - self.served()) & wanted
            assert lost <= pushed, (
                "only for want of memory does an edit take a wanted model's last replica away"
            )

    def check_budget(self, load: Load) -> None:
        """Everything that runs, ends or begins, a load's whole peak included, fits beside the others."""
        alive = self.loading | self.unloading | self.running.keys()
        known = {r.id: r.spec for r in self.state.fleet.replicas.values()}
        taken = sum(SIZES[known[name].source.location] for name in alive if name in known)
        assert taken + self.seen_outside <= TOTAL - RESERVE, f"{load.replica} exceeds the budget"

    def deadline_passed(self, replica: str) -> bool:
        held = self.state.fleet.replicas[replica]
        drained_at = self.drained_at.get(replica, self.now)
        return not held.patient and drained_at <= self.now - timedelta(seconds=LIMITS.drain_s)

    @property
    def drained_at(self) -> dict[str, datetime]:
        return self._drained_at

    @initialize()
    def start(self) -> None:
        self._drained_at: dict[str, datetime] = {}
        self.look_at_memory()

    def served(self) -> set[str]:
        return {name for name, route in routing_table(self.state, epoch=1).routes.items() if route.replica}

    # -- what may happen

    @rule(
        name=st.sampled_from(NAMES),
        location=LOCATIONS,
        parallel=st.sampled_from([2, 4]),
        load=st.sampled_from(LoadWhen),
        pinned=st.booleans(),
        absent=st.booleans(),
    )
    def edit(
        self, name: str, location: str, parallel: int, load: LoadWhen, *, pinned: bool, absent: bool
    ) -> None:
        self.generation += 1
        wanted = spec(
            name,
            location=location,
            parallel=parallel,
            load=load,
            pinned=pinned,
            state=ModelState.ABSENT if absent and self.generation % 4 == 0 else ModelState.ACTIVE,
        )
        self.files[name] = model(wanted, generation=self.generation)
        self.read()

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.files.pop(name, None)
        self.read()

    def read(self) -> None:
        catalog = Catalog(models=dict(sorted(self.files.items())))
        self.tell(CatalogRead(at=self.now, reading=Reading(catalog=catalog)))

    @rule(outside=st.sampled_from([0, 0, 1_000, 4_000, 9_500]))
    def others_take_memory(self, outside: int) -> None:
        self.outside = outside

    @rule()
    def look_at_memory(self) -> None:
        self.seen_outside = self.outside
        pool = Pool(total=TOTAL, reserve=RESERVE, outside=self.outside)
        self.tell(MemoryRead(at=self.now, memory=Memory(pools={RAM: pool}, at=self.now)))

    @precondition(lambda self: self.fetching)
    @rule(data=st.data(), works=st.booleans())
    def fetch_ends(self, data: st.DataObject, *, works: bool) -> None:
        self.end_fetch(data.draw(st.sampled_from(sorted(self.fetching))), works=works)

    def end_fetch(self, name: str, *, works: bool) -> None:
        wanted = self.fetching.pop(name)
        if not works:
            failed = FetchFailed(
                at=self.now,
                model=name,
                launch=wanted.launch,
                reason="SourceUnreachable",
                message="no",
                terminal=False,
                lasting=True,
                draw=0.5,
            )
            self.tell(failed)
            return
        known = Footprint(estimated={RAM: SIZES[wanted.source.location]}, load_s=2.0)
        self.tell(
            Fetched(
                at=self.now,
                model=name,
                launch=wanted.launch,
                resolved="",
                size_bytes=1,
                footprint=known,
            )
        )

    @precondition(lambda self: self.removing)
    @rule(works=st.booleans())
    def removal_ends(self, *, works: bool) -> None:
        name = self.removing.pop()
        done = Removed(at=self.now, model=name, freed_bytes=7)
        self.tell(done if works else RemoveFailed(at=self.now, model=name, message="no"))

    @rule(name=st.sampled_from(NAMES), priority=st.integers(0, 10))
    def request_waits(self, name: str, priority: int) -> None:
        route = routing_table(self.state, epoch=1).routes.get(name)
        if route is not None and route.replica is None:
            self.waiting[name] = Waiting(count=1, since=self.now, priority=priority)
            self.tell(RequestWaits(at=self.now, model=name))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[name]
        self.tell(RequestWaits(at=self.now, model=name))

    @precondition(lambda self: self.loading)
    @rule(data=st.data())
    def load_ends(self, data: st.DataObject) -> None:
        replica = data.draw(st.sampled_from(sorted(self.loading)))
        self.loading.discard(replica)
        if self.state.fleet.replicas[replica].spec.source.location == "bad":
            terminal = data.draw(st.booleans())
            self.tell(self.lost(replica, terminal=terminal))
        else:
            self.end_load(replica)

    def end_load(self, replica: str) -> None:
        size = SIZES[self.state.fleet.replicas[replica].spec.source.location]
        self.running[replica] = replace(running(replica), memory_bytes=size)
        self.tell(ReplicaLoaded(at=self.now, replica=replica, running=self.running[replica], load_s=2.0))

    @precondition(lambda self: self.unloading)
    @rule(data=st.data(), works=st.booleans())
    def unload_ends(self, data: st.DataObject, works: bool) -> None:  # noqa: FBT001
        replica = data.draw(st.sampled_from(sorted(self.unloading)))
        self.unloading.discard(replica)
        if works or replica not in self.running:
            self.running.pop(replica, None)
            self.leases.pop(replica, None)
            self.tell(ReplicaUnloaded(at=self.now, replica=replica))
        else:
            self.tell(UnloadFailed(at=self.now, replica=replica, message="it will not"))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), noticed=st.booleans())
    def crash(self, data: st.DataObject, noticed: bool) -> None:  # noqa: FBT001
        replica = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[replica]
        self.leases.pop(replica, None)
        if noticed:
            self.tell(self.lost(replica, terminal=False))

    def lost(self, replica: str, *, terminal: bool) -> ReplicaLost:
        return ReplicaLost(
            at=self.now, replica=replica, reason="LoadFailed", message="no", terminal=terminal, draw=0.5
        )

    @rule(data=st.data())
    def request_begins(self, data: st.DataObject) -> None:
        routes = [r.replica for r in routing_table(self.state, epoch=1).routes.values() if r.replica]
        if routes:
            replica = data.draw(st.sampled_from(routes))
            self.leases[replica] = self.leases.get(replica, 0) + 1

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def request_ends(self, data: st.DataObject) -> None:
        replica = data.draw(st.sampled_from(sorted(self.leases)))
        self.leases[replica] -= 1
        if not self.leases[replica]:
            del self.leases[replica]
        self.pass_time(0)

    @rule(seconds=st.sampled_from([1, 31, 700]))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.resync()

    @rule()
    def resync(self) -> None:
        seen = {"llama-cpp": dict(self.running)}
        self.tell(Observed(at=self.now, running=seen, draw=0.5))

    @rule()
    def ask_reload(self) -> None:
        self.tell(ReloadAsked(at=self.now))

    # -- what is always true

    @invariant()
    def the_clock_of_draining(self) -> None:
        draining = {n: r.since for n, r in self.state.fleet.replicas.items() if r.phase is Phase.DRAINING}
        self._drained_at = {**getattr(self, "_drained_at", {}), **draining}

    @invariant()
    def routes_point_at_ready_replicas(self) -> None:
        for route in routing_table(self.state, epoch=1).routes.values():
            if route.replica:
                replica = self.state.fleet.replicas[route.replica]
                assert replica.phase is Phase.READY
                assert replica.model == route.model

    @invariant()
    def no_more_loads_than_allowed(self) -> None:
        starting = [r for r in self.state.fleet.replicas.values() if r.phase is Phase.STARTING]
        assert len(starting) <= LIMITS.loads_at_once

    @invariant()
    def a_second_look_finds_nothing_to_do(self) -> None:
        again = plan(self.state, self.demand(), LIMITS, self.now)
        # What was told to drain in the first look may be unloaded in the second, and then it is fetched anew.
        draining = {r.model for r in self.state.fleet.replicas.values() if r.phase is Phase.DRAINING}
        follows = [a for a in again if isinstance(a, Fetch) and a.model in draining]
        assert [a for a in again if not isinstance(a, Unload) and a not in follows] == []

    def teardown(self) -> None:
        """Whatever happened: left alone, the fleet becomes what the catalog says, as far as it fits."""
        self.leases.clear()
        self.waiting.clear()
        self.outside = 0
        for _ in range(60):
            self.now += timedelta(seconds=400)
            self.tell(ReloadAsked(at=self.now))
            self.look_at_memory()
            while self.fetching:
                self.end_fetch(min(self.fetching), works=True)
            while self.removing:
                self.tell(Removed(at=self.now, model=self.removing.pop(), freed_bytes=0))
            for replica in sorted(self.unloading):
                self.unloading.discard(replica)
                self.running.pop(replica, None)
                self.tell(ReplicaUnloaded(at=self.now, replica=replica))
            for replica in sorted(self.loading):
                self.loading.discard(replica)
                if self.state.fleet.replicas[replica].spec.source.location == "bad":
                    self.tell(self.lost(replica, terminal=True))
                else:
                    self.end_load(replica)
            self.resync()
        for name, record in self.state.models.items():
            self.came_to_rest(name, record)
        fleet = {name for name in self.state.fleet.replicas if name in self.running}
        assert fleet == set(self.running), "nothing runs that nobody knows of"

    def came_to_rest(self, name: str, record: ModelRecord) -> None:
        desired = record.desired
        ready = [(r.launch, r.phase) for r in self.state.fleet.replicas.values() if r.model == name]
        if desired is None:
            assert ready == []
        elif desired.source.location == "bad" or obstacle(self.state, desired):
            assert len(ready) <= 1, "at most what served before"
        elif desired.load is LoadWhen.ON_DEMAND:
            assert ready == [], "nobody asks for it any more"
        else:
            assert ready == [(desired.launch, Phase.READY)]


World.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase


def test_a_preview_ends_where_the_loop_would() -> None:
    before = State(boot=1)
    read = CatalogRead(at=NOW, reading=Reading(catalog=Catalog(models={"fast": model(spec())})))
    steps = preview(before, read, LIMITS)
    assert [(step.action, step.model) for step in steps] == [("load", "fast"), ("switch", "fast")]
