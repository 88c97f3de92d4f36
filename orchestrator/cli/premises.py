"""What engines are built with where no daemon runs."""

import os
from pathlib import Path

from orchestrator.config import paths
from orchestrator.engines.base import Premises
from orchestrator.values.settings import Settings


def premises(settings: Settings, state: Path) -> Premises:
    """Return what a daemon with these settings and this state folder would build its engines with."""
    return Premises(
        runtime=paths.runtime_folder(os.environ, state),
        cache=paths.cache_folder(settings, os.environ),
        settings=settings,
        environment=os.environ,
    )
