"""The set-up: checks first, then each step; nothing where everything is there already."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from tools.environment.checkout import Checkout, is_current, one_at_a_time, same_python, stamp_of
from tools.environment.checks import require_compilers, require_writable
from tools.environment.llama_wheel import build_key, cache_folder, kept_wheel, this_processor
from tools.environment.locks import read_lock
from tools.environment.problem import Problem
from tools.environment.steps import install_llama, install_pins, install_project, make_venv

BUILT = "llama-cpp-python"
# Where pip and Python look is the reader's choice; where pip installs to is not.
MISLEADING = frozenset({"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH"})


def main(argv: list[str]) -> int:
    """Set up the checkout this file lies in; return the exit status."""
    parser = argparse.ArgumentParser(prog="tools/setup.py", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="with the tools for tests and checks")
    parser.add_argument(
        "--python-given", action="store_true", help="make .venv anew if another Python made it"
    )
    options = parser.parse_args(argv)
    checkout = Checkout(root=Path(__file__).resolve().parents[2], dev=options.dev)
    try:
        set_up(checkout, os.environ, stream=sys.stdout, python_given=options.python_given)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    except OSError as error:
        what = Problem(
            str(error), fix="look at the permissions and the free space there, then run the same again"
        )
        print(what, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: stopped. fix: run the same again, it goes on where it was", file=sys.stderr)
        return 130
    return 0


def set_up(checkout: Checkout, environ: Mapping[str, str], *, stream: TextIO, python_given: bool) -> None:
    """Bring `.venv` to what the lock says; at once where it is there already.

    Raises:
        Problem: something that only the reader can change.
    """
    if is_current(checkout, environ, python_given=python_given):
        return
    began = time.monotonic()
    require_writable(checkout.root)
    with one_at_a_time(checkout, stream):
        if is_current(checkout, environ, python_given=python_given):
            return
        pins = read_lock(checkout.lock)
        llama = next(pin for pin in pins if pin.name == BUILT)
        store = cache_folder(environ, checkout=checkout.root)
        folder = store / build_key(llama, environ, processor=this_processor())
        if kept_wheel(folder) is None:  # told now, not after minutes of downloads
            require_compilers(environ)
        make_venv(checkout, stream, anew=python_given and not same_python(checkout))
        quiet = for_pip(environ)
        install_pins(checkout, [pin for pin in pins if pin is not llama], quiet, stream)
        install_llama(checkout, llama, folder, quiet, stream)
        install_project(checkout, quiet, stream)
        checkout.stamp.write_text(json.dumps(stamp_of(checkout, environ)))
    stream.write(f"setup: done in {time.monotonic() - began:.0f} s; the next start is immediate\n")
    stream.flush()


def for_pip(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without what would have pip install elsewhere than into `.venv`."""
    kept = {name: value for name, value in environ.items() if name not in MISLEADING}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
