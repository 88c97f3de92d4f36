"""Which folder, and which daemon: what the arguments and the environment say."""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.cli.client import Admin
from orchestrator.config import paths
from orchestrator.errors import ConfigError
from orchestrator.values.settings import Settings

SOCKET: Final = "admin.sock"


def configuration(given: str | None) -> Path:
    """Return the configuration folder that `given` (None: the usual places) stands for."""
    return paths.configuration_folder(Path(given) if given else None, os.environ, Path.cwd())


def state(args: argparse.Namespace) -> Path:
    """Return the state folder: `--state`, else what the settings file says, else the default."""
    if args.state:
        return paths.expand(args.state, os.environ, Path.cwd())
    return paths.state_folder(_settings(configuration(args.config)), os.environ)


def admin(args: argparse.Namespace) -> Admin:
    """Return the daemon that `args` name; whether it runs shows at the first call."""
    return Admin(Path(args.socket) if args.socket else admin_socket(state(args), os.environ))


def admin_socket(state_folder: Path, env: Mapping[str, str]) -> Path:
    """Return the admin socket of the daemon with this state folder.

    The daemon may have been started in another environment than ours (by
    systemd, from a desktop session, over ssh), so the first of the places it
    could have chosen where there is a socket is taken; without any, ours.
    """
    places = [paths.runtime_folder(other, state_folder) / SOCKET for other in _environments(env)]
    return next((place for place in places if place.exists()), places[0])


def _environments(env: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    bare = {
        name: value for name, value in env.items() if name not in {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"}
    }
    yield env
    yield bare | {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}
    yield bare | {"RUNTIME_DIRECTORY": "/run/orchestrator"}
    yield bare


def _settings(folder: Path) -> Settings:
    """Return the settings of the folder, as far as they say where the state lies.

    A settings file that cannot be read counts as none: what is wrong with it,
    a daemon that runs says best.
    """
    try:
        lines = (folder / paths.SETTINGS_FILE).read_text(errors="replace").splitlines()
    except OSError:
        return Settings()
    if not any("state" in line.partition("#")[0] for line in lines):
        return Settings()
    from orchestrator.config.settings import load_settings  # noqa: PLC0415 (YAML and JSON Schema, 150 ms)

    try:
        return load_settings(folder, os.environ)
    except ConfigError:
        return Settings()
