"""`doctor`: from the daemon, without one, and as a check."""

import json

from orchestrator.cli.exits import Exit
from tests.cli import payloads_memory
from tests.cli.admin_server import Script
from tests.cli.conftest import Shell

ALL_THERE = {"this machine": [{"what": "memory", "ok": True, "found": "16 GiB", "fix": ""}]}
HERE = ("--socket", "admin.sock")


def test_the_daemon_is_asked_and_what_is_missing_comes_with_its_command(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/doctor"] = (200, payloads_memory.findings())
    done = shell("doctor", *HERE)
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    assert "  --  http://127.0.0.1:11434  nothing answers\n" in done.stdout
    assert "fix: start it: ollama serve\n" in done.stdout
    assert done.stdout.endswith("2 things missing; only models that need one are held up by it.\n")
    assert daemon.asked == [("GET /v1/doctor", None)]


def test_what_is_missing_is_an_error_only_where_it_is_asked_for(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/doctor"] = (200, payloads_memory.findings())
    assert shell("doctor", "--check", *HERE).returncode == Exit.NOT_AS_ASKED
    daemon.answers["GET /v1/doctor"] = (200, ALL_THERE)
    done = shell("doctor", "--check", *HERE)
    assert done.returncode == Exit.OK
    assert done.stdout.endswith("Everything is there.\n")


def test_as_json_it_is_what_the_daemon_said(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/doctor"] = (200, payloads_memory.findings())
    done = shell("doctor", "--json", "--check", *HERE)
    assert json.loads(done.stdout) == payloads_memory.findings()
    assert done.returncode == Exit.NOT_AS_ASKED


def test_a_daemon_that_was_named_and_does_not_answer_is_an_error(shell: Shell) -> None:
    done = shell("doctor", "--socket", "nowhere.sock")
    assert (done.returncode, done.stdout) == (Exit.UNREACHABLE, "")
    assert "no daemon answers on nowhere.sock" in done.stderr


def test_without_a_daemon_it_looks_for_itself_and_makes_no_state(shell: Shell) -> None:
    (shell.home / "conf/models.d").mkdir(parents=True)
    done = shell("doctor", "--json", "--config", "conf", "--state", "elsewhere")
    assert (done.returncode, done.stderr) == (Exit.OK, "")
    found = json.loads(done.stdout)
    assert {"this machine", "llama-cpp", "ollama", "mlx", "server", "openai"} <= set(found)
    machine = {finding["what"]: finding for finding in found["this machine"]}
    assert machine["versions"]["ok"]
    assert "GiB" in machine["memory"]["found"]
    assert all(
        set(each) == {"what", "ok", "found", "fix"} for findings in found.values() for each in findings
    )
    assert not (shell.home / "elsewhere").exists()
