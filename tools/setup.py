"""Make `.venv` in this checkout; `make` calls it before every target that needs one.

This file alone must be readable by an old Python, so that an old Python gets a
clear sentence instead of a syntax error. The work is in `tools/environment/`.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
PROBE = "import sys; sys.exit(sys.version_info < (3, 11))"


def find_newer():
    """Return the path of a Python on PATH that is new enough, or None.

    It is run once: a version manager may leave a name on PATH that starts nothing.
    """
    for name in NEWER:
        path = shutil.which(name)
        if path and subprocess.call([path, "-c", PROBE], stderr=subprocess.DEVNULL) == 0:
            return path
    return None


def main():
    """Go on with a Python that is new enough, or say in one line which one is missing."""
    if sys.version_info[:2] < OLDEST:
        newer = find_newer()
        if newer is None:
            sys.stderr.write(
                "setup: Python 3.11 or newer is needed, this is {}.{}.{} ({}). "
                "fix: install one, then name it: make run PYTHON=python3.12\n".format(
                    sys.version_info[0], sys.version_info[1], sys.version_info[2], sys.executable
                )
            )
            return 1
        sys.stdout.flush()
        os.execv(newer, [newer] + sys.argv)
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from tools.environment.main import main as set_up

    return set_up(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
