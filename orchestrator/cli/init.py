"""`init DIR`: a commented configuration to start from, valid as it stands."""

import argparse
import json
import os
import shlex
import textwrap
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from orchestrator.cli.exits import Exit
from orchestrator.cli.terminal import Terminal, terminal
from orchestrator.config import paths
from orchestrator.config.explain import yaml_of
from orchestrator.config.schema import KINDS, published, schema
from orchestrator.engines import kinds
from orchestrator.errors import OrchestratorError

TEMPLATES: Final = ("models.d/fast.yaml", "models.d/quality.yaml", "policies/default.yaml")
SETTINGS_HEAD: Final = """\
# yaml-language-server: $schema=.schema/settings.json
#
# What belongs to this machine. Every setting may be left out; each line below shows its default, or
# where there is none an example. Take off a `# ` to change one.
# They take effect when the daemon starts.
"""
COMMENT_WIDTH: Final = 100


def execute(args: argparse.Namespace) -> int:
    """Write the files, or none of them where one exists already."""
    folder = paths.expand(args.folder, os.environ, Path.cwd())
    contents = starting_files()
    shown = terminal()
    existing = [name for name in contents if (folder / name).exists()]
    if existing:
        raise OrchestratorError(
            f"nothing written, because this exists: {', '.join(existing)}",
            where=str(folder),
            fix="name another folder, or move these files away",
        )
    for name, content in contents.items():
        _write(folder / name, content)
        shown.line(f"wrote {folder / name}")
    _next_steps(folder, shown)
    return Exit.OK


def starting_files() -> Mapping[str, str]:
    """Return the content of every file by its path in the folder; the schemas included, for editors."""
    starter = files("orchestrator.cli").joinpath("starter")
    templates = {name: starter.joinpath(name).read_text() for name in TEMPLATES}
    engines = kinds.traits()
    schemas = {
        f".schema/{kind}.json": json.dumps(published(kind, engines), indent=2) + "\n" for kind in KINDS
    }
    return templates | {paths.SETTINGS_FILE: settings_file()} | schemas


def settings_file() -> str:
    """Return a settings file in which every setting of the schema is explained and commented out."""
    parts = [SETTINGS_HEAD]
    for name, field in schema("settings")["properties"].items():
        about = _comment(field["description"])
        for inner, of_group in field.get("properties", {}).items():
            about += _comment(f"- {inner}: {of_group['description']}")
        empty: tuple[object, ...] = (None, [], {})
        value = field["examples"][0] if field.get("default") in empty else field["default"]
        parts.append("\n".join([*about, f"# {name}: {yaml_of(value)}"]) + "\n")
    return "\n".join(parts)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ")


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except OSError as failed:
        raise OrchestratorError(
            f"cannot write it: {failed.strerror or failed}",
            where=str(path),
            fix="name a folder that this user may write to",
        ) from failed


def _next_steps(folder: Path, shown: Terminal) -> None:
    quoted = shlex.quote(str(folder))
    shown.line()
    shown.line("next", "bold")
    shown.line(f"  orchestrator run --config {quoted}")
    shown.line("  orchestrator chat                # in another terminal")
    shown.line(f"  edit {folder / 'models.d' / 'fast.yaml'}; the running daemon follows")
