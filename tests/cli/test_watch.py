"""`status --watch` on a real (pseudo) terminal."""

import subprocess
import sys

from tests.cli import payloads, payloads_memory
from tests.cli.admin_server import Script, serve
from tests.cli.conftest import Shell
from tests.cli.typed import Terminal

ARGS = ("status", "--watch", "--socket", "admin.sock")


def test_the_screen_follows_the_daemon_outlives_its_restart_and_ends_with_ctrl_c(shell: Shell) -> None:
    script = Script(answers={"GET /v1/status": (200, payloads.calm())})
    with serve(shell.home / "admin.sock", script), Terminal(shell, *ARGS) as screen:
        screen.read_until("small")
        script.answers["GET /v1/status"] = (200, payloads.status(payloads.swapping()))
        screen.read_until("loading ab12cd34 beside 3f2a91bc")
        script.answers["GET /v1/status"] = (200, b"")
        (shell.home / "admin.sock").rename(shell.home / "gone.sock")
        screen.read_until("waiting for it")
        script.answers["GET /v1/status"] = (200, payloads.calm())
        (shell.home / "gone.sock").rename(shell.home / "admin.sock")
        screen.read_until("demo:small")
        screen.type("\x03")
        assert screen.process.wait(20) == 0
        assert "Traceback" not in screen.rest()


def test_a_download_can_be_followed(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads_memory.mixed())
    with Terminal(shell, *ARGS) as screen:
        screen.read_until("downloading 23 % of 5.5 GiB, 24 MiB/s, 2 min left")
        later = payloads_memory.downloading()
        assert later["fetch"]
        later["fetch"] |= {"done_bytes": 5500 << 20, "left_s": 4.2}
        daemon.answers["GET /v1/status"] = (200, payloads.status(later))
        screen.read_until("downloading 98 % of 5.5 GiB, 24 MiB/s, 4 s left")
        later["fetch"] |= {"doing": "checking", "total_bytes": 0}
        daemon.answers["GET /v1/status"] = (200, payloads.status(later))
        screen.read_until("checking")
        screen.type("\x03")
        assert screen.process.wait(20) == 0


def test_without_a_daemon_to_begin_with_it_says_so_and_ends(shell: Shell) -> None:
    assert shell(*ARGS).returncode == 3


def test_in_a_pipe_it_prints_one_plain_page_after_another(shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.calm())
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *ARGS],
        env=shell.env,
        cwd=shell.home,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        pages = 0
        for line in watching.stdout:
            assert "\x1b" not in line
            pages += line.startswith("MODEL ")
            if pages == 2:
                break
        watching.stdout.close()
        assert watching.wait(20) == 141
