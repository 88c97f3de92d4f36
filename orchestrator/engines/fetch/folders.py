"""Folders of a model as MLX reads them that the user has, or that are shipped."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from orchestrator.engines.sources import DEMO_FOLDER
from orchestrator.errors import SourceCorrupt, SourceNotFound
from orchestrator.values.spec import Source
from orchestrator.workers.fetch.choose import MLX_FILES
from orchestrator.workers.fetch.order import SHA256, Item, content_digest
from orchestrator.workers.frames import LoadRefused
from orchestrator.workers.mlx.folder import tensors_of

_SUFFIX: Final = "-mlx"

Digest = Callable[[Path], str]


def folder_of(source: Source) -> Path:
    """Return where the folder of a `file:` or `demo:` source should lie.

    Raises:
        SourceNotFound: it names no shipped model.
    """
    if source.scheme == "file":
        return Path(source.location)
    shipped = {path.name.removesuffix(_SUFFIX): path for path in sorted(DEMO_FOLDER.glob(f"*{_SUFFIX}"))}
    if source.location not in shipped:
        names = ", ".join(f"demo:{name}" for name in shipped)
        raise SourceNotFound(
            f"source '{source.written}': no such model is shipped",
            fix=f"use one of: {names}" if names else "reinstall the package",
        )
    return shipped[source.location]


def check_folder(source: Source, digest: Digest) -> int:
    """Return the size in bytes of the folder's files, once it is a model and has the digest it should.

    Args:
        source: of scheme `file` or `demo`.
        digest: returns the SHA-256 of a file.

    Raises:
        SourceNotFound: there is no such folder, or no model in it.
        SourceCorrupt: a file is cut short, or has another digest.
        OSError: a file cannot be read.
    """
    folder = folder_of(source)
    files = files_of(folder, source)
    for path in files:
        if path.suffix == ".safetensors":
            _check_weights(path, source)
    listed = _shipped() if source.scheme == "demo" else {}
    for path in files:
        wanted = listed.get(f"{folder.name}/{path.name}")
        if wanted is not None and digest(path) != wanted:
            raise SourceCorrupt(
                f"source '{source.written}': {path.name} is damaged", fix="reinstall the package"
            )
    if source.sha256 and identity_of(files, digest) != source.sha256.lower():
        raise SourceCorrupt(
            f"source '{source.written}' has sha256 {identity_of(files, digest)}, and {source.sha256.lower()} "
            "is asked for",
            fix="get the folder again, or correct the digest if the new content is the right one",
        )
    return sum(path.stat().st_size for path in files)


def files_of(folder: Path, source: Source) -> list[Path]:
    """Return the files in the folder that make the model.

    Raises:
        SourceNotFound: there is no such folder, or no model in it.
    """
    if not folder.is_dir():
        kind = "is a file, and MLX loads folders" if folder.exists() else "is not there"
        raise SourceNotFound(
            f"source '{source.written}' {kind}", fix="name a folder with config.json and model*.safetensors"
        )
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in MLX_FILES)
    ]
    names = {path.name for path in files}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise SourceNotFound(
            f"source '{source.written}' is a folder without config.json and model*.safetensors",
            fix="convert the model with mlx_lm.convert, or name another folder",
        )
    return files


def identity_of(files: list[Path], digest: Digest) -> str:
    """Return what identifies the files' content, as it does for one from the hub."""
    return content_digest([Item(path=path.name, digest=f"{SHA256}:{digest(path)}") for path in files])


def _check_weights(path: Path, source: Source) -> None:
    """Return if the file is as long as its own header says."""
    try:
        tensors_of(path)
    except LoadRefused:
        raise SourceCorrupt(
            f"source '{source.written}': {path.name} is cut short, or no safetensors file",
            fix="copy or download the folder again",
        ) from None


def _shipped() -> Mapping[str, str]:
    listed = (DEMO_FOLDER / "SHA256SUMS").read_text()
    pairs = (line.partition(" ") for line in listed.splitlines())
    return {name.strip().lstrip("*"): value for value, _, name in pairs}
