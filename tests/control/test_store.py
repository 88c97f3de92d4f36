"""The authoritative state: what is committed is there again, whatever happens in between."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.accepted import store as stored_documents
from orchestrator.control import lock
from orchestrator.control.store import Recovered, Store
from orchestrator.control.stored_spec import StoredSpec
from orchestrator.errors import StateError
from orchestrator.values.catalog import Catalog
from orchestrator.values.fleet import Phase
from orchestrator.values.memory import Footprint
from orchestrator.values.spec import (
    ModelSpec,
)
from orchestrator.values.state import Resolution, State
from tests.builders import CONFIG, NOW, model, policy, replica, running, spec, state

Opened = Callable[[Path], Store]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a store; it is closed after the test."""
    stores: list[Store] = []

    def open_one(folder: Path) -> Store:
        stores.append(Store.open(folder, config=CONFIG, now=NOW))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def whole(value: ModelSpec) -> StoredSpec:
    return StoredSpec(spec=value, launch=value.launch)


def test_what_was_saved_is_recovered(tmp_path: Path, opened: Opened) -> None:
    store = opened(tmp_path)
    document = replace(model(spec()), text="engine: llama-cpp\n")
    after = replace(
        state(spec(), replica(id="a"), replica(id="b", phase="starting"), stable=spec()),
        catalog=Catalog(models={"fast": document}, policies={"default": policy()}),
    )
    store.save(State(), after)
    store.close()
    found = opened(tmp_path).recover()
    assert found.documents == stored_documents(after.catalog)
    assert found.stable == {"fast": whole(spec())}
    assert {(left.replica, left.phase, left.running) for left in found.leftovers} == {
        ("a", Phase.READY, replace(running("a"), memory_bytes=0)),
        ("b", Phase.STARTING, None),
    }


def test_another_configuration_folder_begins_with_nothing_and_takes_nothing_away(
    tmp_path: Path, opened: Opened
) -> None:
    store = opened(tmp_path)
    store.save(State(), state(spec(), stable=spec()))
    store.close()
    other = Store.open(tmp_path, config=tmp_path / "mistyped", now=NOW)
    assert (other.recover().documents, other.recover().stable) == ((), {})
    other.close()
    found = opened(tmp_path).recover()
    assert [document.name for document in found.documents] == ["fast"]
    assert found.stable == {"fast": whole(spec())}


def test_only_the_difference_is_written(tmp_path: Path, opened: Opened) -> None:
    store = opened(tmp_path)
    first = state(spec(), replica(id="a"), stable=spec())
    store.save(State(), first)
    store.save(first, State())
    found = store.recover()
    assert (found.documents, found.stable, found.leftovers) == ((), {}, ())


def test_every_start_counts(tmp_path: Path, opened: Opened) -> None:
    boots = []
    for _ in range(3):
        store = opened(tmp_path)
        boots.append(store.boot)
        store.close()
    assert boots == [1, 2, 3]


def test_forgotten_replicas_are_off_the_books(tmp_path: Path, opened: Opened) -> None:
    store = opened(tmp_path)
    store.save(State(), state(spec(), replica(id="a")))
    store.forget_replicas()
    assert store.recover().leftovers == ()


LEARNT = Footprint(
    estimated={"ram": 3 << 30, "cuda:0": 1 << 30},
    measured={"ram": 2 << 30},
    load_s=1.25,
    engine_version="llama.cpp 1",
    exclusive="sha256:ab",
)
MOVED = Resolution(written="hf:org/repo", resolved="sha256:old", newest="sha256:new")


def learnt(**changes: Any) -> State:  # noqa: ANN401 (any field of Footprint)
    """A state that knows what a launch takes and what its source means."""
    held = state(spec(), resolution=MOVED)
    return replace(held, footprints={"launch": replace(LEARNT, **changes)})


def test_what_was_learnt_of_memory_and_sources_is_recovered(tmp_path: Path, opened: Opened) -> None:
    store = opened(tmp_path)
    store.save(State(), learnt())
    store.close()
    found = opened(tmp_path).recover()
    assert found.footprints == {"launch": LEARNT}
    assert found.resolutions == {"fast": MOVED}


def test_what_is_learnt_later_takes_its_place(tmp_path: Path, opened: Opened) -> None:
    store = opened(tmp_path)
    before, after = learnt(), learnt(load_s=2.5, measured={"ram": 5})
    newer = replace(MOVED, resolved="sha256:new")
    after = replace(after, models={"fast": replace(after.models["fast"], resolution=newer)})
    store.save(State(), before)
    store.save(before, after)
    found = store.recover()
    assert found.footprints == {"launch": replace(LEARNT, load_s=2.5, measured={"ram": 5})}
    assert found.resolutions == {"fast": newer}


def test_a_model_that_is_gone_takes_its_resolution_along_and_leaves_what_was_measured(
    tmp_path: Path, opened: Opened
) -> None:
    store = opened(tmp_path)
    store.save(State(), learnt())
    store.save(learnt(), replace(learnt(), models={}))
    found = store.recover()
    assert found.resolutions == {}
    assert found.footprints == {"launch": LEARNT}, "its file may come back, and measuring took a load"


