"""The steps of a set-up. Each leaves a log, and stops with one line that says what to do."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from tools.environment.checkout import Checkout
from tools.environment.checks import require_venv_module
from tools.environment.llama_wheel import build_wheel, building_alone, keep_wheel, kept_wheel, telling
from tools.environment.locks import Pin, write_requirements
from tools.environment.problem import Problem
from tools.environment.progress import Step, run_logged

PROBE = "import llama_cpp; llama_cpp.llama_backend_init()"


def make_venv(checkout: Checkout, stream: TextIO, *, anew: bool) -> None:
    """Make `.venv` with this Python, unless a working one is there."""
    if checkout.python.exists() and not anew:
        works = subprocess.run([checkout.python, "-m", "pip", "--version"], capture_output=True, check=False)
        if works.returncode == 0:
            return
    require_venv_module()
    step = Step("making .venv", stream)
    checkout.stamp.unlink(missing_ok=True)
    if checkout.venv.is_dir() and not checkout.venv.is_symlink():
        shutil.rmtree(checkout.venv)
    command = [sys.executable, "-m", "venv", str(checkout.venv)]
    status, lines = run_logged(command, log=checkout.log("venv"), step=step, environ=os.environ)
    if status != 0:
        step.abandon()
        said = lines[-1].strip() if lines else f"exit {status}"
        raise Problem(f"Python could not make {checkout.venv} ({said})", fix=f"see {checkout.log('venv')}")
    step.finish(f".venv made with Python {platform.python_version()}")


def install_pins(checkout: Checkout, pins: list[Pin], environ: Mapping[str, str], stream: TextIO) -> None:
    """Install every pinned package, each checked against its hashes."""
    step = Step(f"installing {len(pins)} packages", stream)
    requirements = checkout.log("packages").with_suffix(".txt")
    requirements.parent.mkdir(parents=True, exist_ok=True)
    write_requirements(requirements, pins)
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        seen += line.startswith(("Collecting ", "Requirement already satisfied", "Ignoring "))
        step.at(min(seen, len(pins)), len(pins))

    arguments = ["install", "--no-deps", "--progress-bar", "off", "--require-hashes", "-r", str(requirements)]
    pip(checkout, arguments, name="packages", step=step, environ=environ, on_line=count)
    step.finish(f"{len(pins)} packages of {checkout.lock.name} installed")


def install_llama(
    checkout: Checkout, pin: Pin, folder: Path, environ: Mapping[str, str], stream: TextIO
) -> None:
    """Install llama-cpp-python from the kept wheel, which is built first where there is none that works."""
    step = Step(f"building llama-cpp-python {pin.version} (once, for this processor)", stream)

    def waiting() -> None:
        stream.write("setup: another set-up is building llama-cpp-python; waiting for it\n")
        stream.flush()

    with building_alone(folder.parent, on_wait=waiting):
        wheel = kept_wheel(folder)
        if wheel is not None and starts(checkout, wheel, step, environ):
            step.finish(f"llama-cpp-python {pin.version} installed from {wheel.parent}")
            return
        shutil.rmtree(folder, ignore_errors=True)
        log = checkout.log(pin.name)
        try:
            built = build_wheel(
                pin, python=checkout.python, store=folder.parent, log=log, step=step, environ=environ
            )
        except BaseException:
            step.abandon()
            raise
        wheel = keep_wheel(built, folder)
        if not starts(checkout, wheel, step, environ):
            shutil.rmtree(folder, ignore_errors=True)
            step.abandon()
            raise Problem(
                "llama-cpp-python was built but does not start",
                fix=f"see {log}; try another compiler in CC and CXX",
            )
    step.finish(f"llama-cpp-python {pin.version} built and kept in {folder}")


def starts(checkout: Checkout, wheel: Path, step: Step, environ: Mapping[str, str]) -> bool:
    """Install `wheel` and return whether llama.cpp starts in a process of its own."""
    arguments = ["install", "--no-deps", "--no-index", "--force-reinstall", str(wheel)]
    pip(checkout, arguments, name="llama-cpp-python-install", step=step, environ=environ)
    return subprocess.run([checkout.python, "-c", PROBE], capture_output=True, check=False).returncode == 0


def install_project(checkout: Checkout, environ: Mapping[str, str], stream: TextIO) -> None:
    """Install this checkout itself, editable: `.venv/bin/orchestrator` runs the files as they are."""
    step = Step("installing this checkout", stream)
    arguments = [
        "install",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--editable",
        str(checkout.root),
    ]
    pip(checkout, arguments, name="project", step=step, environ=environ)
    step.finish("this checkout installed: .venv/bin/orchestrator")


def pip(
    checkout: Checkout,
    arguments: list[str],
    *,
    name: str,
    step: Step,
    environ: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run pip in `.venv`; raise Problem with pip's own sentence where it fails."""
    log = checkout.log(name)
    command = [str(checkout.python), "-m", "pip", *arguments]
    status, lines = run_logged(command, log=log, step=step, environ=environ, on_line=on_line)
    if status == 0:
        return
    step.abandon()
    said = telling([line for line in lines if line.startswith("ERROR:")]).removeprefix("ERROR: ")
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        raise Problem("a downloaded package is not the one in the lock", fix=f"run the same again; see {log}")
    raise Problem(
        f"pip stopped: {said}",
        fix=f"check the network (pip's own settings apply), then run the same again; see {log}",
    )
