"""What a worker may know of the daemon's environment: what it needs to run, and no secret."""

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Everything else stays behind: API keys, NOTIFY_SOCKET and WATCHDOG_* (a child
# that speaks to systemd in the daemon's name), LISTEN_* (its sockets).
PASSED: Final = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "HF_HOME",
        "HF_HUB_CACHE",
        "ORCHESTRATOR_WORKER_THREADS",
    }
)
PASSED_PREFIXES: Final = ("LC_", "OMP_", "KMP_", "GGML_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_")
# The prefixes are wide; a name like this is kept back all the same.
SECRET_WORDS: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def worker_environment(own: Mapping[str, str], *, package: Path, temporary: Path) -> dict[str, str]:
    """Return the environment for a worker.

    Args:
        own: the daemon's environment.
        package: the folder of the `orchestrator` package; the worker finds the same one.
        temporary: a private folder: compiled kernels in a shared /tmp could be replaced by others.
    """
    passed = {name: value for name, value in own.items() if _is_passed(name)}
    path = _python_path(own.get("PYTHONPATH", ""), package.resolve().parent)
    if path:
        passed["PYTHONPATH"] = path
    return passed | {
        "TMPDIR": str(temporary),
        # Without it a failed assertion in llama.cpp starts a debugger, which
        # prints 40 KB before the process dies.
        "GGML_NO_BACKTRACE": "1",
    }


def _is_passed(name: str) -> bool:
    if any(word in name.upper() for word in SECRET_WORDS):
        return False
    return name in PASSED or name.startswith(PASSED_PREFIXES)


def _python_path(inherited: str, folder: Path) -> str:
    """Return a search path that finds the package in `folder`, or "" where none is needed."""
    entries = [str(Path(entry).absolute()) for entry in inherited.split(":") if entry]
    # An installed package is found anyway, and site-packages at the front of
    # the path would let what lies there shadow the standard library.
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    if folder not in installed and str(folder) not in entries:
        entries.insert(0, str(folder))
    return ":".join(entries)
