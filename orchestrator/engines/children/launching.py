"""What a child of ours is told about a model, and what its refusals mean."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import orchestrator
from orchestrator.engines.children.child import Command
from orchestrator.engines.children.environment import worker_environment
from orchestrator.engines.sockets import RuntimeFolder
from orchestrator.errors import (
    EngineError,
    EngineUnavailable,
    LoadFailed,
    SourceCorrupt,
    SourceNotFound,
)
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.frames import Failed, FailureKind, Launch, encode_launch

PACKAGE: Final = Path(orchestrator.__file__).resolve().parent

_REFUSALS: Final[Mapping[FailureKind, tuple[type[EngineError], str]]] = MappingProxyType(
    {
        FailureKind.NOT_FOUND: (SourceNotFound, "correct the path, or put the file there"),
        FailureKind.CORRUPT: (SourceCorrupt, "get the file again, and pin its sha256"),
        FailureKind.UNKNOWN_ARCHITECTURE: (SourceCorrupt, "use a newer {package}, or another model"),
        FailureKind.OUT_OF_MEMORY: (LoadFailed, "lower `context` or `parallel`, or unload other models"),
        FailureKind.UNAVAILABLE: (EngineUnavailable, "{install}"),
        FailureKind.FAILED: (LoadFailed, "the daemon's log at level debug has all that the worker said"),
    }
)
_OF_SOURCES: Final = frozenset({SourceNotFound, SourceCorrupt})


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What all workers of one engine share. `path_of` says where the weights of a spec lie.

    `loads_with` is the worker's runtime, `package` what that stands on, and `install` the command that
    brings it.
    """

    argv: tuple[str, ...]
    runtime: RuntimeFolder
    path_of: Callable[[ModelSpec], Path]
    threads: int | None
    load_deadline_s: float
    hang_deadline_s: float
    loads_with: str = "llama-cpp"
    package: str = "llama-cpp-python"
    install: str = "python -m pip install --force-reinstall llama-cpp-python"


def command_of(
    argv: tuple[str, ...], spec: ModelSpec, place: Workplace, *, path: Path, socket: str = ""
) -> Command:
    """Return how a child is started for `spec`, whose weights lie at `path`; it serves on `socket`."""
    launch = Launch(
        model=spec.name,
        path=str(path),
        context=spec.context,
        parallel=spec.parallel,
        socket=socket,
        threads=place.threads,
        runtime=place.loads_with,
        accelerator=spec.accelerator,
        embeds="embedding" in spec.capabilities,
    )
    return Command(
        argv=argv,
        environment=worker_environment(os.environ, package=PACKAGE, temporary=place.runtime.temporary),
        # Python puts the working directory first in its search path: it must be nobody else's.
        folder=place.runtime.temporary,
        message=encode_launch(launch),
    )


def redacted(text: str, spec: ModelSpec, path: Path) -> str:
    """Put the source as written in place of the resolved one, which may hold a secret."""
    return text.replace(str(path), spec.source.written)


def refusal(report: Failed, spec: ModelSpec, place: Workplace, path: Path) -> EngineError:
    """Return the error that a child's refusal is."""
    leaf, fix = _REFUSALS[report.kind]
    said = redacted(report.message, spec, path)
    what = f"source '{spec.source.written}': {said}" if leaf in _OF_SOURCES else said
    return leaf(what, where=spec.name, fix=fix.format(package=place.package, install=place.install))


def babble(line: bytes, spec: ModelSpec, path: Path) -> LoadFailed:
    """Return the error of a child whose answer is none that we know."""
    said = redacted(line[:80].decode(errors="replace"), spec, path)
    return LoadFailed(
        f"the worker said {said!r} in place of its report",
        where=spec.name,
        fix="reinstall the package: the daemon and its worker are not of one version",
    )
