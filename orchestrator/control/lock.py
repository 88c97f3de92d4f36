"""One daemon per state folder."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from orchestrator.errors import StateError

FILE: Final = "lock"


def take(folder: Path) -> TextIO:
    """Make the private state folder and lock it for this process, until the returned file is closed.

    Raises:
        StateError: another daemon has it, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / FILE).open("a+", encoding="ascii")
    except OSError as error:
        raise StateError(
            f"the state folder cannot be written: {error.strerror or error}",
            where=str(folder),
            fix=f"make it yours (chown $USER {folder}), or choose another: --state DIR",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise StateError(
            "another daemon already runs on this state folder" + (f" (pid {holder})" if holder else ""),
            where=str(folder),
            fix="use that one, stop it, or give this one a state folder of its own: --state DIR --port N",
        ) from error
    # Only for the message to a second daemon: the lock holds on a full disk, too.
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), b"%d\n" % os.getpid())
    return file
