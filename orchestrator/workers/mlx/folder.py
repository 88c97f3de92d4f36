"""A folder in the form that mlx-lm loads, looked at without mlx: configuration and headers of weights.

For the parent as well as for the worker: whatever can be said before a model runtime is imported.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.workers.frames import FailureKind, LoadRefused

_LENGTH: Final = struct.Struct("<Q")  # the first bytes of a safetensors file: how long its header is
# The most that is read of a file's header, of the configuration and of the index. A guess: the largest models
# have 3 MB of each; the format allows 100 MB, whose parsing would hold up the daemon for seconds.
_HEADER_BYTES: Final = 16 << 20
_JSON_BYTES: Final = 32 << 20
_WEIGHTS: Final = "model*.safetensors"  # as mlx-lm looks for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """`dtype` in the words of the format: F16, BF16, F32, U32 and so on."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MlxFolder:
    """What the folder says of the model. `config` is `config.json` as it stands."""

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def weights_bytes(self) -> int:
        """What the weights take once they are loaded."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The part of the configuration that is about text: models with eyes have it one level down."""
        inner = self.config.get("text_config")
        return self.config | inner if isinstance(inner, dict) else self.config  # type: ignore[operator]  # JSON objects are dicts

    @property
    def train_context(self) -> int:
        """The tokens that the model was made for; 0 where its configuration does not say."""
        found = self.text_config.get("max_position_embeddings")
        return found if isinstance(found, int) else 0


def read_folder(path: Path) -> MlxFolder:
    """Read the configuration and the headers, and check that all files are whole.

    Raises:
        LoadRefused: NOT_FOUND, CORRUPT or FAILED, with the cause in one sentence.
    """
    try:
        if not path.is_dir():
            raise LoadRefused(FailureKind.NOT_FOUND, _no_folder(path))
        config = _config(path)
        tensors: dict[str, Tensor] = {}
        for file in _files(path):
            tensors.update(tensors_of(file))
    except OSError as error:
        raise LoadRefused(FailureKind.FAILED, f"{path} cannot be read: {error.strerror}") from None
    return MlxFolder(path=path, config=config, tensors=tensors)


def _no_folder(path: Path) -> str:
    if not path.exists():
        return f"there is no folder {path}"
    return f"{path} is a file, and this engine loads folders with config.json and *.safetensors"


def _config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_content(path / "config.json"))
    except FileNotFoundError:
        raise LoadRefused(FailureKind.CORRUPT, f"{path} has no config.json") from None
    except (ValueError, RecursionError) as error:
        raise LoadRefused(FailureKind.CORRUPT, f"{path / 'config.json'} is not valid JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise LoadRefused(FailureKind.CORRUPT, f"{path / 'config.json'} names no model_type")
    return content


def _content(path: Path) -> bytes:
    if path.stat().st_size > _JSON_BYTES:
        raise LoadRefused(FailureKind.CORRUPT, f"{path} has over {_JSON_BYTES >> 20} MiB")
    return path.read_bytes()


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob(_WEIGHTS))
    if not files:
        raise LoadRefused(FailureKind.CORRUPT, f"{path} has no weights: no file is called {_WEIGHTS}")
    index = path / "model.safetensors.index.json"
    if index.exists():
        try:
            wanted = set(json.loads(_content(index))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LoadRefused(FailureKind.CORRUPT, f"{index} cannot be understood: {error!r}") from None
        absent = sorted(wanted - {file.name for file in files})
        if absent:
            raise LoadRefused(FailureKind.CORRUPT, f"{path} lacks {absent[0]}, which its index names")
    return files


def tensors_of(file: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file, once it is clear that all their bytes are there.

    Raises:
        LoadRefused: CORRUPT.
        OSError: it cannot be read.
    """
    size_bytes = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.read(_LENGTH.size)
        length = _LENGTH.unpack(first)[0] if len(first) == _LENGTH.size else 0
        if not 0 < length <= min(_HEADER_BYTES, size_bytes - _LENGTH.size):
            raise LoadRefused(FailureKind.CORRUPT, f"{file} is not a safetensors file, or is cut short")
        text = opened.read(length)
    try:
        entries = json.loads(text)
        entries.pop("__metadata__", None)
        tensors = {
            name: Tensor(
                dtype=str(entry["dtype"]),
                shape=tuple(int(side) for side in entry["shape"]),
                size_bytes=int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]),
            )
            for name, entry in entries.items()
        }
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise LoadRefused(
            FailureKind.CORRUPT, f"{file} has a header that cannot be read: {error!r}"
        ) from None
    if end != size_bytes - _LENGTH.size - length:
        raise LoadRefused(FailureKind.CORRUPT, f"{file} is cut short, or has bytes that its header misses")
    return tensors
