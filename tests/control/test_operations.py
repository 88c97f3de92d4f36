"""What an operator may ask, on real files."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from orchestrator.control.operations import RECENT_EVENTS, RecentEvents, readiness, unknown
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.errors import LoadFailed, ModelUnknown, SourceNotFound, StateError
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.routing import RoutingTable
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW
from tests.control.desk import WITHIN_S, Desk, desk
from tests.gateway.fakes import route, table

real_time = pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)

TINY = "engine: llama-cpp\nsource: demo:tiny\n"
SMALL = "engine: llama-cpp\nsource: demo:small\n"
POLICY = "kind: routing\ndefault: true\notherwise: [fast]\nfallback: [quality]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("fast", TINY), ("quality", SMALL), ("third", TINY)):
        put(tmp_path / "config/models.d", name, text)
    put(tmp_path / "config/policies", "default", POLICY)
    return tmp_path


def put(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)


async def serving(house: Desk, name: str) -> str:
    """The source of the revision that serves a model."""
    found = await house.model(name)
    replicas = house.loop.state.fleet.replicas
    return replicas[found["serving"]["replica"]].spec.source.written


@real_time
async def test_status_tells_of_the_daemon_its_models_and_its_policies(folder: Path) -> None:
    async with desk(folder) as house:
        await house.history.flush(WITHIN_S)
        status = json.loads(json.dumps(await house.operations.status()))
        told = {name: status[name] for name in ("version", "pid", "address", "ready", "problems", "held")}
        assert told == {
            "version": "1.2.3",
            "pid": 4711,
            "address": "http://127.0.0.1:1",
            "ready": True,
            "problems": [],
            "held": [],
        }
        assert (status["config_folder"], status["state_folder"]) == (
            str(folder / "config"),
            str(folder / "state"),
        )
        assert status["started_at"].endswith("+00:00")
        history = status["history"]
        assert (history["ok"], history["dropped"], history["error"]) == (True, 0, None)
        assert history["written"] + history["queued"] == len(house.facts) > 0
        assert [model["name"] for model in status["models"]] == ["fast", "quality", "third"]
        assert status["policies"] == [
            {
                "name": "default",
                "default": True,
                "otherwise": ["fast"],
                "fallback": ["quality"],
                "rules": 0,
                "tiers": ["local"],
                "path": "policies/default.yaml",
            }
        ]


@real_time
async def test_describe_adds_the_spec_the_events_and_the_models_own_problems(folder: Path) -> None:
    async with desk(folder) as house:
        house.write("fast", TINY + "contxt: 9\n")
        house.write("third", TINY + "contxt: 9\n")
        await house.operations.reload(WITHIN_S)
        found = json.loads(json.dumps(await house.operations.describe("fast")))
        assert found["spec"]["source"] == "demo:tiny"
        assert [event["reason"] for event in found["events"]] == [
            "Accepted",
            "Fetching",
            "Fetched",
            "Loading",
            "Ready",
            "NotAccepted",
        ]
        assert [problem["path"] for problem in found["problems"]] == ["models.d/fast.yaml"]
        assert found["serving"]["replica"] == found["replicas"][0]["id"]
        whole = (await house.operations.status())["models"][0]
        assert {key: found[key] for key in whole} == whole


@real_time
async def test_describe_of_a_name_that_no_model_has_says_which_one_may_be_meant(folder: Path) -> None:
    async with desk(folder) as house:
        with pytest.raises(ModelUnknown, match="there is no model 'qualty'") as caught:
            await house.operations.describe("qualty")
        assert caught.value.fix == "did you mean 'quality'?"


@real_time
async def test_a_daemon_that_stops_refuses_what_it_would_never_do(folder: Path) -> None:
    async with desk(folder) as house:
        house.operations.stop()
        with pytest.raises(StateError, match="stopping"):
            await house.operations.reload(WITHIN_S)
        with pytest.raises(StateError, match="stopping"):
            await house.operations.confirm_removal()
        assert (await house.operations.status())["ready"] is False


@real_time
@pytest.mark.parametrize("order", ["before", "after"])
async def test_a_hang_up_signal_around_the_stop_keeps_no_daemon_alive(folder: Path, order: str) -> None:
    async with desk(folder) as house, asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        if order == "before":
            house.operations.reload_soon(tasks)
        house.operations.stop()
        house.operations.reload_soon(tasks)


def test_an_unknown_name_that_is_like_none_lists_them_all() -> None:
    known = State(models={name: ModelRecord(name=name) for name in ("b", "a")})
    assert unknown("zzzz", known).fix == "models: a, b"
    assert unknown("zzzz", State()).fix == "models: none yet"


@real_time
async def test_reload_tells_what_changed_and_waits_for_it(folder: Path) -> None:
    async with desk(folder) as house:
        await house.operations.reload(WITHIN_S)
        house.write("fast", SMALL + "context: 2048\nparallel: 2\n")
        house.write("new", TINY)
        (house.root / "models.d/third.yaml").unlink()
        house.write("default", POLICY.replace("[quality]", "[new]"), "policies")
        found = json.loads(json.dumps(await house.operations.reload(WITHIN_S)))
        assert found["changed"] == [
            {"kind": "model", "name": "fast", "change": "changed"},
            {"kind": "model", "name": "new", "change": "added"},
            {"kind": "model", "name": "third", "change": "removed"},
            {"kind": "policy", "name": "default", "change": "changed"},
        ]
        assert (found["problems"], found["held"], found["settled"]) == ([], [], True)
        assert [model["name"] for model in found["models"]] == ["fast", "new", "quality"]
        assert found["waited_ms"] >= 0
        assert await serving(house, "fast") == "demo:small"
        assert (await house.operations.reload(WITHIN_S))["changed"] == []


@real_time
async def test_the_first_reload_tells_of_everything_since_the_last_daemon(folder: Path) -> None:
    async with desk(folder) as first:
        found = await first.operations.reload(WITHIN_S)
        assert {(c["name"], c["change"]) for c in found["changed"]} == {
            ("fast", "added"),
            ("quality", "added"),
            ("third", "added"),
            ("default", "added"),
        }
    put(folder / "config/models.d", "fast", SMALL)
    async with desk(folder) as second:
        found = await second.operations.reload(WITHIN_S)
        assert [(c["name"], c["change"]) for c in found["changed"]] == [("fast", "changed")]


@real_time
async def test_an_edit_that_was_seen_before_anybody_asked_is_news_to_whoever_asks(folder: Path) -> None:
    async with desk(folder) as house:
        await house.operations.reload(WITHIN_S)
        house.write("fast", SMALL)
        await house.follower.rescan()
        assert await house.loop.settled(WITHIN_S)
        found = await house.operations.reload(WITHIN_S)
        assert [item["name"] for item in found["changed"]] == ["fast"]


@real_time
async def test_reload_tries_again_what_was_given_up(folder: Path) -> None:
    engine = FakeEngine(load_s=0.005)
    engine.refuse_fetch("small", SourceNotFound("there is no such file"))
    async with desk(folder, engine) as house:
        given_up = await house.model("quality")
        assert given_up["serving"] is None
        assert [item["reason"] for item in given_up["rejected"]] == ["SourceNotFound"]
        engine.accept("small")
        found = await house.operations.reload(WITHIN_S)
        assert found["settled"]
        assert await serving(house, "quality") == "demo:small"


@real_time
async def test_reload_without_waiting_reads_the_files_all_the_same(folder: Path) -> None:
    async with desk(folder) as house:
        house.engine.load_s = 60
        house.write("fast", SMALL)
        for wait_s in (None, 0.0, -1.0, 0.01):
            assert not (await house.operations.reload(wait_s))["settled"]
        assert house.loop.state.models["fast"].desired is not None
        assert (await house.model("fast"))["generation"] == 2


@real_time
async def test_reload_tells_of_problems(folder: Path) -> None:
    async with desk(folder) as house:
        await house.operations.reload(WITHIN_S)
        house.write("fast", TINY + "contxt: 9\n")
        found = await house.operations.reload(WITHIN_S)
        assert [(p["path"], p["line"], p["excerpt"]) for p in found["problems"]] == [
            ("models.d/fast.yaml", 3, "contxt: 9")
        ]
        assert found["changed"] == []


@real_time
async def test_a_reload_that_a_signal_asks_for_is_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with desk(folder) as house:
        await house.operations.reload(WITHIN_S)
        house.write("fast", SMALL)
        async with asyncio.TaskGroup() as tasks:
            house.operations.reload_soon(tasks)
        assert "reloaded: 1 changed, 0 problems" in caplog.messages


@real_time
async def test_plan_tells_what_the_files_would_change_and_changes_nothing(folder: Path) -> None:
    async with desk(folder) as house:
        before = house.loop.state
        house.write("fast", SMALL)
        found = json.loads(json.dumps(await house.operations.plan(None)))
        assert found["problems"] == []
        assert found["changes"] == [
            {
                "kind": "model",
                "name": "fast",
                "class": "replace",
                "field": "source",
                "old": "demo:tiny",
                "new": "demo:small",
                "path": "models.d/fast.yaml",
                "line": 2,
            }
        ]
        assert [step["action"] for step in found["steps"]] == ["load", "switch", "drain", "unload"]
        after = house.loop.state
        assert after.catalog is before.catalog
        assert list(after.fleet.replicas) == list(before.fleet.replicas)
        assert after.models == before.models


@real_time
async def test_what_plan_says_is_what_happens(folder: Path) -> None:
    async with desk(folder) as house:
        house.write("fast", SMALL)
        house.write("new", TINY)
        planned = (await house.operations.plan(None))["steps"]
        seen = len(house.facts)
        await house.operations.reload(WITHIN_S)
        words = {"Loading": "load", "Draining": "drain", "Unloading": "unload"}
        happened = [(words[f.reason], f.model, f.revision) for f in house.facts[seen:] if f.reason in words]
        told = [(s["action"], s["model"], s["revision"]) for s in planned if s["action"] != "switch"]
        assert sorted(happened) == sorted(told)


@real_time
async def test_plan_of_another_folder_takes_the_accepted_version_of_a_broken_file(
    folder: Path, tmp_path: Path
) -> None:
    async with desk(folder) as house:
        other = tmp_path / "candidate"
        put(other / "models.d", "fast", TINY + "contxt: 9\n")
        put(other / "models.d", "quality", SMALL + "parallel: 2\n")
        put(other / "models.d", "third", TINY)
        put(other / "policies", "default", POLICY.replace("fast", "fsat"))
        found = await house.operations.plan(str(other))
        assert {problem["path"] for problem in found["problems"]} == {
            "models.d/fast.yaml",
            "policies/default.yaml",
        }
        assert [(c["name"], c["class"], c["field"]) for c in found["changes"]] == [
            ("quality", "reload", "parallel")
        ]
        assert {step["model"] for step in found["steps"]} == {"quality"}


@real_time
@pytest.mark.parametrize("missing", [".", "models.d"])
async def test_plan_of_a_folder_that_is_not_there_removes_nothing(
    folder: Path, tmp_path: Path, missing: str
) -> None:
    async with desk(folder) as house:
        other = tmp_path / "candidate"
        if missing == "models.d":
            put(other / "policies", "default", POLICY)
        found = await house.operations.plan(str(other))
        assert found["problems"][0]["path"] in {"models.d", str(other)}
        assert (found["changes"], found["steps"]) == ([], [])


@real_time
async def test_plan_does_not_try_what_was_given_up(folder: Path) -> None:
    engine = FakeEngine(load_s=0.005)
    engine.refuse_fetch("small", SourceNotFound("there is no such file"))
    async with desk(folder, engine) as house:
        house.write("third", SMALL)
        await house.operations.reload(WITHIN_S)
        found = await house.operations.plan(None)
        assert (found["changes"], found["steps"]) == ([], [])
        house.write("third", SMALL + "# said in another way\ncapabilities: [completion, chat]\n")
        assert (await house.operations.plan(None))["steps"] == []
        house.write("third", SMALL + "context: 99\n")
        assert [step["action"] for step in (await house.operations.plan(None))["steps"]] == [
            "load",
            "switch",
            "drain",
            "unload",
        ]


@real_time
async def test_a_disappearance_is_held_until_it_is_confirmed(folder: Path) -> None:
    async with desk(folder) as house:
        for name in ("quality", "third"):
            (house.root / f"models.d/{name}.yaml").unlink()
        (house.root / "policies/default.yaml").unlink()
        found = await house.operations.reload(WITHIN_S)
        (held,) = found["held"]
        assert held["path"] == "models.d"
        assert "2 of 3 files are gone at once" in held["why"]
        assert (await house.operations.status())["held"] == [held]
        assert len(found["models"]) == 3
        assert await house.operations.confirm_removal() == {"confirmed": ["models.d"]}
        found = await house.operations.reload(WITHIN_S)
        assert [model["name"] for model in found["models"]] == ["fast"]
        assert await house.operations.confirm_removal() == {"confirmed": []}


@real_time
async def test_publish_names_the_file_and_counts_its_rows(folder: Path) -> None:
    async with desk(folder) as house:
        found = json.loads(json.dumps(await house.operations.publish()))
        assert found["path"] == str(folder / "state/history/history.duckdb")
        assert found["rows"] == len(house.facts)
        assert found["published_at"].startswith("20")


def test_readiness_before_the_files_were_read_and_after() -> None:
    for early in (RoutingTable(), table(route("fast", "/run/fast.sock"))):  # those last accepted may serve
        assert readiness(early, read=False) == (
            False,
            {"models": 0, "not_ready": {}, "why": "the files have not been read yet"},
        )
    assert readiness(table(), read=True) == (True, {"models": 0, "not_ready": {}})
    ready, waiting = route("fast", "/run/fast.sock"), route("quality", unready="it is loading")
    assert readiness(table(ready), read=True) == (True, {"models": 1, "not_ready": {}})
    assert readiness(table(ready, waiting), read=True) == (
        False,
        {"models": 2, "not_ready": {"quality": "it is loading"}},
    )


def test_recent_events_are_the_newest_of_each_model() -> None:
    recent = RecentEvents()
    for number in range(RECENT_EVENTS + 5):
        for model in ("fast", "quality"):
            recent.remember(
                LifecycleFact(
                    at=NOW, severity=Severity.NORMAL, reason="R", message=f"{model} {number}", model=model
                )
            )
    told = [fact.message for fact in recent.of("fast")]
    assert told == [f"fast {number}" for number in range(5, RECENT_EVENTS + 5)]
    assert recent.of("who") == []


@real_time
async def test_a_model_that_fails_says_so_in_its_status(folder: Path) -> None:
    engine = FakeEngine(load_s=0.005)
    engine.refuse_load("small", LoadFailed("not today"))
    async with desk(folder, engine) as house:
        status = await house.operations.status()
        assert not status["ready"]
        (rejected,) = status["models"][1]["rejected"]
        assert (rejected["reason"], rejected["message"], rejected["terminal"]) == (
            "LoadFailed",
            "not today",
            False,
        )
