"""Whether the models of a folder could ever be loaded on this machine."""

import asyncio
import logging
import os
from pathlib import Path

from orchestrator.cli.premises import premises
from orchestrator.config import paths
from orchestrator.control.preview import offline
from orchestrator.errors import OrchestratorError
from orchestrator.values.catalog import Document, Problem, Reading
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec


def too_large(reading: Reading, folder: Path, settings: Settings) -> tuple[list[Problem], list[str]]:
    """Return a problem with the figures for each model that can never be loaded here; and what is not known.

    Nothing is downloaded for that: of what is not here yet, only `memory` says how large it is.
    """
    state = paths.state_folder(settings, os.environ)
    heard = _Heard(logging.WARNING)
    ours = logging.getLogger("orchestrator")
    ours.addHandler(heard)
    try:
        unfit = asyncio.run(offline(premises(settings, state), folder, state))["unfit"]
    except OrchestratorError as error:
        return [], [*heard.said, f"whether the models fit into the memory could not be told: {error.what}"]
    finally:
        ours.removeHandler(heard)
    models = reading.catalog.models
    known = [each for each in unfit if each["model"] in models]
    return [_at(models[each["model"]], each["why"], each["fix"]) for each in known], heard.said


class _Heard(logging.Handler):
    """Keeps what the engines would write into the daemon's log."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _at(document: Document[ModelSpec], what: str, fix: str) -> Problem:
    line = document.lines.get("memory", document.lines.get("source", 0))
    excerpt = document.text.splitlines()[line - 1] if line else ""
    return Problem(path=document.path, line=line, column=1, what=what, fix=fix, excerpt=excerpt)
