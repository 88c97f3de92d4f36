"""What went wrong with a server, as the errors that the rest of the daemon knows."""

import re
import shutil
from typing import Final

from orchestrator.engines.ollama.place import is_here
from orchestrator.engines.ollama.words import said_in
from orchestrator.errors import (
    DiskFull,
    EngineError,
    EngineUnavailable,
    LoadFailed,
    SourceCorrupt,
    SourceNotFound,
    SourceUnreachable,
)

# From here on all is taken that is sent: `truncate` of a chat, and logprobs. Older ones cut long prompts in
# silence. What was recorded and tried is 0.33.
OLDEST: Final = (0, 13, 0)
INSTALL: Final = "curl -fsSL https://ollama.com/install.sh | sh"
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class Refused(Exception):
    """A server has answered with an error."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status
        self.what = said_in(body)


def unreachable(url: str, why: str = "") -> EngineUnavailable:
    """Return that a server does not answer, and the one command that mends it."""
    if not is_here(url):
        fix = "start it on that machine: OLLAMA_HOST=0.0.0.0 ollama serve"
    else:
        fix = "ollama serve" if shutil.which("ollama") else INSTALL
    return EngineUnavailable(f"no Ollama server answers at {url}{f': {why}' if why else ''}", fix=fix)


def check_version(url: str, version: str) -> None:
    """Return where a server is new enough; builds without a version are taken for new.

    Raises:
        EngineUnavailable: it is too old.
    """
    found = _VERSION.match(version)
    numbers = tuple(int(part) for part in found.groups()) if found else ()
    if numbers and any(numbers) and numbers < OLDEST:
        wanted = ".".join(str(part) for part in OLDEST)
        raise EngineUnavailable(
            f"Ollama {version} at {url} is too old: {wanted} or later is needed", fix=INSTALL
        )


def of_pull(written: str, said: str) -> EngineError:
    """Return why a tag could not be pulled."""
    what, low = f"source '{written}': {said}", said.lower()
    if "no space left" in low or "disk quota" in low:
        return DiskFull(what, fix="make room on the disk of Ollama's models, or set OLLAMA_MODELS for it")
    if "newer version of ollama" in low or "requires a newer" in low:
        return EngineUnavailable(what, fix=INSTALL)
    gone = ("file does not exist", "invalid model name", "name is invalid", "not found", "invalid model path")
    if any(mark in low for mark in gone):
        return SourceNotFound(
            what, fix="look for the tag on https://ollama.com/library, or for a typing error"
        )
    if "mlx runtime is not available" in low or "requires mlx" in low:
        return LoadFailed(what, fix="choose a tag in GGUF format")
    return SourceUnreachable(what, fix="check the server's way to the registry; it is tried again by itself")


def of_create(written: str, said: str) -> EngineError:
    """Return why a model could not be made of a file or a tag."""
    what, low = f"source '{written}': Ollama will not take it: {said}", said.lower()
    if "no space left" in low or "disk quota" in low:
        return DiskFull(what, fix="make room on the disk of Ollama's models")
    if any(mark in low for mark in ("exceeds file size", "validate gguf", "invalid file magic", "gguf")):
        return SourceCorrupt(what, fix="get the file again, or update Ollama if the model is a new kind")
    return LoadFailed(what, fix="see the Ollama server's log")


def of_load(status: int, said: str, url: str) -> EngineError:
    """Return why a server would not load a model."""
    if status == 503:  # noqa: PLR2004 (its queue is full)
        return LoadFailed(f"{url} is busy: {said}", fix="it is tried again by itself")
    low = said.lower()
    fix = "see the Ollama server's log"
    if "requires more system memory" in low or "out of memory" in low or "cudamalloc" in low:
        fix = "lower `context`, or unload what else the server holds: ollama ps"
    elif "unknown model architecture" in low:
        fix = f"update Ollama: {INSTALL}"
    return LoadFailed(f"{url} could not load it: {said or f'status {status}'}", fix=fix)
