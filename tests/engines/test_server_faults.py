"""Commands in bad moods: each ends in an error that says why and what to do, and nothing is left of them."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.engines.server import ports as server_ports
from orchestrator.engines.server.engine import ServerEngine
from orchestrator.errors import (
    EngineError,
    EngineUnavailable,
    LoadFailed,
    LoadTimedOut,
    NotAllowed,
    ReplicaDied,
    SourceNotFound,
)
from orchestrator.values.fleet import Running
from orchestrator.values.spec import Source
from tests.engines.conformance import Arrivals, Exits
from tests.engines.real_time import REAL_TIME, SOON_S, until
from tests.engines.server_rig import STUB, ask, command_of, engine, guards, hidden, is_gone, served, stub

# On the daemon's own event loop; test_server.py runs on both.
pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["uvloop"])]

DEMO = Path(__file__).parents[2] / "orchestrator/demo"
Build = Callable[..., ServerEngine]


@pytest.fixture
async def build(runtime: Path) -> AsyncIterator[Build]:
    made: list[ServerEngine] = []

    def build(**settings: Any) -> ServerEngine:  # noqa: ANN401 (any setting)
        made.append(engine(runtime, **settings))
        return made[-1]

    yield build
    for each in made:
        await each.close()
    assert guards() == []
    assert list((runtime / "run").glob("*.sock")) == []


async def failure(verb: Awaitable[Running]) -> LoadFailed:
    with pytest.raises(LoadFailed) as caught:
        await verb
    assert caught.value.where == "fast"
    assert not caught.value.terminal
    return caught.value


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


async def test_one_that_never_gets_ready_times_out_and_says_how_far_it_came(build: Build) -> None:
    with pytest.raises(LoadTimedOut) as caught:
        await build(load_deadline_s=1.0).ensure_loaded("r1", stub("never"))
    assert "nobody listens there yet; its log ends with: reading the weights" in caught.value.what
    assert "load_deadline" in caught.value.fix
    assert guards() == []


async def test_one_that_is_always_loading_times_out_with_what_it_answered(build: Build) -> None:
    with pytest.raises(LoadTimedOut) as caught:
        await build(load_deadline_s=1.0).ensure_loaded("r1", stub("loading"))
    assert "GET /health answers 503" in caught.value.what


async def test_an_end_at_once_shows_the_last_lines_of_both_outputs_and_no_secret(build: Build) -> None:
    spec = stub("exit:7", environment=(("SECRET_KEY", "hush-hush"),))
    error = await failure(build().ensure_loaded("r1", spec))
    assert error.what.startswith(
        "the command never got ready: ended by itself with exit code 7; its log ends"
    )
    assert "error: cannot use" in error.what
    assert "bye" in error.what
    assert "key ${SECRET_KEY}" in error.what
    assert "hush-hush" not in str(error)


async def test_a_resolved_path_is_shown_as_it_was_written(build: Build, runtime: Path) -> None:
    model = runtime / "tiny.gguf"
    model.symlink_to(DEMO / "tiny.gguf")
    error = await failure(build().ensure_loaded("r1", stub("exit:1", source=hidden(model))))
    assert "cannot use file:${env:MODELS}/tiny.gguf" in error.what
    assert str(model) not in str(error)


async def test_a_crash_is_told_from_an_exit(build: Build) -> None:
    error = await failure(build().ensure_loaded("r1", stub("crash:11")))
    assert "SIGSEGV" in error.what


async def test_a_missing_module_of_python_comes_with_its_install_command(build: Build) -> None:
    error = await failure(build().ensure_loaded("r1", stub("no-module")))
    assert error.fix.startswith(f"{sys.executable} -m pip install vllm")


async def test_a_wrong_health_path_is_found_out_before_the_deadline(build: Build) -> None:
    error = await failure(build(wrong_path_s=0.3).ensure_loaded("r1", stub(health="/healthz")))
    assert error.what == "the server runs, but GET /healthz answers 404"
    assert "`health:`" in error.fix


async def test_a_command_that_says_nowhere_where_it_listens_is_refused(build: Build) -> None:
    error = await failure(build().ensure_loaded("r1", served(command=(sys.executable, STUB, "good"))))
    assert "{port}" in error.fix


async def test_a_server_that_answers_no_chat_is_not_ready(build: Build) -> None:
    error = await failure(build().ensure_loaded("r1", stub("refuses")))
    assert "answers 400: no chat template" in error.what
    assert "capabilities" in error.fix


async def test_one_capability_that_works_is_enough(build: Build) -> None:
    running = await build().ensure_loaded("r1", stub("no-chat"))
    status, _ = await ask(running, "/v1/completions", prompt="2+2", messages=None)
    assert status == 200


@pytest.mark.parametrize("capabilities", [("embedding",), ("audio",)])
async def test_what_a_model_is_for_decides_what_is_asked_first(
    build: Build, capabilities: tuple[str, ...]
) -> None:
    await build().ensure_loaded(
        "r1", stub("refuses" if capabilities == ("audio",) else "good", capabilities=capabilities)
    )


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ("", ()),  # no list at all
        ("other,{model}", ()),
        ("only", ()),  # as vLLM under --served-model-name
    ],
)
async def test_the_server_is_asked_under_a_name_that_it_knows(
    build: Build, names: str, more: tuple[str, ...]
) -> None:
    mood = "good" if names else "no-models"
    running = await build().ensure_loaded("r1", stub(mood, "--names", names, *more))
    status, answer = await ask(running)
    assert status == 200
    assert json.loads(answer)["model"] == "fast"


async def test_a_key_keeps_other_users_of_the_machine_out(build: Build) -> None:
    """Anybody can connect to a port: the server wants to see a key, and the replica has it."""
    key = (("STUB_KEY", "sk-123456"),)
    made = build()
    error = await failure(made.ensure_loaded("r1", stub(environment=key)))
    assert "answers 401: no such key" in error.what
    running = await made.ensure_loaded("r1", stub(environment=key, api_key="sk-123456"))
    assert (await ask(running))[0] == 200


async def test_a_bare_name_stands_for_itself(build: Build) -> None:
    name = Source(written="org/model", scheme="name", location="org/model")
    made = build()
    spec = stub("good", "--names", "a,org/model,b", source=name)
    assert (await made.ensure_fetched(spec, Arrivals())).size_bytes == 0
    assert await made.newest(spec) == ""
    assert await made.ensure_removed(spec, []) == 0
    running = await made.ensure_loaded("r1", spec)
    assert (await ask(running))[0] == 200
    assert "org/model" in command_of(running).cmdline()


async def test_what_a_bare_name_takes_is_not_guessed_and_told_once(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    made = build()
    spec = stub(source=Source(written="org/model", scheme="name", location="org/model"))
    with caplog.at_level(logging.WARNING):
        assert [await made.estimate(spec), await made.estimate(spec)] == [{}, {}]
    assert [record.message.count("set `memory:`") for record in caplog.records] == [1]


async def test_what_files_take_is_bounded_by_their_size(build: Build) -> None:
    made = build()
    assert await made.estimate(stub()) == {"ram": round(253_824 * 1.2) + 512 * 1024 * 1024}
    folder = DEMO / "tiny-mlx"
    source = Source(written=f"file:{folder}", scheme="file", location=str(folder))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert await made.estimate(stub(source=source)) == {"ram": round(size * 1.2) + 2048 * 1024 * 1024}


async def test_what_is_not_there_has_no_estimate(build: Build, runtime: Path) -> None:
    with pytest.raises(EngineError) as caught:
        await build().estimate(stub(source=hidden(runtime / "nothing.gguf")))
    assert "MODELS" in caught.value.what
    assert str(runtime) not in str(caught.value)


async def test_a_folder_of_weights_stands_for_itself(build: Build) -> None:
    folder = DEMO / "tiny-mlx"
    source = Source(written=f"file:{folder}", scheme="file", location=str(folder))
    made = build()
    assert (await made.ensure_fetched(stub(source=source), Arrivals())).size_bytes > 200_000
    running = await made.ensure_loaded("r1", stub(source=source))
    assert str(folder) in command_of(running).cmdline()


async def test_quantising_needs_a_file(build: Build) -> None:
    spec = stub(source=Source(written="org/model", scheme="name", location="org/model"), quantize="q8_0")
    with pytest.raises(SourceNotFound, match="quantize"):
        await build().ensure_fetched(spec, Arrivals())


async def test_a_server_may_listen_on_a_socket(build: Build) -> None:
    spec = served(command=(sys.executable, STUB, "good", "--socket", "{socket}"))
    made = build()
    running = await made.ensure_loaded("r1", spec)
    assert (await ask(running))[0] == 200
    assert not psutil.Process(command_of(running).pid).net_connections(kind="inet")


async def test_a_server_may_listen_where_it_likes(build: Build) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spec = served(
        command=(sys.executable, STUB, "good", "--port", str(port)),
        endpoints=(f"http://127.0.0.1:{port}/v1",),
    )
    made = build()
    running = await made.ensure_loaded("r1", spec)
    assert (await ask(running))[0] == 200
    error = await failure(made.ensure_loaded("r2", spec))
    assert "before the command was started" in error.what
    assert (await ask(running))[0] == 200


async def test_an_endpoint_far_away_is_not_asked(build: Build) -> None:
    spec = served(command=("sleep", "600"), endpoints=("https://example.com/v1",))
    with pytest.raises(NotAllowed) as caught:
        await build().ensure_loaded("r1", spec)
    assert "egress" in caught.value.fix
    assert guards() == []


async def test_a_port_that_was_taken_meanwhile_costs_another_try(build: Build, runtime: Path) -> None:
    taken = runtime / "taken"
    running = await build().ensure_loaded("r1", stub(f"taken:{taken}"))
    assert (await ask(running))[0] == 200
    assert taken.read_text() not in command_of(running).cmdline()


async def test_a_stranger_on_the_port_is_not_taken_for_the_server(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody answers at the health path, and it is not the command."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stranger = await asyncio.create_subprocess_exec(sys.executable, STUB, "good", "--port", str(port))
    try:
        await until(lambda: bool(psutil.Process(stranger.pid).net_connections(kind="tcp")))
        monkeypatch.setattr(server_ports.Ports, "lend", lambda _: port)
        monkeypatch.setattr(server_ports, "SAME_START_S", 0.0)
        error = await failure(build().ensure_loaded("r1", stub("never")))
        assert error.what == f"another program answers on port {port}"
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_program_that_is_not_there_is_a_condition(build: Build) -> None:
    made = build()
    for name, fix in [("llama-server-x", "PATH"), ("/nowhere/vllm", "uv tool install vllm")]:
        spec = served(command=(name, "--port", "{port}"))
        for verb in (made.version(spec), made.ensure_loaded("r1", spec)):
            with pytest.raises(EngineUnavailable) as caught:
                await verb
            assert fix in caught.value.fix


async def test_the_command_knows_what_its_file_says_and_nothing_of_the_daemon_s_own(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "the daemon's own")
    running = await build().ensure_loaded("r1", stub(environment=(("SECRET_KEY", "hush-hush"),)))
    command = command_of(running)
    environment = command.environ()
    assert environment | {"SECRET_KEY": "hush-hush"} == environment
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert {"API_TOKEN", "DAEMON_TOKEN", "PYTHONPATH"}.isdisjoint(environment)
    assert not any(
        "hush-hush" in part for each in (running.pid, command.pid) for part in psutil.Process(each).cmdline()
    )


async def test_a_death_under_a_stream_ends_the_stream_with_an_error_and_is_reported(build: Build) -> None:
    made = build()
    exits = Exits(made)
    running = await made.ensure_loaded("r1", stub("dies"))
    status, stream = await ask(running, stream=True)
    assert status == 200
    *chunks, last = stream.decode().split("\n\n")[:-1]
    assert sum("tick" in chunk for chunk in chunks) <= 2
    assert "error" in json.loads(last.removeprefix("data: "))
    assert "[DONE]" not in stream.decode()
    replica, cause = await exits.first()
    assert replica == "r1"
    assert isinstance(cause, ReplicaDied)
    assert cause.what.startswith("ended by itself with exit code 9")


async def test_a_stream_whose_choices_have_all_ended_is_whole_without_a_last_word(build: Build) -> None:
    """As `transformers serve` ends its streams."""
    running = await build().ensure_loaded("r1", stub("no-done"))
    _, stream = await ask(running, stream=True)
    assert stream.endswith(b"data: [DONE]\n\n")
    assert b"error" not in stream
    _, cut = await ask(running, stream=True, n=2)
    assert b"before its end" in cut
    assert b"[DONE]" not in cut


async def test_a_death_under_a_request_is_an_answer_and_is_reported(build: Build) -> None:
    made = build()
    exits = Exits(made)
    running = await made.ensure_loaded("r1", stub("dies"))
    status, answer = await ask(running, messages=[{"role": "user", "content": "die"}])
    assert status in {502, 503}
    assert "error" in json.loads(answer)
    await exits.first()
    assert await made.observe() == {}


async def test_a_kill_of_the_command_alone_ends_the_replica(build: Build) -> None:
    made = build()
    exits = Exits(made)
    running = await made.ensure_loaded("r1", stub())
    command_of(running).kill()
    _, cause = await exits.first()
    assert "killed" in cause.what
    assert await made.observe() == {}


async def test_one_that_does_not_want_to_end_is_killed_after_its_grace(build: Build) -> None:
    made = build(grace_s=0.3)
    running = await made.ensure_loaded("r1", stub("deaf"))
    pids = [running.pid, command_of(running).pid]
    await made.ensure_unloaded("r1")
    assert all(is_gone(pid) for pid in pids)


async def test_nothing_that_the_command_has_started_lives_on(build: Build, runtime: Path) -> None:
    made = build(grace_s=0.3)
    for number, end in enumerate((made.ensure_unloaded, None)):
        pids = runtime / f"pids{number}"
        exits = Exits(made)
        running = await made.ensure_loaded("r1", stub("parent", "--pids", str(pids)))
        family = pids_in(pids)
        assert len(family) == 3
        assert not any(is_gone(pid) for pid in family)
        if end:
            await end("r1")
        else:
            command_of(running).kill()
            await exits.first()
        assert all(is_gone(pid) for pid in family)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody may look into environments")
async def test_a_kill_of_the_guard_leaves_nothing_in_other_sessions(build: Build, runtime: Path) -> None:
    made = build(grace_s=0.3)
    pids = runtime / "pids"
    exits = Exits(made)
    running = await made.ensure_loaded("r1", stub("parent", "--pids", str(pids)))
    family = pids_in(pids)
    psutil.Process(running.pid).kill()
    await exits.first()
    await until(lambda: all(is_gone(pid) for pid in family))


async def test_all_processes_of_the_command_count(build: Build, runtime: Path) -> None:
    made = build(grace_s=0.3)
    await made.ensure_loaded("r1", stub())
    await made.ensure_loaded("r2", stub("parent", "--pids", str(runtime / "pids")))
    seen = await made.observe()
    assert seen["r1"].memory_bytes > 10_000_000
    assert seen["r2"].memory_bytes > seen["r1"].memory_bytes + 5_000_000  # by two small Pythons


async def test_a_flood_of_logs_blocks_nobody(build: Build) -> None:
    running = await build().ensure_loaded("r1", stub("flood"))
    assert (await ask(running))[0] == 200


async def test_closed_outputs_are_no_end(build: Build) -> None:
    made = build()
    running = await made.ensure_loaded("r1", stub("closed"))
    assert (await ask(running))[0] == 200
    assert set(await made.observe()) == {"r1"}


@pytest.mark.parametrize("mood", ["hangs", "sick"])
async def test_one_that_stands_still_is_killed_and_reported(build: Build, mood: str) -> None:
    made = build(hang_deadline_s=0.5)
    exits = Exits(made)
    await made.ensure_loaded("r1", stub(mood))
    _, cause = await exits.first()
    assert isinstance(cause, ReplicaDied)
    assert cause.what.startswith("hung: not well for ")
    assert guards() == []


async def test_a_stopped_one_is_killed_and_reported(build: Build) -> None:
    made = build(hang_deadline_s=0.5)
    exits = Exits(made)
    running = await made.ensure_loaded("r1", stub())
    pids = [command_of(running).pid, running.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    _, cause = await exits.first()
    assert cause.what.startswith("hung: not well for ")
    assert all(is_gone(pid) for pid in pids)


async def test_one_that_is_too_busy_to_say_that_it_is_well_is_left_alone_as_long_as_it_sends(
    build: Build,
) -> None:
    made = build(hang_deadline_s=0.4)
    exits = Exits(made)
    running = await made.ensure_loaded("r1", stub("busy"))
    async with asyncio.TaskGroup() as tasks:
        stream = tasks.create_task(ask(running, stream=True))
        await asyncio.sleep(1.5)
        assert exits.reports == []
        assert set(await made.observe()) == {"r1"}
        await made.ensure_unloaded("r1")
        await asyncio.wait([stream], timeout=SOON_S)
        assert stream.done()


async def test_a_healthy_one_outlives_the_hang_deadline(build: Build) -> None:
    made = build(hang_deadline_s=0.3)
    running = await made.ensure_loaded("r1", stub())
    await asyncio.sleep(1.0)
    assert (await ask(running))[0] == 200
