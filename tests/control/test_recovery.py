"""What a new daemon makes of what the last one left."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.accepted import StoredDocument
from orchestrator.control.recovery import end_leftovers, first_state
from orchestrator.control.store import Leftover, Recovered, Store
from orchestrator.control.stored_spec import StoredSpec, spec_from_json, spec_to_json
from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.errors import EngineError
from orchestrator.values.catalog import Kind
from orchestrator.values.condition import ConditionType, Truth
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.fleet import Phase, Running
from orchestrator.values.memory import Footprint
from orchestrator.values.spec import ModelSpec, Source
from orchestrator.values.state import Resolution, State
from tests.builders import CONFIG, NOW, model, replica, running, spec, state

OLD = spec(location="tiny")
TEXT = "engine: llama-cpp\nsource: demo:small\n"


def row(name: str = "fast", text: str = TEXT, *, generation: int = 7) -> StoredDocument:
    return StoredDocument(
        kind=Kind.MODEL, name=name, path=f"models.d/{name}.yaml", text=text, generation=generation
    )


def stored(value: ModelSpec) -> StoredSpec:
    """A spec on its way through the store."""
    return spec_from_json(spec_to_json(value))


def recovered(
    *rows: StoredDocument,
    stable: dict[str, ModelSpec] | None = None,
    resolutions: dict[str, Resolution] | None = None,
    footprints: dict[str, Footprint] | None = None,
) -> Recovered:
    return Recovered(
        documents=rows,
        stable={name: stored(value) for name, value in (stable or {}).items()},
        leftovers=(),
        resolutions=resolutions or {},
        footprints=footprints or {},
    )


def test_what_was_accepted_and_what_was_stable_is_known_and_nothing_runs(tmp_path: Path) -> None:
    first = first_state(recovered(row(), stable={"fast": OLD}), tmp_path, {}, boot=3)
    assert (first.boot, first.started) == (3, 0)
    assert first.fleet.replicas == {}
    record = first.models["fast"]
    assert record.desired is not None
    assert record.desired.source.written == "demo:small"
    assert record.stable == OLD
    assert record.document is first.catalog.models["fast"]
    assert record.document.generation == 7
    assert (record.attempted, record.rejected) == (None, {})
    ready = record.conditions[ConditionType.READY]
    assert (ready.status, ready.reason) == (Truth.FALSE, "NotLoaded")


def test_a_stable_source_behind_a_reference_is_resolved_again_where_the_file_still_has_it(
    tmp_path: Path,
) -> None:
    kept = row("kept", "engine: llama-cpp\nsource: file:${env:X}\n")
    moved = row("moved", "engine: llama-cpp\nsource: file:${env:Y}\n")
    hidden = Source(written="file:${env:X}", scheme="file", location="/x.gguf")
    stable = {name: spec(name, source=hidden) for name in ("kept", "moved")}
    env = {"X": "/x.gguf", "Y": "/y.gguf"}
    first = first_state(recovered(kept, moved, stable=stable), tmp_path, env, boot=1)
    found = first.models["kept"].stable
    assert found is not None
    assert found.source.location == "/x.gguf"
    assert first.models["moved"].stable is None


REMOTE = """\
engine: openai
source: big
endpoint: https://example.org/${env:TENANT}/v1
api_key: ${env:KEY}
"""


def remote(**changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    known: dict[str, Any] = {
        "source": Source(written="big", scheme="name", location="big"),
        "engine": "openai",
        "endpoints": ("https://example.org/t1/v1",),
        "endpoints_written": ("https://example.org/${env:TENANT}/v1",),
        "api_key": "k1",
        "parallel": 2,
    }
    return spec(**(known | changes))


@pytest.mark.parametrize(
    ("case", "env", "text", "known"),
    [
        ("the file has the same secrets", {"TENANT": "t1", "KEY": "k1"}, REMOTE, True),
        ("its key is another now", {"TENANT": "t1", "KEY": "k2"}, REMOTE, False),
        ("its path is another now", {"TENANT": "t2", "KEY": "k1"}, REMOTE, False),
        (
            "its file leads elsewhere now",
            {"TENANT": "t1", "KEY": "k1"},
            REMOTE.replace("example.org", "example.net"),
            False,
        ),
        ("its file needs none now", {}, TEXT, False),
    ],
)
def test_a_stable_spec_with_secrets_comes_back_whole_or_not_at_all(
    tmp_path: Path, case: str, env: dict[str, str], text: str, *, known: bool
) -> None:
    first = first_state(recovered(row(text=text), stable={"fast": remote()}), tmp_path, env, boot=1)
    assert first.models["fast"].stable == (remote() if known else None), case


def test_what_was_learnt_of_sources_and_memory_is_known_again(tmp_path: Path) -> None:
    text = "engine: llama-cpp\nsource: hf:org/repo\n"
    moved = Resolution(written="hf:org/repo", resolved="sha256:ab", newest="sha256:cd")
    footprints = {"launch": Footprint(estimated={"ram": 5})}
    left = recovered(row(text=text), resolutions={"fast": moved}, footprints=footprints)
    first = first_state(left, tmp_path, {}, boot=1)
    record = first.models["fast"]
    assert record.resolution == moved
    assert record.desired is not None
    assert record.desired.source.resolved == "sha256:ab", "the same revision as before the restart"
    assert first.footprints == footprints
    assert first.fetched == frozenset(), "what lies on the disk is looked at again"


def test_a_stable_spec_of_a_model_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    first = first_state(recovered(row(), stable={"fast": OLD, "gone": OLD}), tmp_path, {}, boot=1)
    assert set(first.models) == {"fast"}


def test_a_row_whose_reference_is_gone_is_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = row("other", "engine: llama-cpp\nsource: file:${env:NOWHERE}\n")
    first = first_state(recovered(row(), bad), tmp_path, {}, boot=1)
    assert set(first.models) == {"fast"}
    assert "NOWHERE is not set" in caplog.text


def test_a_first_start_knows_nothing(tmp_path: Path) -> None:
    assert first_state(recovered(), tmp_path, {}, boot=1) == State(boot=1)


def test_a_restart_knows_what_was_saved(tmp_path: Path) -> None:
    store = Store.open(tmp_path, config=CONFIG, now=NOW)
    before = state(OLD, replica(OLD, id="fast-1.1"), stable=OLD)
    document = replace(model(OLD, generation=7), text=TEXT)
    before = replace(before, catalog=replace(before.catalog, models={"fast": document}))
    store.save(State(), before)
    store.close()
    again = Store.open(tmp_path, config=CONFIG, now=NOW)
    first = first_state(again.recover(), tmp_path, {}, boot=again.boot)
    again.close()
    assert first.boot == 2
    assert first.models["fast"].stable == OLD
    assert first.catalog.models["fast"].generation == 7
    assert first.fleet.replicas == {}


def leftover(
    name: str, phase: Phase = Phase.READY, *, engine: str = "llama-cpp", where: Running | None = None
) -> Leftover:
    return Leftover(replica=name, model="fast", revision="abc", engine=engine, phase=phase, running=where)


async def test_leftovers_are_ended_and_remembered() -> None:
    engine, facts = FakeEngine(), list[LifecycleFact]()
    lefts = [leftover("r1", where=running("r1")), leftover("r2", Phase.STARTING)]
    await end_leftovers(lefts, {"llama-cpp": engine}, facts.append)
    assert engine.calls == [("reap", "r1")], "what never ran cannot be ended"
    assert [(f.severity, f.reason, f.model, f.revision, f.replica) for f in facts] == [
        (Severity.WARNING, "Recovered", "fast", "abc", "r1"),
        (Severity.WARNING, "Recovered", "fast", "abc", "r2"),
    ]
    assert [f.message for f in facts] == [
        "the last daemon ended while this replica was ready; it is gone",
        "the last daemon ended while this replica was starting; it is gone",
    ]


class Noting(FakeEngine):
    """Notes what it is asked to end; refuses where it is told to."""

    def __init__(self, name: str, *, refuse: bool = False) -> None:
        super().__init__(name)
        self.reaped: list[list[str]] = []
        self._refuse = refuse

    async def reap(self, leftovers: Sequence[Running]) -> None:
        self.reaped.append([running.replica for running in leftovers])
        if self._refuse:
            raise EngineError("it will not go")


async def test_every_engine_is_asked_even_without_leftovers_so_that_it_can_clean_up() -> None:
    first, second = Noting("llama-cpp"), Noting("mlx")
    lefts = [leftover("r1", engine="mlx", where=running("r1"))]
    await end_leftovers(lefts, {"llama-cpp": first, "mlx": second}, lambda _: None)
    assert (first.reaped, second.reaped) == ([[]], [["r1"]])


async def test_an_engine_that_cannot_end_its_leftovers_is_logged_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    first, second = Noting("llama-cpp", refuse=True), Noting("mlx")
    lefts = [
        leftover("r1", where=running("r1")),
        leftover("r2", engine="mlx", where=running("r2")),
    ]
    facts = list[LifecycleFact]()
    await end_leftovers(lefts, {"llama-cpp": first, "mlx": second}, facts.append)
    assert second.reaped == [["r2"]]
    assert [fact.message.partition("; ")[2] for fact in facts] == [
        "nothing here can tell whether it still runs",
        "it is gone",
    ]
    assert "what the last daemon left cannot be ended: it will not go" in caplog.text


async def test_a_leftover_of_an_engine_that_is_no_more_is_remembered() -> None:
    facts = list[LifecycleFact]()
    await end_leftovers([leftover("r1", engine="gone", where=running("r1"))], {}, facts.append)
    assert [fact.replica for fact in facts] == ["r1"]
    assert facts[0].message.endswith("nothing here can tell whether it still runs")
