"""Libraries whose cache lies in a folder of the test."""

import os
from pathlib import Path

from orchestrator.engines.base import Premises
from orchestrator.engines.library import Form, Library
from orchestrator.values.settings import Settings


def library(
    folder: Path, *, form: Form = "gguf", settings: Settings | None = None, **environment: str
) -> Library:
    """A library with its cache at `folder`/cache, and more in its environment than the test's own."""
    premises = Premises(
        runtime=folder / "run",
        cache=folder / "cache",
        settings=settings or Settings(),
        environment=dict(os.environ) | environment,
    )
    return Library(premises, form=form)
