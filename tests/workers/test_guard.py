"""The guard leaves as its command does, and leaves nothing of it behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.workers.frames import EXIT_ORPHANED
from orchestrator.workers.order import EXIT_NOT_STARTED, MARK, Order, decode_started, encode_order

SOON_S = 20.0
FOR_EVER = "import time; time.sleep(600)"

Guarded = Callable[..., tuple["subprocess.Popen[bytes]", int]]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """Starts a command under a guard; returns the guard, and the command's number."""
    guards: list[subprocess.Popen[bytes]] = []

    def start(*argv: str, grace_s: float = 20.0, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
        guard = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.workers.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        guards.append(guard)
        assert guard.stdin
        assert guard.stdout
        order = Order(
            argv=argv,
            environment={"PATH": os.environ["PATH"], **environment},
            folder=str(tmp_path),
            mark="m1",
            grace_s=grace_s,
        )
        guard.stdin.write(encode_order(order))
        guard.stdin.flush()
        started = decode_started(guard.stdout.readline())
        assert bool(started.pid) != bool(started.error)
        return guard, started.pid

    yield start
    for guard in guards:
        with guard:  # closes the pipes
            guard.kill()


def python(code: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", code)


def family(code: str) -> tuple[str, str, str]:
    """A command that has started two others, one of them in a session of its own, and says so."""
    return python(
        "import subprocess, sys, time\n"
        f"sleeper = [sys.executable, '-c', {FOR_EVER!r}]\n"
        "others = [subprocess.Popen(sleeper).pid, subprocess.Popen(sleeper, start_new_session=True).pid]\n"
        "print(*others, flush=True)\n" + code
    )


def others_of(guard: "subprocess.Popen[bytes]") -> list[int]:
    assert guard.stderr
    return [int(pid) for pid in guard.stderr.readline().split()]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_gone_soon(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(SOON_S)
    return is_gone(pid)


@pytest.mark.parametrize("code", [0, 7])
def test_it_leaves_with_the_exit_code_of_the_command(guarded: Guarded, code: int) -> None:
    guard, _ = guarded(*python(f"raise SystemExit({code})"))
    assert guard.wait(SOON_S) == code


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_it_leaves_by_the_signal_that_ended_the_command(guarded: Guarded, number: signal.Signals) -> None:
    guard, pid = guarded(*python(FOR_EVER))
    os.kill(pid, number)
    assert guard.wait(SOON_S) == -number


def test_all_output_of_the_command_goes_to_standard_error(guarded: Guarded) -> None:
    guard, _ = guarded(
        *python("import sys; sys.stdout.write('out\\n'); sys.stdout.flush(); sys.stderr.write('err\\n')")
    )
    assert guard.wait(SOON_S) == 0
    assert guard.stdout
    assert guard.stderr
    assert guard.stdout.read() == b""
    assert guard.stderr.read() == b"out\nerr\n"


def test_the_command_cannot_read_the_lifeline_and_has_its_own_environment(guarded: Guarded) -> None:
    show = "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read(), os.getpgrp()]))"
    guard, _ = guarded(*python(show), KEY="secret")
    assert guard.stderr
    environment, stdin, group = json.loads(guard.stderr.readline())
    assert environment["KEY"] == "secret"
    assert environment[MARK] == "m1"
    assert "HOME" not in environment
    assert stdin == ""
    assert group == guard.pid


def test_what_is_not_a_program_is_said(guarded: Guarded, tmp_path: Path) -> None:
    guard, pid = guarded(str(tmp_path / "nothing"))
    assert not pid
    assert guard.wait(SOON_S) == EXIT_NOT_STARTED


def test_nothing_outlives_the_command(guarded: Guarded) -> None:
    guard, _ = guarded(*family("sys.exit(3)"))
    others = others_of(guard)
    assert guard.wait(SOON_S) == 3
    assert all(is_gone(pid) for pid in others)


def test_nothing_outlives_a_polite_end(guarded: Guarded) -> None:
    guard, pid = guarded(*family("time.sleep(600)"))
    others = others_of(guard)
    guard.terminate()
    # The one in another session was not asked, and has the grace all the same.
    assert is_gone_soon(pid)
    guard.send_signal(signal.SIGUSR1)
    assert guard.wait(SOON_S) == -signal.SIGTERM
    assert all(is_gone(each) for each in others)


def test_who_does_not_want_to_end_is_killed_after_the_grace(guarded: Guarded) -> None:
    guard, pid = guarded(
        *family(
            "import signal; signal.signal(15, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
        ),
        grace_s=0.2,
    )
    others = others_of(guard)
    assert guard.stderr
    assert guard.stderr.readline() == b"deaf\n"
    guard.terminate()
    assert guard.wait(SOON_S) == -signal.SIGKILL
    assert all(is_gone(each) for each in [pid, *others])


def test_a_shell_s_child_has_the_grace_as_well(guarded: Guarded, tmp_path: Path) -> None:
    """The shell ends at once; what serves under it takes its time to end in order."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import os, signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3)\n    os.write(1, b'in order\\n')\n    sys.exit()\n"
        "signal.signal(15, end)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    guard, _ = guarded("sh", "-c", f"{sys.executable} {slow}; true")
    assert guard.stderr
    assert guard.stderr.readline() == b"ready\n"
    guard.terminate()
    assert guard.stderr.readline() == b"in order\n"
    assert guard.wait(SOON_S) == -signal.SIGTERM


def test_sigusr1_ends_everything_at_once(guarded: Guarded) -> None:
    guard, pid = guarded(*family("time.sleep(600)"))
    others = others_of(guard)
    guard.send_signal(signal.SIGUSR1)
    assert guard.wait(SOON_S) == -signal.SIGKILL
    assert all(is_gone(each) for each in [pid, *others])


def test_nothing_outlives_the_daemon(guarded: Guarded) -> None:
    guard, pid = guarded(*family("time.sleep(600)"))
    others = others_of(guard)
    assert guard.stdin
    guard.stdin.close()
    assert guard.wait(SOON_S) == EXIT_ORPHANED
    assert all(is_gone(each) for each in [pid, *others])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_killed_guard_takes_the_command_along(guarded: Guarded) -> None:
    guard, pid = guarded(*python(FOR_EVER))
    command = psutil.Process(pid)
    guard.kill()
    guard.wait(SOON_S)
    assert command.wait(SOON_S) is None  # not our child: that it is gone is all that can be told
    assert is_gone(pid)


def test_what_is_not_an_order_is_refused() -> None:
    for order in (b"", b"{}\n", b"[]\n", b'{"argv": 1}\n', b"noise\n"):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.workers.guard"],
            input=order,
            capture_output=True,
            timeout=SOON_S,
            check=False,
        )
        assert done.returncode == 2
        assert b"started by the daemon" in done.stderr
