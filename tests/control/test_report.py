"""The state as JSON: every field."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.control import report
from orchestrator.control.headway import Headway
from orchestrator.decide.diff import changes
from orchestrator.decide.fold import fold
from orchestrator.decide.preview import preview
from orchestrator.engines.base import Progress
from orchestrator.values.catalog import Catalog, Held, Problem, Reading
from orchestrator.values.demand import NO_DEMAND, Demand, Waiting
from orchestrator.values.event import CatalogRead, ReloadAsked
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.policy import Rule, Tier, When
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelState, Sampling
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, model, policy, rejection, replica, running, spec, state

OLD, NEW = spec(location="tiny"), spec(location="small", state=ModelState.TESTING)
AT = "2026-11-20T12:00:00.000+00:00"


def still(_model: str) -> None:
    """Nothing is being fetched."""


def through_json(found: object) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(json.dumps(found))


def test_a_model_with_everything() -> None:
    busy = replace(running(), memory_bytes=77, gpu_bytes=(("cuda:0", 5),))
    held = state(
        NEW,
        replica(OLD, running=busy, why="serves meanwhile"),
        replica(NEW, id="fast-1.2", phase="starting"),
        stable=OLD,
        attempted=NEW.launch,
        rejected={NEW.launch: rejection(NEW, failures=3, terminal=True, retry_at=None)},
    )
    held = fold(held, ReloadAsked(at=NOW)).state  # for its conditions
    held = replace(
        held,
        models={"fast": replace(held.models["fast"], rejected={NEW.launch: rejection(NEW, failures=3)})},
    )
    (found,) = through_json(report.models(held, Demand(leases={"fast-1.1": 2}), still))
    conditions = found.pop("conditions")
    assert found == {
        "name": "fast",
        "path": "models.d/fast.yaml",
        "engine": "llama-cpp",
        "source": "demo:small",
        "state": "testing",
        "load": "always",
        "generation": 1,
        "desired": NEW.revision,
        "attempted": NEW.revision,
        "stable": OLD.revision,
        "rejected": [
            {
                "revision": NEW.revision,
                "reason": "LoadFailed",
                "message": "it broke",
                "terminal": False,
                "fix": "",
                "retry_at": "2026-11-20T12:00:10.000+00:00",
                "failures": 3,
            }
        ],
        "serving": {"replica": "fast-1.1", "revision": OLD.revision},
        "replicas": [
            {
                "id": "fast-1.1",
                "revision": OLD.revision,
                "phase": "ready",
                "pid": 4711,
                "memory_bytes": 77,
                "gpu_bytes": {"cuda:0": 5},
                "leases": 2,
                "since": AT,
                "why": "serves meanwhile",
            },
            {
                "id": "fast-1.2",
                "revision": NEW.revision,
                "phase": "starting",
                "pid": None,
                "memory_bytes": 0,
                "gpu_bytes": {},
                "leases": 0,
                "since": AT,
                "why": "",
            },
        ],
        "takes": None,
        "fetch": None,
        "waiting": 0,
    }
    assert [c["type"] for c in conditions] == [
        "Accepted",
        "Fetched",
        "Fits",
        "Ready",
        "Progressing",
        "Degraded",
        "Drifted",
        "Stalled",
    ]
    assert conditions[0] == {
        "type": "Accepted",
        "status": "True",
        "reason": "Valid",
        "message": "generation 1 is in force",
        "observed_generation": 1,
        "since": AT,
    }


def test_a_model_whose_file_is_gone() -> None:
    (found,) = through_json(report.models(state(None, replica(OLD, phase="draining")), NO_DEMAND, still))
    assert {key: found[key] for key in ("path", "engine", "source", "state", "generation")} == {
        "path": "",
        "engine": "",
        "source": "",
        "state": "removed",
        "generation": 0,
    }
    pointers = ("desired", "attempted", "stable", "serving")
    assert [found[key] for key in pointers] == [None] * 4
    assert report.spec_fields(ModelRecord(name="fast")) == {}


def test_what_a_model_takes_is_told_once_something_is_known() -> None:
    known = Footprint(
        estimated={RAM: 50, "cuda:0": 70}, measured={RAM: 40}, load_s=1.5, engine_version="fake 1"
    )
    held = replace(state(NEW), footprints={NEW.launch: known})
    (found,) = through_json(report.models(held, NO_DEMAND, still))
    assert found["takes"] == {
        "need": {"ram": 40},
        "estimated": {"ram": 50, "cuda:0": 70},
        "measured": {"ram": 40},
        "load_s": 1.5,
        "engine_version": "fake 1",
    }
    gone = replace(held, models={"fast": ModelRecord(name="fast")})
    assert report.models(gone, NO_DEMAND, still)[0]["takes"] is None


def test_how_far_a_fetch_is_and_how_many_wait() -> None:
    headway = Headway()
    for at_s, done in ((0, 10), (2, 30)):
        headway.take(Progress(doing="downloading", done_bytes=done, total_bytes=100), at_s)
    demand = Demand(waiting={"fast": Waiting(count=3, since=NOW, priority=5)})
    found = through_json(report.model(state(NEW), "fast", demand, {"fast": headway}.get))
    assert found["fetch"] == {
        "doing": "downloading",
        "done_bytes": 30,
        "total_bytes": 100,
        "bytes_per_s": 10,
        "left_s": 7.0,
    }
    assert found["waiting"] == 3
    starting = report.model(state(NEW), "fast", demand, {"fast": Headway()}.get)["fetch"]
    assert (starting["doing"], starting["total_bytes"], starting["left_s"]) == ("starting", 0, None)


def test_every_pool_with_what_replicas_are_charged() -> None:
    pools = {"ram": Pool(total=100, reserve=10, outside=20, limit=60), "cuda:0": Pool(total=50)}
    held = replace(
        state(OLD, replica(OLD)),
        memory=Memory(pools=pools, at=NOW),
        footprints={OLD.launch: Footprint(estimated={RAM: 30})},
    )
    assert through_json(report.memory(held)) == {
        "cuda:0": {
            "total_bytes": 50,
            "reserve_bytes": 0,
            "outside_bytes": 0,
            "limit_bytes": None,
            "room_bytes": 50,
            "charged_bytes": 0,
        },
        "ram": {
            "total_bytes": 100,
            "reserve_bytes": 10,
            "outside_bytes": 20,
            "limit_bytes": 60,
            "room_bytes": 60,
            "charged_bytes": 30,
        },
    }


def test_models_are_in_order() -> None:
    held = State(models={name: ModelRecord(name=name) for name in ("b", "a")})
    assert [found["name"] for found in report.models(held, NO_DEMAND, still)] == ["a", "b"]


def test_failures_of_what_serves_now_are_not_told() -> None:
    held = state(
        OLD, replica(OLD), rejected={OLD.launch: rejection(OLD), NEW.launch: rejection(NEW, retry_at=None)}
    )
    (found,) = report.models(held, NO_DEMAND, still)
    assert [(item["revision"], item["retry_at"]) for item in found["rejected"]] == [(NEW.revision, None)]


@pytest.mark.parametrize(
    ("attempted", "record", "fleet", "expected"),
    [
        pytest.param(None, {}, (), None, id="nothing was started yet"),
        pytest.param(OLD.launch, {}, (replica(OLD),), OLD.revision, id="it runs"),
        pytest.param(NEW.launch, {}, (), NEW.revision, id="it is desired"),
        pytest.param(OLD.launch, {"stable": OLD}, (), OLD.revision, id="it was stable"),
        pytest.param(
            OLD.launch, {"rejected": {OLD.launch: rejection(OLD)}}, (), OLD.revision, id="it was rejected"
        ),
        pytest.param(OLD.launch, {}, (), None, id="nothing remembers it any more"),
    ],
)
def test_the_revision_last_started(
    attempted: str | None, record: dict[str, Any], fleet: tuple[Any, ...], expected: str | None
) -> None:
    (found,) = report.models(state(NEW, *fleet, attempted=attempted, **record), NO_DEMAND, still)
    assert found["attempted"] == expected


def test_the_spec_has_every_field_with_its_defaults() -> None:
    document = model(spec(sampling=Sampling(seed=7)))
    assert report.spec_fields(ModelRecord(name="fast", document=document)) == {
        "engine": "llama-cpp",
        "source": "demo:tiny",
        "state": "active",
        "load": "always",
        "context": "4096",
        "parallel": "4",
        "accelerator": "auto",
        "memory": "auto",
        "capabilities": "chat, completion",
        "sampling.seed": "7",
    }


def test_policies_problems_holds_and_events() -> None:
    held = State(
        catalog=Catalog(
            policies={
                "b": policy("b", default=False),
                "a": policy(
                    "a",
                    fallback=("x",),
                    rules=(Rule(when=When(tasks=("code",)), use=("x",)),),
                    tiers=(Tier.LOCAL, Tier.REMOTE),
                ),
            }
        )
    )
    assert through_json(report.policies(held)) == [
        {
            "name": "a",
            "default": True,
            "otherwise": ["fast"],
            "fallback": ["x"],
            "rules": 1,
            "tiers": ["local", "remote"],
            "path": "policies/a.yaml",
        },
        {
            "name": "b",
            "default": False,
            "otherwise": ["fast"],
            "fallback": [],
            "rules": 0,
            "tiers": ["local"],
            "path": "policies/b.yaml",
        },
    ]
    problem = Problem(path="p", line=1, column=2, what="w", fix="f", excerpt="e")
    assert through_json(report.problems([problem])) == [
        {"path": "p", "line": 1, "column": 2, "what": "w", "fix": "f", "excerpt": "e"}
    ]
    assert through_json(report.held([Held(path="p", why="w", since=NOW)])) == [
        {"path": "p", "why": "w", "since": AT}
    ]
    fact = LifecycleFact(
        at=NOW + timedelta(milliseconds=5),
        severity=Severity.WARNING,
        reason="R",
        message="m",
        model="a",
        revision="b",
        replica="c",
        generation=4,
    )
    assert through_json(report.event(fact)) == {
        "at": "2026-11-20T12:00:00.005+00:00",
        "severity": "warning",
        "reason": "R",
        "message": "m",
        "model": "a",
        "revision": "b",
        "replica": "c",
        "generation": 4,
    }


def test_changes_and_steps() -> None:
    new = Catalog(models={"fast": replace(model(NEW, generation=2), lines={"source": 2})})
    (first, *_) = changes(state(OLD).catalog, new)
    assert through_json(report.change(first)) == {
        "kind": "model",
        "name": "fast",
        "class": "replace",
        "field": "source",
        "old": "demo:tiny",
        "new": "demo:small",
        "path": "models.d/fast.yaml",
        "line": 2,
    }
    read = CatalogRead(at=NOW, reading=Reading(catalog=new))
    known = Footprint(estimated={RAM: 5 << 20}, load_s=2.5)
    steps = preview(State(boot=1), read, Limits(), {NEW.launch: known})
    assert through_json(report.step(steps[0])) == {
        "action": "load",
        "model": "fast",
        "revision": NEW.revision,
        "replica": "fast-1.1",
        "why": "its file asks for it",
        "memory": {"before": {}, "peak": {"ram": 5 << 20}, "after": {"ram": 5 << 20}},
        "takes_s": 2.5,
        "interrupts": False,
        "unavailable_s": None,
    }
    assert report.step(replace(steps[0], replica=""))["replica"] is None
