"""What becomes of a command before it runs, and of its last words after it has."""

import os
import sys
from pathlib import Path

import pytest

from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.memory.accelerators import Gpu
from orchestrator.engines.server.cause import address_was_in_use, cause_of, last_lines
from orchestrator.engines.server.command import (
    PORT,
    SOCKET,
    Home,
    environment_of,
    filled,
    program_of,
    redaction,
    search_path,
    uses,
    version_of,
)
from orchestrator.engines.server.names import Entry, names_for
from orchestrator.engines.server.place import Place
from orchestrator.engines.server.ports import Ports
from orchestrator.engines.server.tree import weight_of_tree
from orchestrator.errors import EngineUnavailable, NotAllowed
from orchestrator.values.spec import Source
from tests.engines.server_rig import served


def log_of(*lines: str) -> LogTail:
    log = LogTail("r1", lambda line: line)
    for line in lines:
        log.feed(line.encode() + b"\n")
    return log


def home(own: dict[str, str], *, offline: bool = False) -> Home:
    return Home(own=own, temporary=Path("/run/tmp"), compiled=Path("/cache/compiled"), offline=offline)


def test_placeholders_are_filled_wherever_they_stand_and_other_braces_are_left_alone() -> None:
    command = (
        "serve",
        "--at=127.0.0.1:{port}",
        "{model}{model}",
        "--uds",
        "{socket}",
        '{"a": {"b": 1}}',
        "{x}",
    )
    argv = filled(served(command=command), port=7, socket=Path("/run/s.sock"), model="/m/{port}.gguf")
    assert argv == (
        "serve",
        "--at=127.0.0.1:7",
        "/m/{port}.gguf/m/{port}.gguf",
        "--uds",
        "/run/s.sock",
        '{"a": {"b": 1}}',
        "{x}",
    )
    assert uses(served(command=command), PORT)
    assert not uses(served(command=("serve", "{port}")), SOCKET)


