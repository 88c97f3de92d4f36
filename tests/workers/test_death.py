"""How a child starts, refuses to start, and ends: with its parent, at the latest."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.random_gguf import write
from orchestrator.workers.frames import (
    EXIT_ORPHANED,
    EXIT_REFUSED,
    Failed,
    FailureKind,
    Ready,
    encode_launch,
)
from tests.workers.child import COMMAND, client_of, launch_of, report, start, stop

pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (the plugin's signature): other processes' time is real

BUSY = {"prompt": "go", "max_tokens": 4000, "ignore_eos": True, "stream": True}


def cut(content: bytes, folder: Path, *, to: int) -> Path:
    path = folder / "cut.gguf"
    path.write_bytes(content[:to])
    return path


BROKEN: list[tuple[str, Callable[[bytes], bytes], FailureKind, str]] = [
    ("empty", lambda _: b"", FailureKind.CORRUPT, "is empty"),
    ("another kind of file", lambda _: b"#!/bin/sh\n", FailureKind.CORRUPT, "is not a GGUF file"),
    ("cut in the header", lambda whole: whole[:100], FailureKind.CORRUPT, "does not load"),
    ("cut in the weights", lambda whole: whole[: len(whole) * 2 // 3], FailureKind.CORRUPT, "does not load"),
    (
        "an unknown version",
        lambda whole: whole[:4] + b"\xff\xff\0\0" + whole[8:],
        FailureKind.CORRUPT,
        "version",
    ),
    (
        "a huge count",
        lambda whole: whole[:8] + b"\xff" * 8 + whole[16:],
        FailureKind.CORRUPT,
        "does not load",
    ),
]


@pytest.mark.parametrize(("name", "broken", "kind", "words"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_file_is_refused_in_one_clear_line(
    models: Path, folder: Path, name: str, broken: Callable[[bytes], bytes], kind: FailureKind, words: str
) -> None:
    path = folder / f"{name.replace(' ', '-')}.gguf"
    path.write_bytes(broken((models / "tiny.gguf").read_bytes()))
    said = refusal(path, folder)
    assert said.kind is kind
    assert words in said.message
    assert str(path) in said.message
    assert "\n" not in said.message


def test_an_unknown_architecture_is_named(folder: Path) -> None:
    write(folder / "odd.gguf", architecture="oddnet")
    said = refusal(folder / "odd.gguf", folder)
    assert said.kind is FailureKind.UNKNOWN_ARCHITECTURE
    assert "oddnet" in said.message


def test_a_missing_file_is_named(folder: Path) -> None:
    said = refusal(folder / "none.gguf", folder)
    assert said.kind is FailureKind.NOT_FOUND


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's memory")
def test_a_context_beyond_the_memory_is_refused(models: Path, folder: Path) -> None:
    launch = launch_of(models / "slow.gguf", folder, context=1 << 20, parallel=1)  # 8 GiB of cells
    child = start(launch, address_space_bytes=3 << 30)
    said = report(child)
    assert child.wait(10) == EXIT_REFUSED
    assert stop(child) == b""
    assert isinstance(said, Failed)
    assert said.kind is FailureKind.OUT_OF_MEMORY
    assert "\n" not in said.message


def test_an_absurd_context_is_refused_before_anything_is_allocated(models: Path, folder: Path) -> None:
    said = refusal(models / "tiny.gguf", folder, context=1 << 30)
    assert said.kind is FailureKind.FAILED
    assert "4294967296" in said.message


def test_a_socket_that_cannot_be_bound_is_named(models: Path, folder: Path) -> None:
    said = refusal(models / "tiny.gguf", folder, socket=str(folder / "missing" / "w.sock"))
    assert (said.kind, "missing/w.sock" in said.message) == (FailureKind.FAILED, True)


def refusal(path: Path, folder: Path, **changes: object) -> Failed:
    child = start(launch_of(path, folder, **changes))
    said = report(child)
    assert child.wait(10) == EXIT_REFUSED
    assert stop(child) == b""
    assert isinstance(said, Failed)
    return said


def test_started_by_hand_it_says_what_it_is() -> None:
    done = subprocess.run(COMMAND, input=b"", capture_output=True, check=False, timeout=20)
    assert done.returncode == 2
    assert b"orchestrator" in done.stderr
    assert done.stdout == b""


def test_the_socket_is_private_and_a_stale_one_is_replaced(models: Path, folder: Path) -> None:
    launch = launch_of(models / "tiny.gguf", folder)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(launch.socket)
    child = start(launch)
    try:
        said = report(child)
        assert isinstance(said, Ready)
        assert said.pid == child.pid
        assert said.n_vocab == 261
        assert said.train_context == 1024
        assert stat.S_IMODE(Path(launch.socket).stat().st_mode) == 0o600
        assert not any(str(models) in part for part in psutil.Process(child.pid).cmdline())
    finally:
        stop(child)


def test_closing_the_lifeline_ends_the_child_at_once_even_in_a_decode(models: Path, folder: Path) -> None:
    launch = launch_of(models / "slow.gguf", folder, context=4096)
    child = start(launch)
    report(child)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(launch.socket)
        client.sendall(request(BUSY))
        assert client.recv(10)
        assert child.stdin is not None
        child.stdin.close()
        began_s = time.monotonic()
        assert child.wait(5) == EXIT_ORPHANED
        assert time.monotonic() - began_s < 1
    assert child.stdout is not None
    child.stdout.close()


PARENT = """
import sys, time
from pathlib import Path
from tests.workers.child import launch_of, report, start
child = start(launch_of(Path(sys.argv[1]), Path(sys.argv[2]), context=4096))
print(report(child).pid, flush=True)
time.sleep(60)
"""


def test_a_child_dies_with_a_killed_parent(models: Path, folder: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(models / "slow.gguf"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "w.sock"))
            client.sendall(request(BUSY))
            assert client.recv(10)
            parent.kill()
            deadline_s = time.monotonic() + 5
            while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline_s


async def test_sigterm_lets_the_answer_under_way_finish_and_takes_no_other(
    models: Path, folder: Path
) -> None:
    launch = launch_of(models / "slow.gguf", folder, context=4096)
    child = start(launch)
    report(child)
    async with client_of(launch.socket) as client, asyncio.TaskGroup() as tasks:
        stream = tasks.create_task(client.stream("/v1/completions", BUSY | {"max_tokens": 40}))
        await client.health_when(active=1)
        os.kill(child.pid, signal.SIGTERM)
        assert (await stream).done
    assert await asyncio.to_thread(child.wait, 10) == 0
    assert os.listdir(folder) == []  # noqa: PTH208 (a Path's methods may not be used on an event loop)
    assert stop(child) == b""


def test_ctrl_c_is_left_to_the_parent(models: Path, folder: Path) -> None:
    child = start(launch_of(models / "tiny.gguf", folder))
    report(child)
    os.kill(child.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    stop(child)


def test_secrets_stay_out_of_the_arguments(models: Path, folder: Path) -> None:
    launch = launch_of(models / "tiny.gguf", folder)
    assert json.loads(encode_launch(launch))["path"] == str(models / "tiny.gguf")
    assert not any(str(models) in part for part in COMMAND)


def request(body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: w\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content
