"""Fetching: tags pulled, files sent, our models made of either; and removed again."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engines.ollama.engine import OllamaEngine
from orchestrator.engines.ollama.names import parse
from orchestrator.engines.ollama.pulling import Layers
from orchestrator.engines.ollama.server import Step
from orchestrator.errors import (
    DiskFull,
    EngineUnavailable,
    LoadFailed,
    NotAllowed,
    SourceCorrupt,
    SourceNotFound,
    SourceUnreachable,
)
from orchestrator.values.spec import ModelSpec
from tests.engines.conformance import Arrivals
from tests.engines.ollama.fake_server import FakeOllama, pretending
from tests.engines.ollama.fake_state import Manifest
from tests.engines.ollama.replay import record, replaying
from tests.engines.ollama.rigs import engine_in, free_port, hidden, on, tag
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME

FIRST = Manifest(blob="1" * 64, size=5000, parameters=(("temperature", 0),))
SECOND = Manifest(blob="2" * 64, size=7000)
TAG = "gemma3:1b"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with pretending() as made:
        made.state.published[parse(TAG).key] = FIRST
        yield made


@pytest.fixture
async def engine(runtime: Path) -> AsyncIterator[OllamaEngine]:
    made = engine_in(runtime)
    yield made
    await made.close()


def model(fake: FakeOllama, name: str = "fast", *, resolved: str = "", **changes: Any) -> ModelSpec:  # noqa: ANN401
    return on(fake.url, name, **({"source": tag(TAG, resolved=resolved)} | changes))


def pulls(fake: FakeOllama) -> int:
    return sum(path == "/api/pull" for _, path, _ in fake.asked)


def ours(fake: FakeOllama) -> list[str]:
    return sorted(name for name, _ in fake.state.manifests.values() if name.startswith("orchestrator/"))


async def test_a_tag_is_pulled_once_and_ours_made_of_it(fake: FakeOllama, engine: OllamaEngine) -> None:
    arrivals = Arrivals()
    found = await engine.ensure_fetched(model(fake), arrivals)
    assert found.resolved == FIRST.digest
    assert found.size_bytes == 5000
    assert FIRST.blob[:12] in found.exclusive
    assert fake.url in found.exclusive
    assert arrivals.told[-1].doing in {"downloading", "making"}
    (name,) = ours(fake)
    _, made = fake.state.find(name)
    assert dict(made.parameters) == {"num_ctx": 256, "temperature": 0}
    settled = model(fake, resolved=found.resolved)
    assert await engine.ensure_fetched(settled, Arrivals()) == found
    assert await engine.ensure_fetched(model(fake), Arrivals()) == found
    assert pulls(fake) == 1
    assert ours(fake) == [name]


async def test_progress_adds_up_over_layers(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.pull_pause_s = 0.3
    arrivals = Arrivals()
    await engine.ensure_fetched(model(fake), arrivals)
    told = [each for each in arrivals.told if each.doing == "downloading" and each.total_bytes]
    assert [each.done_bytes for each in told] == sorted(each.done_bytes for each in told)
    assert told[-1].done_bytes == told[-1].total_bytes == 5000


@pytest.mark.parametrize("name", ["pull", "pull_again"])
def test_a_real_pull_adds_up(name: str) -> None:
    layers, done = Layers(), []
    for line in record(name)["body"].splitlines():
        said = json.loads(line)
        layers.take(
            Step(
                status=said["status"],
                digest=said.get("digest", ""),
                done_bytes=said.get("completed", 0),
                total_bytes=said.get("total", 0),
            )
        )
        done.append(layers.done_bytes)
        assert layers.done_bytes <= layers.total_bytes
    assert done == sorted(done)
    assert layers.total_bytes >= 24_000_000
    # The last word on a layer is not always that all of it is there.
    assert layers.done_bytes == layers.total_bytes or name == "pull"


async def test_a_tag_that_has_moved_on_is_pulled_anew_and_the_old_one_stays(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    old = await engine.ensure_fetched(model(fake), Arrivals())
    fake.state.published[parse(TAG).key] = SECOND
    new = await engine.ensure_fetched(model(fake, resolved=SECOND.digest), Arrivals())
    assert new.resolved == SECOND.digest
    assert len(ours(fake)) == 2
    again = await engine.ensure_fetched(model(fake, resolved=old.resolved), Arrivals())
    assert again == old
    assert pulls(fake) == 2


async def test_a_pinned_tag_is_what_it_is_pinned_to(fake: FakeOllama, engine: OllamaEngine) -> None:
    good = model(fake, source=tag(TAG, sha256=FIRST.digest))
    assert (await engine.ensure_fetched(good, Arrivals())).resolved == ""
    assert await engine.newest(good) == ""
    with pytest.raises(SourceCorrupt, match="is asked for"):
        await engine.ensure_fetched(model(fake, source=tag(TAG, sha256="9" * 64)), Arrivals())


async def test_a_tag_that_there_is_not(fake: FakeOllama, engine: OllamaEngine) -> None:
    with pytest.raises(SourceNotFound) as caught:
        await engine.ensure_fetched(model(fake, source=tag("nosuch:1b")), Arrivals())
    assert "nosuch:1b" in caught.value.what
    assert caught.value.where == "fast"


async def test_offline_nothing_is_pulled_and_what_is_there_is_used(fake: FakeOllama, runtime: Path) -> None:
    engine = engine_in(runtime, offline=True)
    with pytest.raises(NotAllowed, match="offline"):
        await engine.ensure_fetched(model(fake), Arrivals())
    with pytest.raises(NotAllowed, match="offline"):
        await engine.newest(model(fake))
    fake.state.put(TAG, FIRST)
    assert (await engine.ensure_fetched(model(fake), Arrivals())).resolved == FIRST.digest
    assert pulls(fake) == 0
    await engine.close()


async def test_a_pull_that_stands_still_is_given_up(fake: FakeOllama, runtime: Path) -> None:
    layer = {"status": "pulling 1", "digest": "sha256:1", "total": 100, "completed": 1}
    fake.pull_lines = ({"status": "pulling manifest"}, *(layer for _ in range(1000)))
    fake.pull_pause_s = 0.01
    engine = engine_in(runtime, fetch_stall_s=0.3)
    with pytest.raises(SourceUnreachable, match="stands still"):
        await engine.ensure_fetched(model(fake), Arrivals())
    await engine.close()


async def test_a_pull_without_success_has_failed(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.pull_lines = ({"status": "pulling manifest"}, {"status": "writing manifest"})
    with pytest.raises(SourceUnreachable, match="stopped at 'writing manifest'"):
        await engine.ensure_fetched(model(fake), Arrivals())


async def test_a_pull_that_would_not_fit_on_the_disk_is_not_begun(
    fake: FakeOllama, engine: OllamaEngine, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engines.ollama.pulling._USUAL", (str(runtime),))
    layer = {"status": "pulling 1", "digest": "sha256:1", "total": 1 << 60}
    fake.pull_lines = ({"status": "pulling manifest"}, layer, layer | {"completed": 1 << 60})
    with pytest.raises(DiskFull, match="MiB more"):
        await engine.ensure_fetched(model(fake), Arrivals())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pull_unknown", SourceNotFound),
        ("pull_corrupt", SourceUnreachable),
        ("pull_unreachable", SourceUnreachable),
        ("pull_layer_gone", SourceNotFound),
    ],
)
async def test_a_recorded_pull_that_failed(engine: OllamaEngine, name: str, kind: type) -> None:
    async with replaying("version", "tags_empty", name) as replay:
        spec = on(replay.url, source=tag(record(name)["request"]["body"]["model"]))
        with pytest.raises(kind):
            await _without_insecure(engine, spec, replay)


async def _without_insecure(engine: OllamaEngine, spec: ModelSpec, replay: Any) -> None:  # noqa: ANN401
    replay.ignored = frozenset({"insecure"})
    await engine.ensure_fetched(spec, Arrivals())


async def test_cancelling_a_pull_hangs_up(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.pull_pause_s = 5.0
    async with asyncio.TaskGroup() as tasks:
        fetch = tasks.create_task(engine.ensure_fetched(model(fake), Arrivals()))
        await until(lambda: pulls(fake) == 1)
        fetch.cancel()
    assert ours(fake) == []


async def test_a_file_is_sent_once_with_the_template_that_is_in_it(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    spec = on(fake.url)
    await engine.ensure_fetched(spec, Arrivals())
    await engine.ensure_fetched(spec, Arrivals())
    await engine.ensure_fetched(replace(spec, context=512), Arrivals())
    assert len(ours(fake)) == 2
    made = [body for _, path, body in fake.asked if path == "/api/create"]
    assert [body["parameters"] for body in made] == [{"num_ctx": 256}, {"num_ctx": 512}]
    assert "<|{{ .Role }}|>" not in made[0]["template"]
    assert "<|user|>{{ .Content }}<|end|>" in made[0]["template"]
    assert made[0]["template"].endswith("<|assistant|>")


async def test_on_the_cpu_alone_if_that_is_asked(fake: FakeOllama, engine: OllamaEngine) -> None:
    await engine.ensure_fetched(model(fake, accelerator="cpu"), Arrivals())
    made = [body for _, path, body in fake.asked if path == "/api/create"]
    assert made[0]["parameters"] == {"num_ctx": 256, "num_gpu": 0}
    assert made[0]["from"] == TAG


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("create_truncated_gguf", SourceCorrupt),
        ("create_unknown_architecture", SourceCorrupt),
        ("create_bad_template", LoadFailed),
    ],
)
async def test_a_file_that_ollama_will_not_take(engine: OllamaEngine, name: str, kind: type) -> None:
    async with replaying("version", "tags_empty", "blob_head_present", name) as replay:
        replay.ignored = frozenset({"files", "template", "parameters"})
        with pytest.raises(kind, match="Ollama will not take it"):
            await engine.ensure_fetched(on(replay.url, location="small"), Arrivals())


async def test_a_model_in_several_files_is_refused(
    fake: FakeOllama, engine: OllamaEngine, runtime: Path
) -> None:
    part = runtime / "x-00001-of-00002.gguf"
    part.write_bytes(Path("orchestrator/demo/tiny.gguf").read_bytes())  # noqa: ASYNC240 (a test)
    with pytest.raises(LoadFailed, match="several files"):
        await engine.ensure_fetched(on(fake.url, source=hidden(part)), Arrivals())


async def test_a_tag_cannot_be_quantised_here(fake: FakeOllama, engine: OllamaEngine) -> None:
    with pytest.raises(SourceNotFound, match="quantise"):
        await engine.ensure_fetched(model(fake, quantize="q8_0"), Arrivals())


async def test_all_servers_get_it_and_one_that_is_away_does_not_hurt(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    async with pretending() as other:
        other.state.published[parse(TAG).key] = FIRST
        away = f"http://127.0.0.1:{free_port()}"
        spec = model(fake, endpoints=(away, fake.url, other.url))
        found = await engine.ensure_fetched(spec, Arrivals())
        assert found.resolved == FIRST.digest
        assert len(ours(fake)) == len(ours(other)) == 1
        with pytest.raises(EngineUnavailable):
            await engine.ensure_fetched(model(fake, endpoints=(away,)), Arrivals())


async def test_a_server_with_another_version_of_the_tag_is_brought_up_to_date(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    async with pretending() as other:
        other.state.put(TAG, SECOND)
        other.state.published[parse(TAG).key] = FIRST
        await engine.ensure_fetched(model(fake, endpoints=(fake.url, other.url)), Arrivals())
        assert pulls(other) == 1
        assert other.state.find(ours(other)[0])[1].blob == FIRST.blob


async def test_what_nobody_uses_any_more_is_removed_and_said(fake: FakeOllama, engine: OllamaEngine) -> None:
    found = await engine.ensure_fetched(model(fake), Arrivals())
    settled = model(fake, resolved=found.resolved)
    longer = replace(settled, name="longer", context=512)
    await engine.ensure_fetched(longer, Arrivals())
    assert await engine.ensure_removed(settled, [longer]) == 0
    assert len(ours(fake)) == 1
    assert await engine.ensure_removed(longer, []) == 5000
    assert fake.state.manifests == {}
    assert await engine.ensure_removed(longer, []) == 0


async def test_older_revisions_go_with_the_model_and_others_of_its_name_stay(
    fake: FakeOllama, engine: OllamaEngine
) -> None:
    await engine.ensure_fetched(model(fake), Arrivals())
    newer = model(fake, resolved=FIRST.digest, context=512)
    await engine.ensure_fetched(newer, Arrivals())
    fake.state.put("orchestrator/fast:of-another-daemon", SECOND)
    await engine.ensure_removed(newer, [])
    assert ours(fake) == ["orchestrator/fast:of-another-daemon"]


async def test_a_tag_that_somebody_else_has_pulled_stays(fake: FakeOllama, engine: OllamaEngine) -> None:
    fake.state.put(TAG, FIRST)
    await engine.ensure_fetched(model(fake), Arrivals())
    assert await engine.ensure_removed(model(fake), []) == 0
    assert [name for name, _ in fake.state.manifests.values()] == [TAG]


async def test_that_we_have_pulled_a_tag_is_known_to_the_next_daemon(fake: FakeOllama, runtime: Path) -> None:
    first = engine_in(runtime)
    await first.ensure_fetched(model(fake), Arrivals())
    await first.close()
    second = engine_in(runtime)
    assert await second.ensure_removed(model(fake, resolved=FIRST.digest), []) == 5000
    assert fake.state.manifests == {}
    await second.close()
