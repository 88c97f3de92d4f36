"""What a machine must have before the set-up starts: each lack is one line with its fix."""

import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tools.environment.problem import Problem

C_NAMES = ("cc", "gcc", "clang")
CXX_NAMES = ("c++", "g++", "clang++")
CXX_SAMPLE = "#include <optional>\nint main() { return std::optional<int>(0).value(); }\n"
INSTALL_COMPILER = (
    ("apt-get", "sudo apt-get install -y build-essential"),
    ("dnf", "sudo dnf install -y gcc gcc-c++"),
    ("zypper", "sudo zypper install -y gcc gcc-c++"),
    ("pacman", "sudo pacman -S --needed base-devel"),
    ("apk", "sudo apk add build-base"),
)


def require_writable(folder: Path) -> None:
    """Raise Problem unless a file can be made in `folder`, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        what = f"cannot write in {folder} ({error.strerror or error})"
        raise Problem(
            what, fix=f"give yourself the folder (sudo chown -R $(id -un) {folder}) or clone elsewhere"
        ) from error


def require_venv_module(*, system: str | None = None) -> None:
    """Raise Problem where the interpreter came without `ensurepip`, as on Debian without python3-venv."""
    if importlib.util.find_spec("ensurepip") is not None:
        return
    major, minor, _ = platform.python_version_tuple()
    fix = "install Python with its venv module"
    if (system or platform.system()) == "Linux" and shutil.which("apt-get"):
        fix = f"sudo apt-get install -y python{major}.{minor}-venv"
    raise Problem(
        f"Python {major}.{minor} has no ensurepip, so it cannot make a virtual environment", fix=fix
    )


def require_compilers(environ: Mapping[str, str]) -> None:
    """Raise Problem unless a C and a C++17 compiler are there and work.

    `CC` and `CXX` in `environ` come before the usual names, as they do for CMake.
    """
    c = find_compiler(environ, "CC", C_NAMES)
    cxx = find_compiler(environ, "CXX", CXX_NAMES)
    if c is None or cxx is None:
        kind = "C" if c is None else "C++"
        names = C_NAMES if c is None else CXX_NAMES
        what = f"no {kind} compiler found (looked for {', '.join(names)}); llama-cpp-python is built with it"
        raise Problem(what, fix=how_to_install(environ))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "sample.cpp")
        source.write_text(CXX_SAMPLE)
        command = [cxx, "-std=c++17", "-c", str(source), "-o", str(Path(folder, "sample.o"))]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=dict(environ), timeout=120
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Problem(
                f"the C++ compiler {cxx} does not start ({error})", fix=how_to_install(environ)
            ) from error
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if "error" in line), f"exit {done.returncode}")
        what = f"the C++ compiler {cxx} cannot compile C++17 ({said.strip()})"
        raise Problem(what, fix=how_to_install(environ) + ", or name a newer one in CXX")


def find_compiler(environ: Mapping[str, str], variable: str, names: tuple[str, ...]) -> str | None:
    """Return the path of the compiler named by `variable`, else of the first of `names` on PATH."""
    wanted = environ.get(variable, "").split()[:1]
    for name in (*wanted, *names):
        path = shutil.which(name, path=environ.get("PATH", os.defpath))
        if path:
            return path
    return None


def how_to_install(environ: Mapping[str, str]) -> str:
    """Return the command that installs a compiler on this system."""
    if platform.system() == "Darwin":
        return "xcode-select --install"
    for tool, command in INSTALL_COMPILER:
        if shutil.which(tool, path=environ.get("PATH", os.defpath)):
            return command
    return "install gcc and g++ (or clang) with your system's package tool"
