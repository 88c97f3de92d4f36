"""Tags that a server pulls from its registry: watched, bounded, and believed only when it says `success`."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator.clock import monotonic_s
from orchestrator.engines.base import Progress
from orchestrator.engines.ollama.place import is_here
from orchestrator.engines.ollama.server import Server, Step
from orchestrator.engines.ollama.trouble import Refused, of_pull
from orchestrator.errors import DiskFull, SourceUnreachable
from orchestrator.values.spec import ModelSpec

# Checking the digests of what has come reads all of it, without a word; in seconds. A guess.
VERIFY_S: Final = 1800.0
# Progress comes every 60 ms for each layer; people need it a few times a second.
_TELL_S: Final = 0.25
# What should be left on the disk after a download.
_SPARE_BYTES: Final = 256 << 20
_USUAL: Final = ("~/.ollama/models", "/usr/share/ollama/.ollama/models", "/var/lib/ollama/models")


class Layers:
    """How far all layers of a pull are; they come one after another, so that their sum grows."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def take(self, step: Step) -> bool:
        """Take note of a step; say whether anything has moved."""
        if not step.digest:
            return True
        before = (self._done.get(step.digest), self._total.get(step.digest))
        self._total[step.digest] = max(step.total_bytes, self._total.get(step.digest, 0))
        done = max(step.done_bytes, self._done.get(step.digest, 0))  # a part that is tried again counts back
        self._done[step.digest] = min(done, self._total[step.digest])
        return before != (self._done[step.digest], self._total[step.digest])

    def is_new(self, step: Step) -> bool:
        return bool(step.digest) and step.digest not in self._total

    @property
    def done_bytes(self) -> int:
        return sum(self._done.values())

    @property
    def total_bytes(self) -> int:
        return sum(self._total.values())


class Pulling:
    """Pulls.

    Args:
        stall_s: how long a download may stand still.
    """

    def __init__(self, *, stall_s: float) -> None:
        self._stall_s = stall_s

    async def pull(self, server: Server, spec: ModelSpec, tell: Callable[[Progress], None]) -> None:
        """Have the server pull the tag; what has come is kept when it is cancelled or fails.

        Raises:
            SourceNotFound, SourceUnreachable, DiskFull, EngineUnavailable, NotAllowed
        """
        written, last = spec.source.written, ""
        layers, told_s = Layers(), 0.0
        folder = await models_folder(server) if is_here(server.url) else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._stall_s) as still:
                async for step in server.pull(spec.source.location):
                    last = step.status
                    if layers.is_new(step):
                        _check_room(folder, step, written)
                    if layers.take(step):
                        wait_s = self._stall_s if step.digest or last.startswith("pulling") else VERIFY_S
                        still.reschedule(loop.time() + wait_s)
                    now_s = monotonic_s()
                    if now_s - told_s >= _TELL_S:
                        told_s = now_s
                        tell(_progress(layers, step))
        except Refused as refused:
            raise of_pull(written, refused.what) from None
        except TimeoutError:
            raise SourceUnreachable(
                f"source '{written}': the download stands still: nothing has come for {self._stall_s:g} s",
                fix="check the network; what has come is kept, and it is tried again by itself",
            ) from None
        if last != "success":
            raise of_pull(written, f"the server stopped at '{last}'")
        tell(Progress(doing="downloading", done_bytes=layers.total_bytes, total_bytes=layers.total_bytes))


async def models_folder(server: Server) -> Path | None:
    """Return where a server of this machine keeps its models, None where that cannot be told."""
    for listed in (await server.listed()).values():
        shown = await server.show(listed.name)
        if shown is not None and shown.folder:
            return await asyncio.to_thread(_existing, (shown.folder,))
    return await asyncio.to_thread(_existing, _USUAL)


def _existing(folders: tuple[str, ...]) -> Path | None:
    return next((path for text in folders if (path := Path(text).expanduser()).is_dir()), None)


def _check_room(folder: Path | None, step: Step, written: str) -> None:
    """Return if there is room for one more layer; Ollama itself does not look."""
    if folder is None:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    missing = step.total_bytes - step.done_bytes
    if missing + _SPARE_BYTES > free:
        raise DiskFull(
            f"source '{written}' needs {missing >> 20} MiB more, and {free >> 20} MiB are free where Ollama "
            "keeps its models",
            fix="make room on that disk, or set OLLAMA_MODELS for the Ollama server",
        )


def _progress(layers: Layers, step: Step) -> Progress:
    doing = "checking" if step.status.startswith("verifying") else "downloading"
    return Progress(doing=doing, done_bytes=layers.done_bytes, total_bytes=layers.total_bytes)