def test_a_command_knows_no_secret_of_the_daemon_s() -> None:
    own = {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "HF_HOME": "/data/hf",
        "HF_TOKEN": "t",
        "NOTIFY_SOCKET": "/run/n",
    }
    spec = served(environment=(("HOME", "/home/bob"), ("KEY", "k")))
    known = environment_of(spec, home(own))
    assert known == {
        "PATH": search_path(own),
        "HOME": "/home/bob",
        "HF_HOME": "/data/hf",
        "KEY": "k",
        "TMPDIR": "/run/tmp",
        "GGML_NO_BACKTRACE": "1",
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": "/cache/compiled",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def test_a_command_is_told_that_it_is_offline() -> None:
    offline = home({}, offline=True)
    assert environment_of(served(), offline)["HF_HUB_OFFLINE"] == "1"
    willing = served(environment=(("HF_HUB_OFFLINE", "0"), ("DO_NOT_TRACK", "0")))
    assert environment_of(willing, offline) == environment_of(served(), offline) | dict(willing.environment)


def test_programs_beside_the_daemon_are_found_after_all_others() -> None:
    assert search_path({"PATH": "/bin"}) == f"/bin{os.pathsep}{Path(sys.executable).parent}"
    assert search_path({}).startswith(os.defpath)


def test_a_program_is_known_by_its_place_and_its_age(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    spec = served(command=("llama-server",))
    environment = {"PATH": str(tmp_path)}
    with pytest.raises(EngineUnavailable, match="brew install llama"):
        program_of(spec, environment)  # it may not be run yet
    program.chmod(0o755)
    os.utime(program, (86_400, 86_400))
    link = tmp_path / "link"
    link.symlink_to(program)
    assert program_of(spec, environment) == program
    assert version_of(link) == f"{program.resolve()} of 1970-01-02 00:00:00"


def test_a_log_shows_names_in_place_of_what_is_hidden() -> None:
    source = Source(written="file:${env:MODELS}/a.gguf", scheme="file", location="/secret/a.gguf")
    spec = served(source=source, api_key="sk-123", environment=(("TOKEN", "hush-hush"), ("GPUS", "0,1")))
    redact = redaction(spec, "/cache/secret-a.gguf")
    assert redact("load /secret/a.gguf on 0,1 with hush-hush and sk-123") == (
        "load file:${env:MODELS}/a.gguf on 0,1 with ${TOKEN} and (api_key)"
    )
    assert redact("load /cache/secret-a.gguf") == "load file:${env:MODELS}/a.gguf"


def test_a_source_without_secrets_is_shown_as_it_is() -> None:
    assert redaction(served(), "/demo/tiny.gguf")("load /demo/tiny.gguf") == "load /demo/tiny.gguf"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        (
            "ModuleNotFoundError: No module named 'llama_cpp'",
            "python3 -m pip install 'llama-cpp-python[server]'",
        ),
        ("python3: No module named vllm.entrypoints", "python3 -m pip install vllm"),
        ("ModuleNotFoundError: No module named 'mine'", "install the module 'mine' for python3"),
        (
            "ImportError: Missing. Install with `pip install transformers[serving]`",
            "pip install transformers[serving]",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory", "less context"),
        ("error: unrecognized arguments: --uds", "--help"),
        ("You are trying to access a gated repo.", "HF_TOKEN"),
        ("all is well", ""),
    ],
)
def test_last_words_that_are_known_come_with_the_way_out(line: str, fix: str) -> None:
    cause = cause_of(1, log_of("starting", line, "bye"), "python3")
    assert cause.what == f"ended by itself with exit code 1; its log ends with: starting | {line} | bye"
    assert fix in cause.fix
    assert bool(cause.fix) == bool(fix)


def test_a_script_s_missing_module_goes_where_the_script_is() -> None:
    cause = cause_of(1, log_of("No module named 'vllm'"), "/opt/vllm/bin/vllm")
    assert cause.fix == "install the Python module 'vllm' into the environment of /opt/vllm/bin/vllm"


def test_the_line_that_matters_is_shown_even_where_many_follow() -> None:
    log = log_of("error: no such file", *(f"line {count}" for count in range(9)))
    assert last_lines(log) == "error: no such file | line 4 | line 5 | line 6 | line 7 | line 8"
    assert last_lines(log_of()) == ""
    assert len(last_lines(log_of(*("x" * 4000 for _ in range(5))))) == 800


@pytest.mark.parametrize(
    ("line", "in_use"),
    [
        (
            "[Errno 98] error while attempting to bind on address 8000: address already in use",
            True,
        ),
        ("OSError: [Errno 48] Address already in use", True),
        ("srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080", True),
        ("[Errno 980] else", False),
        ("cannot open file", False),
    ],
)
def test_a_port_that_is_taken_is_told_from_other_troubles(line: str, in_use: bool) -> None:  # noqa: FBT001 (a table's)
    assert address_was_in_use(log_of(line)) is in_use


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ([], ("/m/a",)),
        ([Entry(id="x"), Entry(id="/m/a")], ("/m/a",)),
        ([Entry(id="x"), Entry(id="mine", root="/m/a")], ("mine",)),
        ([Entry(id="mine")], ("/m/a", "mine")),
        ([Entry(id="x"), Entry(id="y")], ("/m/a",)),
    ],
)
def test_what_the_server_calls_its_model(listed: list[Entry], names: tuple[str, ...]) -> None:
    assert names_for("/m/a", listed) == names


def test_health_is_asked_at_the_root_whatever_the_base_is() -> None:
    place = Place.at_endpoint("http://127.0.0.1:9000/api/v1/", anywhere=False)
    assert place.base == "http://127.0.0.1:9000/api/v1"
    assert str(place.url("/health?deep=1")) == "http://127.0.0.1:9000/health?deep=1"
    with pytest.raises(NotAllowed):
        Place.at_endpoint("http://example.com/v1", anywhere=False)
    assert Place.at_endpoint("http://example.com/v1", anywhere=True).base == "http://example.com/v1"


def test_what_a_command_takes_is_the_sum_over_its_processes_and_gpus() -> None:
    class Gpus:
        def look(self) -> list[Gpu]:
            shares = {os.getpid(): 5, os.getppid(): 7}
            return [
                Gpu(name="g", total_bytes=99, used_bytes=20, by_process=each) for each in (shares, {}, shares)
            ]

        def driver(self) -> str:
            return "1"

    one = weight_of_tree([os.getpid()], Gpus())
    both = weight_of_tree([os.getpid(), os.getppid(), 4_194_305], Gpus())
    assert one.gpu_bytes == (("cuda:0", 5), ("cuda:2", 5))
    assert both.gpu_bytes == (("cuda:0", 12), ("cuda:2", 12))
    assert one.own_bytes <= one.ram_bytes < both.ram_bytes


def test_a_port_is_lent_to_one_at_a_time() -> None:
    ports = Ports()
    lent = {ports.lend() for _ in range(50)}
    assert len(lent) == 50
    assert all(20_000 <= port < 32_000 for port in lent)
