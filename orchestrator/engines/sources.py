"""Where a model file lies, and whether it is what the spec asks for."""

import asyncio
import hashlib
import os
import stat
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.errors import EngineError, SourceCorrupt, SourceNotFound
from orchestrator.values.spec import Source
from orchestrator.workers.fetch.shelf import Seals

DEMO_FOLDER: Final = Path(__file__).resolve().parent.parent / "demo"
CHUNK_BYTES: Final = 4 * 1024 * 1024
# A check may take this long, and as much longer as reading the file at this
# rate takes. A guess: no disk that is worth loading a model from is slower.
CHECK_S: Final = 30.0
SLOWEST_BYTES_PER_S: Final = 10_000_000

_SHA256: Final = "sha256:"
_HEADER: Final = struct.Struct("<4sIQQ")  # magic, version, tensors, metadata pairs
_VERSIONS: Final = range(2, 4)
# The least that one entry takes in the file: a tensor's name, shape, type and
# offset; a pair's name, type and value.
_TENSOR_BYTES: Final = 8 + 4 + 8 + 4 + 8
_PAIR_BYTES: Final = 8 + 4 + 1

_LOOKALIKES: Final[Mapping[bytes, str]] = {
    b"version https://git-lfs": "a Git LFS pointer, not the model itself; fetch it with: git lfs pull",
    b"<!DOCTYPE": "a web page; a download has saved an error page in its place",
    b"<html": "a web page; a download has saved an error page in its place",
    b"lmgg": "in llama.cpp's format of before 2023; convert the original model again",
    b"tjgg": "in llama.cpp's format of before 2023; convert the original model again",
    b"PK\x03\x04": "a ZIP or PyTorch archive; convert it with llama.cpp's convert_hf_to_gguf.py",
}


def path_of(source: Source) -> Path:
    """Return where the file of `source` should lie.

    Raises:
        SourceNotFound: it names no shipped model, or is of a kind that lies in no file.
    """
    match source.scheme:
        case "file":
            return Path(source.location)
        case "demo":
            return _demo_path(source)
        case _:
            raise SourceNotFound(
                f"source '{source.written}' is not one that this engine can load",
                fix="use file:/path/to/model.gguf, or demo:NAME for a model shipped with this package",
            )


def _demo_path(source: Source) -> Path:
    shipped = {path.stem: path for path in sorted(DEMO_FOLDER.glob("*.gguf"))}
    path = shipped.get(source.location)
    if path is None:
        raise SourceNotFound(
            f"source '{source.written}': no such model is shipped",
            fix=f"use one of: {', '.join(f'demo:{name}' for name in shipped)}"
            if shipped
            else "reinstall the package",
        )
    return path


