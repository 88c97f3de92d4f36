"""A short-lived child that does one thing, watched from here (see workers/errand.py for its side)."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orchestrator
from orchestrator.engines.base import Progress
from orchestrator.engines.children.child import Child, Command
from orchestrator.engines.children.environment import worker_environment
from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.children.processes import offer_to_oom_killer
from orchestrator.errors import (
    DiskFull,
    EngineError,
    EngineUnavailable,
    NotAllowed,
    SourceCorrupt,
    SourceNotFound,
    SourceUnreachable,
)
from orchestrator.workers.errand import TroubleKind

PACKAGE: Final = Path(orchestrator.__file__).resolve().parent
MOST_LINE_BYTES: Final = 4 << 20

_LEAVES: Final[Mapping[str, type[EngineError]]] = MappingProxyType(
    {
        TroubleKind.NOT_FOUND: SourceNotFound,
        TroubleKind.CORRUPT: SourceCorrupt,
        TroubleKind.UNREACHABLE: SourceUnreachable,
        TroubleKind.DISK_FULL: DiskFull,
        TroubleKind.NOT_ALLOWED: NotAllowed,
        TroubleKind.UNAVAILABLE: EngineUnavailable,
        TroubleKind.FAILED: EngineError,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a child is sent for.

    `name` is what it is called in the log. `job` goes to its standard input.
    `own` is the daemon's environment, `further` what it gets of that besides
    what every worker does.
    It is given up where it says nothing for `quiet_s`. `redact` is applied to
    all that it says before anybody sees it.
    """

    name: str
    module: str
    job: Mapping[str, object] = field(repr=False)
    folder: Path
    quiet_s: float
    own: Mapping[str, str] = field(repr=False)
    further: Mapping[str, str] = field(repr=False)
    redact: Callable[[str], str]


async def run(
    errand: Errand,
    progress: Callable[[Progress], None],
) -> Mapping[str, Any]:
    """Return what the child answers in the end; `progress` is told how far it is.

    Cancelling kills it; it is gone when this ends, however it does.

    Raises:
        EngineError: the leaf that the child's trouble is.
    """
    talk = _Talk(progress)
    log = LogTail(errand.name, errand.redact)
    command = Command(
        argv=(sys.executable, "-m", errand.module),
        environment=worker_environment(errand.own, package=PACKAGE, temporary=errand.folder)
        | dict(errand.further),
        folder=errand.folder,
        message=json.dumps(errand.job).encode() + b"\n",
    )
    try:
        child = await Child.start(command, log, talk.end, talk.feed)
    except OSError as error:
        raise EngineError(
            f"no process could be started: {error.strerror}", fix="check the limits on processes and memory"
        ) from None
    offer_to_oom_killer(child.pid)
    try:
        await talk.ended(errand.quiet_s)
    except TimeoutError:
        child.kill()
        raise SourceUnreachable(
            f"the process that works on it has said nothing for {errand.quiet_s:.0f} s",
            fix="check the disk that the cache lies on; it is tried again",
        ) from None
    finally:
        child.kill()
        await child.ended()
    if talk.answer is not None:
        return talk.answer
    if talk.failure is not None:
        leaf = _LEAVES.get(str(talk.failure.get("kind")), EngineError)
        what, fix = (errand.redact(str(talk.failure.get(word, ""))) for word in ("what", "fix"))
        raise leaf(what, fix=fix)
    raise EngineError(f"its process {child.cause.what}", fix=child.cause.fix)


class _Talk:
    """What the child says, line by line."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self.answer: Mapping[str, Any] | None = None
        self.failure: Mapping[str, Any] | None = None
        self._progress = progress
        self._rest = b""
        self._heard = asyncio.Event()
        self._over = False

    def feed(self, data: bytes) -> None:
        self._heard.set()
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:MOST_LINE_BYTES]
        for line in lines:
            with suppress(ValueError, TypeError, AttributeError, KeyError):
                self._take(json.loads(line))

    def end(self) -> None:
        self._over = True
        self._heard.set()

    async def ended(self, quiet_s: float) -> None:
        """Return once the child is gone, or has given its answer.

        Raises:
            TimeoutError: it has said nothing for so long.
        """
        while not self._over and self.answer is None and self.failure is None:
            self._heard.clear()
            async with asyncio.timeout(quiet_s):
                await self._heard.wait()

    def _take(self, said: Mapping[str, Any]) -> None:
        for word, content in said.items():
            match word:
                case "progress":
                    self._progress(
                        Progress(
                            doing=str(content["doing"]),
                            done_bytes=int(content["done"]),
                            total_bytes=int(content["total"]),
                        )
                    )
                case "done":
                    self.answer = content
                case "failed":
                    self.failure = content
                case _:
                    pass
