"""`plan` without a daemon, and against a folder."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import clock
from orchestrator.config.scan import Scanner
from orchestrator.control.preview import offline, planned
from orchestrator.control.store import Store
from orchestrator.decide.fold import fold
from orchestrator.engines import kinds
from orchestrator.engines.base import Engine
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.errors import EngineError
from orchestrator.values.catalog import Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import State
from tests.builders import NOW, premises, rejection

TINY = "engine: llama-cpp\nsource: demo:tiny\n"
SMALL = "engine: llama-cpp\nsource: demo:small\n"
BROKEN = "engine: llama-cpp\nsource: demo:tiny\ncontxt: 9\n"


def put(root: Path, name: str, text: str) -> None:
    (root / "models.d").mkdir(parents=True, exist_ok=True)
    (root / f"models.d/{name}.yaml").write_text(text)


def adopted(root: Path, env: dict[str, str] | None = None) -> State:
    """The state of a daemon that has just read the folder."""
    reading: Reading = Scanner(root, env=env or {}, engines=kinds.traits()).scan(NOW)
    return fold(State(boot=1), CatalogRead(at=clock.now(), reading=reading)).state


NO_ENGINES: dict[str, Engine] = {}
# Without a daemon there are real engines, whose children know of no virtual time.
real_time = pytest.mark.looptime(False)  # noqa: FBT003 (its only argument)


async def alone(folder: Path) -> Any:  # noqa: ANN401 (any JSON)
    """What is planned without a daemon, as it is told."""
    return json.loads(json.dumps(await offline(premises(folder), folder / "config", folder / "state")))


@real_time
async def test_without_a_daemon_everything_loads(tmp_path: Path) -> None:
    put(tmp_path / "config", "fast", TINY)
    found = await alone(tmp_path)
    assert [(c["name"], c["class"], c["new"]) for c in found["changes"]] == [("fast", "create", "demo:tiny")]
    assert [(s["action"], s["model"]) for s in found["steps"]] == [("load", "fast"), ("switch", "fast")]
    assert found["problems"] == []
    assert not (tmp_path / "state").exists(), "nothing is written"


@real_time
async def test_without_a_daemon_the_last_accepted_version_stands_in_for_a_broken_file(tmp_path: Path) -> None:
    put(tmp_path / "config", "fast", TINY)
    put(tmp_path / "config", "quality", TINY)
    (tmp_path / "state").mkdir()
    store = Store.open(tmp_path / "state", config=tmp_path / "config", now=NOW)
    store.save(State(), adopted(tmp_path / "config"))
    store.close()
    put(tmp_path / "config", "fast", BROKEN)
    put(tmp_path / "config", "quality", SMALL)
    found = await alone(tmp_path)
    assert [(c["name"], c["class"], c["old"], c["new"]) for c in found["changes"]] == [
        ("quality", "replace", "demo:tiny", "demo:small")
    ]
    assert [(s["action"], s["model"]) for s in found["steps"]] == [
        ("load", "fast"),
        ("switch", "fast"),
        ("load", "quality"),
        ("switch", "quality"),
    ]
    assert [p["path"] for p in found["problems"]] == ["models.d/fast.yaml"]


@real_time
async def test_a_plan_without_a_daemon_counts_no_start(tmp_path: Path) -> None:
    put(tmp_path / "config", "fast", TINY)
    (tmp_path / "state").mkdir()
    Store.open(tmp_path / "state", config=tmp_path / "config", now=NOW).close()
    await alone(tmp_path)
    store = Store.open(tmp_path / "state", config=tmp_path / "config", now=NOW)
    assert store.boot == 2
    store.close()


async def test_a_comment_is_no_change_and_keeps_its_generation(tmp_path: Path) -> None:
    put(tmp_path, "fast", TINY)
    before = adopted(tmp_path)
    put(tmp_path, "fast", "# said anew\n" + TINY)
    assert (await planned(before, tmp_path, {}, Limits(), NO_ENGINES))["changes"] == []


async def test_a_secret_that_changed_is_a_change_that_does_not_tell_it(tmp_path: Path) -> None:
    put(tmp_path, "fast", "engine: llama-cpp\nsource: file:${env:WEIGHTS}\n")
    before = adopted(tmp_path, {"WEIGHTS": "/secret/a.gguf"})
    found = await planned(before, tmp_path, {"WEIGHTS": "/secret/b.gguf"}, Limits(), NO_ENGINES)
    assert [(c["class"], c["old"]) for c in found["changes"]] == [("replace", "file:${env:WEIGHTS}")]
    assert "load" in {step["action"] for step in found["steps"]}
    assert "secret" not in json.dumps(found)


async def test_a_removed_file_is_a_removal(tmp_path: Path) -> None:
    for name in ("fast", "quality"):
        put(tmp_path, name, TINY)
    before = adopted(tmp_path)
    (tmp_path / "models.d/fast.yaml").unlink()
    found = await planned(before, tmp_path, {}, Limits(), NO_ENGINES)
    assert [(c["name"], c["class"]) for c in found["changes"]] == [("fast", "remove")]


async def test_changes_are_in_order_whatever_was_broken(tmp_path: Path) -> None:
    for name in ("b", "c"):
        put(tmp_path, name, TINY)
    before = adopted(tmp_path)
    put(tmp_path, "a", TINY)
    put(tmp_path, "b", BROKEN)
    put(tmp_path, "c", SMALL)
    found = await planned(before, tmp_path, {}, Limits(), NO_ENGINES)
    assert [c["name"] for c in found["changes"]] == ["a", "c"]
    assert [s["model"] for s in found["steps"] if s["action"] == "load"] == ["a", "b", "c"]


async def test_what_was_given_up_is_planned_again_after_an_edit_and_not_after_a_comment(
    tmp_path: Path,
) -> None:
    put(tmp_path, "fast", TINY)
    before = adopted(tmp_path)
    record = before.models["fast"]
    assert record.desired is not None
    given_up = {record.desired.launch: rejection(record.desired, retry_at=None)}
    before = replace(before, models={"fast": replace(record, rejected=given_up)})
    found = await planned(before, tmp_path, {}, Limits(), NO_ENGINES)
    assert found["steps"] == []
    assert [(f["model"], f["revision"]) for f in found["failed"]] == [("fast", record.desired.revision)]
    put(tmp_path, "fast", TINY + "# said anew\n")
    assert (await planned(before, tmp_path, {}, Limits(), NO_ENGINES))["steps"] == []
    put(tmp_path, "fast", TINY + "sampling: {seed: 7}\n")
    found = await planned(before, tmp_path, {}, Limits(), NO_ENGINES)
    assert [s["action"] for s in found["steps"]] == ["load", "switch"]
    assert found["failed"] == [], "it is tried again"


async def test_a_models_folder_that_is_gone_keeps_what_was_accepted_of_it(tmp_path: Path) -> None:
    put(tmp_path, "fast", TINY)
    before = adopted(tmp_path)
    (tmp_path / "models.d").rename(tmp_path / "elsewhere")
    found = await planned(before, tmp_path, {}, Limits(), NO_ENGINES)
    assert [p["path"] for p in found["problems"]] == ["models.d"]
    assert found["changes"] == []


class Sized(FakeEngine):
    """Everything takes `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self.asked = 0

    async def estimate(self, spec: ModelSpec) -> dict[str, int]:
        self.asked += 1
        if spec.source.location == "/unreadable.gguf":
            raise EngineError("its header cannot be read")
        return {RAM: self._size}


GIB = 1 << 30
ROOM = Memory(pools={RAM: Pool(total=8 * GIB)}, at=NOW)


async def test_a_new_model_is_weighed_and_its_steps_say_what_they_take(tmp_path: Path) -> None:
    before = replace(adopted(tmp_path), memory=ROOM)
    put(tmp_path, "fast", TINY)
    found = await planned(before, tmp_path, {}, Limits(), {"llama-cpp": Sized(3 * GIB)})
    load = found["steps"][0]
    assert load["action"] == "load"
    assert load["memory"] == {"before": {}, "peak": {RAM: 3 * GIB}, "after": {RAM: 3 * GIB}}
    assert found["memory"][RAM]["room_bytes"] == 8 * GIB
    assert found["unfit"] == []


async def test_a_model_that_can_never_fit_is_told_with_its_figures(tmp_path: Path) -> None:
    before = replace(adopted(tmp_path), memory=ROOM)
    put(tmp_path, "fast", TINY)
    found = await planned(before, tmp_path, {}, Limits(), {"llama-cpp": Sized(9 * GIB)})
    assert found["steps"] == []
    (unfit,) = found["unfit"]
    assert unfit["model"] == "fast"
    assert unfit["why"] == "it needs 9.0 GiB of memory, and 8.0 GiB of memory is the whole budget"
    assert "quantisation" in unfit["fix"]


async def test_what_is_known_or_absent_or_far_away_or_unreadable_is_not_weighed(tmp_path: Path) -> None:
    put(tmp_path, "known", TINY)
    before = adopted(tmp_path)
    (known,) = (record.desired for record in before.models.values() if record.desired)
    before = replace(before, memory=ROOM, footprints={known.launch: Footprint(estimated={RAM: GIB})})
    put(tmp_path, "absent", SMALL + "state: absent\n")
    put(tmp_path, "far", "engine: llama-cpp\nsource: hf:org/repo\n")
    put(tmp_path, "other", "engine: mlx\nsource: file:x\n")
    engine = Sized(9 * GIB)
    found = await planned(before, tmp_path, {}, Limits(), {"llama-cpp": engine})
    assert engine.asked == 0
    assert found["unfit"] == []
    put(tmp_path, "bad", "engine: llama-cpp\nsource: file:/unreadable.gguf\n")
    found = await planned(before, tmp_path, {}, Limits(), {"llama-cpp": engine})
    assert engine.asked == 1
    assert "bad" in {step["model"] for step in found["steps"]}, "loading it will say what is wrong"


async def test_what_is_launched_alike_is_weighed_once(tmp_path: Path) -> None:
    before = replace(adopted(tmp_path), memory=ROOM)
    for name in ("a", "b", "c"):
        put(tmp_path, name, TINY + "load: on-demand\n")
    engine = Sized(9 * GIB)
    found = await planned(before, tmp_path, {}, Limits(), {"llama-cpp": engine})
    assert engine.asked == 1
    assert [each["model"] for each in found["unfit"]] == ["a", "b", "c"]


class Slow(Sized):
    """As Sized, and takes its time; `most` is how many were weighed at once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.now = 0
        self.most = 0

    async def estimate(self, spec: ModelSpec) -> dict[str, int]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(15)
        self.now -= 1
        return await super().estimate(spec)


async def test_a_folder_of_very_many_models_is_planned_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = replace(adopted(tmp_path), memory=ROOM)
    for number in range(20):
        put(tmp_path, f"m{number}", f"{TINY}load: on-demand\ncontext: {number + 1}\n")
    engine = Slow(9 * GIB)
    found = await planned(before, tmp_path, {}, Limits(), {"llama-cpp": engine})
    assert engine.most > 1
    assert 2 <= len(found["unfit"]) < 20
    assert f"estimate {len(found['unfit'])} of 20 models" in caplog.text
