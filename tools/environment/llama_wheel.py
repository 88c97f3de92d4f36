"""The wheel of llama-cpp-python: built once for this processor, kept for every checkout, checked on reuse."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools.environment.checks import require_compilers
from tools.environment.locks import Pin, write_requirements
from tools.environment.problem import Problem
from tools.environment.progress import Step, run_logged

# Counts up when the way of building changes, so that wheels built the old way are left alone.
RECIPE = 1
BUILD_ARGS = ("-DLLAVA_BUILD=OFF",)
# The same libraries lie in llama_cpp/lib; without this a second set lands in site-packages/lib.
LEFT_OUT = "lib/**;bin/**;include/**"


def cache_folder(environ: Mapping[str, str], *, checkout: Path) -> Path:
    """Return where built wheels are kept: the user's cache, or the checkout where that cannot be written."""
    try:
        base = Path(environ["XDG_CACHE_HOME"]) if environ.get("XDG_CACHE_HOME") else _home_cache()
        folder = base / "orchestrator" / "wheels"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return checkout / ".cache" / "wheels"


def _home_cache() -> Path:
    return Path.home() / ("Library/Caches" if platform.system() == "Darwin" else ".cache")


def build_key(pin: Pin, environ: Mapping[str, str], *, processor: str) -> str:
    """Return the name under which a wheel is kept: two machines that need different code get different keys.

    The build uses every instruction of this processor, so the wheel of another
    one could stop with an illegal instruction.
    """
    parts = {
        "recipe": RECIPE,
        "processor": processor,
        "libc": platform.libc_ver(),
        "args": environ.get("CMAKE_ARGS", ""),
        "hashes": sorted(pin.hashes),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"{pin.version}-{platform.system().lower()}-{platform.machine()}-{digest}"


def this_processor() -> str:
    """Return what tells this processor's instructions from another's, as the system reports it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        with contextlib.suppress(OSError):
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return platform.processor()
    wanted = ("flags", "Features", "CPU part", "isa")
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in wanted:
            found.setdefault(name.strip(), value.strip())
    return json.dumps(found, sort_keys=True) if found else platform.processor()


def kept_wheel(folder: Path) -> Path | None:
    """Return the wheel in `folder` if its SHA-256 is still the one noted; else take the folder away."""
    for wheel in sorted(folder.glob("*.whl")):
        noted = wheel.with_suffix(".sha256")
        if noted.is_file() and noted.read_text().strip() == sha256_of(wheel):
            return wheel
    shutil.rmtree(folder, ignore_errors=True)
    return None


def keep_wheel(built: Path, folder: Path) -> Path:
    """Move the folder that holds `built` to `folder` in one step; return where the wheel is now."""
    built.with_suffix(".sha256").write_text(sha256_of(built) + "\n")
    built.parent.rename(folder)
    return folder / built.name


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def building_alone(store: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the store's lock; the lock goes with the process, however it ends.

    What an interrupted build left behind is taken away first.
    """
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in store.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def build_wheel(
    pin: Pin, *, python: Path, store: Path, log: Path, step: Step, environ: Mapping[str, str]
) -> Path:
    """Build the wheel in a new folder of `store`, alone in it but for its hash; return its path.

    Raises:
        Problem: no working compiler, or the build failed; names the log.
    """
    require_compilers(environ)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=store))
    requirements = work / "llama.txt"
    write_requirements(requirements, [pin])
    command = [str(python), "-m", "pip", "wheel", "-v", "--progress-bar", "off"]
    command += [
        "--no-deps",
        "--no-build-isolation",
        "--require-hashes",
        "-r",
        str(requirements),
        "-w",
        str(work),
    ]
    if environ.get("CMAKE_ARGS"):  # pip's own cache does not know what a wheel was built for
        command.append("--no-cache-dir")
    status, lines = run_logged(command, log=log, step=step, environ=build_environment(environ, python=python))
    requirements.unlink()
    wheels = list(work.glob("*.whl"))
    if status != 0 or not wheels:
        what = f"llama-cpp-python did not build ({telling(lines)})"
        raise Problem(what, fix=f"see {log}, then run the same again")
    return wheels[0]


def build_environment(environ: Mapping[str, str], *, python: Path) -> dict[str, str]:
    """Return `environ` with our switches before the user's, and the pinned cmake and ninja first on PATH."""
    include = Path(__file__).with_name("without_common.cmake")
    args = [*BUILD_ARGS, f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={include}"]
    return {
        **environ,
        "CMAKE_ARGS": " ".join(filter(None, [*map(shlex.quote, args), environ.get("CMAKE_ARGS", "")])),
        "PATH": f"{python.parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "SKBUILD_WHEEL_EXCLUDE": LEFT_OUT,
    }


def telling(lines: list[str]) -> str:
    """Return the line of a failed build that names the cause, shortened."""
    marks = ("fatal error:", "error:", "CMake Error", "ERROR:")
    for mark in marks:
        for line in lines:
            if mark in line:
                return line.strip()[:200]
    return "no message"
