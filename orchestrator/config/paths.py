"""Where things lie: the configuration, state, cache and runtime folders.

Nothing here makes a folder, except `private_folder`, which whoever uses one calls.
"""

import hashlib
import os
import pwd
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.errors import StateError
from orchestrator.values.settings import Settings

NAME: Final = "orchestrator"
MODELS: Final = "models.d"
POLICIES: Final = "policies"
SETTINGS_FILE: Final = "orchestrator.yaml"

# A Unix socket's path may have 107 bytes on Linux and 103 on macOS; 40 are left for the socket's own name.
LONGEST_RUNTIME_FOLDER: Final = 103 - 41

PRIVATE: Final = 0o700
OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def configuration_folder(
    given: Path | None, env: Mapping[str, str], cwd: Path, *, platform: str = sys.platform
) -> Path:
    """Return the folder that holds `models.d/`, `policies/` and the settings file; absolute.

    In this order: the one given; `cwd` if it has a `models.d/`; the user's
    (`$XDG_CONFIG_HOME/orchestrator`, on macOS in Application Support) if it is
    there; `/etc/orchestrator` if it is there; else the user's, which is then
    still to be made.
    """
    if given is not None:
        return _absolute(given, env, cwd)
    if (cwd / MODELS).is_dir():
        return _absolute(cwd, env, cwd)
    own = (
        _application_support(env)
        if platform == "darwin"
        else _xdg(env, "XDG_CONFIG_HOME", home(env) / ".config") / NAME
    )
    for folder in (own, Path("/etc") / NAME):
        if (folder / MODELS).is_dir():
            return folder
    return own


def state_folder(settings: Settings, env: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """Return the folder of the daemon's own state; absolute.

    In this order: the settings file's `state`, systemd's `$STATE_DIRECTORY`,
    `$XDG_STATE_HOME/orchestrator` (on macOS in Application Support).
    """
    if settings.state_folder is not None:
        return Path(settings.state_folder)
    if given := _first(env, "STATE_DIRECTORY"):
        return given
    if platform == "darwin":
        return _application_support(env) / "state"
    return _xdg(env, "XDG_STATE_HOME", home(env) / ".local" / "state") / NAME


def cache_folder(settings: Settings, env: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """Return the folder of what is downloaded, for all engines together; absolute.

    In this order: the settings file's `cache`, systemd's `$CACHE_DIRECTORY`,
    `$XDG_CACHE_HOME/orchestrator` (on macOS `~/Library/Caches/orchestrator`).
    """
    if settings.cache_folder is not None:
        return Path(settings.cache_folder)
    if given := _first(env, "CACHE_DIRECTORY"):
        return given
    if platform == "darwin":
        return home(env) / "Library" / "Caches" / NAME
    return _xdg(env, "XDG_CACHE_HOME", home(env) / ".cache") / NAME


def runtime_folder(
    env: Mapping[str, str], state: Path | None = None, *, platform: str = sys.platform
) -> Path:
    """Return the folder of sockets that belongs to this state folder; absolute and short.

    Daemons with different state folders get different folders. The path always
    leaves room for a socket's name of 40 bytes. In this order, each only where
    it is short enough: `$RUNTIME_DIRECTORY` (systemd); `$XDG_RUNTIME_DIR`, where
    it exists and may be written; `run` in the state folder; a folder of this
    user in `/tmp`.

    Args:
        env: the environment.
        state: the state folder; that of default settings where it is left out.
        platform: as `sys.platform`.
    """
    state = state_folder(Settings(), env, platform=platform) if state is None else state
    own = hashlib.sha256(os.fsencode(state)).hexdigest()[:8]
    candidates: list[Path] = []
    if systemd := _first(env, "RUNTIME_DIRECTORY"):
        candidates.append(systemd / own)
    if (session := _first(env, "XDG_RUNTIME_DIR")) and os.access(session, os.W_OK | os.X_OK):
        candidates.append(session / NAME / own)
    candidates.append(state / "run")
    for folder in candidates:
        if len(os.fsencode(folder)) <= LONGEST_RUNTIME_FOLDER:
            return folder
    # It may be guessed, which does no harm: `private_folder` refuses one that somebody else has made.
    return Path("/tmp") / f"{NAME}-{os.getuid()}-{own}"  # noqa: S108 (see the line above)


def private_folder(folder: Path) -> Path:
    """Have `folder` exist, owned by this user and writable by nobody else; return it.

    What is made is closed to all others, parents included. A folder that is
    there already keeps its permissions: `state: /srv` must not lock others out.

    Raises:
        StateError: it cannot be made, it is somebody else's, or others may write to it.
    """
    try:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(mode=PRIVATE, exist_ok=True)
        # A link made by root is fine: systemd's /var/lib/NAME is one, for a user that it made up.
        ours = folder.stat().st_uid == os.getuid() and folder.lstat().st_uid in {0, os.getuid()}
        open_to_others = stat.S_IMODE(folder.stat().st_mode) & OTHERS_MAY_WRITE
    except OSError as error:
        raise StateError(
            f"cannot make or use the folder: {error.strerror or error}",
            where=str(folder),
            fix="give this user write permission, or name another place (`state:` in orchestrator.yaml)",
        ) from error
    if open_to_others:
        raise StateError("other users may write to the folder", where=str(folder), fix=f"chmod 700 {folder}")
    if not ours:
        raise StateError(
            "the folder belongs to another user",
            where=str(folder),
            fix="remove it, or name another place (`state:` in orchestrator.yaml)",
        )
    return folder


def home(env: Mapping[str, str]) -> Path:
    """Return the user's home folder: `$HOME`, else the one of the user database."""
    return _first(env, "HOME") or Path(pwd.getpwuid(os.getuid()).pw_dir)


def expand(path: str, env: Mapping[str, str], base: Path) -> Path:
    """Return `path` absolute and without `..`, with a leading `~` replaced; relative ones start at `base`."""
    if path == "~" or path.startswith("~/"):
        path = str(home(env)) + path[1:]
    return Path(os.path.normpath(base / path))


def _absolute(folder: Path, env: Mapping[str, str], cwd: Path) -> Path:
    return expand(str(folder), env, cwd.absolute())


def _application_support(env: Mapping[str, str]) -> Path:
    return home(env) / "Library" / "Application Support" / NAME


def _xdg(env: Mapping[str, str], name: str, otherwise: Path) -> Path:
    return _first(env, name) or otherwise


def _first(env: Mapping[str, str], name: str) -> Path | None:
    """Return the first path of a variable; None where it is unset, empty or (XDG forbids it) relative."""
    first = Path(env.get(name, "").split(":")[0])
    return first if first.is_absolute() else None