class SourceChecks:
    """Checks model files; remembers the digest of each as long as its file stays untouched.

    Args:
        seals: remembers them beyond the daemon's end.
    """

    def __init__(self, seals: Seals | None = None) -> None:
        self._digests: dict[tuple[int, ...], str] = {}
        self._seals = seals

    async def check(self, source: Source) -> None:
        """Return when the file of `source` is there, is a model, and has the digest that it should.

        Raises:
            SourceNotFound: there is no such file, or it may not be read.
            SourceCorrupt: the digest differs, or the file is not a model at all.
            EngineError: the disk fails or is too slow; trying again may help.
        """
        cancelled = threading.Event()
        path = path_of(source)
        try:
            async with asyncio.timeout(CHECK_S) as limit:
                size_bytes = await asyncio.to_thread(check_form, path, source)
                limit.reschedule(
                    asyncio.get_running_loop().time() + CHECK_S + size_bytes / SLOWEST_BYTES_PER_S
                )
                wanted = source.sha256 or await asyncio.to_thread(_shipped_digest, path)
                if wanted is not None:
                    found = await asyncio.to_thread(self.digest, path, cancelled)
                    _compare(source, wanted=wanted, found=found)
        except TimeoutError:
            raise EngineError(
                f"source '{source.written}' could not be read in time",
                fix="check the disk or the network share that it lies on",
            ) from None
        except OSError as error:
            raise EngineError(
                f"source '{source.written}' cannot be read: {error.strerror}",
                fix="check the disk or the network share that it lies on",
            ) from None
        finally:
            cancelled.set()

    def digest(self, path: Path, cancelled: threading.Event) -> str:
        """Return the file's SHA-256; "" where `cancelled` is set meanwhile.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            key = _identity(status)
            known = self._digests.get(key) or self._sealed(path)
            if known:
                self._digests[key] = known
                return known
            sha256 = hashlib.sha256()
            while chunk := file.read(CHUNK_BYTES):
                if cancelled.is_set():
                    return ""
                sha256.update(chunk)
            if _identity(os.fstat(file.fileno())) == key:
                self._digests[key] = sha256.hexdigest()
                self._seal(path, sha256.hexdigest(), status)
            return sha256.hexdigest()

    def known(self, path: Path) -> str:
        """Return the file's SHA-256 where it was checked and not touched since; "" where it is not known.

        Raises:
            OSError: it cannot be found.
        """
        return self._digests.get(_identity(path.stat()), "") or self._sealed(path)

    def last(self, path: Path) -> str:
        """Return the SHA-256 that the file had when it was last checked, whatever has become of it; or ""."""
        return self._seals.last(path).removeprefix(_SHA256) if self._seals else ""

    def _sealed(self, path: Path) -> str:
        return self._seals.find(path).removeprefix(_SHA256) if self._seals else ""

    def _seal(self, path: Path, digest: str, status: os.stat_result) -> None:
        if self._seals:
            with suppress(OSError):  # what cannot be remembered is read again
                self._seals.put(path, f"{_SHA256}{digest}", status)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def check_form(path: Path, source: Source) -> int:
    """Return the size of a GGUF file in bytes, once its first bytes make sense.

    Raises:
        SourceNotFound: there is no such file, or it may not be read.
        SourceCorrupt: it is not a model, or cut short.
    """
    size_bytes = _check_readable(path, source)
    with path.open("rb") as file:
        head = file.read(64)
    if not head.startswith(b"GGUF"):
        what = next(
            (said for start, said in _LOOKALIKES.items() if head.startswith(start)), "not a GGUF file"
        )
        raise SourceCorrupt(
            f"source '{source.written}' is {what}", fix="replace it with a model in GGUF format"
        )
    if len(head) < _HEADER.size:
        raise _truncated(source)
    _, version, tensors, pairs = _HEADER.unpack_from(head)
    if version not in _VERSIONS:
        raise SourceCorrupt(
            f"source '{source.written}' is of GGUF version {version}, and 2 and 3 are understood",
            fix="convert the original model again with a current llama.cpp",
        )
    if tensors * _TENSOR_BYTES + pairs * _PAIR_BYTES > size_bytes - _HEADER.size:
        raise _truncated(source)
    return size_bytes


def _check_readable(path: Path, source: Source) -> int:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise SourceNotFound(
            f"source '{source.written}': there is no such file",
            fix="correct the path, or put the file there",
        ) from None
    except PermissionError:
        raise _forbidden(source) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise SourceNotFound(f"source '{source.written}' is {kind}", fix="name the .gguf file itself")
    if not os.access(path, os.R_OK):
        raise _forbidden(source)
    return status.st_size


def _forbidden(source: Source) -> SourceNotFound:
    return SourceNotFound(
        f"source '{source.written}' may not be read by user {os.getuid()}",
        fix="give the daemon's user permission to read the file and to enter its folders",
    )


def _truncated(source: Source) -> SourceCorrupt:
    return SourceCorrupt(f"source '{source.written}' is cut short", fix="copy or download the file again")


def _shipped_digest(path: Path) -> str | None:
    """Return the digest that the package lists for a shipped file; None where it lists none."""
    if path.parent != DEMO_FOLDER:
        return None
    try:
        listed = (DEMO_FOLDER / "SHA256SUMS").read_text()
    except FileNotFoundError:
        return None
    for line in listed.splitlines():
        digest, _, name = line.partition(" ")
        if name.strip().lstrip("*") == path.name:
            return digest
    return None


def _compare(source: Source, *, wanted: str, found: str) -> None:
    if wanted.lower() != found:
        raise SourceCorrupt(
            f"source '{source.written}' has sha256 {found}, and {wanted.lower()} is asked for",
            fix="get the file again, or correct the digest if the new file is the right one",
        )
