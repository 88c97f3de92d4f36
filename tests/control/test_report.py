"""The state as JSON: every field, and no secret."""

import asyncio
import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import report
from orchestrator.decide.diff import changes
from orchestrator.decide.fold import fold
from orchestrator.decide.preview import preview
from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.sources import SourceChecks
from orchestrator.values.catalog import Catalog, Held, Problem, Reading
from orchestrator.values.event import CatalogRead, ReloadAsked
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec, ModelState, Sampling
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, model, policy, rejection, replica, running, spec, state
from tests.control.desk import WITHIN_S, Desk, desk

OLD, NEW = spec(location="tiny"), spec(location="small", state=ModelState.TESTING)
AT = "2026-11-20T12:00:00.000+00:00"


def through_json(found: object) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(json.dumps(found))


def test_a_model_with_everything() -> None:
    busy = replace(running(), memory_bytes=77)
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
    (found,) = through_json(report.models(held, {"fast-1.1": 2}))
    conditions = found.pop("conditions")
    assert found == {
        "name": "fast",
        "path": "models.d/fast.yaml",
        "engine": "llama-cpp",
        "source": "demo:small",
        "state": "testing",
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
                "leases": 0,
                "since": AT,
                "why": "",
            },
        ],
    }
    assert [c["type"] for c in conditions] == [
        "Accepted",
        "Fetched",
        "Ready",
        "Progressing",
        "Degraded",
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
    (found,) = through_json(report.models(state(None, replica(OLD, phase="draining")), {}))
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


def test_models_are_in_order() -> None:
    held = State(models={name: ModelRecord(name=name) for name in ("b", "a")})
    assert [found["name"] for found in report.models(held, {})] == ["a", "b"]


def test_failures_of_what_serves_now_are_not_told() -> None:
    held = state(
        OLD, replica(OLD), rejected={OLD.launch: rejection(OLD), NEW.launch: rejection(NEW, retry_at=None)}
    )
    (found,) = report.models(held, {})
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
    (found,) = report.models(state(NEW, *fleet, attempted=attempted, **record), {})
    assert found["attempted"] == expected


def test_the_spec_has_every_field_with_its_defaults() -> None:
    document = model(spec(sampling=Sampling(seed=7)))
    assert report.spec_fields(ModelRecord(name="fast", document=document)) == {
        "engine": "llama-cpp",
        "source": "demo:tiny",
        "state": "active",
        "context": "4096",
        "parallel": "4",
        "capabilities": "chat, completion",
        "sampling.seed": "7",
    }


def test_policies_problems_holds_and_events() -> None:
    held = State(
        catalog=Catalog(policies={"b": policy("b", default=False), "a": policy("a", fallback=("x",))})
    )
    assert through_json(report.policies(held)) == [
        {"name": "a", "default": True, "otherwise": ["fast"], "fallback": ["x"], "path": "policies/a.yaml"},
        {"name": "b", "default": False, "otherwise": ["fast"], "fallback": [], "path": "policies/b.yaml"},
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
    steps = preview(State(boot=1), read, Limits())
    assert through_json(report.step(steps[0])) == {
        "action": "load",
        "model": "fast",
        "revision": NEW.revision,
        "replica": "fast-1.1",
        "why": "its file asks for it",
    }
    assert report.step(replace(steps[0], replica=""))["replica"] is None


# -- secrets

SECRET = "hunter2-location"  # noqa: S105 (the point of it)
HIDDEN = "engine: llama-cpp\nsource: file:${env:WEIGHTS}\n"


class Checking(FakeEngine):
    """Looks at the files as the real engine does, and then only pretends to load."""

    def __init__(self) -> None:
        super().__init__(load_s=0.005, unload_s=0.005)
        self._checks = SourceChecks()

    async def ensure_fetched(self, spec: ModelSpec) -> None:
        await super().ensure_fetched(spec)
        if spec.name != "loaded":
            await self._checks.check(spec.source)


async def everything(house: Desk) -> str:
    """All that a person can be told, as one text."""
    operations = house.operations
    told: list[object] = [await operations.reload(WITHIN_S), await operations.status()]
    told += [await operations.describe(name) for name in house.loop.state.models]
    told += [await operations.plan(None), house.facts, house.loop.state.models, house.loop.leases.table]
    return "".join(
        item if isinstance(item, str) else f"{item!r} {json.dumps(item, default=str)}" for item in told
    )


@pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)
async def test_what_a_reference_stands_for_is_told_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WEIGHTS", f"/nowhere/{SECRET}.gguf")
    folder = tmp_path / "config/models.d"
    folder.mkdir(parents=True)
    (folder / "missing.yaml").write_text(HIDDEN)
    (folder / "loaded.yaml").write_text(HIDDEN)
    (folder / "broken.yaml").write_text(HIDDEN + "context: ${env:WEIGHTS}\nstate: ${env:WEIGHTS}\n")
    async with desk(tmp_path, Checking()) as house:
        told = await everything(house)
        assert "source 'file:${env:WEIGHTS}': there is no such file" in told
        assert (await house.model("loaded"))["serving"] is not None
        assert len((await house.operations.status())["problems"]) == 2

        real = tmp_path / f"{SECRET}.gguf"
        await asyncio.to_thread(real.write_bytes, b"this is no model")
        monkeypatch.setenv("WEIGHTS", str(real))
        planned = await house.operations.plan(None)
        assert {change["class"] for change in planned["changes"]} == {"replace"}
        (folder / "missing.yaml").write_text(HIDDEN + "parallel: 2\n")
        told += await everything(house)
        assert "SourceCorrupt" in told
    assert SECRET not in told
    assert SECRET not in caplog.text
