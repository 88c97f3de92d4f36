"""Every command as a process: what it prints where, and the exit code that scripts see."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import payloads, payloads_plan
from tests.cli.admin_server import Script
from tests.cli.conftest import Shell

SOCKET = ("--socket", "admin.sock")
ASKING_A_DAEMON = [("status",), ("describe", "fast"), ("reload",), ("chat", "-m", "hi")]


@pytest.mark.parametrize("command", ASKING_A_DAEMON, ids=lambda command: command[0])
def test_without_a_daemon_the_exit_code_is_3_and_the_fix_is_said(
    command: tuple[str, ...], shell: Shell
) -> None:
    done = shell(*command)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "error: no daemon answers on" in done.stderr
    assert "fix: start it with: orchestrator run" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("stauts",), "did you mean 'status'?"),
        (("describe",), "MODEL"),
        (("schema", "modle"), "did you mean 'model'?"),
        (("reload", "--timeout", "0"), "--timeout"),
        (("run", "--port", "70000"), "--port"),
        (("status", "--json", "--watch"), "not allowed with"),
    ],
)
def test_a_wrong_command_line_exits_with_64_and_never_with_plans_2(
    args: tuple[str, ...], said: str, shell: Shell
) -> None:
    done = shell(*args)
    assert (done.returncode, done.stdout) == (64, "")
    assert said in done.stderr
    assert "fix: orchestrator" in done.stderr


def test_no_command_at_all_prints_the_help(shell: Shell) -> None:
    done = shell()
    assert done.returncode == 64
    assert "commands:" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_output_is_one_error(shell: Shell) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = shell("schema", stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the output cannot be written: ")
    assert "Traceback" not in done.stderr


def test_a_closed_output_is_nobody_to_tell(shell: Shell) -> None:
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        argv = ["/bin/sh", "-c", f"exec '{sys.executable}' -m orchestrator schema model {closed}"]
        done = subprocess.run(
            argv, env=shell.env, cwd=shell.home, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_printed(shell: Shell) -> None:
    done = shell("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("orchestrator ")


def test_status_is_plain_aligned_text_when_piped(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.busy())
    done = shell("status", *SOCKET)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    fast = next(line for line in done.stdout.splitlines() if line.startswith("fast "))
    assert fast.split()[:4] == ["fast", "active", "yes", "3f2a91bc→ab12cd34"]
    assert "models.d/coder.yaml:3:9" in done.stdout


def test_status_is_ascii_where_the_encoding_is_not_utf_8(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.busy())
    done = shell("status", *SOCKET, env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "3f2a91bc->ab12cd34" in done.stdout


def test_status_as_json_is_the_answer_of_the_daemon(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.busy())
    assert json.loads(shell("status", "--json", *SOCKET).stdout) == payloads.busy()


def test_status_prints_names_for_scripts(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.calm())
    assert shell("status", "--names", *SOCKET).stdout == "fast\nsmall\n"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (payloads.calm(), 0),
        (payloads.status(payloads.model("old", state="absent", serving=None, replicas=[])), 0),
        (payloads.status(payloads.swapping()), 4),
        (payloads.status(payloads.rejected()), 4),
        (payloads.status(payloads.stalled()), 4),
        (payloads.status(payloads.model(), problems=[payloads.PROBLEM]), 4),
        (payloads.status(payloads.model(), ready=False), 4),
        (payloads.status(payloads.model(desired=payloads.NEW)), 4),
    ],
)
def test_status_check_exits_with_4_unless_all_is_well(
    status: object, code: int, shell: Shell, daemon: Script
) -> None:
    daemon.answers["GET /v1/status"] = (200, status)
    assert shell("status", "--check", *SOCKET).returncode == code
    assert shell("status", *SOCKET).returncode == 0


def test_describe_of_an_unknown_model_hands_the_daemons_suggestion_on(shell: Shell, daemon: Script) -> None:
    error = {"message": "there is no model 'fats'", "fix": "did you mean 'fast'?"}
    daemon.answers["GET /v1/models/fats"] = (404, {"error": error})
    done = shell("describe", "fats", *SOCKET)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: there is no model 'fats'\n  fix: did you mean 'fast'?\n"


def test_describe_shows_the_model(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/models/quality"] = (200, payloads.described())
    done = shell("describe", "quality", *SOCKET)
    assert done.returncode == 0
    for heading in ("SPEC", "CONDITIONS", "REPLICAS", "RECENT EVENTS"):
        assert f"\n{heading}\n" in done.stdout


@pytest.mark.parametrize(
    ("args", "answer", "code", "wait_s"),
    [
        ((), payloads.reloaded(settled=False), 0, None),
        (("--wait",), payloads.reloaded(), 0, 120.0),
        (("--wait", "--timeout", "7"), payloads.reloaded(settled=False), 1, 7.0),
        (("--wait",), payloads.reloaded(models=[payloads.rejected()]), 1, 120.0),
        ((), payloads.reloaded(problems=[payloads.PROBLEM]), 1, None),
    ],
)
def test_reload_exits_with_1_for_problems_and_for_a_wait_in_vain(
    args: tuple[str, ...], answer: object, code: int, wait_s: float | None, shell: Shell, daemon: Script
) -> None:
    daemon.answers["POST /v1/reload"] = (200, answer)
    assert shell("reload", *args, *SOCKET).returncode == code
    assert daemon.asked == [("POST /v1/reload", {"wait_s": wait_s})]


def test_reload_can_confirm_what_disappeared(shell: Shell, daemon: Script) -> None:
    daemon.answers["POST /v1/confirm-removal"] = (200, {"confirmed": ["models.d/gone.yaml"]})
    daemon.answers["POST /v1/reload"] = (200, payloads.reloaded())
    done = shell("reload", "--confirm-removal", *SOCKET)
    assert done.returncode == 0
    assert "models.d/gone.yaml" in done.stdout
    assert [path for path, _ in daemon.asked] == ["POST /v1/confirm-removal", "POST /v1/reload"]


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (payloads_plan.empty(), 0),
        (payloads_plan.plan(), 2),
        (payloads_plan.plan() | {"problems": [payloads.PROBLEM]}, 1),
    ],
)
def test_plan_exits_with_0_2_or_1(plan: object, code: int, shell: Shell, daemon: Script) -> None:
    daemon.answers["POST /v1/plan"] = (200, plan)
    assert shell("plan", *SOCKET).returncode == code
    assert shell("plan", "next", "--json", *SOCKET).returncode == code
    assert daemon.asked == [
        ("POST /v1/plan", {"folder": None}),
        ("POST /v1/plan", {"folder": str(shell.home / "next")}),
    ]


def test_plan_with_a_named_socket_never_answers_for_another_daemon(shell: Shell) -> None:
    assert shell("plan", "--socket", "nowhere.sock").returncode == 3


def test_a_socket_that_nobody_listens_on_is_no_daemon(shell: Shell) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(shell.home / "admin.sock"))
    done = shell("status", *SOCKET)
    assert done.returncode == 3
    assert "no daemon answers on" in done.stderr


def test_a_socket_path_that_is_too_long_is_a_clear_error(shell: Shell) -> None:
    done = shell("status", "--socket", "x" * 200)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "fix:" in done.stderr


def test_an_answer_that_is_not_json_is_a_clear_error(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, b"<html>")
    done = shell("status", *SOCKET)
    assert done.returncode == 1
    assert "not JSON" in done.stderr


def test_a_reader_that_has_enough_is_no_error(shell: Shell, daemon: Script) -> None:
    many = [payloads.model(f"model-{number}") for number in range(2000)]
    daemon.answers["GET /v1/status"] = (200, payloads.status(*many))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = shell("status", *SOCKET, stdout=closed)
    assert done.returncode == 141
    assert done.stderr == ""


def test_the_daemon_of_a_state_folder_is_found_by_it(shell: Shell, tmp_path: Path) -> None:
    from_flag = shell("status", "--state", str(tmp_path / "a" / ".." / "b"))
    from_environment = shell("status", env={"STATE_DIRECTORY": str(tmp_path / "b")})
    other = shell("status", "--state", str(tmp_path / "c"))
    assert from_flag.stderr == from_environment.stderr != other.stderr


def test_the_settings_file_says_where_the_state_lies(shell: Shell) -> None:
    folder = shell.home / "models"
    (folder / "models.d").mkdir(parents=True)
    (folder / "orchestrator.yaml").write_text("state: ../elsewhere\n")
    by_settings = shell("status", "--config", "models")
    by_flag = shell("status", "--state", "elsewhere")
    assert by_settings.returncode == 3
    assert by_settings.stderr == by_flag.stderr != shell("status").stderr
