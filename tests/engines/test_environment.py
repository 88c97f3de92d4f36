"""What of the daemon's environment a worker is told."""

import sysconfig
from pathlib import Path

import pytest

from orchestrator.engines.children.environment import worker_environment

TMP = Path("/run/tmp")


def environment(package: str = "/srv/orchestrator", **own: str) -> dict[str, str]:
    return worker_environment(own, package=Path(package), temporary=TMP)


NEEDED = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "GGML_CUDA_NO_VMM",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "ORCHESTRATOR_WORKER_THREADS",
]
NOT_FOR_IT = [
    "OPENAI_API_KEY",
    "HF_TOKEN",
    "GGML_SECRET",
    "NVIDIA_API_KEY",
    "ORCHESTRATOR_API_KEYS",
    "LD_PRELOAD",
    "PYTHONSTARTUP",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
]


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_worker_needs_is_passed(name: str) -> None:
    assert environment(**{name: "x"})[name] == "x"


@pytest.mark.parametrize("name", NOT_FOR_IT)
def test_what_is_not_for_a_worker_stays_behind(name: str) -> None:
    assert name not in environment(**{name: "x"})


def test_temporary_files_are_private() -> None:
    assert environment(TMPDIR="/anywhere")["TMPDIR"] == str(TMP)


def test_a_package_that_is_not_installed_is_found() -> None:
    assert environment()["PYTHONPATH"] == "/srv"
    assert environment(PYTHONPATH="/a::/b")["PYTHONPATH"] == "/srv:/a:/b"
    assert environment(PYTHONPATH="/srv")["PYTHONPATH"] == "/srv"


def test_an_installed_package_needs_no_search_path() -> None:
    assert "PYTHONPATH" not in environment(f"{sysconfig.get_path('purelib')}/orchestrator")