def test_resolutions_belong_to_a_configuration_folder_and_footprints_to_the_machine(
    tmp_path: Path, opened: Opened
) -> None:
    store = opened(tmp_path)
    store.save(State(), learnt())
    store.close()
    other = Store.open(tmp_path, config=tmp_path / "elsewhere", now=NOW)
    found = other.recover()
    other.close()
    assert (found.resolutions, found.footprints) == ({}, {"launch": LEARNT})


def test_footprints_that_nothing_has_used_for_half_a_year_are_forgotten(
    tmp_path: Path, opened: Opened
) -> None:
    store = opened(tmp_path)
    store.save(State(), learnt())
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as raw:
        raw.execute("update footprints set seen = date('now', '-200 days')")
    raw.close()
    assert opened(tmp_path).recover().footprints == {}


DAMAGES = [
    ("a page of rows", lambda raw: raw[: 3 * 4096] + b"Z" * 900 + raw[3 * 4096 + 900 :]),
    ("one text", lambda raw: raw.replace(b'"engine"', b'"engixe"')),
    ("no text at all", lambda raw: raw.replace(b'"engine"', b'"eng\xffne"')),
    ("one brace", lambda raw: raw.replace(b'{"acc', b'["acc')),
]


@pytest.mark.parametrize(("what", "damage"), DAMAGES, ids=[case[0] for case in DAMAGES])
def test_damage_inside_is_found_at_the_start(
    tmp_path: Path, opened: Opened, what: str, damage: Callable[[bytes], bytes]
) -> None:
    store = opened(tmp_path)
    store.save(State(), state(spec(), replica(id="a"), stable=spec()))
    store.close()
    file = tmp_path / "state.db"
    sound = file.read_bytes()
    file.write_bytes(damage(sound))
    assert file.read_bytes() != sound, what
    assert opened(tmp_path).recover() == Recovered(documents=(), stable={}, leftovers=())
    assert [p.name for p in tmp_path.glob("*.corrupt-*")] == ["state.db.corrupt-20261120T120000Z"]


def test_a_full_disk_at_the_end_is_logged_and_no_more(
    tmp_path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    store.save(State(), state(spec(), replica(id="a")))
    store._connection.execute("pragma query_only = 1")  # noqa: SLF001 (a disk that refuses, on demand)
    store.forget_replicas()
    assert "cannot be written" in caplog.text


def test_a_file_that_is_no_database_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "state.db").write_bytes(b"this was a database once " * 200)
    store = opened(tmp_path)
    assert store.boot == 1
    assert [p.name for p in tmp_path.glob("*.corrupt-*")] == ["state.db.corrupt-20261120T120000Z"]


def test_a_newer_schema_is_refused_and_kept(tmp_path: Path, opened: Opened) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.db") as raw:
        raw.execute("update meta set value = '9' where key = 'schema'")
    raw.close()
    with pytest.raises(StateError, match="a newer version"):
        opened(tmp_path)
    assert (tmp_path / "state.db").exists()


def test_the_file_is_private(tmp_path: Path, opened: Opened) -> None:
    opened(tmp_path)
    assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0


def test_a_full_disk_is_a_clear_error_and_nothing_is_committed(tmp_path: Path, opened: Opened) -> None:
    store = opened(tmp_path)
    store._connection.execute("pragma max_page_count = 1")  # noqa: SLF001 (a full disk, on demand)
    big = replace(model(spec()), text="#" * 1_000_000)
    with pytest.raises(StateError, match="cannot be written") as caught:
        store.save(State(), replace(state(spec()), catalog=Catalog(models={"fast": big})))
    assert "make room" in caught.value.fix
    assert store.recover().documents == ()


KILLED = """
import sys
from pathlib import Path
from orchestrator.control.store import Store
from orchestrator.values.state import State
from tests.builders import CONFIG, NOW, replica, spec, state
store = Store.open(Path(sys.argv[1]), config=CONFIG, now=NOW)
before = State()
for n in range(100000):
    after = state(spec(context=n + 1), replica(id=f"r{n}"), stable=spec(context=n + 1))
    store.save(before, after)
    print(n, flush=True)
    before = after
"""


@pytest.mark.parametrize("commits", [1, 7, 30])
def test_what_was_committed_survives_kill_9(tmp_path: Path, opened: Opened, commits: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd(), text=True
    )
    assert child.stdout is not None
    last = -1
    for _ in range(commits):
        last = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    last = int((child.stdout.read().split() or [str(last)])[-1])
    child.wait(10)
    child.stdout.close()
    found = opened(tmp_path).recover()
    stable = found.stable["fast"].spec
    # One more may have been committed than was told.
    assert stable.context in (last + 1, last + 2)
    assert [left.replica for left in found.leftovers] == [f"r{stable.context - 1}"]


def test_one_daemon_per_state_folder(tmp_path: Path) -> None:
    held = lock.take(tmp_path / "state")
    with pytest.raises(StateError, match=rf"another daemon .* \(pid {os.getpid()}\)") as caught:
        lock.take(tmp_path / "state")
    assert "--state DIR" in caught.value.fix
    held.close()
    lock.take(tmp_path / "state").close()


def test_a_state_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        lock.take(tmp_path / "file" / "state")
