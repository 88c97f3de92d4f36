"""`check [DIR]`: every problem of every file, without a daemon."""

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from orchestrator.cli import wire, words
from orchestrator.cli.exits import Exit
from orchestrator.cli.places import configuration
from orchestrator.cli.problems import problem_lines
from orchestrator.cli.room import too_large
from orchestrator.cli.terminal import Terminal, terminal
from orchestrator.config import paths
from orchestrator.config.check import check, hints
from orchestrator.config.decode import Surroundings
from orchestrator.config.settings import read_settings
from orchestrator.engines import kinds
from orchestrator.errors import ConfigError
from orchestrator.values.catalog import Reading
from orchestrator.values.settings import Settings


def execute(args: argparse.Namespace) -> int:
    """Print the problems; Exit.ERROR where there is one."""
    folder = configuration(args.folder)
    if not any((folder / name).exists() for name in (paths.MODELS, paths.POLICIES, paths.SETTINGS_FILE)):
        raise ConfigError(
            f"there is no {paths.MODELS}/ in it",
            where=str(folder),
            fix="name the folder that holds it, or write a first one with: orchestrator init DIR",
        )
    reading = check(folder, os.environ, kinds.traits())
    settings = read_settings(Surroundings(folder=folder, env=os.environ)).value
    problems, untold = too_large(reading, folder, settings or Settings())
    reading = replace(reading, problems=(*reading.problems, *problems))
    found = (*hints(reading, settings), *untold)
    shown = terminal()
    if args.json:
        answer = {
            "folder": str(folder),
            "files": _files(reading, folder),
            "problems": [asdict(problem) for problem in reading.problems],
            "hints": found,
        }
        shown.out.write(json.dumps(answer, indent=2) + "\n")
    else:
        _report(reading, folder, shown)
        for hint in found:
            shown.line(f"hint: {hint}", "yellow")
    return Exit.ERROR if reading.problems else Exit.OK


def _report(reading: Reading, folder: Path, shown: Terminal) -> None:
    files = len(_files(reading, folder))
    if not reading.problems:
        are = "is" if files == 1 else "are"
        shown.line(f"{words.count(files, 'file')} {are} valid", "green")
        return
    problems = [cast("wire.Problem", asdict(problem)) for problem in reading.problems]
    for line in problem_lines(problems, shown):
        shown.line(line)
    wrong = len({problem.path for problem in reading.problems})
    shown.line(
        f"{words.count(len(problems), 'problem')} in {wrong} of {words.count(files, 'file')}", "bold red"
    )


def _files(reading: Reading, folder: Path) -> list[str]:
    """Return the files that were looked at, by their paths in the folder."""
    found = {document.path for document in reading.catalog.models.values()}
    found |= {document.path for document in reading.catalog.policies.values()}
    found |= {problem.path for problem in reading.problems}
    if (folder / paths.SETTINGS_FILE).exists():
        found.add(paths.SETTINGS_FILE)
    return sorted(found)
