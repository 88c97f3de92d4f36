"""Which process runs a model for which server; nothing but a server's own runner is ever ended."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engines.ollama.local import kept_of, runner_of, slots_of

BLOB = "ab" * 32
# A server: it listens, starts a runner for its weights, and says where and which.
SERVER = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
runner = subprocess.Popen([sys.argv[1], "-c", "input()", "--model", sys.argv[2]], stdin=subprocess.PIPE)
print(listener.getsockname()[1], runner.pid, flush=True)
sys.stdin.read()
runner.kill()
runner.wait()
"""


class Server:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        self.port, self.runner = (int(each) for each in process.stdout.readline().split())


@contextlib.contextmanager
def serving(folder: Path, *, kept: str | None = None) -> Iterator[Server]:
    """Two processes with the names that Ollama's have."""
    for name in ("ollama", "llama-server"):
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(Path(sys.executable).resolve())
    argv: list[str | Path] = [
        folder / "ollama",
        "-c",
        SERVER,
        folder / "llama-server",
        folder / f"sha256-{BLOB}",
    ]
    environment = {"OLLAMA_NUM_PARALLEL": "3"} | ({} if kept is None else {"LLAMA_ARG_CACHE_RAM": kept})
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Server(process)
        process.communicate("")


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of processes are those of their files")


def test_a_server_s_runner_is_found_by_its_weights_and_weighed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        runner = runner_of(BLOB, server.port)
        assert runner is not None
        assert (runner.pid, runner.certain) == (server.runner, True)
        assert runner.alive
        assert runner.weigh(()).ram_bytes > 1_000_000
        assert runner_of("cd" * 32, server.port) is None
        assert runner_of("", server.port) is None
    assert not runner.alive
    assert runner.weigh(()).ram_bytes == 0
    assert not runner.kill()


def test_of_two_servers_each_has_its_own(tmp_path: Path) -> None:
    with serving(tmp_path) as one, serving(tmp_path) as other:
        for server in (one, other):
            found = runner_of(BLOB, server.port)
            assert found is not None
            assert found.pid == server.runner
        assert runner_of(BLOB, 1) is None


def test_only_what_is_surely_the_server_s_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        found = runner_of(BLOB, server.port)
        assert found is not None
        assert found.kill()
        server.process.communicate("")
        assert not found.alive


def test_how_many_a_server_decodes_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert slots_of(server.port) == 3
        assert slots_of(1) is None


@pytest.mark.parametrize(
    ("said", "bytes_kept"),
    [("0", 0), ("64", 64 << 20), ("-1", None), ("", None), ("much", None), (None, None)],
)
def test_how_much_of_prompts_a_runner_keeps(tmp_path: Path, said: str | None, bytes_kept: int | None) -> None:
    with serving(tmp_path, kept=said) as server:
        assert kept_of(server.port) == bytes_kept
